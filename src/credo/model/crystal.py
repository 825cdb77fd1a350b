"""A crystal: its cell, how it lies on the goniometer at φ = 0, and how mosaic it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.model.cell import Cell
from credo.model.value import Value, array_field

__all__ = ["Crystal"]


@dataclass(frozen=True, eq=False)
class Crystal(Value):
    """``orientation``: U (3, 3), so that q = R(m, φ) U B h. ``centring``: P A B C I F R. ``mosaicity_deg``: rms
    half-width of the rocking curve in angle; ``shape_width`` [Å⁻¹]: its part of constant width in s (crystal size).
    """

    cell: Cell
    orientation: np.ndarray = array_field()
    centring: str = "P"
    laue_group: str = "-1"
    space_group: str | None = None
    mosaicity_deg: float = 0.1
    shape_width: float = 0.0

    @property
    def UB(self) -> np.ndarray:
        """UB (3, 3) [Å⁻¹] at φ = 0."""
        return self.orientation @ self.cell.B

    @classmethod
    def from_ub(cls, ub: np.ndarray, **kw) -> Crystal:
        """From UB (3, 3) with a*, b*, c* as columns; a left-handed basis is an error."""
        ub = np.asarray(ub, dtype=float)
        if np.linalg.det(ub) <= 0:
            raise ValueError("Crystal: UB is left-handed or flat")
        cell = kw.pop("cell", None) or Cell.from_vectors(np.linalg.inv(ub))
        u, _, vt = np.linalg.svd(ub @ np.linalg.inv(cell.B))
        return cls(cell=cell, orientation=u @ vt, **kw)

    def reindexed(self, p: np.ndarray, **kw) -> Crystal:
        """The same lattice on the basis (a', b', c') = (a, b, c) P; indices transform as h' = Pᵀ h."""
        p = np.asarray(p, dtype=float)
        if np.linalg.det(p) <= 0:
            raise ValueError("Crystal: the transformation changes the hand of the basis")
        return Crystal.from_ub(self.UB @ np.linalg.inv(p).T, **{**self._other(), "cell": self.cell.reindexed(p), **kw})

    def _other(self) -> dict:
        names = ("centring", "laue_group", "space_group", "mosaicity_deg", "shape_width")
        return {name: getattr(self, name) for name in names}
