"""What the frames look like without spots: the mean of each pixel in time, its noise, and the detector's gain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.kernels.images import accumulate, accumulate_clipped
from credo.model import Frames

__all__ = ["Background", "as_counts", "mean_background"]


@dataclass(frozen=True)
class Background:
    """``mean`` (ny, nx) float32 [counts], free of spots; ``raw_mean`` (ny, nx) with them; ``noise`` (ny, nx): variance
    between neighbouring frames; ``gain``: variance over mean of a single pixel [counts per electron]; ``level``: median
    of ``mean``; ``gain_box``, ``gain_sum``: variance over mean of sums over 3×3 and 5×5 pixels, more than ``gain``
    where one electron lights several pixels, as in hybrid detectors; ``pedestal``: counts that carry no noise."""

    mean: np.ndarray
    raw_mean: np.ndarray
    noise: np.ndarray
    gain: float
    level: float
    gain_sum: float = 1.0
    pedestal: float = 0.0
    gain_box: float = 1.0


def as_counts(frame: np.ndarray, pedestal: float = 0.0) -> np.ndarray:
    """A frame as the kernels take it: contiguous, uint16 or float32, without its pedestal."""
    if frame.dtype == np.uint16 and frame.dtype.isnative and pedestal == 0:
        return np.ascontiguousarray(frame)
    frame = np.ascontiguousarray(frame, dtype=np.float32)
    return np.nan_to_num(frame - np.float32(pedestal), nan=0.0, posinf=0.0, neginf=0.0)


def mean_background(frames: Frames, most: int = 150) -> Background:
    """Two passes over at most ``most`` evenly chosen pairs of frames: the mean, then the mean without what stands out.

    The noise is that of neighbouring frames' differences, which slow changes do not touch; see :func:`_gains`.
    """
    n, ny, nx = frames.shape
    step = max(1, n // most)
    chosen = range(0, n - 1, step) if n > 1 else range(0)
    total, diff2 = np.zeros((ny, nx), dtype=np.float32), np.zeros((ny, nx), dtype=np.float32)
    for i in chosen:
        accumulate(as_counts(frames[i + 1]), as_counts(frames[i]), total, diff2)
    count = max(len(chosen), 1)
    if n == 1:
        total += as_counts(frames[0])
    raw = total / count
    noise = diff2 / (2 * count)
    gain, gain_box, gain_sum, pedestal = _gains(frames, raw)
    mean = raw
    for _turn in range(2):
        net = np.maximum(mean - pedestal, 0.05 * gain)
        limit = (mean + 4 * np.sqrt(gain * net) + gain).astype(np.float32)
        clean, seen = np.zeros((ny, nx), dtype=np.float32), np.zeros((ny, nx), dtype=np.int32)
        for i in chosen:
            accumulate_clipped(as_counts(frames[i + 1]), limit, clean, seen)
        clipped = np.where(seen > 0, clean / np.maximum(seen, 1), mean).astype(np.float32)
        settled = np.mean(np.abs(clipped - mean) > 0.2 * np.sqrt(gain * net)) < 0.01
        mean = clipped
        if settled:
            break
    mean = _smoothed(mean, count, gain, pedestal)
    return Background(mean, raw, noise, gain, float(np.median(mean)), gain_sum, pedestal, gain_box)


def _gains(frames: Frames, mean: np.ndarray, pairs: int = 24) -> tuple[float, float, float, float]:
    """Gain of single pixels, of sums over 3×3 and over 5×5 pixels, and the pedestal.

    Variances of differences of neighbouring frames, pooled in tiles without what stands out, against the tiles' means:
    the median ratio is the gain. Where a line through the tiles leaves a large offset, gain · (mean − pedestal) = var.
    """
    n, ny, nx = frames.shape
    if n < 4 or min(ny, nx) < 80:
        return 1.0, 1.0, 1.0, 0.0
    first = np.unique(np.linspace(0, n - 2, min(pairs, n - 1)).astype(int))
    both = [(as_counts(frames[i]).astype(np.float32), as_counts(frames[i + 1]).astype(np.float32)) for i in first]
    # single pixels of a grid are enough
    small = [(a[::3, ::3], b[::3, ::3]) for a, b in both]
    level, var = _tile_noise(small, mean[::3, ::3], 14)
    gain, pedestal = _line(level, var)
    box, wide = (max(_gain_of_sums(both, mean, pedestal, side, gain), gain) for side in (3, 5))
    return gain, box, wide, pedestal


def _gain_of_sums(pairs: list, mean: np.ndarray, pedestal: float, side: int, otherwise: float) -> float:
    """Variance over mean of sums over ``side``² pixels."""
    sums = [(_binned(a, side), _binned(b, side)) for a, b in pairs]
    level, var = _tile_noise(sums, _binned(mean, side), 40 // side)
    net = level - side**2 * pedestal
    fine = net > 0
    return float(np.median(var[fine] / net[fine])) if fine.sum() > 10 else otherwise


def _tile_noise(pairs: list, mean: np.ndarray, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and half the variance of the pairs' differences in tiles, without values that stand out of ``mean``."""
    guess = 1.5
    for _turn in range(2):
        limit = mean + 5 * np.sqrt(guess * np.maximum(mean, 0)) + 3 * guess
        d2, both, used = (np.zeros(mean.shape, dtype=np.float32) for _ in range(3))
        for a, b in pairs:
            calm = (a <= limit) & (b <= limit)
            d2 += np.where(calm, (a - b) ** 2, 0)
            both += np.where(calm, a + b, 0)
            used += calm
        d2, both, used = (_binned(v, tile).ravel() for v in (d2, both, used))
        fine = (used > 0.8 * used.max()) & (both > 0)
        level, var = both[fine] / used[fine] / 2, d2[fine] / used[fine] / 2
        if not fine.any():
            return np.empty(0), np.empty(0)
        guess = float(np.median(var / level))
    return level, var


def _line(level: np.ndarray, var: np.ndarray) -> tuple[float, float]:
    """Gain and pedestal from tiles' means and variances; the pedestal only where it is most of the faintest level."""
    if len(level) < 20:
        return 1.0, 0.0
    gain, low = float(np.median(var / level)), float(np.percentile(level, 2))
    order = np.argsort(level)
    a, b = order[: len(order) // 4], order[-(len(order) // 4) :]
    run = float(np.median(level[b]) - np.median(level[a]))
    if run > 0.02 * low and low > 5:
        slope = float(np.median(var[b]) - np.median(var[a])) / run
        pedestal = float(np.median(level - var / slope)) if slope > 0 else 0.0
        if 0.6 * low < pedestal < 1.02 * low:
            return slope, pedestal
    return float(np.clip(gain, 0.05, 1e4)), 0.0


def _binned(image: np.ndarray, side: int) -> np.ndarray:
    """Sums over ``side``² pixels, what is left over at the far borders cut off."""
    ny, nx = (s // side for s in image.shape)
    return image[: ny * side, : nx * side].reshape(ny, side, nx, side).sum(axis=(1, 3))


def _smoothed(mean: np.ndarray, count: int, gain: float, pedestal: float) -> np.ndarray:
    """Where too few electrons were counted for a pixel's own mean, its neighbourhood's: blended with a 3×3 mean.

    Of a few frames the spots are a part of the mean: there it is a wide median.
    """
    from scipy.ndimage import median_filter, uniform_filter

    if count < 8:
        return median_filter(mean, 11, mode="nearest").astype(np.float32)
    wide = uniform_filter(mean, 3, mode="nearest")
    own = np.clip((mean - pedestal) * count / gain / 400, 0, 1)
    return (own * mean + (1 - own) * wide).astype(np.float32)
