"""One frame's share of many reflections: whose pixel is whose, the local background, summed and fitted counts."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["accumulate_free", "claim", "frame_level", "gaussian_shape", "measure", "moments", "release"]

#: Profiles end at this Mahalanobis distance squared, 3.5 σ of a Gaussian.
REACH2 = 12.25


def gaussian_shape(n: int = 65) -> np.ndarray:
    """exp(−r²/2) at ``n`` equal steps of r² from 0 to REACH2: the profile shape that :func:`measure` looks up."""
    return np.exp(-0.5 * np.linspace(0, REACH2, n)) / (1 - np.exp(-0.5 * REACH2))


@njit(cache=True, fastmath=True)
def accumulate_free(
    frame: np.ndarray, owner: np.ndarray, limit: np.ndarray, total: np.ndarray, count: np.ndarray
) -> None:
    """Add the pixels that no spot claims and that are not above ``limit`` (ny, nx) to ``total``."""
    for i in range(frame.shape[0]):
        for j in range(frame.shape[1]):
            v = np.float32(frame[i, j])
            if owner[i, j] < 0 and v <= limit[i, j]:
                total[i, j] += v
                count[i, j] += 1


@njit(cache=True, fastmath=True)
def frame_level(frame: np.ndarray, mean: np.ndarray, bad: np.ndarray, gain: float, step: int) -> float:
    """Σ frame / Σ mean over every ``step``-th pixel both ways, without what stands out."""
    s = 0.0
    m = 0.0
    for i in range(step // 2, frame.shape[0], step):
        for j in range(step // 2, frame.shape[1], step):
            mu = mean[i, j]
            v = np.float32(frame[i, j])
            if not bad[i, j] and v <= mu + 4.5 * np.sqrt(gain * mu) + 2 * gain:
                s += v
                m += mu
    return float((s + 1.0) / (m + 1.0))


@njit(cache=True, fastmath=True)
def claim(x: np.ndarray, y: np.ndarray, half: int, owner: np.ndarray, near: np.ndarray) -> None:
    """Give each pixel within ``half`` of a spot to the nearest spot: ``owner`` (ny, nx) index, ``near`` distance²."""
    ny, nx = owner.shape
    for n in range(len(x)):
        i0, j0 = int(np.floor(y[n])), int(np.floor(x[n]))
        for i in range(max(0, i0 - half), min(ny, i0 + half + 1)):
            for j in range(max(0, j0 - half), min(nx, j0 + half + 1)):
                d = (i + 0.5 - y[n]) ** 2 + (j + 0.5 - x[n]) ** 2
                if owner[i, j] < 0 or d < near[i, j]:
                    owner[i, j] = n
                    near[i, j] = d


@njit(cache=True)
def release(x: np.ndarray, y: np.ndarray, half: int, owner: np.ndarray) -> None:
    """Undo :func:`claim`."""
    ny, nx = owner.shape
    for n in range(len(x)):
        i0, j0 = int(np.floor(y[n])), int(np.floor(x[n]))
        for i in range(max(0, i0 - half), min(ny, i0 + half + 1)):
            for j in range(max(0, j0 - half), min(nx, j0 + half + 1)):
                owner[i, j] = -1


@njit(cache=True, fastmath=True)
def measure(
    frame: np.ndarray, mean: np.ndarray, bad: np.ndarray, owner: np.ndarray, x: np.ndarray, y: np.ndarray,
    cov: np.ndarray, shape: np.ndarray, expected: np.ndarray, half: int, ring: int, gain: float, level: float,
    firm: float, top: float, out: np.ndarray,
) -> None:  # fmt: skip
    """Counts of each spot (x, y) on one frame, into ``out`` (n, 10).

    The background is ``mean`` times a factor: that of the free pixels within ``ring``, as far as their counts outweigh
    ``firm`` counts at the frame's ``level``. ``cov`` (n, 3): xx, xy, yy of the profile P [px²], whose ``shape`` is
    tabulated over Mahalanobis distance squared. ``expected`` (n,): counts the spot should have on this frame; they
    set the weights 1/v, v = gain (b + expected P). Columns: Σ(c − b)/coverage, its variance, A = Σ P (c − b)/v,
    B = Σ P²/v, coverage ΣP, mean background, the first moments of c − b about (x, y) within the profile's core, and
    the free pixels' counts and Σ mean. A spot with a pixel at ``top`` counts or more has coverage −1.
    """
    ny, nx = frame.shape
    fine = (len(shape) - 1) / REACH2
    for n in range(len(x)):
        i0, j0 = int(np.floor(y[n])), int(np.floor(x[n]))
        free = 0.0
        base = 0.0
        seen = 0
        for i in range(max(0, i0 - ring), min(ny, i0 + ring + 1)):
            for j in range(max(0, j0 - ring), min(nx, j0 + ring + 1)):
                if owner[i, j] >= 0 or bad[i, j]:
                    continue
                v = float(frame[i, j])
                mu = mean[i, j]
                # what neither a free pixel nor its noise explains is somebody else's spot
                if v <= mu + 4.5 * np.sqrt(gain * mu) + 2 * gain:
                    free += v
                    base += mu
                    seen += 1
        if seen <= 10:
            free = 0.0
            base = 0.0
        factor = (free + firm * level) / (base + firm) if base + firm > 0 else level
        relative = gain / max(free + firm * level, gain)
        xx, xy, yy = cov[n, 0], cov[n, 1], cov[n, 2]
        det = xx * yy - xy * xy
        norm = 1.0 / (2 * np.pi * np.sqrt(det))
        s = 0.0
        noise = 0.0
        flat = 0.0
        a = 0.0
        b2 = 0.0
        ab = 0.0
        cover = 0.0
        mx = 0.0
        my = 0.0
        pixels = 0
        over = False
        for i in range(max(0, i0 - half), min(ny, i0 + half + 1)):
            for j in range(max(0, j0 - half), min(nx, j0 + half + 1)):
                if owner[i, j] != n or bad[i, j]:
                    continue
                dx, dy = j + 0.5 - x[n], i + 0.5 - y[n]
                r2 = (yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy) / det
                if r2 >= REACH2:
                    continue
                c = float(frame[i, j])
                over = over or c >= top
                t = r2 * fine
                k = int(t)
                p = norm * (shape[k] + (t - k) * (shape[k + 1] - shape[k]))
                b = mean[i, j] * factor
                e = c - b
                v = gain * (b + expected[n] * p + 1e-3)
                s += e
                flat += b
                noise += gain * c
                a += p * e / v
                b2 += p * p / v
                ab += p * b / v
                cover += p
                pixels += 1
                if r2 < 4:
                    mx += e * dx
                    my += e * dy
        if pixels == 0 or cover < 0.3:
            out[n, :] = 0
            continue
        out[n, 0] = s / cover
        out[n, 1] = (max(noise, gain * flat) + flat * flat * relative) / cover**2 + gain * gain * 0.25
        out[n, 2] = a
        # the shared background adds a common error: 1/B grows by (Σ P b/v / B)² relative²
        out[n, 3] = b2 / (1 + relative * ab * ab / max(b2, 1e-30))
        out[n, 4] = -1.0 if over else cover
        out[n, 5] = flat / pixels
        out[n, 6] = mx
        out[n, 7] = my
        # A must shrink with B so that A/B stays the estimate
        out[n, 2] *= out[n, 3] / b2
        out[n, 8] = free
        out[n, 9] = base


@njit(cache=True, fastmath=True)
def moments(
    part: np.ndarray, x: float, y: float, rounds: int, start: float
) -> tuple[float, float, float, float, float]:
    """Centre and covariance (x, y, xx, xy, yy) of a background-free spot image by adaptive Gaussian weights.

    A Gaussian seen through its own shape has half its covariance, so C is found as twice the weighted one.
    """
    xx, xy, yy = start, 0.0, start
    for _ in range(rounds):
        det = xx * yy - xy * xy
        s = 0.0
        sx = 0.0
        sy = 0.0
        sxx = 0.0
        sxy = 0.0
        syy = 0.0
        for i in range(part.shape[0]):
            for j in range(part.shape[1]):
                dx, dy = j + 0.5 - x, i + 0.5 - y
                r2 = (yy * dx * dx - 2 * xy * dx * dy + xx * dy * dy) / det
                if r2 > 16:
                    continue
                w = np.exp(-0.5 * r2) * part[i, j]
                s += w
                sx += w * dx
                sy += w * dy
                sxx += w * dx * dx
                sxy += w * dx * dy
                syy += w * dy * dy
        if s <= 0:
            return x, y, -1.0, 0.0, -1.0
        ex, ey = sx / s, sy / s
        x, y = x + min(max(2 * ex, -1.0), 1.0), y + min(max(2 * ey, -1.0), 1.0)
        xx = min(max(2 * (sxx / s - ex * ex), 0.15), 60.0)
        yy = min(max(2 * (syy / s - ey * ey), 0.15), 60.0)
        xy = 2 * (sxy / s - ex * ey)
        if xy * xy > 0.8 * xx * yy:
            xy = 0.0
    return x, y, xx, xy, yy
