"""What a measured intensity says of its logarithm, when true intensities are positive and noise is not small."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["log_observations"]

_NODES = 20


@njit(cache=True)
def _moments(low, high, e, de, knee):
    """Mean and variance of arsinh(u²/2c) for u half normal (centric Wilson), times N(e − u², de²) where de > 0."""
    total = first = second = 0.0
    # the exponent's highest value, at u² = e − de², keeps the weights from vanishing
    best = max(e - de * de, low * low)
    top = -0.5 * (best + ((e - best) / de) ** 2) if de > 0 else 0.0
    for i in range(_NODES):
        u = low + (high - low) * (i + 0.5) / _NODES
        log = -0.5 * u * u - top
        if de > 0:
            log -= 0.5 * ((e - u * u) / de) ** 2
        weight = np.exp(log)
        y = np.arcsinh(u * u / (2 * knee))
        total += weight
        first += weight * y
        second += weight * y * y
    mean = first / total
    return mean, max(second / total - mean * mean, 1e-12)


@njit(cache=True)
def log_observations(e: np.ndarray, de: np.ndarray, knee: float) -> tuple[np.ndarray, np.ndarray]:
    """y and v (n,) of normalised intensities e with their σ (n,): the normal likelihood of arsinh(e/2c) that, with the
    mean and variance a priori, has the mean and variance a posteriori (a step of expectation propagation).

    A priori e is that of a centric crystal, e = u², u normal. What is known well (e > 8σ) needs none of this. Where the
    measurement says next to nothing (1/v below 0.05), v is 10³.
    """
    y, v = np.zeros(len(e)), np.full(len(e), 1e3)
    m0, v0 = _moments(0.0, 5.0, 0.0, 0.0, knee)
    for i in range(len(e)):
        if e[i] > 8 * de[i]:
            y[i], v[i] = np.arcsinh(e[i] / (2 * knee)), de[i] ** 2 / (e[i] ** 2 + 4 * knee**2)
            continue
        low = np.sqrt(max(e[i] - 5 * de[i], 0.0))
        # beyond u = 5 there is nothing a priori
        high = min(np.sqrt(max(e[i] + 5 * de[i], 0.1 * de[i])), max(5.0, np.sqrt(max(e[i], 0.0)) + 1))
        m, s = _moments(low, high, e[i], de[i], knee)
        w = 1 / s - 1 / v0
        if w > 0.05:
            y[i], v[i] = (m / s - m0 / v0) / w, 1 / w
    return y, v
