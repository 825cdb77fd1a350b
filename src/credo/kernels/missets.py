"""The rocking-curve model of per-frame orientations: its normal equations, and the inverse of a banded matrix.

Frame f records of reflection r the share P of its rocking curve between the excitation errors at its start and end,
both moved by Δε = c·ω_f, where ω_f are the frame's two tilts. Its intensity is K_f I_r P. The intensities I_r are
eliminated exactly, so that the normal matrix couples only frames that share a reflection: it is banded.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = [
    "banded_factor",
    "banded_inverse",
    "banded_solve",
    "best_turns",
    "frame_shares",
    "rocking_equations",
    "rocking_fit",
]

_SQRT_HALF = math.sqrt(0.5)
_NORM = 1.0 / math.sqrt(2.0 * math.pi)


@njit(cache=True)
def frame_shares(low: np.ndarray, high: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Share (n,) of a Gaussian rocking curve of rms ``width`` between ε = ``low`` and ``high``, all [Å⁻¹]."""
    out = np.empty(low.size)
    for i in range(low.size):
        a, b = low[i] / width[i], high[i] / width[i]
        out[i] = 0.5 * abs(math.erf(b * _SQRT_HALF) - math.erf(a * _SQRT_HALF))
    return out


@njit(cache=True)
def _share(low, high, width):
    """Share, its derivative by a shift of both ends, and by ln width."""
    sign = 1.0 if high >= low else -1.0
    a, b = low / width, high / width
    p = 0.5 * sign * (math.erf(b * _SQRT_HALF) - math.erf(a * _SQRT_HALF))
    ga, gb = _NORM * math.exp(-0.5 * a * a), _NORM * math.exp(-0.5 * b * b)
    return p, sign * (gb - ga) / width, sign * (a * ga - b * gb)


@njit(cache=True)
def rocking_fit(start, frame, intensity, variance, low, high, tilt, width, state, slope, kappa2):
    """I_r (m,) by weighted least squares, and per observation (n,) its residual, model variance and mean.

    start: (m + 1,) where each reflection's observations begin; frame, intensity, variance, low, high: (n,); tilt:
    (n, 2) dε/dω [Å⁻¹/rad]; width: (m,) [Å⁻¹]; state: (n_frames, 3) two tilts [rad] and ln K. slope: counts of
    variance per count of intensity; kappa2: squared relative error of the model.
    """
    m, n = width.size, frame.size
    scale, residual, model_variance, mean = np.zeros(m), np.zeros(n), np.ones(n), np.zeros(n)
    for r in range(m):
        for turn in range(2):
            top = bottom = 0.0
            for i in range(start[r], start[r + 1]):
                f = frame[i]
                shift = tilt[i, 0] * state[f, 0] + tilt[i, 1] * state[f, 1]
                p, _, _ = _share(low[i] + shift, high[i] + shift, width[r])
                p *= math.exp(state[f, 2])
                mean[i] = p
                v = variance[i]
                if turn == 1:
                    mu = scale[r] * p
                    v = max(v + slope * (mu - intensity[i]), 0.2 * v)
                    v += kappa2 * scale[r] * max(mu, 0.01 * scale[r])
                model_variance[i] = v
                top += p * intensity[i] / v
                bottom += p * p / v
            scale[r] = max(top / bottom, 0.0) if bottom > 0 else 0.0
        for i in range(start[r], start[r + 1]):
            mean[i] *= scale[r]
            residual[i] = intensity[i] - mean[i]
    return scale, residual, model_variance, mean


@njit(cache=True)
def rocking_equations(start, frame, low, high, tilt, width, share_mosaic, state, scale, residual, weight, reach):
    """Normal equations of the frames' (tilt, tilt, ln K), intensities eliminated, and of two ln widths by themselves.

    share_mosaic: (m,) part of width² that mosaicity makes. weight: (n,) 1/variance. Returns the lower band
    (3 n_frames, 3 (reach + 1)) as ``banded_factor`` takes it, the right side (3 n_frames,), and (2, 2), (2,) of
    the widths.
    """
    n_frames = state.shape[0]
    band = np.zeros((3 * n_frames, 3 * (reach + 1)))
    rhs = np.zeros(3 * n_frames)
    hw, gw = np.zeros((2, 2)), np.zeros(2)
    longest = 0
    for r in range(width.size):
        longest = max(longest, start[r + 1] - start[r])
    jac, pw, wj = np.zeros((longest, 3)), np.zeros(longest), np.zeros((longest, 2))
    for r in range(width.size):
        if scale[r] <= 0:
            continue
        first, last = start[r], start[r + 1]
        bottom = 0.0
        cw = np.zeros(2)
        for i in range(first, last):
            f, k = frame[i], i - first
            shift = tilt[i, 0] * state[f, 0] + tilt[i, 1] * state[f, 1]
            p, dp, dw = _share(low[i] + shift, high[i] + shift, width[r])
            gain = math.exp(state[f, 2])
            jac[k, 0] = scale[r] * gain * dp * tilt[i, 0]
            jac[k, 1] = scale[r] * gain * dp * tilt[i, 1]
            jac[k, 2] = scale[r] * gain * p
            pw[k] = gain * p
            wj[k, 0] = scale[r] * gain * dw * share_mosaic[r]
            wj[k, 1] = scale[r] * gain * dw * (1.0 - share_mosaic[r])
            bottom += weight[i] * pw[k] * pw[k]
            for c in range(2):
                cw[c] += weight[i] * pw[k] * wj[k, c]
        if bottom <= 0:
            continue
        for i in range(first, last):
            k, f = i - first, frame[i]
            for c in range(2):
                gw[c] += weight[i] * wj[k, c] * residual[i]
                for e in range(2):
                    hw[c, e] += weight[i] * wj[k, c] * (wj[k, e] - pw[k] * cw[e] / bottom)
            for a in range(3):
                rhs[3 * f + a] += weight[i] * jac[k, a] * residual[i]
            for l in range(first, i + 1):
                # observations of a reflection run forwards in frames
                g, j = frame[l], l - first
                if f - g > reach:
                    continue
                cross = weight[i] * pw[k] * weight[l] * pw[j] / bottom
                for a in range(3):
                    row = 3 * f + a
                    for b in range(3):
                        col = 3 * g + b
                        if row >= col:
                            value = -cross * jac[k, a] * jac[j, b]
                            if i == l:
                                value += weight[i] * jac[k, a] * jac[k, b]
                            band[col, row - col] += value
    return band, rhs, hw, gw


@njit(cache=True)
def best_turns(start, frame, intensity, low, high, tilt, width, state, scale, variance, prior, turns, nu):
    """Turn about the axis (n_frames,) [rad], from the list ``turns`` around each frame's own, of least Student loss.

    Intensities stay; ``prior``: variance of the turn [rad²]. Finds frames that Gauss-Newton left in a wrong minimum.
    """
    n_frames, n_turns = state.shape[0], turns.size
    loss = np.zeros((n_frames, n_turns))
    for r in range(width.size):
        for i in range(start[r], start[r + 1]):
            f = frame[i]
            shift = tilt[i, 0] * state[f, 0] + tilt[i, 1] * state[f, 1]
            gain = scale[r] * math.exp(state[f, 2])
            for t in range(n_turns):
                move = shift + tilt[i, 0] * turns[t]
                p, _, _ = _share(low[i] + move, high[i] + move, width[r])
                z = intensity[i] - gain * p
                loss[f, t] += 0.5 * (nu + 1.0) * math.log1p(z * z / (nu * variance[i]))
    out = np.zeros(n_frames)
    for f in range(n_frames):
        for t in range(n_turns):
            loss[f, t] += 0.5 * (state[f, 0] + turns[t]) ** 2 / prior
        best = 0
        for t in range(1, n_turns):
            if loss[f, t] < loss[f, best]:
                best = t
        out[f] = turns[best]
    return out


@njit(cache=True)
def banded_factor(columns: np.ndarray) -> np.ndarray:
    """Cholesky factor L of a symmetric positive banded matrix: ``columns`` (n, b), [j, k] = A_{j+k, j}; L likewise.

    Plain loops on purpose: LAPACK's banded routine starts threads for bands this narrow and spends more on them.
    """
    f = columns.copy()
    n, b = f.shape
    for j in range(n):
        f[j, 0] = math.sqrt(f[j, 0])
        inv = 1.0 / f[j, 0]
        reach = min(b, n - j)
        for k in range(1, reach):
            f[j, k] *= inv
        for k in range(1, reach):
            x = f[j, k]
            if x != 0.0:
                for i in range(k, reach):
                    f[j + k, i - k] -= x * f[j, i]
    return f


@njit(cache=True)
def banded_solve(factor: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """x (n,) with L Lᵀ x = rhs, from ``banded_factor``."""
    n, b = factor.shape
    x = rhs.copy()
    for j in range(n):
        x[j] /= factor[j, 0]
        for k in range(1, min(b, n - j)):
            x[j + k] -= factor[j, k] * x[j]
    for j in range(n - 1, -1, -1):
        for k in range(1, min(b, n - j)):
            x[j] -= factor[j, k] * x[j + k]
        x[j] /= factor[j, 0]
    return x


@njit(cache=True)
def banded_inverse(factor: np.ndarray) -> np.ndarray:
    """The part of A⁻¹ inside the band, from ``banded_factor``, by the recursion of Takahashi, Fagan & Chin (1973).

    Returns Z (n, b) with Z[j, k] = (A⁻¹)_{j+k, j}.
    """
    n, b = factor.shape
    z = np.zeros((n, b))
    for j in range(n - 1, -1, -1):
        last = min(j + b, n)
        pivot = 1.0 / factor[j, 0]
        for i in range(last - 1, j - 1, -1):
            total = pivot if i == j else 0.0
            for k in range(j + 1, min(i + 1, last)):
                total -= factor[j, k - j] * z[k, i - k]
            for k in range(max(i, j) + 1, last):
                total -= factor[j, k - j] * z[i, k - i]
            z[j, i - j] = total * pivot
    return z
