"""Images and patterns compared: shift between two images, place of the direct beam, alignment of a series.

Places are (x, y) in pixels, pixel j reaching from j to j + 1.
"""

from __future__ import annotations

import numpy as np

from credo.kernels.untyped import fft, ndimage
from credo.model.errors import CannotDo, UnreadableInput

__all__ = ["aligned", "beam_centre", "foreshortened", "shift_between", "translated"]

#: Blur that is taken off an image before it is compared, and that its noise is seen through [px].
_COARSE, _FINE = 16.0, 1.2
#: Rms width of the window in which the direct beam is centred [px], how often at most, and until it stands still [px].
_WINDOW, _ROUNDS, _STILL = 2.5, 12, 1e-4


def shift_between(
    a: np.ndarray, b: np.ndarray, valid: np.ndarray | None = None, reach: float = np.inf
) -> tuple[np.ndarray, float]:
    """(shift (2,) [px], height of its peak in standard deviations): b is a, moved by the shift.

    Cross-correlation of the images divided by their own blur, under a Hann window; the peak by parabolas. ``valid``:
    False where the camera's pixels are not like the others: what does not move there would win. ``reach``: the
    longest shift that is looked for [px].
    """
    if a.shape != b.shape or a.ndim != 2 or min(a.shape) < 32:
        raise UnreadableInput(f"images of {a.shape} and {b.shape} cannot be compared", "two of at least 32 pixels")
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in a.shape)).astype(np.float32)
    fa, fb = (fft.rfft2(_flat(image, valid) * window) for image in (a, b))
    map_ = fft.irfft2(fb * np.conj(fa), s=a.shape)
    far = np.hypot(*np.meshgrid(*(np.minimum(np.arange(n), n - np.arange(n)) for n in a.shape), indexing="ij")) > reach
    i, j = np.unravel_index(int(np.where(far, -np.inf, map_).argmax()), a.shape)
    height = float((map_[i, j] - map_.mean()) / map_.std())
    shift = []
    for axis, k in ((1, int(j)), (0, int(i))):
        n = a.shape[axis]
        line = map_[i] if axis == 1 else map_[:, j]
        low, mid, high = (float(line[(k + d) % n]) for d in (-1, 0, 1))
        bend = 2 * mid - low - high
        sub = float(np.clip((high - low) / (2 * bend), -0.5, 0.5)) if bend > 0 else 0.0
        shift.append((k + n // 2) % n - n // 2 + sub)
    return np.array(shift), height


def _flat(image: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """``image`` over its blur, less one; bad pixels (not ``valid``, or far brighter than the blur) are zero.

    What is dark is clipped, lest one crystal at the border outweigh the grain of all the film.
    """
    data = image.astype(np.float32)
    weight = np.ones_like(data) if valid is None else valid.astype(np.float32)
    for _ in range(2):
        share = np.maximum(ndimage.gaussian_filter(weight, _COARSE), 1e-3)
        coarse = np.maximum(ndimage.gaussian_filter(data * weight, _COARSE) / share, 1e-6)
        weight *= data < 4 * coarse + 20
    fine = ndimage.gaussian_filter(np.where(weight > 0, data / coarse - 1, 0), _FINE)
    limit = 4 * float(np.median(np.abs(fine[::3, ::3]))) + 1e-9
    return np.clip(fine, -limit, limit)


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
