"""Difference vectors of reciprocal points: how often they coincide, where they peak, and climbing to the peaks."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["climb", "coincidences", "difference_histogram", "differences", "near_nodes", "over_chance"]


@njit(cache=True, fastmath=True)
def differences(q: np.ndarray, phi: np.ndarray, reach_phi: float, reach_q: float, out: np.ndarray) -> int:
    """q_j − q_i of all pairs within ``reach_phi`` and ``reach_q``, into ``out`` (k, 3); returns how many.

    q: (n, 3) sorted by phi (n,).
    """
    c = 0
    for i in range(len(q)):
        for j in range(i + 1, len(q)):
            if phi[j] - phi[i] > reach_phi:
                break
            dx, dy, dz = q[j, 0] - q[i, 0], q[j, 1] - q[i, 1], q[j, 2] - q[i, 2]
            if dx * dx + dy * dy + dz * dz > reach_q * reach_q:
                continue
            if c >= len(out):
                return c
            out[c, 0], out[c, 1], out[c, 2] = dx, dy, dz
            c += 1
    return c


@njit(cache=True, fastmath=True)
def coincidences(d: np.ndarray, width: float, table: np.ndarray) -> float:
    """Fraction of pairs of vectors d (n, 3), ±d being the same, that share a box of edge ``width``.

    ``table``: int32 work space, a power of two long, in which boxes are hashed.
    """
    table[:] = 0
    mask = len(table) - 1
    s = 0.0
    inv = 1.0 / width
    for i in range(len(d)):
        dx, dy, dz = d[i, 0], d[i, 1], d[i, 2]
        if dx < 0 or (dx == 0 and dy < 0):
            dx, dy, dz = -dx, -dy, -dz
        a, b, c = int(np.floor(dx * inv)), int(np.floor(dy * inv)), int(np.floor(dz * inv))
        k = ((a * 73856093) ^ (b * 19349663) ^ (c * 83492791)) & mask
        s += table[k]
        table[k] += 1
    n = len(d)
    return 2.0 * s / max(n * (n - 1.0), 1.0)


@njit(cache=True, fastmath=True)
def difference_histogram(d: np.ndarray, reach: float, out: np.ndarray) -> None:
    """Counts of ±d (k, 3) into ``out`` (n, n, n) float32, boxes of 2 reach/n about 0, ±1, ... with the negative ones
    at the end, as a Fourier transform wants them."""
    n = out.shape[0]
    scale = n / (2 * reach)
    half = n // 2
    for i in range(len(d)):
        a = int(np.floor(d[i, 0] * scale + 0.5))
        b = int(np.floor(d[i, 1] * scale + 0.5))
        c = int(np.floor(d[i, 2] * scale + 0.5))
        if abs(a) < half and abs(b) < half and abs(c) < half:
            out[a % n, b % n, c % n] += np.float32(1.0)
            out[-a % n, -b % n, -c % n] += np.float32(1.0)


@njit(cache=True, fastmath=True)
def near_nodes(q: np.ndarray, reach2: np.ndarray, ub: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """How many points q (n, 3) lie within √reach2 (n,) of a node, for each lattice UB (k, 3, 3) with its inverse."""
    out = np.zeros(len(ub), dtype=np.int64)
    h = np.empty(3)
    for k in range(len(ub)):
        u, v = ub[k], inverse[k]
        for i in range(len(q)):
            for a in range(3):
                x = v[a, 0] * q[i, 0] + v[a, 1] * q[i, 1] + v[a, 2] * q[i, 2]
                h[a] = x - np.rint(x)
            d2 = 0.0
            for a in range(3):
                d = u[a, 0] * h[0] + u[a, 1] * h[1] + u[a, 2] * h[2]
                d2 += d * d
            if d2 < reach2[i]:
                out[k] += 1
    return out


@njit(cache=True, fastmath=True)
def over_chance(
    delta2: np.ndarray, var: np.ndarray, somewhere: np.ndarray, volume: float, member: np.ndarray
) -> tuple[float, float]:
    """ln L over chance and the fraction f on the lattice, by expectation maximisation; fills ``member`` (n,).

    delta2, var: squared distance from the node and variance (n,) [Å⁻²]; somewhere: not at the node 000; volume: of the
    reciprocal cell [Å⁻³]. L = Π [f V* N(δ; σ) + 1 − f].
    """
    n = len(delta2)
    ratio = np.empty(n)
    for i in range(n):
        v = var[i]
        norm = volume / ((2 * np.pi * v) * np.sqrt(2 * np.pi * v))
        ratio[i] = norm * np.exp(-0.5 * delta2[i] / v) if somewhere[i] else 0.0
    f = 0.7
    for _ in range(6):
        total = 0.0
        for i in range(n):
            member[i] = f * ratio[i] / (f * ratio[i] + 1 - f)
            total += member[i]
        f = min(max(total / max(n, 1), 0.01), 0.99)
    score = 0.0
    for i in range(n):
        score += np.log(f * ratio[i] + 1 - f)
    return score, f


@njit(cache=True, fastmath=True)
def climb(d: np.ndarray, start: np.ndarray, steps: int) -> np.ndarray:
    """Maxima of S(u) = ⟨cos 2π d·u⟩ reached from each start (k, 3) by damped Gauss-Newton steps: (k, 4) u and S."""
    out = np.empty((len(start), 4))
    h = np.zeros((3, 3))
    for i in range(len(d)):
        for a in range(3):
            for b in range(3):
                h[a, b] += d[i, a] * d[i, b]
    h *= 2 * np.pi / max(len(d), 1)
    h += np.eye(3) * (1e-6 * (h[0, 0] + h[1, 1] + h[2, 2]) + 1e-30)
    inverse = np.linalg.inv(h)
    for t in range(len(start)):
        x, y, z = start[t, 0], start[t, 1], start[t, 2]
        s = 0.0
        for step in range(steps + 1):
            s = 0.0
            gx = 0.0
            gy = 0.0
            gz = 0.0
            for i in range(len(d)):
                arg = 2 * np.pi * (d[i, 0] * x + d[i, 1] * y + d[i, 2] * z)
                s += np.cos(arg)
                sine = np.sin(arg)
                gx -= sine * d[i, 0]
                gy -= sine * d[i, 1]
                gz -= sine * d[i, 2]
            n = max(len(d), 1)
            s /= n
            if step == steps:
                break
            f = 1.0 / (n * max(s, 0.2))
            sx = f * (inverse[0, 0] * gx + inverse[0, 1] * gy + inverse[0, 2] * gz)
            sy = f * (inverse[1, 0] * gx + inverse[1, 1] * gy + inverse[1, 2] * gz)
            sz = f * (inverse[2, 0] * gx + inverse[2, 1] * gy + inverse[2, 2] * gz)
            size = np.sqrt(sx * sx + sy * sy + sz * sz)
            if size > 0.5:
                sx, sy, sz = sx * 0.5 / size, sy * 0.5 / size, sz * 0.5 / size
            x, y, z = x + sx, y + sy, z + sz
            if size < 1e-4 * (1.0 + np.sqrt(x * x + y * y + z * z)):
                break
        out[t, 0], out[t, 1], out[t, 2], out[t, 3] = x, y, z, s
    return out
