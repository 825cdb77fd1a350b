"""Sums of joint scaling over observations sorted by unique reflection: robust means, and products with the normal
matrix from which the means have been eliminated."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["apply_normal", "gradient", "group_medians", "own_blocks", "robust_means", "scale_factors"]


@njit(cache=True)
def scale_factors(p, knot, part, s2):
    """k (n,) = exp(ln K − 2 B s²), ln K and B (2, P) linear between knot and knot + 1, ``part`` of the way."""
    k = np.empty(len(part))
    for i in range(len(part)):
        j = knot[i]
        x = (1 - part[i]) * (p[0, j] - 2 * s2[i] * p[1, j])
        if part[i] > 0:
            x += part[i] * (p[0, j + 1] - 2 * s2[i] * p[1, j + 1])
        k[i] = np.exp(min(max(x, -50.0), 50.0))
    return k


@njit(cache=True)
def robust_means(start, k, intensity, sigma, a, b, nu, mean, rounds):
    """Weights w (n,) = u/σ'² and relative reliability u (n,); ``mean`` (m,) is improved in place.

    σ'² = a² (σ² + (b k Ī)²), b (m,), is on the scale of the observation. It depends on the mean and not on the
    observation, so that what happens to be weak does not count more. u = (ν + 1)/(ν + z²), Student's t.
    """
    n = len(k)
    w, u = np.empty(n), np.empty(n)
    for h in range(len(mean)):
        for _ in range(rounds):
            m = mean[h]
            top, low = 0.0, 0.0
            for i in range(start[h], start[h + 1]):
                spread = b[h] * k[i] * max(m, 0.0)
                v = a[i] * a[i] * (sigma[i] * sigma[i] + spread * spread)
                r = intensity[i] - k[i] * m
                u[i] = (nu + 1) / (nu + r * r / v)
                w[i] = u[i] / v
                top += w[i] * k[i] * intensity[i]
                low += w[i] * k[i] * k[i]
            new = top / low
            mean[h] = new
            if abs(new - m) < 1e-4 * abs(new):
                break
    return w, u


@njit(cache=True)
def gradient(start, k, intensity, w, mean, knot, part, s2, out):
    """Jᵀ W r into ``out`` (2, P): r = I − k Ī, J = ∂(k Ī)/∂(ln K, B); at the best means nothing is to eliminate."""
    out[:] = 0.0
    for h in range(len(mean)):
        for i in range(start[h], start[h + 1]):
            f = w[i] * k[i] * mean[h] * (intensity[i] - k[i] * mean[h])
            j, t = knot[i], part[i]
            out[0, j] += f * (1 - t)
            out[1, j] -= f * (1 - t) * 2 * s2[i]
            if t > 0:
                out[0, j + 1] += f * t
                out[1, j + 1] -= f * t * 2 * s2[i]


@njit(cache=True)
def apply_normal(start, k, w, mean, knot, part, s2, v, out):
    """(Jᵀ W J − the part that the means take up) v into ``out`` (2, P), v (2, P)."""
    out[:] = 0.0
    for h in range(len(mean)):
        first, last = start[h], start[h + 1]
        top, low = 0.0, 0.0
        for i in range(first, last):
            j, t = knot[i], part[i]
            x = (1 - t) * (v[0, j] - 2 * s2[i] * v[1, j])
            if t > 0:
                x += t * (v[0, j + 1] - 2 * s2[i] * v[1, j + 1])
            top += w[i] * k[i] * k[i] * x
            low += w[i] * k[i] * k[i]
        shared = top / low
        for i in range(first, last):
            j, t = knot[i], part[i]
            x = (1 - t) * (v[0, j] - 2 * s2[i] * v[1, j])
            if t > 0:
                x += t * (v[0, j + 1] - 2 * s2[i] * v[1, j + 1])
            f = w[i] * k[i] * k[i] * mean[h] * mean[h] * (x - shared)
            out[0, j] += f * (1 - t)
            out[1, j] -= f * (1 - t) * 2 * s2[i]
            if t > 0:
                out[0, j + 1] += f * t
                out[1, j + 1] -= f * t * 2 * s2[i]


@njit(cache=True)
def own_blocks(start, k, w, mean, knot, part, s2, dataset, first, blocks):
    """Jᵀ W J of each data set by itself into ``blocks`` (d, 2q, 2q): ln K of its knots from ``first`` (d,), then B."""
    blocks[:] = 0.0
    q = blocks.shape[1] // 2
    at, c = np.empty(4, dtype=np.int64), np.empty(4)
    for h in range(len(mean)):
        for i in range(start[h], start[h + 1]):
            d = dataset[i]
            j, t = knot[i] - first[d], part[i]
            f = w[i] * (k[i] * mean[h]) ** 2
            following = j + 1 if t > 0 else j
            at[0], at[1], at[2], at[3] = j, following, q + j, q + following
            c[0], c[1] = 1 - t, t
            c[2], c[3] = -2 * s2[i] * (1 - t), -2 * s2[i] * t
            for x in range(4):
                for y in range(4):
                    blocks[d, at[x], at[y]] += f * c[x] * c[y]


@njit(cache=True)
def group_medians(values, of, n):
    """The median (n,) of the values of each group ``of``; 0 for empty groups."""
    begin = np.zeros(n + 1, dtype=np.int64)
    for g in of:
        begin[g + 1] += 1
    for g in range(n):
        begin[g + 1] += begin[g]
    place, sorted_values = begin[:-1].copy(), np.empty(len(values))
    for i in range(len(values)):
        sorted_values[place[of[i]]] = values[i]
        place[of[i]] += 1
    out = np.zeros(n)
    for g in range(n):
        if begin[g + 1] > begin[g]:
            out[g] = np.median(sorted_values[begin[g] : begin[g + 1]])
    return out
