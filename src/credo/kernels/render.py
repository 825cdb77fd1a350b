"""Add Gaussian spots to an image, integrated over its pixels."""

from __future__ import annotations

from math import erf, sqrt

import numpy as np
from numba import njit

__all__ = ["add_spots"]


@njit(cache=True)
def add_spots(image: np.ndarray, x: np.ndarray, y: np.ndarray, counts: np.ndarray, sigma: np.ndarray) -> None:
    """Add ``counts`` (n,) as round Gaussians of rms ``sigma`` (n,) [px] at (x, y) to ``image`` (ny, nx), in place."""
    ny, nx = image.shape
    for n in range(len(x)):
        reach = int(np.ceil(5 * sigma[n])) + 1
        i0, j0 = int(np.floor(y[n])), int(np.floor(x[n]))
        s = 1.0 / (sqrt(2.0) * sigma[n])
        for i in range(max(0, i0 - reach), min(ny, i0 + reach + 1)):
            fy = 0.5 * (erf((i + 1 - y[n]) * s) - erf((i - y[n]) * s))
            for j in range(max(0, j0 - reach), min(nx, j0 + reach + 1)):
                fx = 0.5 * (erf((j + 1 - x[n]) * s) - erf((j - x[n]) * s))
                image[i, j] += counts[n] * fx * fy
