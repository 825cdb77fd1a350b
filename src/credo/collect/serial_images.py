"""Patterns compared: place of the direct beam, alignment of a series; images foreshortened by a tilt.

Places are (x, y) in pixels, pixel j reaching from j to j + 1.
"""

from __future__ import annotations

import numpy as np

from credo.kernels.untyped import ndimage
from credo.model.errors import CannotDo

__all__ = ["aligned", "beam_centre", "foreshortened", "translated"]

#: Rms width of the window in which the direct beam is centred [px], how often at most, and until it stands still [px].
_WINDOW, _ROUNDS, _STILL = 2.5, 12, 1e-4


def foreshortened(image: np.ndarray, matrix: np.ndarray, centre: np.ndarray, ratio: float) -> np.ndarray:
    """``image`` as it would be if everything across the tilt axis were ``ratio`` times as long, about ``centre`` [px].

    ``matrix`` (2, 2): image pixels per µm along the tilt axis and across it.
    """
    change = matrix @ np.diag([1.0, 1 / ratio]) @ np.linalg.inv(matrix)
    back = change[::-1, ::-1]
    middle = np.asarray(centre)[::-1] - 0.5
    return ndimage.affine_transform(image.astype(np.float32), back, middle - back @ middle, order=1, mode="nearest")


def beam_centre(frame: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Place (2,) of the direct beam in a focused pattern, by its moments under a Gaussian window that follows it.

    Works on saturated beams, as their plateau is even. Raises CannotDo when nothing is bright.
    """
    data = frame.astype(np.float64) if valid is None else np.where(valid, frame, 0).astype(np.float64)
    smooth = ndimage.uniform_filter(data, 7)
    i, j = np.unravel_index(int(smooth.argmax()), smooth.shape)
    if smooth[i, j] <= 0:
        raise CannotDo("the pattern is dark", "is the beam on?")
    x, y = j + 0.5, i + 0.5
    h = 14
    y0, x0 = max(int(i) - h, 0), max(int(j) - h, 0)
    patch = data[y0 : int(i) + h + 1, x0 : int(j) + h + 1]
    patch = np.maximum(patch - np.median(patch), 0)
    if valid is not None:
        patch = patch * valid[y0 : int(i) + h + 1, x0 : int(j) + h + 1]
    py, px = (low + 0.5 + np.arange(n) for low, n in zip((y0, x0), patch.shape))
    for _ in range(_ROUNDS):
        # the window is a product of one along x and one along y: so are its sums
        wy, wx = (np.exp(-0.5 * ((p - at) / _WINDOW) ** 2) for p, at in ((py, y), (px, x)))
        columns, rows = wy @ patch, patch @ wx
        total = max(float(columns @ wx), 1e-12)
        # seen through a window of its own width, a centre moves by half
        dx, dy = float(columns @ (wx * px)) / total - x, float(rows @ (wy * py)) / total - y
        x, y = x + 2 * dx, y + 2 * dy
        if abs(dx) + abs(dy) < _STILL:
            break
    return np.array([x, y])


def aligned(centres: np.ndarray) -> np.ndarray:
    """Translations (n, 2) [px] that bring patterns with direct beams at ``centres`` (n, 2) to their median."""
    return np.median(centres, axis=0) - centres


def translated(frame: np.ndarray, by: np.ndarray) -> np.ndarray:
    """``frame`` moved by ``by`` (x, y) [px], linear between pixels; zero beyond the edge."""
    return ndimage.shift(frame.astype(np.float32), (by[1], by[0]), order=1, mode="constant")
