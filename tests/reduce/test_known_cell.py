"""A crystal of known cell is placed from few spots."""

import numpy as np
import pytest

from credo.model import Cell, Crystal
from credo.reduce.known_cell import orientations_of_cell
from credo.reduce.points import reciprocal_points

CELL = (8.1, 11.3, 14.2, 82, 98, 105)


@pytest.fixture(scope="module")
def scene(spot_scene):
    return spot_scene(CELL, seed=8, n=60, spurious=0.2)


def placed(scene, rows, cell):
    points = reciprocal_points(scene.truth, scene.spots, rows, scene.truth.goniometer.axis)
    return orientations_of_cell(points, cell)


@pytest.mark.parametrize("count", [25, 300])
def test_the_orientation_is_found_from_few_spots(scene, lattices_agree, count):
    rows = np.argsort(-scene.spots["intensity"])[:count]
    # the camera length is a per cent off
    bases = placed(scene, rows, Cell(*(np.array(CELL) * [1.01, 1.01, 1.01, 1, 1, 1])))
    assert lattices_agree(Crystal.from_ub(np.linalg.inv(bases[0])), scene.truth.crystal, percent=3)


def test_nothing_comes_from_too_few_spots_or_a_cell_that_does_not_fit(scene):
    assert placed(scene, np.array([0]), Cell(*CELL)) == []
    assert placed(scene, np.arange(20), Cell(2.3, 2.3, 2.3, 90, 90, 90)) == []
