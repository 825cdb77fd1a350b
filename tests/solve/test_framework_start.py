"""Frameworks as starts of the search of atoms: where composition and density allow one, in every group it may have."""

import gemmi
import numpy as np

from credo.model import Cell
from credo.physics.ewald import miller_indices
from credo.physics.structure_factors import structure_factors
from credo.physics.symmetry import laue_rotations, unique_reflections
from credo.solve.framework_start import FrameworkStart
from credo.solve.frameworks_dls import distance_least_squares
from credo.solve.frameworks_net import net_of_sites
from credo.solve.normalise import normalise

WAVELENGTH = 0.0250793
CELL = Cell(8.965, 8.965, 8.965, 90, 90, 90)


def sodalite_start(formula: dict[str, float], n_atoms: float = 36):
    """The start for an alumosilicate sodalite, T ordered in P -4 3 n: 29 reflections to 1.5 Å."""
    group = gemmi.SpaceGroup("P -4 3 n")
    sites = np.array([[0.25, 0.5, 0.0], [0.25, 0.0, 0.5]])
    s = distance_least_squares(net_of_sites(CELL, group, sites)).structure
    atoms = tuple(a.replace(element="Al") if a.label == s.atoms[0].label else a for a in s.atoms)
    hkl, _ = unique_reflections(miller_indices(CELL.B, 1.2, "P"), laue_rotations("m-3m"))
    i = np.abs(structure_factors(s.replace(atoms=atoms), hkl)) ** 2
    data = normalise(CELL, "P", "m-3m", hkl, i, 0.05 * i + 0.01 * i.mean())
    return FrameworkStart(data, CELL, "m-3m", "P", n_atoms, formula, WAVELENGTH, seed=0)


def test_a_net_of_two_special_positions_is_found_in_the_group_that_orders_them():
    start = sodalite_start({"Si": 6, "Al": 6, "O": 24})
    found = {}
    while "P -4 3 n" not in found and len(found) < 8:
        found |= {c.fit.symbol: c for c in start.candidates(5.0)}
    ordered = found["P -4 3 n"]
    assert sorted(ordered.sites.multiplicity) == [6, 6, 24] and ordered.cc_e > 0.8


def test_dense_or_other_crystals_are_no_frameworks():
    assert sodalite_start({"C": 12, "O": 24}).candidates(2.0) == []
    assert sodalite_start({"Si": 18, "O": 36}, 54).candidates(2.0) == []  # 25 T per 1000 Å³
