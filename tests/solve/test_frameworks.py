"""Frameworks found from simulated |F| alone: small ones, in a second each."""

import gemmi
import numpy as np
import pytest

from credo.model import Atom, CannotDo, Cell, Structure
from credo.physics.ewald import miller_indices
from credo.physics.structure_factors import structure_factors
from credo.physics.symmetry import laue_rotations, unique_reflections
from credo.solve.frameworks import FrameworkSettings, find_framework, holds_framework
from credo.solve.frameworks_anneal import Moduli, net_search
from credo.solve.frameworks_dls import distance_least_squares
from credo.solve.frameworks_groups import possible_groups
from credo.solve.frameworks_net import net_of_sites
from credo.solve.frameworks_supergroup import higher_groups
from credo.solve.normalise import normalise

WAVELENGTH = 0.0250793

#: T sites of idealised frameworks on special positions that follow from the symmetry or are given by two numbers.
SODALITE = (Cell(8.965, 8.965, 8.965, 90, 90, 90), "I m -3 m", [[0.25, 0.5, 0.0]])
LTA = (Cell(11.919, 11.919, 11.919, 90, 90, 90), "P m -3 m", [[0.0, 0.1823, 0.3684]])


def silica(cell, symbol, sites):
    """The framework with its oxygens, at ideal distances."""
    return distance_least_squares(net_of_sites(cell, gemmi.SpaceGroup(symbol), np.array(sites))).structure


def intensities(structure: Structure, laue: str, centring: str, d_min: float = 1.5, error: float = 0.15):
    rng = np.random.default_rng(1)
    hkl, _ = unique_reflections(miller_indices(structure.cell.B, d_min, centring), laue_rotations(laue))
    i = np.abs(structure_factors(structure, hkl)) ** 2
    sigma = error * i + 0.01 * i.mean()
    return hkl, rng.normal(i, sigma), sigma


def test_lta_is_found_named_and_its_group_too():
    hkl, i, s = intensities(silica(*LTA), "m-3m", "P")
    found = find_framework(LTA[0], "P", "m-3m", hkl, i, s, WAVELENGTH, settings=FrameworkSettings(seconds=20))
    assert found.solved and found.best is not None
    assert found.best.name == "LTA" and found.best.space_group == "P m -3 m"
    assert found.best.r1 < 0.15 and found.best.misfit < 1
    elements = [a.element for a in found.best.structure.atoms]
    assert elements.count("Si") == 1 and elements.count("O") == 3


def test_noise_is_no_framework():
    hkl, i, s = intensities(silica(*LTA), "m-3m", "P")
    shuffled = np.random.default_rng(0).permutation(i)
    found = find_framework(LTA[0], "P", "m-3m", hkl, shuffled, s, WAVELENGTH, settings=FrameworkSettings(seconds=1))
    assert not found.solved
    assert "not solved" in found.reasons[0] or "no complete" in found.reasons[0]


def test_a_net_in_a_subgroup_shows_its_full_symmetry():
    structure = silica(*SODALITE)
    hkl, i, s = intensities(structure, "m-3m", "I", d_min=1.2)
    rot = [np.array(op.rot) / gemmi.Op.DEN for op in gemmi.SpaceGroup("I 4 3 2").operations().sym_ops]
    ops = gemmi.SpaceGroup("I 4 3 2").operations()
    assert len(rot) == 24
    # atoms of I m -3 m that I 4 3 2 does not make from the listed ones are listed
    atoms: list[Atom] = []
    for a in structure.atoms:
        for op in gemmi.SpaceGroup(structure.space_group).operations():
            x = np.array(op.apply_to_xyz(a.xyz.tolist()))
            images = [np.array(o.apply_to_xyz(b.xyz.tolist())) for b in atoms for o in ops if b.element == a.element]
            if not any(np.abs(y - x - np.rint(y - x)).max() < 1e-3 for y in images):
                atoms.append(Atom(f"{a.element}{len(atoms)}", a.element, x, 1.0, 0.02))
    data = normalise(structure.cell, "I", "m-3m", hkl, i, s)
    found = higher_groups(Structure(structure.cell, "I 4 3 2", tuple(atoms)), data, "m-3m", "I")
    assert [g.xhm() for g, _ in found] == ["I m -3 m"]
    net = net_of_sites(structure.cell, found[0][0], found[0][1])
    assert net.complete and len(net.every) == 12


def test_groups_by_the_absences_they_explain():
    cell = Cell(10, 11, 12, 90, 90, 90)
    hkl, _ = unique_reflections(miller_indices(cell.B, 1.5, "P"), laue_rotations("mmm"))
    absent = gemmi.SpaceGroup("P n m a").operations().systematic_absences(hkl.astype(np.int32))
    i = np.where(absent, 0.02, 1.0) * np.random.default_rng(0).exponential(1.0, len(hkl))
    groups = [g.group.xhm() for g in possible_groups("mmm", "P", hkl, i)]
    assert groups[:2] == ["P n m a", "P n 21 a"]
    assert "P m m n" not in groups and "P m m m" in groups


def test_when_a_framework_is_searched():
    assert holds_framework({"Si": 1, "O": 2}, 1.5)
    assert holds_framework({"Si": 10, "Al": 2, "O": 24, "Na": 2}, 1.3)
    assert not holds_framework({"Si": 1, "O": 2}, 1.0)
    assert not holds_framework({"C": 10, "H": 8, "O": 4}, 1.5)


def test_too_few_reflections():
    hkl = np.array([[0, 1, 1], [0, 0, 2], [1, 1, 2]])
    with pytest.raises(CannotDo, match="only 3 reflections"):
        net_search(SODALITE[0], gemmi.SpaceGroup("I m -3 m"), Moduli(hkl, np.ones(3)))
