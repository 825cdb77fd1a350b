"""Crystals in synthetic images with texture: found where they are, none where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from credo.collect.crystals import find_by_threshold, find_crystals
from credo.model.errors import UnreadableInput

PX = 0.022


def _image(discs, contrast, seed=0, counts=400.0, size=512):
    """Counts with 1 % of texture, 20 % of shading, and discs (x, y, radius) [px]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] + 0.5
    texture = ndimage.gaussian_filter(rng.normal(size=(size, size)), 3)
    image = counts * (1 + 0.01 * texture / texture.std())
    image *= 1 - 0.4 * ((x / size - 0.5) ** 2 + (y / size - 0.5) ** 2)
    for cx, cy, r in discs:
        image *= 1 - contrast * np.clip(r - np.hypot(x - cx, y - cy) + 0.5, 0, 1)
    return rng.poisson(image).astype(np.uint16)


def test_finds_places_areas_and_contrast():
    truth = [(150.3, 200.8, 14.0), (360.0, 300.0, 10.0), (250.0, 420.5, 20.0)]
    found = find_crystals(_image(truth, 0.06), PX)
    assert len(found) == 3
    for x, y, r in truth:
        one = min(found, key=lambda c: np.hypot(c.x - x, c.y - y))
        assert np.hypot(one.x - x, one.y - y) < 2.0
        assert one.area_um2 == pytest.approx(np.pi * (r * PX) ** 2, rel=0.3)
        assert one.contrast == pytest.approx(0.06, rel=0.25)
        assert one.isolated and one.significance > 5


def test_few_false_finds_on_texture():
    assert sum(len(find_crystals(_image([], 0.0, seed), PX)) for seed in range(10)) <= 4  # stated: 1


def test_a_crystal_at_the_border_does_not_show_at_the_other():
    found = find_crystals(_image([(256, 6, 14.0)], 0.3), PX)
    assert len(found) == 1 and found[0].y < 20 and not found[0].isolated


def test_neighbours_are_not_isolated():
    found = find_crystals(_image([(200, 250, 12.0), (250, 250, 12.0)], 0.15), PX)
    assert len(found) == 2 and not any(c.isolated for c in found)
    assert found[0].gap_um == pytest.approx((50 - 24) * PX, abs=0.2)


def test_the_bar_of_a_mesh_is_no_crystal():
    image = _image([(150, 250, 14.0)], 0.15)
    image[:, 400:] = 0
    found = find_crystals(image, PX)
    assert len(found) == 1 and found[0].x == pytest.approx(150, abs=2)


def test_thesis_sees_strong_contrast_and_not_weak():
    place = [(200.0, 250.0, 16.0)]
    strong = find_by_threshold(_image(place, 0.3), PX)
    assert len(strong) == 1 and np.hypot(strong[0].x - 200, strong[0].y - 250) < 3
    assert find_by_threshold(_image(place, 0.03), PX) == []


def test_bad_input_is_refused():
    for image in (np.zeros((8, 8)), np.zeros((100, 100)), np.full((100, 100), np.nan)):
        with pytest.raises(UnreadableInput):
            find_crystals(image, PX)
    with pytest.raises(UnreadableInput):
        find_crystals(np.ones((100, 100)), -1.0)
