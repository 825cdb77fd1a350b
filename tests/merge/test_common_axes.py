"""Cells of one phase in any setting come onto common axes; others are told; the mean cell keeps its uncertainty."""

import numpy as np
import pytest

from credo.merge.common_axes import common_axes, mean_cell, on_axes
from credo.model import Cell, Reflections
from credo.physics.symmetry import laue_rotations

BASE = Cell(9.1, 11.7, 14.3, 88, 95, 101)


@pytest.mark.parametrize("p", [np.eye(3), [[0, 1, 0], [0, 0, 1], [1, 0, 0]], [[1, 0, 1], [0, 1, 0], [0, 0, 1]]])
def test_another_basis_is_undone(p):
    p = np.array(p, dtype=float)
    axes = common_axes([BASE, BASE.reindexed(p), BASE], ["P"] * 3, [100, 50, 50])
    assert axes.reference in (0, 2)
    change = axes.change[1]
    assert change is not None
    assert BASE.reindexed(p).reindexed(change).parameters == pytest.approx(BASE.parameters)
    assert axes.strain.max() < 1e-6


def test_a_primitive_cell_comes_onto_centred_axes():
    c = Cell(18, 9, 13, 90, 110, 90)
    primitive = c.reindexed(np.array([[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]]))
    axes = common_axes([c, primitive], ["C", "P"], [100, 10])
    change = axes.change[1]
    assert change is not None
    assert primitive.reindexed(change).parameters == pytest.approx(c.parameters)


def test_another_lattice_is_told_and_the_majority_rules():
    axes = common_axes([Cell(5, 6, 7, 90, 90, 90), BASE, BASE, BASE], ["P"] * 4, [300, 150, 150, 150])
    assert axes.reference != 0 and axes.change[0] is None
    assert all(c is not None for c in axes.change[1:])


def test_indices_turn_with_the_axes_and_fractions_are_left_out():
    r = Reflections(h=[1, 2], k=[0, 1], l=[3, 4])
    assert on_axes(r, np.eye(3)) is r
    half = np.diag([0.5, 1.0, 2.0])
    assert on_axes(r, half).hkl.tolist() == [[1, 1, 8]]


def test_the_mean_cell_is_symmetric_and_ignores_a_wild_one():
    rng = np.random.default_rng(0)
    cells = [Cell(*(np.array([10, 10, 14, 90, 90, 90]) + rng.normal(0, 0.05, 6))) for _ in range(50)]
    cell = mean_cell([*cells, Cell(12, 10, 14, 90, 90, 90)], laue_rotations("4/mmm"))
    assert cell.a == pytest.approx(cell.b) and cell.gamma == pytest.approx(90)
    assert cell.a == pytest.approx(10, abs=0.03)
    esd = cell.esd
    assert esd is not None and esd[0] == pytest.approx(0.05 / np.sqrt(2 * 50), rel=0.5)
    assert mean_cell(cells[:2], laue_rotations("-1")).covariance is None
