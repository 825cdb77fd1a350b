"""Symmetry-adapted waves: orbits of grid points under a space group, and Σ over operations of exp(2πi h·(Rx + t))."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["neighbours", "orbits", "symmetric_waves"]


@njit(cache=True)
def orbits(shape: tuple[int, int, int], rot: np.ndarray, trans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(which (nx ny nz,), first (p,)): the orbit each grid point is in, and the flat index of the first of each.

    rot (m, 3, 3) int, trans (m, 3) in grid points: x' = R x + t must map the grid onto itself.
    """
    nx, ny, nz = shape
    which = np.full(nx * ny * nz, -1, dtype=np.int32)
    first = np.empty(nx * ny * nz, dtype=np.int64)
    count = 0
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                if which[(i * ny + j) * nz + k] >= 0:
                    continue
                first[count] = (i * ny + j) * nz + k
                for m in range(len(rot)):
                    # in fractions times the common denominator the grid's three lengths may differ
                    a = _image(rot[m, 0], i, j, k, nx, ny, nz, nx, trans[m, 0])
                    b = _image(rot[m, 1], i, j, k, nx, ny, nz, ny, trans[m, 1])
                    c = _image(rot[m, 2], i, j, k, nx, ny, nz, nz, trans[m, 2])
                    which[(a * ny + b) * nz + c] = count
                count += 1
    return which, first[:count].copy()


@njit(cache=True)
def _image(row: np.ndarray, i: int, j: int, k: int, nx: int, ny: int, nz: int, n: int, t: float) -> int:
    x = row[0] * i / nx + row[1] * j / ny + row[2] * k / nz
    return int(np.rint(x * n + t)) % n


@njit(cache=True)
def neighbours(shape: tuple[int, int, int], which: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(p, 26) int32: the orbits of the points around the first of each, in the order of (−1, −1, −1) … (1, 1, 1)."""
    nx, ny, nz = shape
    out = np.empty((len(first), 26), dtype=np.int32)
    for p in range(len(first)):
        i, j, k = first[p] // (ny * nz), (first[p] // nz) % ny, first[p] % nz
        m = 0
        for a in range(-1, 2):
            for b in range(-1, 2):
                for c in range(-1, 2):
                    if a == 0 and b == 0 and c == 0:
                        continue
                    out[p, m] = which[(((i + a) % nx) * ny + (j + b) % ny) * nz + (k + c) % nz]
                    m += 1
    return out


@njit(cache=True, fastmath=True)
def symmetric_waves(xyz: np.ndarray, hkl: np.ndarray, rot: np.ndarray, trans: np.ndarray) -> np.ndarray:
    """S (p, n) complex64 = Σ over operations of exp(2πi h·(Rx + t)): xyz (p, 3), hkl (n, 3) int, rot (m, 3, 3) int,
    trans (m, 3)."""
    top = 0
    for m in range(len(rot)):
        for n in range(len(hkl)):
            for j in range(3):
                k = hkl[n, 0] * rot[m, 0, j] + hkl[n, 1] * rot[m, 1, j] + hkl[n, 2] * rot[m, 2, j]
                top = max(top, abs(k))
    out = np.zeros((len(xyz), len(hkl)), dtype=np.complex64)
    powers = np.empty((3, 2 * top + 1), dtype=np.complex64)
    images = np.empty((len(hkl), len(rot), 3), dtype=np.int32)
    turn = np.empty((len(hkl), len(rot)), dtype=np.complex64)
    for n in range(len(hkl)):
        for m in range(len(rot)):
            phase = 0.0
            for j in range(3):
                k = hkl[n, 0] * rot[m, 0, j] + hkl[n, 1] * rot[m, 1, j] + hkl[n, 2] * rot[m, 2, j]
                images[n, m, j] = k + top
                phase += 2 * np.pi * hkl[n, j] * trans[m, j]
            turn[n, m] = complex(np.cos(phase), np.sin(phase))
    for p in range(len(xyz)):
        for j in range(3):
            for k in range(2 * top + 1):
                phase = 2 * np.pi * (k - top) * xyz[p, j]
                powers[j, k] = complex(np.cos(phase), np.sin(phase))
        for n in range(len(hkl)):
            total = np.complex64(0.0)
            for m in range(len(rot)):
                a, b, c = images[n, m]
                total += powers[0, a] * powers[1, b] * powers[2, c] * turn[n, m]
            out[p, n] = total
    return out
