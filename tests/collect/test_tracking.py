"""The beam's disc and a crystal's shadow in synthetic defocused frames."""

from __future__ import annotations

import numpy as np
import pytest

from credo.collect.tracking import Expected, disc_by_sums, find_shadow, fit_disc, inner_variance, shadow_by_percentiles
from credo.model.errors import CannotDo, UnreadableInput

CENTRE, RADIUS = (240.4, 262.7), 85.0


def _frame(offset=(25.0, -30.0), size=18.0, contrast=0.25, seed=0, counts=50.0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:512, :512] + 0.5
    image = counts * np.clip((RADIUS - np.hypot(x - CENTRE[0], y - CENTRE[1])) / 4 + 0.5, 0, 1) + 0.5
    gap = np.hypot(x - CENTRE[0] - offset[0], y - CENTRE[1] - offset[1])
    return rng.poisson(image * (1 - contrast * np.clip(size - gap + 0.5, 0, 1))).astype(np.uint16)


def test_disc_also_with_a_shadow_across_its_edge():
    disc = fit_disc(_frame(offset=(70.0, 30.0), size=22.0, contrast=0.8))
    assert np.hypot(disc.x - CENTRE[0], disc.y - CENTRE[1]) < 1.0
    assert disc.radius == pytest.approx(RADIUS, abs=1.5) and disc.error < 1.0


@pytest.mark.parametrize("contrast", [0.5, 0.25, 0.1])
def test_shadow_with_and_without_a_prediction(contrast):
    frame = _frame(contrast=contrast)
    disc = fit_disc(frame)
    for expected in (None, Expected((18.0, -22.0), 13.0, 20.0)):
        found = find_shadow(frame, disc, expected)
        assert found.seen and np.hypot(found.offset[0] - 25, found.offset[1] + 30) < 0.1 * RADIUS
        assert found.contrast == pytest.approx(contrast, rel=0.35) and found.confidence > 0.5


def test_a_blank_disc_is_said_to_be_blank():
    frames = [_frame(contrast=0.0, seed=s) for s in range(10)]
    assert sum(find_shadow(f, fit_disc(f)).seen for f in frames) <= 1


def test_pixels_that_are_not_like_others_are_left_out():
    frame = _frame(contrast=0.25)
    frame[:, 255:261] = 0
    valid = np.ones(frame.shape, dtype=bool)
    valid[:, 255:261] = False
    found = find_shadow(frame, fit_disc(frame), valid=valid)
    assert found.seen and np.hypot(found.offset[0] - 25, found.offset[1] + 30) < 0.1 * RADIUS


def test_a_bar_of_the_mesh_is_no_shadow():
    """Its straight edge may hide half of the disc; the crystal beside it is found, and where there is none, none."""
    x, y = np.meshgrid(np.arange(512) + 0.5, np.arange(512) + 0.5)
    bar = (x - CENTRE[0]) * 0.5 + (y - CENTRE[1]) > 20
    for contrast in (0.25, 0.0):
        frame = np.where(bar, 0, _frame(contrast=contrast)).astype(np.uint16)
        disc = fit_disc(frame)
        found = find_shadow(frame, disc, Expected((20.0, -24.0), 20.0, 18.0))
        assert found.seen == (contrast > 0)
        if contrast:
            assert np.hypot(found.offset[0] - 25, found.offset[1] + 30) < 0.1 * RADIUS


def test_thesis_method_at_strong_contrast():
    frame = _frame(contrast=0.6)
    disc = disc_by_sums(frame)
    assert np.hypot(disc.x - CENTRE[0], disc.y - CENTRE[1]) < 8
    assert np.hypot(*np.subtract(shadow_by_percentiles(frame, disc), (25, -30))) < 0.1 * RADIUS
    assert inner_variance(frame, disc) > 2 * inner_variance(_frame(contrast=0.0), disc)


def test_no_beam_and_no_frame():
    with pytest.raises(CannotDo):
        fit_disc(np.zeros((512, 512), dtype=np.uint16))
    with pytest.raises(UnreadableInput):
        fit_disc(np.zeros(512))
