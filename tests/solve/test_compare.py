"""Structures moved, mirrored and reset are recognised; others are not."""

import numpy as np
import pytest

from credo.model import CannotDo, Cell, Structure
from credo.solve.compare import compare, element_class, same_space_group


def moved(structure, matrix, shift, group=None, cell=None):
    atoms = tuple(a.replace(xyz=matrix @ a.xyz + shift) for a in structure.atoms)
    return structure.replace(atoms=atoms, space_group=group or structure.space_group, cell=cell or structure.cell)


def noisy(structure, size, seed=0):
    rng = np.random.default_rng(seed)
    fractional = np.linalg.inv(structure.cell.O)
    return structure.replace(
        atoms=tuple(a.replace(xyz=a.xyz + fractional @ rng.normal(0, size, 3)) for a in structure.atoms)
    )


def test_origin_is_found(chain):
    s = chain("P 21 21 21")
    c = compare(moved(s, np.eye(3), np.array([0.5, 0, 0.5])), s)
    assert c.same_structure() and c.right == 1 and c.extra == 0 and not c.inverted
    assert c.rms_deviation < 1e-3


def test_mirror_image_is_found_and_said(chain):
    s = chain("P 21 21 21")
    c = compare(moved(s, -np.eye(3), np.array([0.5, 0.5, 0.0])), s)
    assert c.same_structure() and c.inverted


def test_deviation_is_that_of_the_atoms(chain):
    s = chain("P 21 21 21")
    c = compare(noisy(s, 0.05), s)
    assert c.right == 1
    assert 0.05 < c.rms_deviation < 0.12
    assert set(c.by_element) == {"C", "N", "O"}


def test_other_setting_of_a_monoclinic_cell(chain):
    """P 21/n to P 21/c: a' = -a, b' = -b, c' = a + c."""
    s = chain("P 1 21/n 1")
    p = np.array([[-1, 0, 1], [0, -1, 0], [0, 0, 1]], dtype=float)
    assert np.isclose(np.linalg.det(p), 1)
    cell = s.cell.reindexed(p)
    other = moved(s, np.linalg.inv(p), np.zeros(3), "P 1 21/c 1", cell)
    c = compare(other, s)
    assert c.same_structure() and c.rms_deviation < 1e-6


def test_swapped_axes(chain):
    s = chain("P n m a")
    p = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=float)
    c = compare(moved(s, np.linalg.inv(p), np.zeros(3), "P b n m", s.cell.reindexed(p)), s)
    assert c.same_group and c.right == 1


def test_subgroup_is_not_the_same_group(garnet):
    """I a -3 lacks the diagonal axes: two sites of Al and of O for one of the garnet's."""
    ca, al, si, o = garnet.atoms
    x, y, z = o.xyz
    more = (
        al.replace(label="Al2", xyz=np.full(3, 0.25)),
        o.replace(label="O2", xyz=np.array([y + 0.75, x + 0.25, 0.25 - z])),
    )
    c = compare(Structure(garnet.cell, "I a -3", (ca, al, si, o, *more)), garnet)
    assert c.right == 1 and not c.same_group and not c.same_structure()


def test_wrong_elements_count_by_class(chain):
    s = chain("P 21 21 21")
    carbon = s.replace(atoms=tuple(a.replace(element="C") for a in s.atoms))
    assert compare(carbon, s).right == 1
    iron = s.replace(atoms=tuple(a.replace(element="Fe") for a in s.atoms))
    c = compare(iron, s)
    assert c.matched == 1 and c.right == 0 and not c.same_structure()


def test_random_atoms_do_not_match(chain):
    s = chain("P 21 21 21")
    rng = np.random.default_rng(5)
    c = compare(s.replace(atoms=tuple(a.replace(xyz=rng.random(3)) for a in s.atoms)), s)
    assert c.right < 0.5


def test_missing_and_extra_atoms(chain):
    s = chain("P 21 21 21")
    c = compare(s.replace(atoms=s.atoms[:-1]), s)
    assert c.right == pytest.approx(8 / 9) and c.extra == 0
    c = compare(s, s.replace(atoms=s.atoms[:-1]))
    assert c.right == 1 and c.extra == pytest.approx(1 / 9)


def test_other_lattices_and_empty_structures_are_refused(chain):
    s = chain("P 21 21 21")
    with pytest.raises(CannotDo, match="not of one lattice"):
        compare(s.replace(cell=Cell(5, 6, 17, 90, 90, 90)), s)
    with pytest.raises(CannotDo, match="without atoms"):
        compare(s.replace(atoms=()), s)


def test_slightly_different_cells(chain):
    s = chain("P 21 21 21")
    a, b, c, *angles = s.cell.parameters
    assert compare(s.replace(cell=Cell(1.01 * a, 0.99 * b, c, *angles)), s).same_structure()


def test_enantiomorphic_groups_count_as_one():
    assert same_space_group("P 31 2 1", "P 32 2 1")
    assert same_space_group("P 1 21/c 1", "P 1 21/n 1")
    assert not same_space_group("P 31 2 1", "P 31 1 2")


@pytest.mark.parametrize(("a", "b", "same"), [("C", "O", True), ("Si", "Al", True), ("O", "Si", False),
                                              ("Ca", "Fe", True), ("Pd", "Br", False)])  # fmt: skip
def test_element_classes(a, b, same):
    assert (element_class(a) == element_class(b)) is same
