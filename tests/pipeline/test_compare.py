"""The comparison with the truth sees what is right, however the lattice is described, and what is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from credo.model import Cell, Crystal
from credo.physics.symmetry import laue_rotations, primitive_basis
from credo.pipeline.compare import match_lattice


def _crystal(cell, centring="P", seed=0) -> Crystal:
    return Crystal(Cell(*cell), Rotation.random(random_state=seed).as_matrix(), centring=centring)


def test_the_same_crystal():
    crystal = _crystal((5, 7, 9, 90, 101, 90))
    match = match_lattice(crystal, crystal)
    assert match.right and match.angle_deg == pytest.approx(0, abs=1e-5)
    assert match.cell is not None and np.allclose(match.cell.parameters, crystal.cell.parameters)


@pytest.mark.parametrize("centring", ["C", "I", "F"])
def test_a_centred_cell_beside_its_primitive(centring):
    true = _crystal((8, 9, 10, 90, 90, 90), centring, seed=1)
    primitive = true.reindexed(primitive_basis(centring), centring="P")
    match = match_lattice(primitive, true)
    assert match.right and match.angle_deg < 1e-5
    assert match.cell is not None and np.allclose(match.cell.parameters, primitive.cell.parameters)


def test_equivalent_orientations_are_one():
    true = _crystal((11.9, 11.9, 11.9, 90, 90, 90), "I", seed=2)
    turn = next(r for r in laue_rotations("m-3m") if np.linalg.det(r) > 0 and abs(np.trace(r)) < 1e-9)
    assert match_lattice(true.reindexed(turn), true).angle_deg < 1e-5


def test_a_small_rotation_is_measured():
    true = _crystal((6, 7, 8, 85, 95, 100), seed=3)
    tilt = Rotation.from_rotvec(np.radians([0.1, -0.2, 0.05])).as_matrix()
    match = match_lattice(true.replace(orientation=tilt @ true.orientation), true)
    assert match.right
    assert match.angle_deg == pytest.approx(np.linalg.norm([0.1, -0.2, 0.05]), rel=1e-3)


def test_a_wrong_scale_is_the_same_lattice_with_another_cell():
    true = _crystal((6, 7, 8, 90, 90, 90), seed=4)
    match = match_lattice(true.replace(cell=Cell(6.6, 7.7, 8.8, 90, 90, 90)), true)
    assert match.right and match.cell is not None
    assert np.allclose(match.cell.lengths, (6, 7, 8))


@pytest.mark.parametrize("cell", [(6, 7, 16, 90, 90, 90), (6, 7, 9.5, 90, 90, 90), (6, 7, 8, 90, 99, 90)])
def test_other_lattices_are_not_right(cell):
    true = _crystal((6, 7, 8, 90, 90, 90), seed=5)
    assert not match_lattice(_crystal(cell, seed=5), true).right


def test_another_orientation_is_not_right():
    assert not match_lattice(_crystal((6, 7, 8, 90, 90, 90), seed=6), _crystal((6, 7, 8, 90, 90, 90), seed=7)).right
