"""The basis of one lattice that is strained least from the basis of another, among many candidates, for all pairs."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["least_strained"]


@njit(cache=True, fastmath=True)
def least_strained(
    inverse: np.ndarray, metrics: np.ndarray, start: np.ndarray, cap: float, distance: np.ndarray, best: np.ndarray
) -> None:
    """Fill ``distance`` (n, n) and ``best`` (n, n) for i < j: the row of ``metrics`` nearest to lattice i; −1: none.

    inverse: O⁻¹ (n, 3, 3) upper triangular [Å⁻¹]; metrics: (t, 3, 3) [Å²], those of lattice j in start[j]:start[j+1].
    The strain is E = ½(O⁻ᵀ G O⁻¹ − 1), its size √ΣE²; only strains below ``cap`` count.
    """
    n = len(inverse)
    e = np.empty((3, 3))
    for i in range(n):
        o = inverse[i]
        for j in range(i + 1, n):
            low, row = cap * cap, -1
            for t in range(start[j], start[j + 1]):
                g = metrics[t]
                first = 0.5 * (g[0, 0] * o[0, 0] * o[0, 0] - 1.0)
                if first * first >= low:
                    continue
                size = 0.0
                for a in range(3):
                    for b in range(a, 3):
                        s = 0.0
                        for k in range(a + 1):
                            for m in range(b + 1):
                                s += o[k, a] * g[k, m] * o[m, b]
                        e[a, b] = 0.5 * (s - 1.0 if a == b else s)
                        size += e[a, b] * e[a, b] * (1.0 if a == b else 2.0)
                if size < low:
                    low, row = size, t
            distance[i, j] = np.sqrt(low)
            best[i, j] = row
