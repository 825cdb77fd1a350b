"""How far one image of the specimen lies from another: sub-pixel, within the beam, with an error of its own.

Coarse: correlation of the contrast, normalised over the pixels that both images know (Padfield, IEEE Trans. Image
Process. 21 (2012) 2706). Fine: least squares on the difference, with outliers rejected; the error comes from how much
16 parts of the image disagree, so it holds whatever the noise is like.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.collect.seams import bridged, seams
from credo.kernels.untyped import fft, ndimage
from credo.model.errors import CannotDo

__all__ = ["Moved", "mended", "register"]

#: Edge to which images are binned for the search, and for the fit; share of the image that must overlap.
_COARSE, _FINE, _OVERLAP = 258, 1032, 0.12
#: Peak of the correlation over the scatter of the rest from which two images show the same place.
_CLEAR = 6.0
#: Gaussians that both images may be smoothed with before the fit [px], widest first; parts along an edge.
_SMOOTH, _PARTS = (3.0, 1.5), 4


@dataclass(frozen=True)
class Moved:
    """A feature at r in the reference lies at r + (x, y) [px] in the image; ``esd`` of each coordinate [px];
    ``clear``: the correlation's peak in scatters of the rest."""

    x: float
    y: float
    esd: float
    clear: float


def mended(image: np.ndarray) -> np.ndarray:
    """The image with a Timepix's cross bridged, and single bad pixels replaced by the median about them (float32)."""
    data = np.asarray(image, dtype=np.float32)
    middle = _median(data)
    return bridged(np.where(_bad(data, middle), middle, data))


def _median(data: np.ndarray) -> np.ndarray:
    """Median of three along rows, then along columns: no single bad pixel survives, at a tenth of the cost of the
    median of nine."""
    for _ in range(2):  # along columns, and turned, along rows
        wide = np.pad(data, ((1, 1), (0, 0)), mode="edge")
        a, b, c = wide[:-2], wide[1:-1], wide[2:]
        data = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c)).T
    return np.ascontiguousarray(data)


def _bad(data: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Pixels that differ from the median about them by more than noise and sharp detail can."""
    return np.abs(data - middle) > 8 * np.sqrt(np.maximum(middle, 1.0) + 0.01 * middle**2)


def register(
    reference: np.ndarray,
    image: np.ndarray,
    near: tuple[float, float] | None = None,
    within: float = np.inf,
    lit: np.ndarray | None = None,
) -> Moved:
    """The shift of ``image`` (ny, nx) against ``reference``, looked for ``within`` so many pixels of ``near``.

    Bad pixels, a Timepix's cross, what is outside the beam and the camera's border are left out. ``lit`` (ny, nx): what
    is in the beam of both, where dark things (a mesh's bars) belong to the image; found from each image if absent.
    Raises CannotDo where the two do not show the same place, or nothing with a contrast.
    """
    a, good_a = _contrast(reference, lit)
    b, good_b = _contrast(image, lit)
    step = max(max(a.shape) // _COARSE, 1)
    (x, y), clear = _searched(a, good_a, b, good_b, step, near, within)
    bin2 = max(max(a.shape) // _FINE, 1)
    (x, y), esd = _fitted(*_binned(a, good_a, bin2), *_binned(b, good_b, bin2), np.array([x, y]) / bin2)
    return Moved(float(x * bin2), float(y * bin2), float(esd * bin2), clear)


def _contrast(image: np.ndarray, lit: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The image over its local mean, less 1, and where it is known: lit, not a bad pixel, not the cross."""
    data = np.asarray(image, dtype=np.float32)
    middle = _median(data)
    bad = _bad(data, middle)
    known = np.asarray(seams(data.shape) & ~bad)
    if lit is None:
        smooth = ndimage.gaussian_filter(middle, 4)
        lit = smooth > 0.35 * np.percentile(smooth, 95)
    # the beam's soft edge moves with nothing, or with the beam: a band of it is left out
    band = 2 * max(data.shape[0] // 50, 4) + 1
    inside = ndimage.uniform_filter(ndimage.binary_opening(lit, iterations=2).astype(np.float32), band)
    known &= np.asarray(inside) > 1 - 0.5 / band**2
    if known.sum() < 0.02 * known.size or not data.any():
        raise CannotDo("too little of the image is lit", "spread the beam, or look where the film is whole")
    weight = _broad(known.astype(np.float32))
    mean = _broad(np.where(known, data, 0)) / np.maximum(weight, 1e-6)
    return np.where(known, data / np.maximum(mean, 1e-6) - 1, 0.0), known


def _broad(data: np.ndarray) -> np.ndarray:
    """Mean over about a sixth of the image."""
    width = max(data.shape[0] // 8, 3)
    return ndimage.uniform_filter(ndimage.uniform_filter(data, width, mode="constant"), width, mode="constant")


def _binned(data: np.ndarray, good: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over step × step known pixels; known where half of them are."""
    if step == 1:
        return data, good
    ny, nx = (n // step for n in data.shape)
    cut = (slice(0, ny * step), slice(0, nx * step))
    count = good[cut].reshape(ny, step, nx, step).sum(axis=(1, 3))
    total = np.where(good, data, 0)[cut].reshape(ny, step, nx, step).sum(axis=(1, 3))
    return np.where(count > 0, total / np.maximum(count, 1), 0).astype(np.float32), count >= 0.5 * step * step


def _searched(a, good_a, b, good_b, step: int, near, within: float) -> tuple[np.ndarray, float]:
    """Shift (2,) [px] of the best correlation to about a pixel, and how clear it is."""
    (a, ma), (b, mb) = (_binned(d, m, step) for d, m in ((a, good_a), (b, good_b)))
    a, b = (ndimage.gaussian_filter(d, 1.0) * m for d, m in ((a, ma), (b, mb)))
    shape = tuple(int(fft.next_fast_len(2 * n, real=True) or 2 * n) for n in a.shape)

    def correlated(f: np.ndarray, g: np.ndarray) -> np.ndarray:
        spectrum = np.conj(np.asarray(fft.rfft2(f, shape))) * np.asarray(fft.rfft2(g, shape))
        return np.asarray(fft.irfft2(spectrum, shape))

    wa, wb = ma.astype(np.float32), mb.astype(np.float32)
    overlap = correlated(wa, wb)
    power = np.maximum(correlated(a * a, wb), 1e-9) * np.maximum(correlated(wa, b * b), 1e-9)
    score = correlated(a, b) / np.sqrt(power)
    dy, dx = np.meshgrid(*((np.arange(n) + n // 2) % n - n // 2 for n in shape), indexing="ij")
    usable = overlap > _OVERLAP * min(wa.sum(), wb.sum())
    wanted = usable
    if near is not None:
        wanted = usable & (np.hypot(dx * step - near[0], dy * step - near[1]) <= within)
    if not wanted.any():
        raise CannotDo("the images do not overlap", "take smaller steps")
    # few shared pixels correlate by chance: weigh by what they tell
    gain = np.where(usable, score * np.sqrt(np.maximum(overlap, 0)), -np.inf)
    i, j = np.unravel_index(int(np.argmax(np.where(wanted, gain, -np.inf))), gain.shape)
    away = usable & (np.hypot(dx - dx[i, j], dy - dy[i, j]) > 6)
    rest = gain[away] if away.sum() > 100 else gain[usable]
    clear = float(gain[i, j] / max(1.4826 * np.median(np.abs(rest - np.median(rest))), 1e-9))
    if clear < _CLEAR:
        raise CannotDo("the two images do not show the same place", "take smaller steps, or expose longer")
    return np.array([dx[i, j], dy[i, j]], dtype=float) * step, clear


def _fitted(a, good_a, b, good_b, start: np.ndarray) -> tuple[np.ndarray, float]:
    """Shift (2,) [px] that brings ``b`` onto ``a``, and its esd, for the blur that gives the smallest."""
    tried = []
    for blur in _SMOOTH:
        tried.append(_fitted_at(blur, a, good_a, b, good_b, tried[-1][0] if tried else start))
    return min(tried, key=lambda one: one[1])


def _fitted_at(blur: float, a, good_a, b, good_b, start: np.ndarray) -> tuple[np.ndarray, float]:
    """Zero of Σ w (∇a + ∇b)(b − a) by Newton's method; its slope is Σ w ∇a ∇b, to which the noise of the two images,
    being independent, adds nothing (Σ w ∇a ∇a would be mostly noise, and every step too short)."""
    a, b = (ndimage.gaussian_filter(d, blur) for d in (a, b))
    ga = _gradient(a)
    shift, slope, score, off = start.copy(), np.eye(2), np.zeros((2, *a.shape)), a
    for _ in range(12):
        known = good_a & _shifted(good_b, shift)
        if known.sum() < 400:
            raise CannotDo("the images hardly overlap", "take smaller steps")
        moved = _moved(b, shift)
        off = moved - a
        off -= off[known].mean()
        spread = 1.4826 * np.median(np.abs(off[known])) + 1e-12
        weight = np.where(known, np.maximum(1 - (off / (6 * spread)) ** 2, 0) ** 2, 0)
        gb = _gradient(moved)
        score = 0.5 * weight * (ga + gb) * off
        slope = np.einsum("ikl,jkl->ij", weight * ga, gb)
        slope = 0.5 * (slope + slope.T)
        if np.linalg.eigvalsh(slope)[0] <= 0:
            return shift, np.inf
        change = np.linalg.solve(slope, score.sum(axis=(1, 2)))
        shift = shift - np.clip(change, -1.5, 1.5)
        if np.abs(change).max() < 2e-3:
            break
    else:
        return shift, np.inf
    return shift, _error(score, slope)


def _gradient(image: np.ndarray) -> np.ndarray:
    """(2, ny, nx): along x and y, by central differences."""
    gy, gx = np.gradient(image)
    return np.stack([gx, gy])


def _shifted(image: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """``image`` at r + shift, to the next pixel; zero (False) outside."""
    dx, dy = (int(np.rint(v)) for v in shift)
    out = np.zeros_like(image)
    ny, nx = image.shape
    rows, columns = slice(max(-dy, 0), min(ny, ny - dy)), slice(max(-dx, 0), min(nx, nx - dx))
    if rows.start < rows.stop and columns.start < columns.stop:
        out[rows, columns] = image[rows.start + dy : rows.stop + dy, columns.start + dx : columns.stop + dx]
    return out


def _moved(image: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """``image`` at r + shift by cubic convolution (Keys, IEEE Trans. ASSP 29 (1981) 1153); for blurred images."""
    whole = np.rint(shift)
    out = _shifted(image, whole)
    for axis, f in ((1, float(shift[0] - whole[0])), (0, float(shift[1] - whole[1]))):
        t = np.abs(np.arange(-2, 3) - f)
        near, far = (1.5 * t - 2.5) * t * t + 1, ((2.5 - 0.5 * t) * t - 4) * t + 2
        out = ndimage.correlate1d(out, np.where(t < 1, near, np.where(t < 2, far, 0)), axis)
    return out


def _error(score: np.ndarray, slope: np.ndarray) -> float:
    """Esd of a coordinate [px] from the scores of parts of the image, which are independent of each other."""
    parts = np.array([
        tile.sum(axis=(1, 2))
        for rows in np.array_split(score, _PARTS, axis=1)
        for tile in np.array_split(rows, _PARTS, axis=2)
    ])  # fmt: skip
    n = max(int((np.abs(parts).sum(axis=1) > 0).sum()), 2)
    back = np.linalg.inv(slope)
    covariance = back @ (parts.T @ parts) @ back * n / (n - 1)
    return float(np.sqrt(0.5 * np.trace(covariance)))
