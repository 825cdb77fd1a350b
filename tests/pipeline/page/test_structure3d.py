"""What the viewer draws: whole molecules, networks cut at the faces of the cell, bonds that chemists would draw."""

from __future__ import annotations

import json

import numpy as np
import pytest

from credo.model import Atom, Cell, Structure
from credo.pipeline.page.structure3d import MOST, cell_atoms, structure_data, structure_figure


def molecule() -> Structure:
    """A bent CO₂H across the corner of a P2₁ cell."""
    cell = Cell(8.0, 7.0, 9.0, 90, 105, 90)
    places = {"C1": (0.02, 0.1, 0.03), "O1": (-0.12, 0.1, 0.03), "O2": (0.1, 0.27, 0.03), "H1": (0.02, 0.36, 0.03)}
    atoms = tuple(Atom(k, k[0], np.array(v)) for k, v in places.items())
    return Structure(cell, "P 1 21 1", atoms)


def test_molecules_stay_whole():
    data = structure_data(molecule())
    names = data["names"]
    assert sorted(names) == sorted(["C1", "O1", "O2", "H1"] * 2)
    # two molecules of three bonds
    assert len(data["bonds"]) == 6
    assert all(data["listed"][:4])
    assert not any(data["listed"][4:])


def test_a_bond_joins_what_is_near():
    data = structure_data(molecule())
    xyz = np.array(data["xyz"])
    for i, j in data["bonds"]:
        assert {data["names"][i][0], data["names"][j][0]} in ({"C", "O"}, {"O", "H"})
        assert np.linalg.norm(xyz[i] - xyz[j]) < 1.5


def test_hydrogens_of_neighbours_are_not_bonded():
    cell = Cell(10, 10, 10, 90, 90, 90)
    atoms = (Atom("H1", "H", np.array([0.1, 0.1, 0.1])), Atom("H2", "H", np.array([0.17, 0.1, 0.1])))
    assert structure_data(Structure(cell, "P 1", atoms))["bonds"] == []


def test_a_network_shows_its_atoms_on_every_face():
    """Rock salt: 27 atoms are on the corners, edges, faces and in the middle of the cell."""
    atoms = (Atom("Na1", "Na", np.zeros(3)), Atom("Cl1", "Cl", np.full(3, 0.5)))
    salt = Structure(Cell(5.64, 5.64, 5.64, 90, 90, 90), "F m -3 m", atoms)
    assert len(cell_atoms(salt)) == 8
    data = structure_data(salt)
    assert len(data["xyz"]) == 27
    assert len(data["bonds"]) == 54


def test_the_cell_edges_are_those_of_the_cell():
    structure = molecule()
    edges = np.array(structure_data(structure)["cell"])
    np.testing.assert_allclose(np.linalg.norm(edges, axis=1), structure.cell.lengths, atol=1e-3)


def test_a_huge_cell_is_cut_and_says_so():
    rng = np.random.default_rng(0)
    atoms = tuple(Atom(f"C{i}", "C", x) for i, x in enumerate(rng.random((MOST + 10, 3))))
    structure = Structure(Cell(200, 200, 200, 90, 90, 90), "P 1", atoms)
    assert f"Only {MOST} atoms" in structure_figure(structure)


@pytest.mark.parametrize("name", ["</script><img src=x>", "<!--"])
def test_a_hostile_label_cannot_leave_its_block(name):
    structure = molecule().replace(atoms=(Atom(name, "C", np.zeros(3)),))
    text = structure_figure(structure)
    assert name not in text
    block = text.split('application/json">')[1].split("</script>")[0]
    assert json.loads(block)["names"][0] == name
