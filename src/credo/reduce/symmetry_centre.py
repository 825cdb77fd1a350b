"""The centre of a pattern whose direct beam is hidden: the point about which the mean image is most nearly inverted."""

from __future__ import annotations

import numpy as np
import scipy.fft

__all__ = ["symmetry_centre"]


def symmetry_centre(
    mean: np.ndarray, bad: np.ndarray, binning: int = 4, least_overlap: float = 0.25
) -> tuple[tuple[float, float], float]:
    """(x, y) [px] and the correlation of the image with its inversion about that point.

    mean: (ny, nx) counts; bad: (ny, nx) bool. The inelastic glow is symmetric about the beam, and so, the Ewald sphere
    being nearly flat, are Friedel pairs. For every centre c at once, by FFT: the correlation of f(c + r) with f(c − r)
    over the pixels r where both are good (masked normalised correlation, Padfield 2012, of the image with its own
    inversion), f the logarithm of the counts.
    """
    good, value = _binned(~bad, binning), _binned(np.where(bad, 0, mean), binning)
    weight = (good > 0.5 * binning**2).astype(float)
    level = np.where(weight > 0, value / np.maximum(good, 1), 0)
    floor = max(float(np.median(level[weight > 0])) if weight.any() else 1.0, 1e-6)
    f = np.where(weight > 0, np.log1p(np.maximum(level, 0) / (0.1 * floor)), 0)
    f -= (f * weight).sum() / max(weight.sum(), 1)
    shape = [scipy.fft.next_fast_len(2 * n, real=True) for n in f.shape]

    def fold(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Σ_x a(x) b(2c − x) at index 2c."""
        both = scipy.fft.rfft2(a, shape) * scipy.fft.rfft2(b, shape)
        return scipy.fft.irfft2(both, shape)[: 2 * f.shape[0] - 1, : 2 * f.shape[1] - 1]

    n = fold(weight, weight)
    s = fold(f * weight, weight)
    enough = n > least_overlap * weight.sum()
    n = np.maximum(n, 1)
    across = fold(f * weight, f * weight) - s**2 / n
    along = fold(f**2 * weight, weight) - s**2 / n
    cc = np.where(enough & (along > 1e-9 * along.max()), across / np.maximum(along, 1e-12), -1)
    j, i = (int(v) for v in np.unravel_index(int(np.argmax(cc)), cc.shape))
    y, x = j + _vertex(cc[:, i], j), i + _vertex(cc[j], i)
    return ((x / 2 + 0.5) * binning, (y / 2 + 0.5) * binning), float(cc[j, i])


def _binned(image: np.ndarray, side: int) -> np.ndarray:
    ny, nx = (s // side for s in image.shape)
    return image[: ny * side, : nx * side].reshape(ny, side, nx, side).sum(axis=(1, 3), dtype=float)


def _vertex(line: np.ndarray, i: int) -> float:
    """How far from i the parabola through i − 1, i, i + 1 has its top."""
    if not 0 < i < len(line) - 1:
        return 0.0
    bend = line[i - 1] - 2 * line[i] + line[i + 1]
    return float(np.clip(0.5 * (line[i - 1] - line[i + 1]) / bend, -0.5, 0.5)) if bend < 0 else 0.0
