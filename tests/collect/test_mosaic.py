"""Tiles cut from one picture are put together again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from credo.collect.mosaic import stitch
from credo.model.errors import CannotDo


def test_tiles_of_a_turned_picture_are_put_in_their_places():
    rng = np.random.default_rng(1)
    world = 100 + 40 * ndimage.gaussian_filter(rng.normal(size=(900, 900)), 3) * 6  # 0.1 µm per pixel, 90 µm across
    angle, scale = np.radians(100.0), 8.0  # px per µm
    true = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    places = np.array([(x, y) for y in (35.0, 45.0, 55.0) for x in (35.0, 45.0, 55.0)])
    back = 10 * np.linalg.inv(true)[::-1, ::-1]
    tiles = []
    for place in places:
        middle = 10 * place[::-1] - 0.5
        origin = middle - back @ (np.array([128, 128]) - 0.5)
        tiles.append(ndimage.affine_transform(world, back, origin, (256, 256), order=1) + rng.normal(size=(256, 256)))
    off = 1.01 * true @ np.array([[1.0, 0.01], [-0.005, 1.0]])
    found = stitch(np.array(tiles), places, off)
    np.testing.assert_allclose(found.matrix, true, atol=0.02)
    assert found.residual_px < 0.3
    assert found.pairs >= 12
    # a patch of the map is the same patch of the world
    x0, y0 = found.corner
    rows, columns = (int((45.0 - v) / found.pixel_um) for v in (y0, x0))
    patch = found.image[rows - 60 : rows + 60, columns - 60 : columns + 60]
    y, x = np.mgrid[rows - 60 : rows + 60, columns - 60 : columns + 60] + 0.5
    there = ndimage.map_coordinates(
        world, [10 * (y0 + y * found.pixel_um) - 0.5, 10 * (x0 + x * found.pixel_um) - 0.5], order=1
    )
    assert np.corrcoef(patch.ravel(), there.ravel())[0, 1] > 0.98


def test_the_cameras_cross_does_not_show():
    """Two tiles of a 2 × 2 Timepix, beside each other: what lies under the cross of one only is bridged."""
    rng = np.random.default_rng(2)
    world = 400 * (1 + 0.2 * ndimage.gaussian_filter(rng.normal(size=(560, 960)), 12) * 20)
    tiles = np.array([world[20:536, x : x + 516] for x in (20, 420)])
    tiles[:, 254:262] = tiles[:, :, 254:262] = 4000
    found = stitch(tiles, np.array([[10.0, 10.0], [18.0, 10.0]]), 50 * np.eye(2))
    inner = found.image[100:-100, 100:-100]
    assert np.isfinite(inner).all() and inner.max() < 2
    rows = slice(40, 480)
    row = found.image[rows, 300:600]
    assert np.corrcoef(row.ravel(), world[20:536, 20:][rows, 300:600].ravel())[0, 1] > 0.95


def test_dark_tiles_are_refused():
    with pytest.raises(CannotDo, match="dark"):
        stitch(np.zeros((2, 64, 64)), np.array([[0.0, 0.0], [5.0, 0.0]]), np.eye(2))
