"""Formulae read and refused; atoms a volume holds."""

import pytest

from credo.model import UnreadableInput
from credo.solve.composition import expected_atoms, light_and_heavy, parse_formula, strength


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
    assert expected_atoms(1800, {"C": 10, "H": 12}) == pytest.approx(100)
    assert expected_atoms(1050, {"Ca": 3, "Al": 2, "Si": 3, "O": 12}) == pytest.approx(100)
    assert expected_atoms(1500, {}) == pytest.approx(100)


def test_heavier_scatters_more():
    assert strength("Si") > strength("O") > strength("C") > strength("H")
