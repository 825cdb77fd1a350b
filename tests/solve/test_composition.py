"""Formulae read and refused; atoms a volume holds."""

import numpy as np
import pytest

from credo.model import UnreadableInput
from credo.solve.composition import expected_atoms, hydrogen_r1, light_and_heavy, parse_formula, strength


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("Ca3 Al2 Si3 O12", {"Ca": 3, "Al": 2, "Si": 3, "O": 12}),
        ("C19H22N2O", {"C": 19, "H": 22, "N": 2, "O": 1}),
        ("Si O2", {"Si": 1, "O": 2}),
        ("C1.5, O0.5", {"C": 1.5, "O": 0.5}),
        ("", {}),
        (None, {}),
    ],
)
def test_formula(text, parsed):
    assert parse_formula(text) == parsed


@pytest.mark.parametrize("text", ["Xx2 O", "si o2", "C6(CH3)", "42", "Si--O"])
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(UnreadableInput):
        parse_formula(text)


def test_hydrogen_does_not_count():
    assert light_and_heavy({"C": 1, "H": 4, "O": 1}) == [("O", 0.5), ("C", 0.5)]


def test_expected_atoms_by_kind():
    assert expected_atoms(1800, {"C": 10, "O": 2}) == pytest.approx(100)
    assert expected_atoms(1050, {"Ca": 3, "Al": 2, "Si": 3, "O": 12}) == pytest.approx(100)
    assert expected_atoms(1500, {}) == pytest.approx(100)


def test_a_formula_that_fills_the_cell_is_its_contents():
    """Whole cells of CHA (porous, rhombohedral) and grossular (dense, body-centred)."""
    assert expected_atoms(2391 / 3, {"Si": 36, "O": 72}, lattice_points=3) == pytest.approx(36)
    assert expected_atoms(1661 / 2, {"Ca": 24, "Al": 16, "Si": 24, "O": 96}, lattice_points=2) == pytest.approx(80)


def test_molecules_come_in_whole_numbers():
    """α-glycine, four molecules in 309 Å³; biotin, four in 1157 Å³."""
    assert expected_atoms(309, {"C": 2, "H": 5, "N": 1, "O": 2}) == pytest.approx(20)
    assert expected_atoms(1157, {"C": 10, "H": 16, "N": 2, "O": 3, "S": 1}) == pytest.approx(64)


def test_heavier_scatters_more():
    assert strength("Si") > strength("O") > strength("C") > strength("H")


def test_hydrogens_left_out_cost_as_much_as_they_scatter():
    """Point atoms at random places in P1, each with its f at 0.35 Å⁻¹."""
    assert hydrogen_r1({"Si": 1, "O": 2}) == 0 == hydrogen_r1({})
    rng = np.random.default_rng(3)
    h = rng.integers(-9, 10, (3000, 3))
    c, hydrogen = (strength(e) * np.exp(2j * np.pi * h @ rng.random((3, 40))).sum(axis=1) for e in ("C", "H"))
    seen, calculated = np.abs(c + hydrogen), np.abs(c)
    r1 = np.abs(seen - calculated).sum() / seen.sum()
    assert hydrogen_r1({"C": 40, "H": 40}) == pytest.approx(r1, rel=0.1)
