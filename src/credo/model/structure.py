"""A crystal structure: cell, space group, atoms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.model.cell import Cell
from credo.model.value import Value, array_field

__all__ = ["Atom", "Structure"]


@dataclass(frozen=True, eq=False)
class Atom(Value):
    """One site of the asymmetric unit. ``u_aniso``: U11 U22 U33 U12 U13 U23 [Å²] in the CIF convention, or None."""

    label: str
    element: str
    xyz: np.ndarray = array_field()
    occupancy: float = 1.0
    u_iso: float = 0.01
    u_aniso: np.ndarray | None = array_field(default=None)


@dataclass(frozen=True, eq=False)
class Structure(Value):
    """``space_group``: Hermann-Mauguin symbol as gemmi knows it. Positions are fractional."""

    cell: Cell
    space_group: str
    atoms: tuple[Atom, ...] = ()
    name: str = ""
