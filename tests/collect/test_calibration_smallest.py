"""The search for the lens value at which the beam's disc is smallest, on discs drawn here."""

from types import SimpleNamespace

import numpy as np
import pytest

from credo.collect.calibration.smallest import find_smallest
from credo.collect.calibration.views import View
from credo.model.errors import CannotDo

EDGE, VERTEX, SLOPE = 516, 29920.0, 0.045


def search(walk, start=30000.0, step=1467.0):
    """What the search finds, and in how many frames, where the disc's centre walks by ``walk`` px for each unit."""
    at = {"lens": start}
    y, x = np.mgrid[:EDGE, :EDGE] + 0.5

    def put(value):
        at["lens"] = value
        return iter(())

    def frame():
        radius = abs(at["lens"] - VERTEX) * SLOPE
        away = np.hypot(x - EDGE / 2 - walk * (at["lens"] - VERTEX), y - EDGE / 2)
        level = 8e5 / max(radius, 5) ** 2
        return np.random.default_rng(1).poisson(0.5 + level * (away < max(radius, 5)))

    rig = SimpleNamespace(camera=SimpleNamespace(shape=(EDGE, EDGE)))
    steps = find_smallest(rig, View("disc", "diff", 600.0, exposure=0.02), put, start, step, (0.0, 65535.0), 12)
    frames, answer = 0, None
    while True:
        try:
            steps.send(answer)
        except StopIteration as done:
            return done.value, frames
        frames, answer = frames + 1, SimpleNamespace(image=frame())


@pytest.mark.parametrize("walk", [0.0, 0.06, 0.09])
def test_the_smallest_disc_is_found_also_where_it_walks_out_of_the_frame(walk):
    found, frames = search(walk)
    assert found.value == pytest.approx(VERTEX, abs=5) and found.slope == pytest.approx(SLOPE, rel=0.02)
    assert frames < 40


def test_a_disc_that_is_never_seen_is_said_to_be_missing():
    with pytest.raises(CannotDo, match="not seen"):
        search(2.0)
