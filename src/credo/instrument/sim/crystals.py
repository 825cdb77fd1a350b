"""A table of particles on the grid: where, how large, of what shape, how oriented, of which phase."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

__all__ = ["EDGES", "Crystals"]

#: Edges of a crystal's outline; a prism with fewer repeats its last one.
EDGES = 8


@dataclass(frozen=True)
class Crystals:
    """Columns of n particles. ``phase`` −1: amorphous debris. Lengths µm, angles deg.

    ``ident`` (n,) unique over the grid; ``place`` (n, 3) centre on the grid; ``normal`` (n, e, 2), ``offset`` (n, e):
    the outline's edges; ``reach`` (n,) its largest radius; ``thickness``; ``orientation`` (n, 3, 3): U in column axes
    at zero tilt; ``mosaicity``, ``bend``; ``domain`` (n, 3, 3): a second lattice, of share ``domain_share`` (0: none).
    """

    ident: np.ndarray
    phase: np.ndarray
    place: np.ndarray
    normal: np.ndarray
    offset: np.ndarray
    reach: np.ndarray
    thickness: np.ndarray
    orientation: np.ndarray
    mosaicity: np.ndarray
    bend: np.ndarray
    domain: np.ndarray
    domain_share: np.ndarray

    def __len__(self) -> int:
        return len(self.ident)

    def select(self, keep: np.ndarray) -> Crystals:
        """Rows of a mask or an index array."""
        return Crystals(**{f.name: getattr(self, f.name)[keep] for f in fields(self)})

    @classmethod
    def joined(cls, parts: list[Crystals]) -> Crystals:
        """One table of several."""
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)})

    @property
    def area(self) -> np.ndarray:
        """Area of each outline (n,) [µm²], by the star of its corners seen from the centre, 1° steps."""
        a = np.radians(np.arange(360))
        u = np.stack([np.cos(a), np.sin(a)])
        with np.errstate(divide="ignore"):
            along = self.normal @ u
            radius = np.where(along > 1e-9, self.offset[:, :, None] / np.maximum(along, 1e-9), np.inf).min(axis=1)
        return 0.5 * np.radians(1.0) * (radius**2).sum(axis=1)
