"""Special positions: how many images a site has, and which shifts of position and displacement its symmetry allows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.model import Cell
from credo.physics.symmetry import Operations

__all__ = ["SiteSymmetry", "distances", "site_symmetry"]

_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def distances(a: np.ndarray, b: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """Between points a (..., 3) and the nearest lattice translate of b (..., 3) [Å], fractions; metric (3, 3)."""
    gap = a - b
    gap -= np.rint(gap)
    return np.sqrt(np.maximum(np.einsum("...j,...j->...", gap @ metric, gap), 0))


@dataclass(frozen=True)
class SiteSymmetry:
    """``order``: operations that leave the site where it is; ``xyz``: the position put exactly on the element;
    ``shifts`` (3, k): columns span the allowed shifts; ``tensors`` (6, l): of U11 U22 U33 U12 U13 U23."""

    order: int
    xyz: np.ndarray
    shifts: np.ndarray
    tensors: np.ndarray


def site_symmetry(
    xyz: np.ndarray, operations: Operations, translations: np.ndarray, cell: Cell, reach: float = 0.3
) -> SiteSymmetry:
    """xyz (3,) on conventional axes; ``translations`` (c, 3): centring vectors; ``reach`` [Å]."""
    moved = operations.rot @ xyz + operations.trans
    images = (moved[:, None] + translations[None]).reshape(-1, 3)
    apart = images - xyz
    apart -= np.rint(apart)
    near = np.einsum("ij,jk,ik->i", apart, cell.metric, apart) < reach**2
    rotations = np.repeat(operations.rot, len(translations), axis=0)[near]
    centre = xyz + apart[near].mean(axis=0)
    return SiteSymmetry(int(near.sum()), centre, _kept(rotations.mean(axis=0)), _kept(_tensor_mean(rotations, cell)))


def _kept(projector: np.ndarray) -> np.ndarray:
    """A tidy basis (columns) of what a projector leaves unchanged, by reduced row echelon form."""
    rows = projector.T.copy()
    basis: list[np.ndarray] = []
    for column in range(rows.shape[1]):
        pivots = [r for r in range(len(rows)) if abs(rows[r, column]) > 1e-8]
        if not pivots:
            continue
        best = max(pivots, key=lambda r: abs(rows[r, column]))
        row = rows[best] / rows[best, column]
        rows = np.delete(rows, best, axis=0)
        rows = rows - rows[:, column : column + 1] * row
        basis = [b - b[column] * row for b in basis]
        basis.append(row)
    return np.array(basis).T.reshape(projector.shape[0], -1)


def _tensor_mean(rotations: np.ndarray, cell: Cell) -> np.ndarray:
    """(6, 6): the mean of U' = R U Rᵀ over a site's rotations, U in the CIF convention (on a* b* c*)."""
    star = np.linalg.norm(cell.B, axis=0)
    n = rotations * star / star[:, None]
    k, m = np.array(_PAIRS).T
    # U_ij = U_ji stand for one parameter
    share = np.einsum("rki,rmj->kmij", n, n) / len(rotations)
    both = share[k, m]
    return both[:, k, m] + np.where(k == m, 0.0, both[:, m, k])
