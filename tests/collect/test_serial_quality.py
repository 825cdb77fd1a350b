"""The first frames: reflections that come and go are a crystal's, a halo and hot pixels are not."""

import numpy as np
import pytest

from credo.collect.serial_quality import FirstFrames


def pattern(rng: np.random.Generator, spots: int, frame: int) -> np.ndarray:
    """A direct beam, a halo, hot pixels; ``spots`` others in each frame."""
    y, x = np.indices((516, 516)) - 290.0
    r = np.hypot(x, y)
    mean = 0.5 + 300 * np.exp(-r / 15) + 1e5 * np.exp(-0.5 * (r / 2) ** 2)
    mean[40, 50] = mean[400, 77] = 5000
    places = np.random.default_rng(frame).integers(20, 500, (spots, 2))
    mean[places[:, 0], places[:, 1]] += 60
    return rng.poisson(mean)


@pytest.mark.parametrize("spots", [0, 12])
def test_reflections_come_and_go(spots):
    rng, first = np.random.default_rng(1), FirstFrames()
    for k in range(8):
        assert first.crystal is None
        first.add(pattern(rng, spots, k))
    assert first.crystal is (spots > 0)
    first.add(np.zeros((516, 516)))  # what comes later changes nothing
    assert first.crystal is (spots > 0)
