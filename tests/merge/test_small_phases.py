"""Phases of a few small sets, which no pair of sets shows, and none among sets that have nothing in common."""

import numpy as np
import pytest

from credo.merge.log_intensities import log_intensities
from credo.merge.phases import find_phases
from credo.model import Cell
from credo.physics.symmetry import laue_rotations

CELL = Cell(6.5, 7.6, 8.9, 95.0, 102.0, 107.0)
FRIEDEL = laue_rotations("-1")


@pytest.mark.parametrize("seed", [0, 2])
def test_five_small_sets_beside_a_large_phase(mixed, seed):
    sets, truth = mixed((20, 5), 60, 3, seed)
    assert np.array_equal(find_phases(log_intensities(sets, CELL, FRIEDEL)).labels, truth - 1)


def test_sets_of_nothing_in_common_make_none(mixed):
    sets, _ = mixed((), 60, 25, seed=3)
    assert len(find_phases(log_intensities(sets, CELL, FRIEDEL))) == 0
