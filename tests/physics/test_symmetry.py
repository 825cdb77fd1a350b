"""Symmetry: orders of the Laue classes, primitive bases, change of basis, equivalents joined as gemmi does."""

import gemmi
import numpy as np
import pytest

from credo.model import Cell, UnreadableInput
from credo.physics.ewald import allowed_by_centring
from credo.physics.symmetry import (
    LAUE_CLASSES,
    group_operations,
    laue_rotations,
    primitive_basis,
    unique_reflections,
)

ORDERS = {
    "-1": 2, "2/m": 4, "mmm": 8, "4/m": 8, "4/mmm": 16, "-3": 6, "-31m": 12, "-3m1": 12, "6/m": 12, "6/mmm": 24,
    "m-3": 24, "m-3m": 48,
}  # fmt: skip


@pytest.mark.parametrize("laue", list(LAUE_CLASSES))
def test_laue_classes_are_groups_of_their_order(laue):
    rotations = laue_rotations(laue)
    assert len(rotations) == ORDERS[laue]
    known = {r.tobytes() for r in rotations}
    assert len(known) == len(rotations)
    assert all(np.ascontiguousarray(a @ b).tobytes() in known for a in rotations for b in rotations)
    assert (-np.eye(3, dtype=int)).tobytes() in known


def test_unknown_names_are_refused_with_a_remedy():
    with pytest.raises(UnreadableInput, match=r"'mm' is not one of.*mmm"):
        laue_rotations("mm")
    with pytest.raises(UnreadableInput, match="none of P A B C I F R"):
        primitive_basis("H")


@pytest.mark.parametrize(("centring", "n"), [("P", 1), ("A", 2), ("B", 2), ("C", 2), ("I", 2), ("F", 4), ("R", 3)])
def test_primitive_basis_spans_the_allowed_nodes(centring, n):
    p = primitive_basis(centring)
    assert np.linalg.det(p) == pytest.approx(1 / n)
    h = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), axis=-1).reshape(-1, 3)
    primitive = h @ p
    whole = np.all(np.abs(primitive - np.rint(primitive)) < 1e-9, axis=1)
    assert whole.tolist() == allowed_by_centring(h, centring).tolist()


@pytest.mark.parametrize(
    ("laue", "symbol"),
    [("2/m", "P 1 21 1"), ("mmm", "P 21 21 21"), ("4/mmm", "P 43 21 2"), ("-3m1", "P 3 2 1"), ("-31m", "P 3 1 2"),
     ("6/m", "P 6"), ("m-3", "P 2 3"), ("m-3m", "I a -3 d")],
)  # fmt: skip
def test_equivalents_are_joined_as_gemmi_does(laue, symbol):
    h = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), axis=-1).reshape(-1, 3)
    asu, ops = gemmi.ReciprocalAsu(gemmi.SpaceGroup(symbol)), gemmi.SpaceGroup(symbol).operations()
    expected = [tuple(asu.to_asu(list(map(int, v)), ops)[0]) for v in h]
    unique, group = unique_reflections(h, laue_rotations(laue))
    assert len(unique) == len(set(expected))
    assert len(set(zip(group.tolist(), expected))) == len(unique)


def test_equivalents_have_equal_spacing_on_the_right_cell():
    h = np.random.default_rng(0).integers(-9, 10, (300, 3))
    cell = Cell(8, 8, 11, 90, 90, 120)
    unique, group = unique_reflections(h, laue_rotations("6/mmm"))
    assert cell.d_spacing(unique[group]) == pytest.approx(cell.d_spacing(h))


def test_operations_leave_out_centring_and_keep_translations():
    ops = group_operations(gemmi.SpaceGroup("I 21 21 21"))
    assert len(ops) == 4
    screw = next(k for k in range(4) if np.array_equal(ops.rot[k], np.diag([1, -1, -1])))
    assert ops.trans[screw][0] % 0.5 == pytest.approx(0)


def test_operations_on_another_basis_act_alike():
    ops = group_operations(gemmi.SpaceGroup("C 1 2/c 1"))
    p = primitive_basis("C")
    moved = ops.on_basis(p)
    x = np.array([0.13, 0.27, 0.41])
    inverse = np.linalg.inv(p)
    for k in range(len(ops)):
        expected = inverse @ (ops.rot[k] @ x + ops.trans[k])
        gap = moved.rot[k] @ (inverse @ x) + moved.trans[k] - expected
        assert gap - np.rint(gap) == pytest.approx(np.zeros(3), abs=1e-9)
