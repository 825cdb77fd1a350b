"""One diffraction pattern: which nodes of a lattice touch the Ewald sphere during an exposure, where, and how much."""

from __future__ import annotations

from math import erf, exp, pi, sqrt

import numpy as np
from numba import njit

__all__ = ["add_radial", "excited", "stamp", "stamp_patch"]


@njit(cache=True)
def _density(sa: float, sb: float, sigma: float) -> tuple[float, float]:
    """Mean of a normal density of rms σ between two errors, and which part of the way lies before zero."""
    if abs(sb - sa) < 1e-3 * sigma:
        s = 0.5 * (sa + sb) / sigma
        return exp(-0.5 * s * s) / (sigma * sqrt(2 * pi)), 0.5
    root = sigma * sqrt(2.0)
    return 0.5 * (erf(sb / root) - erf(sa / root)) / (sb - sa), min(max(-sa / (sb - sa), 0.0), 1.0)


@njit(cache=True)
def _tangents(k0: np.ndarray, start: np.ndarray, end: np.ndarray, f: float, q: np.ndarray) -> tuple[float, float]:
    """x/z and y/z of k0 + R q, R the part ``f`` of the way from ``start`` to ``end``."""
    s = np.empty(3)
    for i in range(3):
        s[i] = k0[i]
        for j in range(3):
            s[i] += ((1 - f) * start[i, j] + f * end[i, j]) * q[j]
    return s[0] / s[2], s[1] / s[2]


@njit(cache=True)
def excited(
    q0: np.ndarray, q2: np.ndarray, strength: np.ndarray, start: np.ndarray, end: np.ndarray, k0: np.ndarray,
    spread: float, shape: float, loss: float, loss_q2: float, faintest: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Rows (n,), tangents (n, 2) of the diffracted waves and mean density over the exposure times strength (n,).

    q0 (m, 3) [Å⁻¹] turns from ``start`` to ``end`` (3, 3); k0 (3,) incident wave vector. Rocking curve: a Gaussian in
    the excitation error of variance (spread |q|)² + shape² [Å⁻²] and unit area, averaged over the errors s_a to s_b
    that the exposure passes: (Φ(s_b/σ) − Φ(s_a/σ))/(s_b − s_a); times exp(−loss − loss_q2 q²). Nodes below
    ``faintest`` are left out.
    """
    k = sqrt(k0[0] ** 2 + k0[1] ** 2 + k0[2] ** 2)
    # k0·(R q0) = (Rᵀ k0)·q0: one product a node tells whether it is near the sphere
    a0, a1, a2 = start.T @ k0
    b0, b1, b2 = end.T @ k0
    half = 0.5 / k
    rows = np.empty(len(q0), dtype=np.int64)
    value = np.empty(len(q0))
    place = np.empty((len(q0), 2))
    n = 0
    for i in range(len(q0)):
        ta = q2[i] + 2 * (a0 * q0[i, 0] + a1 * q0[i, 1] + a2 * q0[i, 2])
        tb = q2[i] + 2 * (b0 * q0[i, 0] + b1 * q0[i, 1] + b2 * q0[i, 2])
        variance = spread * spread * q2[i] + shape * shape
        if ta * tb > 0:
            near = min(abs(ta), abs(tb)) * half
            if near * near > 25 * variance:
                continue
        sigma = sqrt(variance)
        sa = ta / (sqrt(ta + k * k) + k)
        sb = tb / (sqrt(tb + k * k) + k)
        weight, f = _density(sa, sb, sigma)
        if loss > 0 or loss_q2 > 0:
            weight *= exp(-loss - loss_q2 * q2[i])
        if weight * strength[i] < faintest:
            continue
        rows[n], value[n] = i, weight * strength[i]
        place[n, 0], place[n, 1] = _tangents(k0, start, end, f, q0[i])
        n += 1
    return rows[:n].copy(), place[:n].copy(), value[:n].copy()


@njit(cache=True)
def stamp(image: np.ndarray, xy: np.ndarray, counts: np.ndarray, sigma: float) -> None:
    """Add ``counts`` (n,) as Gaussians of rms ``sigma`` [px], integrated over pixels, at ``xy`` (n, 2); in place."""
    ny, nx = image.shape
    reach = int(np.ceil(4.5 * sigma)) + 1
    fx, fy = np.empty(2 * reach + 1), np.empty(2 * reach + 1)
    s = 1.0 / (sqrt(2.0) * sigma)
    for n in range(len(xy)):
        x, y = xy[n, 0], xy[n, 1]
        if not (-reach < x < nx + reach and -reach < y < ny + reach):
            continue
        i0, j0 = int(np.floor(y)) - reach, int(np.floor(x)) - reach
        ex, ey = erf((j0 - x) * s), erf((i0 - y) * s)
        for m in range(2 * reach + 1):
            nextx, nexty = erf((j0 + m + 1 - x) * s), erf((i0 + m + 1 - y) * s)
            fx[m], fy[m] = 0.5 * (nextx - ex), 0.5 * (nexty - ey)
            ex, ey = nextx, nexty
        for m in range(max(0, -i0), min(2 * reach + 1, ny - i0)):
            c = counts[n] * fy[m]
            for o in range(max(0, -j0), min(2 * reach + 1, nx - j0)):
                image[i0 + m, j0 + o] += c * fx[o]


@njit(cache=True, fastmath=True)
def stamp_patch(image: np.ndarray, xy: np.ndarray, counts: np.ndarray, patch: np.ndarray) -> None:
    """Add ``counts`` (n,) times ``patch`` (py, px) float32, its middle in the pixel nearest to ``xy`` (n, 2)."""
    ny, nx = image.shape
    py, px = patch.shape
    for n in range(len(xy)):
        x, y = xy[n, 0] - 0.5 * px, xy[n, 1] - 0.5 * py
        if not (-px < x < nx and -py < y < ny):
            continue
        j0, i0, w = int(np.floor(x + 0.5)), int(np.floor(y + 0.5)), np.float32(counts[n])
        first, last = max(0, -j0), min(px, nx - j0)
        if first >= last:
            continue
        for i in range(max(0, -i0), min(py, ny - i0)):
            row, part = image[i0 + i, j0 + first : j0 + last], patch[i, first:last]
            for j in range(len(row)):
                row[j] += w * part[j]


@njit(cache=True, fastmath=True)
def add_radial(image: np.ndarray, centre: np.ndarray, m: np.ndarray, table: np.ndarray, per_unit: float) -> None:
    """Add table(|m (pixel centre − centre)|), linear between entries ``per_unit`` to the unit; in place.

    m (2, 2) takes pixels to the table's unit; beyond its end the table (k,) float32 keeps its last value.
    """
    ny, nx = image.shape
    last = len(table) - 1
    a, b, c, d = m[0, 0] * per_unit, m[0, 1] * per_unit, m[1, 0] * per_unit, m[1, 1] * per_unit
    step, end = np.zeros(last + 1, np.float32), np.float32(last)
    step[:last] = table[1:] - table[:last]
    r, right, down = np.empty(nx, np.float32), np.float32(a), np.float32(c)
    x = 0.5 - centre[0]
    for i in range(ny):
        y = i + 0.5 - centre[1]
        p0, q0 = np.float32(a * x + b * y), np.float32(c * x + d * y)
        for j in range(nx):
            p, q = p0 + right * np.float32(j), q0 + down * np.float32(j)
            r[j] = min(np.sqrt(p * p + q * q), end)
        row = image[i]
        for j in range(nx):
            n = np.uint32(np.int32(r[j]))
            row[j] += table[n] + step[n] * (r[j] - np.float32(n))
