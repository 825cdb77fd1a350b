"""Average linkage in which pairs that were never measured take no part."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["average_linkage"]


@njit(cache=True)
def average_linkage(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joins (m, 2) of clusters, each named by its first member, in order, and their heights (m,), m < n.

    distance: (n, n), NaN where unknown. Two clusters are as far apart as their known pairs on average; those without
    any are never joined, so m may be less than n − 1.
    """
    n = len(distance)
    total, count = np.zeros((n, n)), np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j and not np.isnan(distance[i, j]):
                total[i, j], count[i, j] = distance[i, j], 1.0
    alive = np.ones(n, dtype=np.bool_)
    near, gap = np.full(n, -1), np.full(n, np.inf)
    for i in range(n):
        _nearest(i, total, count, alive, near, gap)
    joins, heights = np.empty((max(n - 1, 0), 2), dtype=np.int64), np.empty(max(n - 1, 0))
    for m in range(n - 1):
        a = int(np.argmin(gap))
        if not np.isfinite(gap[a]):
            return joins[:m], heights[:m]
        b = near[a]
        a, b = min(a, b), max(a, b)
        joins[m, 0], joins[m, 1], heights[m] = a, b, gap[a] if near[a] == b else gap[b]
        alive[b], gap[b] = False, np.inf
        for k in range(n):
            total[a, k] += total[b, k]
            count[a, k] += count[b, k]
            total[k, a], count[k, a] = total[a, k], count[a, k]
        for k in range(n):
            if alive[k]:
                _nearest(k, total, count, alive, near, gap)
    return joins, heights


@njit(cache=True)
def _nearest(i, total, count, alive, near, gap) -> None:
    """The nearest living cluster of i, and how far it is."""
    near[i], gap[i] = -1, np.inf
    for j in range(len(total)):
        if alive[j] and j != i and count[i, j] > 0 and total[i, j] < gap[i] * count[i, j]:
            near[i], gap[i] = j, total[i, j] / count[i, j]
