"""Settings that a lattice allows beyond the Laue group, and the guard against strain."""

import numpy as np
import pytest

from credo.merge.ambiguity import changes_of_setting, lattice_rotations, require_no_more_strain, setting_strain
from credo.model import CannotDo, Cell, UnreadableInput
from credo.physics.symmetry import laue_rotations, unique_reflections


@pytest.mark.parametrize(
    "cell, centring, laue_group, cosets",
    [
        ((10, 10, 7, 90, 90, 90), "P", "4/m", 2),
        ((10, 10, 7, 90, 90, 90), "P", "4/mmm", 1),
        ((10, 10, 7, 90, 90, 120), "P", "-3", 4),
        ((10, 10, 7, 90, 90, 120), "P", "-3m1", 2),
        ((10, 10, 7, 90, 90, 120), "P", "6/m", 2),
        ((10, 10, 30, 90, 90, 120), "R", "-3", 2),
        ((10, 10, 10, 90, 90, 90), "P", "m-3", 2),
        ((24, 24, 24, 90, 90, 90), "F", "m-3", 2),
        ((10, 10.1, 10.05, 90, 90, 90), "P", "mmm", 6),
        ((10, 10.1, 14, 90, 90, 90), "I", "mmm", 2),
        ((10, 11, 12, 90, 90.3, 90), "P", "2/m", 2),
        ((10, 11, 12, 90, 95, 90), "P", "2/m", 1),
        ((10, 17.32, 7, 90, 90, 90), "C", "mmm", 3),
        ((6.5, 7.6, 8.9, 95, 102, 107), "P", "-1", 1),
    ],
)
def test_cosets(cell, centring, laue_group, cosets):
    changes = changes_of_setting(Cell(*cell), laue_group, centring)
    assert changes.cosets == cosets
    assert np.array_equal(changes.operators[0], np.eye(3))
    assert np.allclose(np.linalg.det(changes.operators), 1), "no change of hand"
    for t in changes.operators:
        assert setting_strain(Cell(*cell), t, Cell(*cell)) < 0.04


def test_changes_are_a_group_over_the_core():
    changes = changes_of_setting(Cell(10, 10, 7, 90, 90, 120), "-3")
    n = len(changes.operators)
    assert all(sorted(row) == list(range(n)) for row in changes.product.tolist())
    assert np.all(changes.product[np.arange(n), changes.inverse] == 0)
    for i, a in enumerate(changes.operators):
        for j, b in enumerate(changes.operators):
            rest = np.linalg.inv(changes.operators[changes.product[i, j]]) @ a @ b
            assert any(np.allclose(rest, r) for r in changes.core)


def test_equivalents_stay_equivalents():
    """Where the Laue group is no normal subgroup of the lattice's, the core is smaller than it."""
    changes = changes_of_setting(Cell(9, 9, 9, 90, 90, 90), "4/m")
    assert len(changes.core) < len(laue_rotations("4/m")) and changes.cosets == 6
    hkl = np.random.default_rng(0).integers(-5, 6, (40, 3))
    every = np.concatenate([hkl @ r for r in changes.core])
    _, before = unique_reflections(every, changes.core)
    for t in changes.operators:
        _, after = unique_reflections(np.rint(every @ t).astype(int), changes.core)
        assert len({*zip(before.tolist(), after.tolist())}) == len(set(before.tolist())) == len(set(after.tolist()))


def test_tolerance_decides():
    cell = Cell(10, 10.3, 14, 90, 90, 90)
    assert changes_of_setting(cell, "mmm", tolerance=0.02).cosets == 1
    assert changes_of_setting(cell, "mmm", tolerance=0.05).cosets == 2


def test_rotations_of_a_lattice():
    sizes = {(9, 9, 9, 90, 90, 90): 48, (9, 9, 7, 90, 90, 120): 24, (9, 9, 7, 90, 90, 90): 16, (9, 8, 7, 90, 90, 90): 8}
    for cell, n in sizes.items():
        assert len(lattice_rotations(Cell(*cell))[0]) == n
    assert len(lattice_rotations(Cell(24, 24, 24, 90, 90, 90), "F")[0]) == 48


def test_centring_that_the_laue_group_forbids():
    with pytest.raises(UnreadableInput, match="does not go with"):
        changes_of_setting(Cell(9, 9, 7, 90, 90, 90), "4/m", "A")


def test_reindexing_that_strains_more_is_refused():
    reference, cell = Cell(10, 10.5, 14, 90, 90, 90), Cell(10.02, 10.52, 14, 90, 90, 90)
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, -1]])
    require_no_more_strain(cell, np.eye(3), reference)
    require_no_more_strain(cell, swap, reference, tolerance=0.08)
    with pytest.raises(CannotDo, match="strain the cell"):
        require_no_more_strain(cell, swap, reference)
    with pytest.raises(CannotDo, match="strain the cell"):
        require_no_more_strain(cell, swap, reference, tolerance=0.02)


def test_strain_is_that_of_the_axes():
    assert setting_strain(Cell(10, 10, 10, 90, 90, 90), np.eye(3), Cell(10, 10, 10.1, 90, 90, 90)) == pytest.approx(
        np.log(1.01), rel=1e-6
    )
