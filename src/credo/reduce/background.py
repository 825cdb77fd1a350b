"""What the frames look like without spots: the mean of each pixel in time, its noise, and the detector's gain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.kernels.images import accumulate, accumulate_clipped
from credo.model import Frames

__all__ = ["Background", "mean_background"]


@dataclass(frozen=True)
class Background:
    """``mean`` (ny, nx) float32 [counts], free of spots; ``raw_mean`` (ny, nx) with them; ``noise`` (ny, nx): variance
    between neighbouring frames; ``gain``: counts per electron, from noise over mean; ``level``: median of ``mean``."""

    mean: np.ndarray
    raw_mean: np.ndarray
    noise: np.ndarray
    gain: float
    level: float


def mean_background(frames: Frames, most: int = 150) -> Background:
    """Two passes over at most ``most`` evenly chosen pairs of frames: the mean, then the mean without what stands out.

    The gain is the median over pixels of (variance of neighbouring frames' difference)/2/mean, which slow changes do
    not touch.
    """
    n, ny, nx = frames.shape
    step = max(1, n // most)
    chosen = range(0, n - 1, step) if n > 1 else range(0)
    total, diff2 = np.zeros((ny, nx), dtype=np.float32), np.zeros((ny, nx), dtype=np.float32)
    for i in chosen:
        accumulate(frames[i + 1], frames[i], total, diff2)
    count = max(len(chosen), 1)
    if n == 1:
        total = np.asarray(frames[0], dtype=np.float32)
    raw = total / count
    noise = diff2 / (2 * count)
    gain = _gain(raw, noise) if n > 3 else 1.0
    clean, seen = np.zeros((ny, nx), dtype=np.float32), np.zeros((ny, nx), dtype=np.int32)
    limit = (raw + 4 * np.sqrt(gain * np.maximum(raw, 0.05)) + gain).astype(np.float32)
    for i in chosen:
        accumulate_clipped(frames[i + 1], limit, clean, seen)
    mean = np.where(seen > 0, clean / np.maximum(seen, 1), raw).astype(np.float32)
    mean = _smoothed(mean, count)
    return Background(mean, raw, noise, gain, float(np.median(mean)))


def _gain(mean: np.ndarray, noise: np.ndarray) -> float:
    lit = mean > max(0.02, 0.2 * float(np.median(mean)))
    if lit.sum() < 100:
        return 1.0
    return float(np.clip(np.median(noise[lit] / mean[lit]), 0.05, 1e4))


def _smoothed(mean: np.ndarray, count: int) -> np.ndarray:
    """Where too few electrons were counted for a pixel's own mean, its neighbourhood's: a 3×3 mean, blended."""
    from scipy.ndimage import uniform_filter

    wide = uniform_filter(mean, 3, mode="nearest")
    own = np.clip(mean * count / 400, 0, 1)
    return (own * mean + (1 - own) * wide).astype(np.float32)
