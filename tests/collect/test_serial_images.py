"""The place of the direct beam, alignment, and foreshortening."""

import numpy as np
import pytest

from credo.collect.serial_images import aligned, beam_centre, foreshortened, translated
from credo.model.errors import CannotDo


@pytest.mark.parametrize("saturation", [np.inf, 4000.0])
def test_direct_beam_is_centred_to_a_few_hundredths_of_a_pixel(saturation):
    y, x = np.mgrid[:200, :200] + 0.5
    at = np.array([120.37, 88.81])
    frame = 8000 * np.exp(-0.5 * ((x - at[0]) ** 2 + (y - at[1]) ** 2) / 1.4**2) + 5
    frame += 300 * np.exp(-0.5 * ((x - 60) ** 2 + (y - 60) ** 2) / 1.4**2)
    seen = np.minimum(np.random.default_rng(5).poisson(frame), saturation)
    assert np.allclose(beam_centre(seen), at, atol=0.04)


def test_no_beam_is_told():
    with pytest.raises(CannotDo):
        beam_centre(np.zeros((64, 64)))


def test_alignment_brings_patterns_together():
    y, x = np.mgrid[:64, :64] + 0.5
    at = np.array([[30.2, 31.0], [31.5, 33.3], [32.0, 30.4]])
    frames = [1000 * np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / 4) for a, b in at]
    moved = [translated(f, t) for f, t in zip(frames, aligned(np.array([beam_centre(f) for f in frames])))]
    assert np.ptp([beam_centre(f) for f in moved], axis=0).max() < 0.05


def test_foreshortening_squeezes_across_the_axis_only():
    y, x = np.mgrid[:129, :129] + 0.5
    spot = np.exp(-0.5 * ((x - 90.0) ** 2 + (y - 84.0) ** 2) / 4)
    out = foreshortened(spot, np.eye(2) * 10, np.array([64.5, 64.5]), 0.5)
    i, j = np.unravel_index(out.argmax(), out.shape)
    assert abs(j + 0.5 - 90) <= 1 and abs(i + 0.5 - (64.5 + 0.5 * 19.5)) <= 1
