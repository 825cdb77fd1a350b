"""What a structure contains: atoms in the cell, formula, Z, F(000) and density."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import gcd

import gemmi
import numpy as np

from credo.model import Structure
from credo.physics.symmetry import group_operations
from credo.solve.sites import site_symmetry

__all__ = ["Contents", "cell_contents", "contents_of"]


@dataclass(frozen=True)
class Contents:
    """``formula``: element -> atoms per formula unit; ``z`` units in the cell; weight [g/mol]; density [g/cm³]."""

    formula: dict[str, float]
    z: float
    weight: float
    density: float

    @property
    def text(self) -> str:
        """In Hill order: C, H, then by name."""
        carbon = "C" in self.formula
        key = (lambda e: (e != "C", e != "H", e)) if carbon else (lambda e: e)
        return " ".join(f"{e}{_count(self.formula[e])}" for e in sorted(self.formula, key=key))


def _count(n: float) -> str:
    return "" if abs(n - 1) < 1e-3 else f"{n:.2f}".rstrip("0").rstrip(".")


def cell_contents(structure: Structure) -> dict[str, float]:
    """Element -> atoms in the conventional cell."""
    group = gemmi.SpaceGroup(structure.space_group)
    ops = group_operations(group)
    centrings = np.array(list(group.operations().cen_ops), dtype=float) / gemmi.Op.DEN
    total: dict[str, float] = {}
    for a in structure.atoms:
        order = site_symmetry(a.xyz, ops, centrings, structure.cell).order
        total[a.element] = total.get(a.element, 0.0) + len(ops) * len(centrings) * a.occupancy / order
    return total


def contents_of(structure: Structure, z: float = 0.0) -> Contents:
    """Formula and density; without a given Z the largest number that divides all counts of the cell."""
    counts = cell_contents(structure)
    if z <= 0:
        whole = [max(1, round(n)) for n in counts.values()]
        z = float(reduce(gcd, whole)) if all(abs(n - round(n)) < 0.02 for n in counts.values()) else 1.0
    formula = {e: float(Fraction(n / z).limit_denominator(1000)) for e, n in counts.items()}
    weight = sum(gemmi.Element(e).weight * n for e, n in formula.items())
    return Contents(formula, z, weight, weight * z / (0.602214076 * structure.cell.volume))
