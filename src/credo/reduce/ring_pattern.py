"""A ring pattern before its rings are known: pixels to trust, the geometry of sharpest rings, the unwrapped map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, binary_opening, gaussian_filter1d, median_filter, rank_filter, uniform_filter
from scipy.optimize import minimize
from scipy.signal import find_peaks, peak_widths

from credo.model import CannotDo, Ellipse
from credo.reduce.symmetry_centre import symmetry_centre

__all__ = ["SECTORS", "Shape", "Unwrapped", "peaks", "sharpest", "trusted", "unshadowed", "unwrapped"]

#: Parts of the circle in which rings are measured one by one.
SECTORS = 36


@dataclass(frozen=True)
class Shape:
    """Where circles about the beam appear: ``origin`` (x, y) [px] and ε cos 2θ, ε sin 2θ of the ellipse."""

    origin: tuple[float, float]
    e: tuple[float, float] = (0.0, 0.0)

    @property
    def matrix(self) -> np.ndarray:
        """(2, 2), true -> seen; see :class:`credo.model.Ellipse`."""
        return Ellipse.from_components(*self.e).matrix

    def true(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Offsets from the beam [px] free of the ellipse."""
        m = np.linalg.inv(self.matrix)
        dx, dy = x - self.origin[0], y - self.origin[1]
        return m[0, 0] * dx + m[0, 1] * dy, m[1, 0] * dx + m[1, 1] * dy


@dataclass(frozen=True)
class Unwrapped:
    """Means over annuli of 1 px and ``SECTORS`` sectors: ``mean``, ``count`` and mean ``radius``, each (sectors, n).

    Sector k is centred at the azimuth ``theta[k]`` [rad], from +x towards +y, of the undistorted pattern.
    """

    mean: np.ndarray
    count: np.ndarray
    radius: np.ndarray
    theta: np.ndarray

    def profile(self) -> np.ndarray:
        """Median over the sectors (n,), which spots do not raise; NaN where fewer than half of them reach."""
        value = np.where(self.count > 0, self.mean, np.nan)
        enough = np.isfinite(value).sum(axis=0) >= 0.5 * SECTORS
        out = np.full(value.shape[1], np.nan)
        out[enough] = np.nanmedian(value[:, enough], axis=0)
        return out


def trusted(image: np.ndarray) -> np.ndarray:
    """Mask (ny, nx) of pixels to use: finite, not a hot or dead one, not in an unexposed margin."""
    good = np.isfinite(image)
    filled = np.where(good, image, 0.0)
    for axis in (0, 1):
        dark = np.asarray(filled.max(axis=1 - axis) == filled.min(axis=1 - axis), dtype=bool)
        run = np.flatnonzero(~dark)
        if len(run):
            margin = np.ones(len(dark), dtype=bool)
            margin[run[0] : run[-1] + 1] = dark[run[0] : run[-1] + 1]
            good &= ~(margin[:, None] if axis == 0 else margin[None, :])
    middle = median_filter(filled, 5, mode="nearest")
    root = np.sqrt(np.maximum(middle, max(float(np.median(middle[good])) if good.any() else 0.0, 1e-9)))
    z = (filled - middle) / root
    noise = 1.4826 * float(np.median(np.abs(z[good]))) if good.any() else 0.0
    if noise <= 0:
        return good
    # the crest of a sharp, bright ring stands out of the median too, but not alone: two neighbours are like it
    third = np.where(z > 0, rank_filter(filled, -3, 3), rank_filter(filled, 2, 3))
    alone = np.abs(filled - third) >= 12 * noise * np.sqrt(np.maximum(third, root**2))
    return good & ~(alone & (np.abs(z) >= 12 * max(noise, 1e-9)))


def unshadowed(image: np.ndarray, good: np.ndarray) -> np.ndarray:
    """``good`` without the shadow of a beam stop: what is darker than a fifth of the median at its radius.

    Thin dark areas are none: beside a bright, sharp ring it is as dark where the ellipse takes the ring away.
    """
    value = np.where(good, image, 0.0)
    (cx, cy), _ = symmetry_centre(value, ~good)
    yy, xx = np.mgrid[: image.shape[0], : image.shape[1]]
    ring = np.hypot(xx + 0.5 - cx, yy + 0.5 - cy).astype(int) // 4
    mean = uniform_filter(value, 5) / np.maximum(uniform_filter(good.astype(float), 5), 0.04)
    order = np.lexsort((mean[good], ring[good]))
    count = np.bincount(ring[good], minlength=int(ring.max()) + 1)
    middle = np.minimum(np.cumsum(count) - count + count // 2, max(len(order) - 1, 0))
    level = mean[good][order[middle]] if len(order) else np.zeros(len(count))
    dark = binary_opening(good & (mean < 0.2 * level[ring]), iterations=3)
    shadow = np.asarray(binary_dilation(dark, iterations=3), dtype=bool)
    return good & ~shadow


def sharpest(image: np.ndarray, good: np.ndarray, inner: float) -> Shape:
    """Centre and ellipse for which the radial profile has most contrast, from the centre of inversion symmetry."""
    value = np.nan_to_num(image)
    level = float(np.median(value[good])) if good.any() else 0.0
    spread = float(np.ptp(value[good])) if good.any() else 0.0
    if not good.any() or spread <= 1e-6 * abs(level):
        raise CannotDo("the image is blank", "expose longer, and check that the beam is not blanked")
    centre, _ = symmetry_centre(value, ~good)
    f = np.log(np.maximum(value, 0) + max(level, 1e-3 * spread))
    step = max(1, round(min(image.shape) / 256))
    yy, xx = np.nonzero(good[::step, ::step])
    f = f[::step, ::step][yy, xx]
    x, y = xx * step + 0.5, yy * step + 0.5

    def blur(p: np.ndarray) -> float:
        if np.hypot(p[2], p[3]) > 30:
            return 0.0
        r = np.hypot(*Shape((p[0], p[1]), (p[2] / 100, p[3] / 100)).true(x, y)) / step
        return -_contrast(r, f, inner / step, 0.5 * min(image.shape) / step)

    starts = [np.array([*centre, 0.0, 0.0])]
    starts += [np.array([*centre, 3 * np.cos(a), 3 * np.sin(a)]) for a in np.arange(0, 2 * np.pi, np.pi / 3)]
    best = min(starts, key=blur)
    simplex = np.vstack([best, *(best + d for d in np.diag([2.0 * step, 2.0 * step, 1.0, 1.0]))])
    p = minimize(blur, best, method="Nelder-Mead", options={"initial_simplex": simplex, "maxfev": 300, "xatol": 0.01}).x
    return Shape((float(p[0]), float(p[1])), (float(p[2] / 100), float(p[3] / 100)))


def _contrast(r: np.ndarray, f: np.ndarray, inner: float, outer: float) -> float:
    """Variance over radius of the radial mean of ``f`` that a smooth curve does not follow.

    Each value is shared between the two nearest annuli, so that the figure changes smoothly with the geometry.
    """
    keep = (r > inner) & (r < outer)
    r, f = r[keep], f[keep]
    k = r.astype(int)
    t = r - k
    n = np.bincount(k, 1 - t, int(outer) + 2) + np.bincount(k + 1, t, int(outer) + 2)
    s = np.bincount(k, (1 - t) * f, int(outer) + 2) + np.bincount(k + 1, t * f, int(outer) + 2)
    use = n > 5
    profile = (s[use] / n[use]) if use.any() else np.zeros(1)
    rest = profile - gaussian_filter1d(profile, 0.08 * outer, mode="nearest")
    return float(np.sum(rest**2))


def unwrapped(image: np.ndarray, good: np.ndarray, shape: Shape) -> Unwrapped:
    """The map of radius and azimuth about the beam, the ellipse taken out; every trusted pixel counts once."""
    yy, xx = np.nonzero(good)
    dx, dy = shape.true(xx + 0.5, yy + 0.5)
    r = np.hypot(dx, dy)
    sector = np.floor((np.arctan2(dy, dx) / (2 * np.pi) % 1.0) * SECTORS).astype(int) % SECTORS
    n = int(r.max()) + 1 if len(r) else 1
    cell = sector * n + r.astype(int)
    count = np.bincount(cell, minlength=SECTORS * n)
    safe = np.maximum(count, 1)
    mean = np.bincount(cell, image[yy, xx], SECTORS * n) / safe
    radius = np.where(count > 0, np.bincount(cell, r, SECTORS * n) / safe, np.tile(np.arange(n) + 0.5, SECTORS))
    theta = (np.arange(SECTORS) + 0.5) * 2 * np.pi / SECTORS
    mean, count, radius = (a.reshape(SECTORS, n) for a in (mean, count, radius))
    return Unwrapped(mean, count, radius, theta)


def peaks(profile: np.ndarray, inner: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Radii [px] and heights over their feet of the rings in a radial profile (n,), at most 20, and their width.

    The width is the full one at half height [px] of the narrowest of the four strongest, of which rings may overlap.
    """
    start = int(inner)
    end = len(profile)
    while end > start and not np.isfinite(profile[end - 1]):
        end -= 1
    line = profile[start:end]
    if len(line) < 20 or not np.isfinite(line).all():
        line = np.nan_to_num(line)
    r = np.arange(start, start + len(line)) + 0.5
    smooth = gaussian_filter1d(line, 1.2, mode="nearest")
    # times r: the glow falls about as 1/r² there, and rings on its slope become peaks
    tilted = smooth * r**2
    noise = 1.4826 * float(np.median(np.abs(np.diff(line * r**2)))) if len(line) > 2 else 0.0
    top, found = find_peaks(tilted, prominence=max(0.02 * float(np.ptp(tilted)) if len(line) else 0.0, 2 * noise))
    height = found["prominences"] / np.maximum(r[top] ** 2, 1)
    strongest = top[np.argsort(-found["prominences"])[:4]]
    width = float(peak_widths(tilted, strongest, 0.5)[0].min()) if len(top) else 0.0
    order = np.sort(np.argsort(-found["prominences"])[:20])
    top, height = top[order], height[order]
    return np.array([_vertex(tilted, i) for i in top]) + start + 0.5, height, width


def _vertex(line: np.ndarray, i: int) -> float:
    bend = line[i - 1] - 2 * line[i] + line[i + 1]
    return i + (0.5 * float(line[i - 1] - line[i + 1]) / float(bend) if bend < 0 else 0.0)
