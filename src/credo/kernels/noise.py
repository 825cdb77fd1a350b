"""Poisson noise of a whole image, exact and fast: tables for few counts, transformed rejection for many."""

from __future__ import annotations

from math import exp, floor, lgamma, log, sqrt

import numpy as np
from numba import njit

__all__ = ["add_normal", "poisson_image", "poisson_tables"]

#: Tables for the means k/8 below 16 and k/2 from there to 128; what is left of a mean is drawn on its own, since
#: Poisson means add: rarely anything where the steps are fine.
_FINE, _COARSE, _KNEE, _TOP = 8, 2, 16, 128
_LENGTH, _GUIDE = 256, 256
_GOLD = np.uint64(0x9E3779B97F4A7C15)


def poisson_tables() -> tuple[np.ndarray, np.ndarray]:
    """Cumulative probabilities (rows, length) scaled to 2³², and for each row where to begin the search (rows, 256)."""
    from scipy.stats import poisson

    fine, coarse = np.arange(_KNEE * _FINE) / _FINE, _KNEE + np.arange((_TOP - _KNEE) * _COARSE) / _COARSE
    mean = np.concatenate([fine, coarse])
    cdf = poisson.cdf(np.arange(_LENGTH)[None], mean[:, None])
    cumulative = np.minimum(np.rint(cdf * 2.0**32), 2.0**32 - 1).astype(np.uint32)
    cumulative[:, -1] = 2**32 - 1
    first = np.arange(_GUIDE, dtype=np.uint32) << np.uint32(24)
    guide = np.stack([np.searchsorted(row, first, side="right") for row in cumulative]).astype(np.uint8)
    return cumulative, guide


@njit(cache=True, inline="always")
def _mixed(state):
    """Splitmix64's output function: a well mixed word of a counter."""
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True)
def _many(lam: float, state):
    """Hörmann's transformed rejection (PTRS, 1993), exact for means above 10."""
    root = sqrt(lam)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse = 1.1239 + 1.1328 / (b - 3.4)
    bound = 0.9277 - 3.6224 / (b - 2)
    scale = 2.0**-53
    while True:
        state = state + _GOLD
        u = (_mixed(state) >> np.uint64(11)) * scale - 0.5
        state = state + _GOLD
        v = (_mixed(state) >> np.uint64(11)) * scale
        us = 0.5 - abs(u)
        if us < 1e-12:
            continue
        k = floor((2 * a / us + b) * u + lam + 0.43)
        if us >= 0.07 and v <= bound:
            return int(k), state
        if k < 0 or (us < 0.013 and v > us):
            continue
        if log(max(v, 1e-300)) + log(inverse) - log(a / (us * us) + b) <= k * log(lam) - lam - lgamma(k + 1):
            return int(k), state


@njit(cache=True)
def poisson_image(lam: np.ndarray, seed: int, cumulative: np.ndarray, guide: np.ndarray, top: int, out: np.ndarray):
    """Independent Poisson counts of the means ``lam`` (ny, nx), at most ``top``, into ``out``; the seed decides."""
    ny, nx = lam.shape
    half = np.uint64(32)
    low = np.uint64(0xFFFFFFFF)
    last = np.uint64(0xFFFFFFFE)
    state = _mixed(np.uint64(seed) + _GOLD)
    unit = 2.0**-32
    for i in range(ny):
        for j in range(nx):
            mean = lam[i, j]
            if mean < _TOP:
                if mean <= 0:
                    out[i, j] = 0
                    continue
                state = state + _GOLD
                word = _mixed(state)
                u, v = min(word >> half, last), (word & low) * unit
                if mean < _KNEE:
                    row = int(mean * _FINE)
                    rest = mean - row * (1.0 / _FINE)
                else:
                    row = int((mean - _KNEE) * _COARSE)
                    rest = mean - _KNEE - row * (1.0 / _COARSE)
                    row += _KNEE * _FINE
                n = int(guide[row, u >> np.uint64(24)])
                while cumulative[row, n] <= u:
                    n += 1
                if v >= 1 - rest:  # else surely below exp(−rest): what the table leaves adds nothing
                    p = exp(-rest)
                    k, total = 0, p
                    while v >= total and k < 30:
                        k += 1
                        p *= rest / k
                        total += p
                    n += k
            elif mean < 1e9:
                n, state = _many(mean, state)
            else:
                n = int(mean)
            out[i, j] = min(n, top)


@njit(cache=True)
def add_normal(image: np.ndarray, seed: int, sigma: float):
    """Add read-out noise of rms ``sigma`` to ``image`` (ny, nx) float, in place (sum of four uniforms: to 3.5 σ)."""
    state = _mixed(np.uint64(seed) + _GOLD)
    scale = sigma * sqrt(3.0)
    part = np.uint64(0xFFFF)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            state = state + _GOLD
            w = _mixed(state)
            s = (w & part) + ((w >> np.uint64(16)) & part) + ((w >> np.uint64(32)) & part) + (w >> np.uint64(48))
            image[i, j] += scale * (s / 65536.0 - 2.0)
