"""The density of strains whose large component may lie along any direction, with what its maximisation needs."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["any_direction"]


@njit(cache=True, fastmath=True)
def any_direction(
    v: np.ndarray, k: np.ndarray, good: float, bad: float, log: np.ndarray, precision: np.ndarray, squares: np.ndarray
) -> None:
    """log p(v) = ln Σ_τ w_τ ⟨N(v; 0, τ² (good² 1 + (bad² − good²) k kᵀ))⟩_k with τ = ½, 1, 2, w = ¼, ½, ¼.

    v: (r, 6); k: (m, 6) of norm 1, equally likely. Filled in: log (r,); precision (r, 6, 6), the expected inverse
    covariance; squares (r, 2): expected (k·v)²/τ² and |v|²/τ² less that.
    """
    gain = 1 / good**2 - 1 / bad**2
    norm = 5 * np.log(good) + np.log(bad) + 3 * np.log(2 * np.pi) + np.log(len(k))
    # ln of w τ⁻⁶
    weight = np.array([np.log(0.25) + 6 * np.log(2.0), np.log(0.5), np.log(0.25) - 6 * np.log(2.0)])
    inverse = np.array([4.0, 1.0, 0.25])
    along = np.empty(len(k))
    for r in range(len(v)):
        whole, most = 0.0, 0.0
        for i in range(6):
            whole += v[r, i] ** 2
        for m in range(len(k)):
            a = 0.0
            for i in range(6):
                a += v[r, i] * k[m, i]
            along[m] = a * a
            most = max(most, a * a)
        least = whole / good**2 - gain * most
        top = -1e300
        for t in range(3):
            top = max(top, weight[t] - 0.5 * least * inverse[t])
        factor = np.exp(weight - 0.5 * least * inverse - top)
        total, share, first = 0.0, 0.0, 0.0
        outer = np.zeros((6, 6))
        for m in range(len(k)):
            # e, e⁴, e¹⁶ are the three scales
            e = np.exp(-0.125 * gain * (most - along[m]))
            if e < 1e-5:
                continue
            e4 = e**4
            p0, p1, p2 = factor[0] * e4**4, factor[1] * e4, factor[2] * e
            total += p0 + p1 + p2
            s = 4 * p0 + p1 + 0.25 * p2
            share += s
            first += s * along[m]
            for i in range(6):
                for j in range(i + 1):
                    outer[i, j] += s * k[m, i] * k[m, j]
        log[r] = top + np.log(total) - norm
        squares[r, 0] = first / total
        squares[r, 1] = (share * whole - first) / total
        for i in range(6):
            for j in range(i + 1):
                precision[r, i, j] = precision[r, j, i] = -gain * outer[i, j] / total
            precision[r, i, i] += share / total / good**2
