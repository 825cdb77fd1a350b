"""Symmetry-adapted waves: an orthonormal basis, equal to structure factors; and the table of contacts."""

import gemmi
import numpy as np
import pytest

from credo.model import Atom, CannotDo, Cell, Structure
from credo.physics.structure_factors import electron_factor, structure_factors
from credo.solve.frameworks_anneal import BOND, CLASH, Moduli, net_search
from credo.solve.frameworks_net import net_of_sites
from credo.solve.frameworks_waves import waves_of

CELLS = {
    "P n m a": Cell(9.1, 8.3, 7.4, 90, 90, 90),
    "I m -3 m": Cell(9, 9, 9, 90, 90, 90),
    "P 61 2 2": Cell(8, 8, 11, 90, 90, 120),
    "R -3 m:H": Cell(9, 9, 8, 90, 90, 120),
    "P 1": Cell(6, 6.5, 7, 88, 95, 101),
}


@pytest.mark.parametrize("symbol", CELLS)
def test_the_basis_is_orthonormal_and_gives_structure_factors(symbol):
    cell, group = CELLS[symbol], gemmi.SpaceGroup(symbol)
    w = waves_of(cell, group, 1.6)
    assert w.weight.sum() == np.prod(w.shape)
    np.testing.assert_allclose((w.basis.T * w.weight) @ w.basis, np.eye(len(w.parent)), atol=1e-4)
    atom = Atom("Si1", "Si", np.array([0.13, 0.21, 0.37]), 1.0, 0.02)
    f = electron_factor("Si", w.s2) * np.exp(-8 * np.pi**2 * 0.02 * w.s2)
    mine = w.amplitude(len(w.rot) * w.at(atom.xyz)[0] * f[w.parent]) / np.sqrt(w.multiplicity)
    true = np.abs(structure_factors(Structure(cell, symbol, (atom,)), w.hkl))
    np.testing.assert_allclose(mine / mine[0], true / true[0], atol=2e-4)


def test_contacts_on_the_grid_are_the_distances_of_sites():
    cell, group = CELLS["I m -3 m"], gemmi.SpaceGroup("I m -3 m")
    hkl = np.stack(np.meshgrid(*[np.arange(0, 6)] * 3, indexing="ij"), -1).reshape(-1, 3)[1:]
    hkl = hkl[(hkl.sum(axis=1) % 2 == 0) & (cell.d_spacing(hkl) > 1.5)]
    search = net_search(cell, group, Moduli(hkl, np.arange(1.0, len(hkl) + 1)))
    rng = np.random.default_rng(0)
    for p in rng.choice(search.allowed, 12, replace=False):
        net = net_of_sites(cell, group, search.waves.points[[p]], CLASH, BOND - 1e-9)
        assert search.table[p, p] & 15 == min(15, net.degrees[0])


def test_too_large_a_problem_is_refused():
    hkl = np.array([[h, 0, 0] for h in range(1, 40)])
    with pytest.raises(CannotDo, match="too many"):
        net_search(Cell(30, 31, 32, 90, 90, 90), gemmi.SpaceGroup("P 1"), Moduli(hkl, np.ones(39)))
