"""The basis of one lattice that is strained least from the basis of another, among many candidates, for all pairs."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["least_strained", "least_strained_from"]


@njit(cache=True, fastmath=True)
def least_strained(
    inverse: np.ndarray, metrics: np.ndarray, start: np.ndarray, cap: float, distance: np.ndarray, best: np.ndarray
) -> None:
    """Fill ``distance`` (n, n) and ``best`` (n, n) for i < j: the row of ``metrics`` nearest to lattice i; −1: none.

    inverse: O⁻¹ (n, 3, 3) upper triangular [Å⁻¹]; metrics: (t, 3, 3) [Å²], those of lattice j in start[j]:start[j+1],
    each lattice's with g00 rising. Nearest is least √ΣE², E = ½(O⁻ᵀ G O⁻¹ − 1), below ``cap``; the distance told is
    that of ½ ln(O⁻ᵀ G O⁻¹), at most ``cap``.
    """
    n = len(inverse)
    for j in range(n):
        for i in range(j):
            distance[i, j], best[i, j] = _nearest(inverse[i], metrics, start[j], start[j + 1], cap)


@njit(cache=True, fastmath=True)
def least_strained_from(
    inverse: np.ndarray, metrics: np.ndarray, cap: float, distance: np.ndarray, best: np.ndarray
) -> None:
    """The same of one lattice, with all ``metrics`` (t, 3, 3) its own, from each of n: (n,), (n,)."""
    for i in range(len(inverse)):
        distance[i], best[i] = _nearest(inverse[i], metrics, 0, len(metrics), cap)


@njit(cache=True, fastmath=True)
def _nearest(o, metrics, first, end, cap):
    """From the candidate whose a axis is nearest outwards, until a alone differs too much.

    Lattices of one volume ratio D² = det M are strained by √¾ |D^⅔ − 1| at least, M being a multiple of 1.
    """
    g = metrics[first]
    det = g[0, 0] * (g[1, 1] * g[2, 2] - g[1, 2] ** 2) - g[0, 1] * (g[0, 1] * g[2, 2] - g[1, 2] * g[0, 2])
    det += g[0, 2] * (g[0, 1] * g[1, 2] - g[1, 1] * g[0, 2])
    if 0.75 * ((det * (o[0, 0] * o[1, 1] * o[2, 2]) ** 2) ** (1 / 3) - 1.0) ** 2 >= cap * cap:
        return cap, -1
    target = 1.0 / (o[0, 0] * o[0, 0])
    low, high = first, end
    while low < high:
        middle = (low + high) // 2
        if metrics[middle, 0, 0] < target:
            low = middle + 1
        else:
            high = middle
    least, row = cap * cap, -1
    t = low
    while t < end:
        e = 0.5 * (metrics[t, 0, 0] / target - 1.0)
        if e * e >= least:
            break
        size = _size(o, metrics[t], e * e, least)
        if size < least:
            least, row = size, t
        t += 1
    t = low - 1
    while t >= first:
        e = 0.5 * (metrics[t, 0, 0] / target - 1.0)
        if e * e >= least:
            break
        size = _size(o, metrics[t], e * e, least)
        if size < least:
            least, row = size, t
        t -= 1
    return (cap if row < 0 else min(cap, _log_size(o, metrics[row]))), row


@njit(cache=True)
def _log_size(o, g):
    """√Σ(½ ln m)² over the eigenvalues m of M = O⁻ᵀ G O⁻¹, by the trigonometric solution of its cubic."""
    m = o.T @ g @ o
    mean = (m[0, 0] + m[1, 1] + m[2, 2]) / 3
    a, b, c = m[0, 0] - mean, m[1, 1] - mean, m[2, 2] - mean
    off = m[0, 1] ** 2 + m[0, 2] ** 2 + m[1, 2] ** 2
    p = np.sqrt((a * a + b * b + c * c + 2 * off) / 6)
    if p < 1e-12 * mean:
        return np.sqrt(3.0) * 0.5 * abs(np.log(mean))
    det = a * (b * c - m[1, 2] ** 2) - m[0, 1] * (m[0, 1] * c - m[1, 2] * m[0, 2])
    det += m[0, 2] * (m[0, 1] * m[1, 2] - b * m[0, 2])
    phi = np.arccos(min(1.0, max(-1.0, det / (2 * p**3)))) / 3
    total = 0.0
    for k in range(3):
        value = mean + 2 * p * np.cos(phi + 2 * np.pi * k / 3)
        total += (0.5 * np.log(max(value, 1e-12))) ** 2
    return np.sqrt(total)


@njit(cache=True, fastmath=True)
def _size(o, g, size, limit):
    """ΣE² from its first term on, given up once it is beyond ``limit``."""
    x0 = g[0, 0] * o[0, 1] + g[0, 1] * o[1, 1]
    x1 = g[0, 1] * o[0, 1] + g[1, 1] * o[1, 1]
    e = 0.5 * (o[0, 1] * x0 + o[1, 1] * x1 - 1.0)
    size += e * e
    if size >= limit:
        return size
    e = 0.5 * o[0, 0] * x0
    size += 2.0 * e * e
    if size >= limit:
        return size
    y0 = g[0, 0] * o[0, 2] + g[0, 1] * o[1, 2] + g[0, 2] * o[2, 2]
    y1 = g[0, 1] * o[0, 2] + g[1, 1] * o[1, 2] + g[1, 2] * o[2, 2]
    y2 = g[0, 2] * o[0, 2] + g[1, 2] * o[1, 2] + g[2, 2] * o[2, 2]
    e = 0.5 * (o[0, 2] * y0 + o[1, 2] * y1 + o[2, 2] * y2 - 1.0)
    size += e * e
    if size >= limit:
        return size
    e = 0.5 * o[0, 0] * y0
    f = 0.5 * (o[0, 1] * y0 + o[1, 1] * y1)
    return size + 2.0 * (e * e + f * f)
