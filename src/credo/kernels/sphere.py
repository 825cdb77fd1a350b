"""Ewald-sphere centres of many frames, each from the reciprocal points that it shows (thesis eq. 13)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = ["centre_cost", "fit_centres", "follow_centres", "tangents"]


@njit(cache=True)
def tangents(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors (3,) across the unit vector ``u`` (3,), which change smoothly except at two poles of z."""
    a = np.zeros(3)
    if abs(u[2]) < 0.9:
        a[0], a[1] = -u[1], u[0]
    else:
        a[1], a[2] = -u[2], u[1]
    a /= math.sqrt(a[0] ** 2 + a[1] ** 2 + a[2] ** 2)
    b = np.array([u[1] * a[2] - u[2] * a[1], u[2] * a[0] - u[0] * a[2], u[0] * a[1] - u[1] * a[0]])
    return a, b


@njit(cache=True)
def _gap(p: np.ndarray, u: np.ndarray, radius: float) -> float:
    """|p − r u| − r without cancellation: (|p|² − 2 r p·u)/(|p − r u| + r)."""
    pu = p[0] * u[0] + p[1] * u[1] + p[2] * u[2]
    pp = p[0] ** 2 + p[1] ** 2 + p[2] ** 2
    top = pp - 2 * radius * pu
    return top / (math.sqrt(top + radius * radius) + radius)


@njit(cache=True)
def centre_cost(points: np.ndarray, weight: np.ndarray, directions: np.ndarray, radius: float, clip: float):
    """Σ w min(gap², clip²)/Σw (m,) of ``directions`` (m, 3) of the centre; points (n, 3), radius, clip [Å⁻¹]."""
    out = np.zeros(len(directions))
    for k in range(len(directions)):
        total = 0.0
        for i in range(len(points)):
            g = _gap(points[i], directions[k], radius)
            total += weight[i] * min(g * g, clip * clip)
        out[k] = total / weight.sum()
    return out


@njit(cache=True)
def _fit_one(points, weight, first, last, u, radius, clip, turns):
    """Gauss-Newton with halved steps: u in place; returns the mean squared gap of what is not clipped."""
    for _ in range(turns):
        a, b = tangents(u)
        haa = hab = hbb = ga = gb = 0.0
        for i in range(first, last):
            p = points[i]
            g = _gap(p, u, radius)
            if abs(g) > clip:
                continue
            far = g + radius
            ja = -radius * (p[0] * a[0] + p[1] * a[1] + p[2] * a[2]) / far
            jb = -radius * (p[0] * b[0] + p[1] * b[1] + p[2] * b[2]) / far
            w = weight[i]
            haa += w * ja * ja
            hab += w * ja * jb
            hbb += w * jb * jb
            ga += w * ja * g
            gb += w * jb * g
        if haa + hbb <= 0:
            break
        # a row of spots fixes one direction only: the other stays where it was
        floor = 1e-6 * (haa + hbb)
        haa += floor
        hbb += floor
        det = haa * hbb - hab * hab
        da, db = -(hbb * ga - hab * gb) / det, -(haa * gb - hab * ga) / det
        size = math.sqrt(da * da + db * db)
        if size > 0.05:
            da, db = da * 0.05 / size, db * 0.05 / size
        norm = 0.0
        for k in range(3):
            u[k] += da * a[k] + db * b[k]
            norm += u[k] * u[k]
        for k in range(3):
            u[k] /= math.sqrt(norm)
        if size < 1e-11:
            break
    total, n = 0.0, 0
    for i in range(first, last):
        g = _gap(points[i], u, radius)
        if abs(g) <= clip:
            total += g * g
            n += 1
    return total / n if n > 0 else np.nan


@njit(cache=True)
def fit_centres(start, points, weight, u, radius, clip, turns):
    """Directions u (f, 3) of all frames from their own starts; start (f + 1,): where each frame's points begin.

    Points further than ``clip`` [Å⁻¹] from the sphere are left out. Returns (u, mean squared gap (f,) [Å⁻²]).
    """
    out, fom = u.copy(), np.full(len(u), np.nan)
    for j in range(len(u)):
        if start[j + 1] - start[j] >= 2:
            fom[j] = _fit_one(points, weight, start[j], start[j + 1], out[j], radius, clip, turns)
    return out, fom


@njit(cache=True)
def follow_centres(start, points, weight, first, anchor, radius, clip, turns):
    """As ``fit_centres``, each frame begun where its neighbour ended, from frame ``first`` with ``anchor`` (3,)."""
    n = len(start) - 1
    u, fom = np.zeros((n, 3)), np.full(n, np.nan)
    for step in (1, -1):
        now = anchor.copy()
        before = anchor.copy()
        j = first if step == 1 else first - 1
        while 0 <= j < n:
            u[j] = now
            if start[j + 1] - start[j] >= 3:
                fom[j] = _fit_one(points, weight, start[j], start[j + 1], u[j], radius, clip, turns)
            # a steady rotation goes on as it went
            ahead = np.zeros(3)
            norm = 0.0
            for k in range(3):
                ahead[k] = 2 * u[j, k] - before[k] if j != first else u[j, k]
                norm += ahead[k] ** 2
            before = u[j].copy()
            now = ahead / math.sqrt(norm)
            j += step
    return u, fom
