"""What the crystal is made of: chemical formulae, and how many atoms a volume holds."""

from __future__ import annotations

import re

import gemmi
import numpy as np

from credo.model import UnreadableInput

__all__ = ["expected_atoms", "hydrogen_r1", "light_and_heavy", "parse_formula", "strength"]

#: Volume per atom that is not hydrogen [Å³] in organic crystals (18, Kempster & Lipson) and in oxides (9 in garnets,
#: 12 in feldspars).
ORGANIC, OXIDE = 18.0, 10.5
#: Mean volumes of elements in organic crystals at room temperature [Å³] (Hofmann, Acta Cryst. B58 (2002) 489).
_ELEMENT_VOLUME = {"H": 5.08, "D": 5.08, "C": 13.87, "N": 11.8, "O": 11.39, "F": 11.17, "P": 29.5, "S": 25.2,
                   "Cl": 25.8, "Br": 32.7, "I": 46.2, "B": 13.24}  # fmt: skip
_ORGANIC_ELEMENTS = {"C", "N", "O", "F", "P", "S", "Cl", "Br", "I", "B"}


def parse_formula(text: str | None) -> dict[str, float]:
    """``"Ca3 Al2 Si3 O12"`` or ``"C19H22N2O"`` as element -> number, hydrogen included; empty for None."""
    if not text or not text.strip():
        return {}
    if re.sub(r"[A-Z][a-z]?\d*\.?\d*|[\s,;]+", "", text):
        raise UnreadableInput(f"{text!r} is not a chemical formula", 'write elements and numbers: "Ca3 Al2 Si3 O12"')
    found: dict[str, float] = {}
    for element, number in re.findall(r"([A-Z][a-z]?)(\d*\.?\d*)", text):
        kind = gemmi.Element(element)
        if kind.atomic_number == 0 or kind.c4322 is None:
            raise UnreadableInput(f"{element!r} in {text!r} is not an element with electron scattering factors")
        found[element] = found.get(element, 0.0) + (float(number) if number else 1.0)
    return {e: n for e, n in found.items() if n > 0}


def expected_atoms(volume: float, formula: dict[str, float], lattice_points: int = 1) -> float:
    """Atoms but hydrogen in a primitive volume [Å³], of which the formula's cell holds ``lattice_points``.

    A formula that fills the cell is its contents. Of an organic molecule a whole number Z is in the cell, by the
    elements' volumes (Hofmann 2002); otherwise 18 Å³ each in organics, 10.5 in inorganics, 15 where it is unclear.
    """
    heavy = {e: n for e, n in formula.items() if e not in ("H", "D")}
    if not heavy:
        return volume / 15.0
    each = sum(heavy.values())
    z = volume * lattice_points / _formula_volume(formula, heavy)
    organic = set(heavy) <= _ORGANIC_ELEMENTS
    filled = (0.7, 1.45) if organic else (0.4, 2.2)
    if filled[0] < z < filled[1] or (each > 60 and z < 4):
        z = 1.0
    elif organic and formula.get("H", 0) and z > 1:
        z = float(np.rint(z))
    return z * each / lattice_points


def _formula_volume(formula: dict[str, float], heavy: dict[str, float]) -> float:
    """Volume [Å³] that a formula takes."""
    each = sum(heavy.values())
    if set(heavy) <= _ORGANIC_ELEMENTS and formula.get("H", 0):
        return sum(_ELEMENT_VOLUME.get(e, 15.0) * n for e, n in formula.items())
    if set(heavy) <= {"Si", "Al", "P", "Ge", "O"}:  # a framework as often as a dense oxide
        return 15.0 * each
    if len(heavy) == 1:
        return _ELEMENT_VOLUME.get(next(iter(heavy)), 15.0) * each
    return (ORGANIC if heavy.get("C", 0) >= 0.3 * each else OXIDE) * each


def light_and_heavy(formula: dict[str, float]) -> list[tuple[str, float]]:
    """(element, share of the atoms that are not hydrogen), heaviest first."""
    heavy = {e: n for e, n in formula.items() if e not in ("H", "D")}
    total = sum(heavy.values())
    order = sorted(heavy, key=lambda e: -gemmi.Element(e).atomic_number)
    return [(e, heavy[e] / total) for e in order]


def strength(element: str) -> float:
    """How high a peak of this element stands in a map of normalised structure factors: f_e at sin θ/λ = 0.35 Å⁻¹."""
    c = np.array(gemmi.Element(element).c4322.get_coefs())
    return float(c[:5] @ np.exp(-c[5:] * 0.1225))


def hydrogen_r1(formula: dict[str, float]) -> float:
    """R1 of a right structure without its hydrogens: 0.64 √(Σ_H/Σ) with Σ the sums of n f².

    With G ~ N(0, Σ_H) missing from F of variance Σ, ⟨||F + G| − |F||⟩/⟨|F|⟩ = √(Σ_H/π)/√(π Σ/4) for acentric F.
    """
    power = {e: n * strength(e) ** 2 for e, n in formula.items()}
    total = sum(power.values())
    return 0.64 * float(np.sqrt(sum(p for e, p in power.items() if e in ("H", "D")) / total)) if total else 0.0
