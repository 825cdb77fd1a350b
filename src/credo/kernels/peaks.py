"""Maxima of a periodic density map, interpolated between grid points."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["map_peaks"]


@njit(cache=True)
def _maxima(rho: np.ndarray, floor: float, out: np.ndarray) -> int:
    nx, ny, nz = rho.shape
    n = 0
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                v = rho[i, j, k]
                if v <= floor:
                    continue
                top = True
                for a in range(-1, 2):
                    for b in range(-1, 2):
                        for c in range(-1, 2):
                            if a == 0 and b == 0 and c == 0:
                                continue
                            w = rho[(i + a) % nx, (j + b) % ny, (k + c) % nz]
                            # ties go to the point met first
                            if w > v or (w == v and (a, b, c) < (0, 0, 0)):
                                top = False
                                break
                        if not top:
                            break
                    if not top:
                        break
                if not top:
                    continue
                if n >= out.shape[0]:
                    return n
                dx = _vertex(rho[i - 1, j, k], v, rho[(i + 1) % nx, j, k])
                dy = _vertex(rho[i, j - 1, k], v, rho[i, (j + 1) % ny, k])
                dz = _vertex(rho[i, j, k - 1], v, rho[i, j, (k + 1) % nz])
                out[n, 0] = ((i + dx) / nx) % 1.0
                out[n, 1] = ((j + dy) / ny) % 1.0
                out[n, 2] = ((k + dz) / nz) % 1.0
                out[n, 3] = v - 0.25 * (
                    (rho[i - 1, j, k] - rho[(i + 1) % nx, j, k]) * dx
                    + (rho[i, j - 1, k] - rho[i, (j + 1) % ny, k]) * dy
                    + (rho[i, j, k - 1] - rho[i, j, (k + 1) % nz]) * dz
                )
                n += 1
    return n


@njit(cache=True)
def _vertex(left: float, mid: float, right: float) -> float:
    curve = left - 2 * mid + right
    if curve >= 0:
        return 0.0
    return min(0.5, max(-0.5, 0.5 * (left - right) / curve))


def map_peaks(rho: np.ndarray, floor: float = 0.0, most: int = 20_000) -> np.ndarray:
    """Local maxima (n, 4) of a periodic map (nx, ny, nz): fractional x y z and height by parabolas, highest first."""
    out = np.empty((most, 4))
    n = _maxima(np.ascontiguousarray(rho), float(floor), out)
    return out[:n][np.argsort(-out[:n, 3], kind="stable")]
