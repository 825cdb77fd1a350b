"""The axes of a known structure beside those of the data: the same cell, and which of its settings the indices have."""

from __future__ import annotations

from itertools import product

import numpy as np

from credo.model import CannotDo, Structure
from credo.orient.observations import Observations
from credo.physics.structure_factors import structure_factors

__all__ = ["structure_axes"]

#: Largest relative difference of metric tensors: of both cells, and of a cell and its own reindexed one.
_CELL, _SAME = 0.03, 0.015
#: By how much another setting must correlate better to be taken.
_BETTER = 0.05


def structure_axes(obs: Observations, structure: Structure) -> np.ndarray:
    """M (3, 3) of whole numbers with h of the structure = h of the data · M, that of the highest correlation of
    logarithmic intensities among the turns that the cell's metric allows. Raises CannotDo where cells differ."""
    ours, theirs = obs.cell, structure.cell
    if np.abs(_metric(ours.B) - _metric(theirs.B)).max() > _CELL * np.abs(_metric(theirs.B)).max():
        raise CannotDo(
            f"the structure's cell {_said(theirs.parameters)} is not that of the data {_said(ours.parameters)}",
            "give the structure of this crystal, in the axes of its cell",
        )
    hkl, first, which = np.unique(obs.hkl, axis=0, return_index=True, return_inverse=True)
    top = np.full(len(first), -np.inf)
    np.maximum.at(top, which.reshape(-1), obs.intensity)
    use = top > 0
    scores = []
    for m in _turns(_metric(theirs.B)):
        f2 = np.abs(structure_factors(structure, hkl[use] @ m)) ** 2
        scores.append((float(np.corrcoef(np.log(top[use]), np.log(f2 + 1e-3 * f2.mean()))[0, 1]), m))
    same = next(c for c, m in scores if np.array_equal(m, np.eye(3, dtype=int)))
    best, m = max(scores, key=lambda s: s[0])
    return m if best > same + _BETTER else np.eye(3, dtype=int)


def _metric(b: np.ndarray) -> np.ndarray:
    return b.T @ b


def _turns(metric: np.ndarray) -> list[np.ndarray]:
    """Rotations (3, 3) of indices in {−1, 0, 1} that leave the metric tensor as it is."""
    every = np.array(list(product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    every = every[np.round(np.linalg.det(every)) == 1]
    turned = np.einsum("nij,jk,nlk->nil", every, metric, every)
    return list(every[np.abs(turned - metric).max(axis=(1, 2)) < _SAME * np.abs(metric).max()])


def _said(parameters: tuple[float, ...]) -> str:
    return " ".join(f"{v:.2f}" for v in parameters)
