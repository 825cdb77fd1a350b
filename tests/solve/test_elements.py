"""Elements from heights, from the composition, from amplitudes and from bonds."""

import gemmi
import numpy as np
import pytest

from credo.solve.chemistry import contacts, impossible_share
from credo.solve.composition import strength
from credo.solve.elements import assign_elements
from credo.solve.refine.data import Observed
from credo.solve.retype import multiplicities, retyped


def test_by_composition_and_height():
    height = np.array([3.0, 2.9, 1.1, 1.0, 0.95, 1.05])
    found = assign_elements(height, np.ones(6), {"Si": 1, "O": 2}, np.full(6, 1.6))
    assert found == ["Si", "Si", "O", "O", "O", "O"]


def test_multiplicity_counts():
    height = np.array([3.0, 1.0, 1.1])
    assert assign_elements(height, np.array([4, 4, 4]), {"Si": 4, "O": 8}, np.full(3, 1.6)) == ["Si", "O", "O"]


def test_without_formula_silica_and_carbon():
    height = np.array([2.6, 2.5, 1.0, 1.0, 0.9, 1.05])
    assert assign_elements(height, np.ones(6), {}, np.full(6, 1.61)) == ["Si", "Si", "O", "O", "O", "O"]
    assert assign_elements(np.array([1.1, 1.0, 0.95]), np.ones(3), {}, np.full(3, 1.45)) == ["C"] * 3


def test_nothing_found_is_an_empty_answer():
    assert assign_elements(np.array([]), np.array([]), {"C": 1}, np.array([])) == []


def test_exchanged_elements_are_put_right(garnet, intensities):
    """Calcium and silicon exchanged, one oxygen site for all: amplitudes and bonds say so."""
    hkl, i, s = intensities(garnet, 0.8)
    ca, al, si, o = garnet.atoms
    wrong = garnet.replace(atoms=(ca.replace(element="Si"), al, si.replace(element="Ca"), o))
    formula = {"Ca": 3.0, "Al": 2.0, "Si": 3.0, "O": 12.0}
    right = retyped(wrong, Observed(hkl, i, s), formula)
    assert [a.element for a in right.atoms] == ["Ca", "Al", "Si", "O"]
    assert retyped(garnet, Observed(hkl, i, s), formula) is garnet


def test_one_element_leaves_nothing_to_exchange(chain, intensities):
    s = chain("P 21 21 21")
    hkl, i, sigma = intensities(s, 1.0)
    assert retyped(s, Observed(hkl, i, sigma), {"C": 1.0}) is s


def test_contacts_of_silicon_in_garnet(garnet):
    i, _, d = contacts(garnet, 1.7)
    # a tetrahedron about Si, and nothing else so near
    assert np.sum(i == 2) == 4
    assert d[i == 2] == pytest.approx(1.65, abs=0.02)


def test_impossible_contacts(garnet):
    assert impossible_share(garnet) == 0
    ca, al, si, o = garnet.atoms
    assert impossible_share(garnet.replace(atoms=(ca, al, si.replace(element="Ba"), o))) == 0.5


def test_multiplicities_of_special_positions(garnet):
    xyz = np.array([a.xyz for a in garnet.atoms])
    assert multiplicities(xyz, gemmi.SpaceGroup("I a -3 d")) == pytest.approx([12, 8, 12, 48])
    assert strength("Ca") > strength("Al")
