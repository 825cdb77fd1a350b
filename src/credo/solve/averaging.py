"""A structure found in a subgroup, averaged over the operations of a group that its phases obey."""

from __future__ import annotations

import numpy as np

from credo.physics.symmetry import Operations
from credo.solve.recycle import Sites
from credo.solve.sites import distances

__all__ = ["averaged_sites"]

#: Images nearer to each other than this are one atom, and what comes to lie so near its mean is one position [Å].
_REACH, _SAME = 0.75, 0.3


def averaged_sites(xyz: np.ndarray, weight: np.ndarray, operations: Operations, metric: np.ndarray) -> Sites:
    """Independent sites under ``operations``, of all atoms xyz (n, 3) in the primitive cell, origin of the group.

    weight (n,): an atom that is listed more than once has its weight in parts. All that an operation brings near an
    atom is averaged with it; where an image meets nothing the mean height is the lower for it.
    """
    left = np.ones(len(xyz), dtype=bool)
    sites, heights, counts = [], [], []
    for i in np.argsort(-weight, kind="stable"):
        if not left[i]:
            continue
        centre = _mean_position(xyz[i], xyz, weight, operations, metric)
        images = (operations.rot @ centre + operations.trans) % 1.0
        met = left & (distances(xyz[:, None], images[None], metric).min(axis=1) < _REACH)
        met[i] = True
        left &= ~met
        sites.append(centre)
        counts.append(len(images) // int((distances(images, centre, metric) < _SAME).sum()))
        heights.append(float(weight[met].sum()) / counts[-1])
    order = np.argsort(-np.array(heights), kind="stable")
    return Sites(np.array(sites).reshape(-1, 3)[order], np.array(heights)[order], np.array(counts, dtype=int)[order])


def _mean_position(x: np.ndarray, xyz: np.ndarray, weight: np.ndarray, operations: Operations, metric) -> np.ndarray:
    """The mean (3,) of all atoms that the operations bring near x; once more about that, which is nearer the truth."""
    for _ in range(2):
        total, sum_of_weights = np.zeros(3), 0.0
        for r, t in zip(operations.rot, operations.trans):
            gap = xyz @ r.T + t - x
            gap -= np.rint(gap)
            near = np.einsum("ij,ij->i", gap @ metric, gap) < _REACH**2
            total += weight[near] @ gap[near]
            sum_of_weights += float(weight[near].sum())
        x = (x + total / max(sum_of_weights, 1e-30)) % 1.0
    return x
