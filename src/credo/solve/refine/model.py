"""What is refined: a structure, what ties its parameters together, and the factors that act on whole reflections."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from credo.model import CannotDo, Structure

__all__ = ["PARAMETERS", "Model", "Riding", "RigidGroup", "SameParameters", "Tie", "Twin", "UTie", "Weights"]

#: The ten parameters of an atom, in this order everywhere. ``occ`` is SHELX's sof: occupancy / order of the site.
PARAMETERS = ("x", "y", "z", "occ", "U11", "U22", "U33", "U12", "U13", "U23")


@dataclass(frozen=True)
class Tie:
    """Parameter ``parameter`` of atom ``atom`` is constant + multiplier · free variable ``variable`` (0-based)."""

    atom: int
    parameter: int
    variable: int
    multiplier: float = 1.0
    constant: float = 0.0


@dataclass(frozen=True)
class SameParameters:
    """All ``atoms`` share the position ("xyz", SHELX's EXYZ) or the displacement ("U", EADP) of the first."""

    what: str
    atoms: tuple[int, ...]


@dataclass(frozen=True)
class UTie:
    """U_iso of ``atom`` is ``factor`` · U_eq of ``parent``, as riding hydrogens have it."""

    atom: int
    parent: int
    factor: float = 1.2


@dataclass(frozen=True)
class Riding:
    """Hydrogens ``atoms`` move with ``parent``. ``geometry``: SHELX's m of AFIX mn (0: the vectors stay as they are);
    ``distance`` [Å] or None for the tabulated one; ``turns``: the group may turn about its bond (n = 7)."""

    parent: int
    atoms: tuple[int, ...]
    geometry: int = 0
    distance: float | None = None
    turns: bool = False


@dataclass(frozen=True)
class RigidGroup:
    """``atoms`` move as one body about the first (AFIX m6), which may breathe when ``scales`` (AFIX m9)."""

    atoms: tuple[int, ...]
    scales: bool = False


@dataclass(frozen=True)
class Twin:
    """Fo² = k Σ s_m Fc²(h R_m), R_0 = 1, Σ s = 1. ``rotations`` (m, 3, 3) act on columns of indices as SHELX's TWIN;
    ``fractions``: s_1 … s_(m−1)."""

    rotations: np.ndarray
    fractions: tuple[float, ...]


@dataclass(frozen=True)
class Weights:
    """w = 1/[σ² + (aP)² + bP + d + e sin θ/λ], P = f max(Fo², 0) + (1 − f) Fc², on the scale of Fc² (SHELX's WGHT)."""

    a: float = 0.1
    b: float = 0.0
    d: float = 0.0
    e: float = 0.0
    f: float = 1 / 3


@dataclass(frozen=True)
class Model:
    """``parts``: SHELX's PART of every atom; ``fixed``: (atom, parameter) that do not move; ``scale``: k in
    Fo² = k Fc²; ``solvent``: (g, U) of Fc² [1 − g exp(−8π²U s²)]; ``factors``: element -> (a1 b1 … a4 b4 c) that
    replace the tabulated factors; ``restraints``: see :mod:`credo.solve.refine.restraints`."""

    structure: Structure
    parts: tuple[int, ...] = ()
    fixed: frozenset[tuple[int, int]] = frozenset()
    ties: tuple[Tie, ...] = ()
    variables: tuple[float, ...] = ()
    same: tuple[SameParameters, ...] = ()
    u_ties: tuple[UTie, ...] = ()
    riding: tuple[Riding, ...] = ()
    rigid: tuple[RigidGroup, ...] = ()
    restraints: tuple[Any, ...] = ()
    scale: float | None = None
    extinction: float | None = None
    solvent: tuple[float, float] | None = None
    twin: Twin | None = None
    weights: Weights = Weights()
    factors: tuple[tuple[str, tuple[float, ...]], ...] = ()

    def __post_init__(self) -> None:
        n = len(self.structure.atoms)
        if n == 0:
            raise CannotDo("the model has no atoms", "solve the structure first, or give a .res or CIF with atoms")
        if not self.parts:
            object.__setattr__(self, "parts", (0,) * n)
        labels = [a.label for a in self.structure.atoms]
        if len(set(labels)) != n:
            twice = next(x for x in labels if labels.count(x) > 1)
            raise CannotDo(f"two atoms are called {twice}", "give every atom its own name")

    def replace(self, **changes: Any) -> Model:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def index(self, label: str) -> int:
        """The number of the atom of that name."""
        for i, atom in enumerate(self.structure.atoms):
            if atom.label.upper() == label.upper():
                return i
        raise CannotDo(f"no atom is called {label!r}", "check the names in the instructions")
