"""The crystal in a defocused diffraction frame: the disc of the beam, and the crystal's shadow in it.

Places are (x, y) in pixels, pixel j reaching from j to j + 1. `fit_disc` and `find_shadow` are credo's own;
`disc_by_sums` and `shadow_by_percentiles` are the thesis's (section 4.2.4), kept as the baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from credo.kernels.untyped import fft, ndimage
from credo.model.errors import CannotDo, UnreadableInput

__all__ = ["Disc", "Expected", "Shadow", "disc_by_sums", "find_shadow", "fit_disc", "inner_variance",
           "shadow_by_percentiles"]  # fmt: skip

#: Azimuths of the edge search; radius to which the disc is brought for the registration [px].
_AZIMUTHS, _WORK_RADIUS = 48, 24
#: Part of the disc that is compared (its edge is soft); part of a shadow that must lie in it.
_INNER, _VISIBLE = 0.94, 0.35
#: Significance from which the place is the middle of the dark area; error by shapes that are not discs, per radius.
_CLEAR, _SHAPE = 10.0, 0.08
#: Most that a film's thickness varies the depth by, over a shadow; significance against that of a deep shadow.
_UNEVEN, _DEEP = 0.05, 5.0
#: A bar of the mesh is darker than this part of the disc's level, and crosses the disc's edge over more than so many
#: radii of the crystal; margin around it [px at which the disc is compared].
_OPAQUE, _CHORD, _MARGIN = 0.12, 2.5, 2
#: The constant beside a shadow is that of a disc this many times as large: coarse texture is the same in both.
_AROUND = 1.8
#: Radii tried without a prediction (in beam radii), and with one (in the predicted radius).
_ANY, _NEAR = (0.1, 0.15, 0.22, 0.32, 0.45), (0.75, 1.0, 1.33)


@dataclass(frozen=True)
class Disc:
    """The undiffracted beam: centre ``x``, ``y``, ``radius`` [px]; ``level``: counts a pixel; ``error``: standard error
    of the centre [px] (nan with the thesis's method)."""

    x: float
    y: float
    radius: float
    level: float
    error: float


@dataclass(frozen=True)
class Expected:
    """A predicted shadow: ``offset`` (x, y) from the beam's centre and its standard error ``sigma``, equivalent
    ``radius`` (all px)."""

    offset: tuple[float, float]
    sigma: float
    radius: float


@dataclass(frozen=True)
class Shadow:
    """What was found. ``seen`` False: there is no shadow that stands out, the other numbers are of the best candidate.

    ``offset`` (x, y): shadow less beam centre [px]; ``error``: its standard error along an axis [px]; ``radius`` [px];
    ``contrast``: 1 − I/I_0; ``significance``: standard deviations; ``confidence``: probability that the place is right
    and not another one, or nothing at all.
    """

    seen: bool
    offset: tuple[float, float]
    error: float
    radius: float
    contrast: float
    significance: float
    confidence: float


def fit_disc(frame: np.ndarray) -> Disc:
    """A circle through the half-level points of the disc's edge along 48 azimuths; what lies off it loses its weight.

    Raises UnreadableInput (not a frame), CannotDo (no disc: the beam is blanked, lost or focused).
    """
    _check(frame)
    step = max(min(frame.shape) // 128, 1)
    small = _means(frame, step)
    low, high = (_ranked(small.ravel(), share) for share in (0.5, 0.995))
    labels, n = ndimage.label(small > 0.5 * (min(low, 0.3 * high) + high))
    size = np.bincount(labels.ravel(), minlength=n + 1)
    size[0] = 0
    if high <= 0 or n == 0 or size.max() < 25:
        raise CannotDo("no disc of a defocused beam in the frame", "is the beam on, and the pattern out of focus?")
    rows, columns = np.nonzero(labels == size.argmax())
    level = float(np.median(small[rows, columns]))
    # the shadow may cut the area: its bounding box is safer than its centroid
    x, y = ((a.min() + a.max() + 1) * step / 2 for a in (columns, rows))
    radius = max(np.ptp(rows), np.ptp(columns)) * step / 2 + step / 2
    first = (x, y)
    x, y, radius, error = _circle(frame, x, y, radius, level)
    if np.hypot(x - first[0], y - first[1]) > 0.1 * radius:
        x, y, radius, error = _circle(frame, x, y, radius, level)
    if not (3 < radius < max(frame.shape) and error < radius):
        raise CannotDo("the bright area of the frame is not a disc", "is the pattern out of focus?")
    return Disc(x, y, radius, level, error)


def find_shadow(
    frame: np.ndarray, disc: Disc, expected: Expected | None = None, false_alarm: float = 0.01,
    valid: np.ndarray | None = None,
) -> Shadow:  # fmt: skip
    """The shadow of one crystal in the disc, by registration with discs of about the expected size.

    The disc is divided by its level, and a place's significance is that of the depth which a least-squares fit of
    (constant + shadow) finds there, in units of the scatter of such depths over the disc: texture of the film counts as
    noise; bars of the mesh do not count as disc. With ``expected`` the places are weighted by its Gaussian. Seen: a
    blank disc would show as much with the probability ``false_alarm`` (Gaussian noise). ``valid`` (as ``frame``): False
    where the camera's pixels are not like the others (the cross of a Timepix).
    """
    _check(frame)
    if not 0 < false_alarm < 1 or disc.radius < 4:
        raise UnreadableInput(f"shadow: false alarm {false_alarm}, radius {disc.radius} px", "0 < false alarm < 1")
    patch, scale = _patch(frame, disc)
    half = patch.shape[0] / 2
    y, x = np.indices(patch.shape) + 0.5 - half
    inside = (np.hypot(x, y) < _INNER * disc.radius / scale).astype(np.float32)
    sizes = [q * expected.radius / scale for q in _NEAR] if expected else [q * disc.radius / scale for q in _ANY]
    inside[_bars(patch < _OPAQUE * disc.level, inside > 0, float(np.median(sizes)))] = 0
    if valid is not None:
        inside *= _patch(valid, disc)[0] > 0.999
    d = inside * (1 - patch / disc.level)
    depth, z, radius, free = _registered(d, inside, sizes, disc.level * scale**2)
    score = 0.5 * np.maximum(z, 0) ** 2
    if expected:
        off2 = (x - expected.offset[0] / scale) ** 2 + (y - expected.offset[1] / scale) ** 2
        score = np.where(z > 0, score - 0.5 * off2 / max(expected.sigma / scale, 0.5) ** 2, -np.inf)
    i, j = np.unravel_index(int(np.argmax(score)), score.shape)
    area = np.pi * radius**2
    # a large shadow leaves too few places to know the scatter by, but no film is as uneven as a deep one
    deep = float(depth[i, j]) / np.sqrt(1 / max(disc.level * scale**2 * area, 1e-6) + _UNEVEN**2)
    best = max(float(z[i, j]), deep)
    score = score + 0.5 * (best**2 - float(z[i, j]) ** 2)
    at, error = _vertex(score, int(i), int(j), scale)
    if best > _CLEAR or deep > _DEEP:
        at = _middle(d, int(i), int(j), 0.5 * float(depth[i, j]), 1.8 * radius)
    error = float(np.hypot(error, _SHAPE * radius * scale))
    trials = max(4 * inside.sum() / area, 4.0)
    seen = best > _student(np.sqrt(2 * np.log(trials * len(sizes) / false_alarm)), free) or deep > _DEEP
    near = np.hypot(x - x[i, j], y - y[i, j]) < 0.1 * disc.radius / scale
    weight = np.exp(np.minimum(score - score[i, j], 0))
    nothing = trials * np.exp(-min(float(score[i, j]), 500.0)) * area
    confidence = float(weight[near].sum() / (weight[inside > 0].sum() + weight[near & (inside == 0)].sum() + nothing))
    offset = ((at[0] - half) * scale, (at[1] - half) * scale)
    return Shadow(bool(seen), offset, error, radius * scale, float(depth[i, j]), best, min(confidence, 1.0))


def disc_by_sums(frame: np.ndarray, threshold: float = 1.0) -> Disc:
    """The thesis's: first and last row and column whose mean exceeds ``threshold`` times the mean of the frame."""
    _check(frame)
    data = frame.astype(np.float64)
    mean = threshold * data.mean()
    rows, columns = (np.flatnonzero(data.mean(axis=a) > mean) for a in (1, 0))
    if not len(rows) or not len(columns):
        raise CannotDo("no row or column of the frame is brighter than its mean", "is the beam on?")
    x, y = (columns[0] + columns[-1] + 1) / 2, (rows[0] + rows[-1] + 1) / 2
    radius = (rows[-1] - rows[0] + columns[-1] - columns[0] + 2) / 4
    inner = data[int(y - radius / 2) : int(y + radius / 2) + 1, int(x - radius / 2) : int(x + radius / 2) + 1]
    return Disc(float(x), float(y), float(radius), float(np.median(inner)) if inner.size else float(mean), float("nan"))


def shadow_by_percentiles(frame: np.ndarray, disc: Disc) -> tuple[float, float]:
    """The thesis's: offset (x, y) [px] of the largest peak of the smoothed pixels in a window of the histogram.

    20 bins over the square around the disc, those between the second and the ninth edge, a Gaussian of 5 pixels.
    """
    y0, x0 = max(int(disc.y - disc.radius), 0), max(int(disc.x - disc.radius), 0)
    square = frame[y0 : int(disc.y + disc.radius) + 1, x0 : int(disc.x + disc.radius) + 1].astype(np.float64)
    edges = np.histogram(square, 20)[1]
    peak = ndimage.gaussian_filter(((square > edges[1]) & (square < edges[8])).astype(np.float64), 5)
    i, j = np.unravel_index(int(peak.argmax()), peak.shape)
    return float(j + 0.5 + x0 - disc.x), float(i + 0.5 + y0 - disc.y)


def inner_variance(frame: np.ndarray, disc: Disc) -> float:
    """The thesis's measure of a crystal that leaves the beam: variance of the square inscribed in the disc."""
    h = disc.radius / np.sqrt(2)
    square = frame[max(int(disc.y - h), 0) : int(disc.y + h), max(int(disc.x - h), 0) : int(disc.x + h)]
    return float(np.var(square)) if square.size else 0.0


def _check(frame: np.ndarray) -> None:
    if frame.ndim != 2 or min(frame.shape) < 32:
        raise UnreadableInput(f"tracking: a frame of shape {frame.shape}", "give two dimensions of at least 32 pixels")


def _means(data: np.ndarray, step: int) -> np.ndarray:
    """Means over step × step pixels (float32); the rest at the far borders is cut."""
    ny, nx = (n // step for n in data.shape)
    rows = np.zeros((ny, nx * step), dtype=np.float32)
    for k in range(step):
        rows += data[k : ny * step : step, : nx * step]
    total = np.zeros((ny, nx), dtype=np.float32)
    for k in range(step):
        total += rows[:, k::step]
    return total / np.float32(step * step)


def _circle(frame, x: float, y: float, radius: float, level: float) -> tuple[float, float, float, float]:
    """(x, y, radius, standard error of the centre) of the circle through the outermost half-level points."""
    a = np.arange(_AZIMUTHS) * 2 * np.pi / _AZIMUTHS
    r = np.linspace(0.6 * radius, 1.4 * radius, 64)
    rows, columns = (y + np.outer(np.sin(a), r) - 0.5, x + np.outer(np.cos(a), r) - 0.5)
    profile = ndimage.map_coordinates(frame, [rows, columns], output=np.float32, order=1, cval=np.nan)
    profile = ndimage.uniform_filter(profile, (3, 5), mode=("wrap", "nearest"))
    last = 63 - np.argmax((profile > 0.5 * level)[:, ::-1], axis=1)
    here = np.arange(_AZIMUTHS)
    ok = (last > 2) & (last < 61) & np.isfinite(profile).all(axis=1)
    nxt = np.minimum(last + 1, 63)
    fall = profile[here, last] - profile[here, nxt]
    edge = r[last] + (r[1] - r[0]) * np.clip((profile[here, last] - 0.5 * level) / np.where(fall > 0, fall, 1), 0, 1)
    if ok.sum() < 12:
        return x, y, radius, np.inf
    px, py = x + edge * np.cos(a), y + edge * np.sin(a)
    weight = ok.astype(np.float64)
    for _ in range(8):
        gap = np.hypot(px - x, py - y)
        design = np.stack([(px - x) / gap, (py - y) / gap, np.ones(_AZIMUTHS)], axis=1)
        normal = design.T @ (weight[:, None] * design)
        dx, dy, dr = np.linalg.solve(normal + 1e-9 * np.eye(3), design.T @ (weight * (gap - radius)))
        x, y, radius = x + dx, y + dy, radius + dr
        if not np.isfinite(x + y + radius) or radius <= 0:
            return float(px.mean()), float(py.mean()), 1.0, np.inf  # no circle: it ran away
        off = np.abs(np.hypot(px - x, py - y) - radius)
        spread = 1.4826 * _ranked(off[ok]) + 0.05
        weight = ok * np.maximum(1 - (off / (4 * spread)) ** 2, 0) ** 2
    # neighbouring azimuths share pixels: a third of them is independent
    error = spread * np.sqrt(3 * np.linalg.inv(normal + 1e-9 * np.eye(3))[0, 0])
    return float(x), float(y), float(radius), float(error)


def _patch(frame: np.ndarray, disc: Disc) -> tuple[np.ndarray, float]:
    """A square around the disc, its centre in the middle, and the width of its pixels in pixels of the frame."""
    scale = max(int(disc.radius / _WORK_RADIUS), 1)
    half = int(np.ceil(1.05 * disc.radius / scale)) + 1
    x0, y0 = round(disc.x) - half * scale, round(disc.y) - half * scale
    n = 2 * half * scale
    out = np.zeros((n, n), dtype=np.float32)
    ya, xa = max(y0, 0), max(x0, 0)
    yb, xb = min(y0 + n, frame.shape[0]), min(x0 + n, frame.shape[1])
    out[ya - y0 : yb - y0, xa - x0 : xb - x0] = frame[ya:yb, xa:xb]
    return _means(out, scale), float(scale)


def _bars(dark: np.ndarray, disc: np.ndarray, radius: float) -> np.ndarray:
    """What bars of the mesh hide, with a margin: ``dark`` areas along the edge of the ``disc`` (both (n, n)), longer
    there than a crystal of ``radius`` [px] could be."""
    labels, n = ndimage.label(dark & disc)
    if n == 0:
        return labels > 0
    edge = disc & ~ndimage.binary_erosion(disc)
    bar = np.bincount(labels[edge], minlength=n + 1) > _CHORD * radius
    bar[0] = False
    return ndimage.binary_dilation(bar[labels], iterations=_MARGIN) if bar.any() else bar[labels]


def _registered(d: np.ndarray, inside: np.ndarray, sizes: list[float], electrons: float):
    """(depth, z) at every place for the best of ``sizes`` [px], which it was, and the number of
    independent places that the scatter comes from; depth by least squares against
    a constant. ``electrons`` a pixel: the noise of the counts is the least that is assumed."""
    ny, nx = (fft.next_fast_len(n + int(_AROUND * max(sizes) + 2), real=True) for n in d.shape)
    both = np.stack([_discs((ny, nx), round(size, 2)) for size in sizes])
    maps = fft.irfft2(fft.rfft2(np.stack([inside, d]), (ny, nx))[:, None, None] * both, (ny, nx))
    (covers, arounds), (sums, sums_around) = (m.swapaxes(0, 1)[..., : d.shape[0], : d.shape[1]] for m in maps)
    rows, columns = np.indices(d.shape)
    scatter, free = 0.0, 2.0
    gain, depth, z, radius = -np.inf, np.zeros(d.shape), np.full(d.shape, -np.inf), sizes[0]
    for k, size in enumerate(sizes):
        covered, around = covers[k], np.maximum(arounds[k], 1e-3)
        information = np.maximum(covered - covered**2 / around, 1e-6)
        a = (sums[k] - covered / around * sums_around[k]) / information
        usable = (covered > _VISIBLE * float(both[k, 0, 0, 0].real)) & (covered < 0.8 * around)
        if not usable.any():
            continue
        unit = a * np.sqrt(information)
        i, j = np.unravel_index(int(np.argmax(np.where(usable, unit, -np.inf))), d.shape)
        away = usable & (np.hypot(rows - i, columns - j) > 2 * size + 1)
        # a strong shadow pulls the constant down everywhere: the scatter is about the mean, not about zero
        others = unit[away][::3]
        if len(others) > 20:  # larger sizes leave too few places to tell: theirs is at least that of the smaller ones
            scatter = max(scatter, 1.4826 * _ranked(np.abs(others - _ranked(others))))
            free = max(free, float(away.sum()) / (np.pi * size**2))
        # which size: that which explains most, in squared deviations; how sure: against the scatter of that size
        if unit[i, j] > gain:
            gain, depth, radius = float(unit[i, j]), a, size
            z = np.where(usable, unit / max(scatter, 1 / np.sqrt(max(electrons, 1e-6))), -np.inf)
    return depth, z, radius, free


@lru_cache(maxsize=64)
def _discs(shape: tuple[int, int], size: float) -> np.ndarray:
    """Transforms (2, …) of a disc of radius ``size`` [px] and of that around it, in the corner of ``shape``."""
    y, x = (np.minimum(np.arange(n), n - np.arange(n)) for n in shape)
    gap = np.hypot(y[:, None], x[None])
    return fft.rfft2(np.stack([np.clip(r - gap + 0.5, 0, 1) for r in (size, _AROUND * size)]).astype(np.float32))


def _ranked(values: np.ndarray, share: float = 0.5) -> float:
    """The value (of (n,)) that this share is below; ``np.median`` costs more than all the rest here."""
    k = int(share * len(values))
    return float(np.partition(values, k)[k])


def _student(u: float, free: float) -> float:
    """The threshold ``u`` of a normal variable for one whose scatter is known from ``free`` values only."""
    return float(np.sqrt(free * np.expm1(min(u * u / free, 50.0))))


def _middle(d: np.ndarray, i: int, j: int, level: float, reach: float) -> tuple[float, float]:
    """Middle (x, y) [px of the patch] of the connected area around (i, j) that is deeper than ``level``."""
    y0, x0, h = max(int(i - reach), 0), max(int(j - reach), 0), int(2 * reach) + 1
    labels, _ = ndimage.label(ndimage.gaussian_filter(d[y0 : y0 + h, x0 : x0 + h], 1.0) > level)
    mine = labels == labels[i - y0, j - x0]
    if labels[i - y0, j - x0] == 0:
        return j + 0.5, i + 0.5
    rows, columns = np.nonzero(mine)
    return float(columns.mean() + 0.5 + x0), float(rows.mean() + 0.5 + y0)


def _vertex(score: np.ndarray, i: int, j: int, scale: float) -> tuple[tuple[float, float], float]:
    """Place (x, y) [px of the patch] of the maximum by parabolas, and the standard error [px of the frame]."""
    at, bend = [], []
    for axis, k in ((1, j), (0, i)):
        line = score[i] if axis == 1 else score[:, j]
        shift, curvature = 0.0, 0.0
        if 0 < k < len(line) - 1 and np.isfinite(line[k - 1 : k + 2]).all():
            curvature = float(2 * line[k] - line[k - 1] - line[k + 1])
            shift = float(np.clip((line[k + 1] - line[k - 1]) / (2 * curvature), -0.5, 0.5)) if curvature > 0 else 0.0
        at.append(k + 0.5 + shift)
        bend.append(curvature)
    error = scale * float(np.sqrt(1 / max(np.mean(bend), 1e-2) + 1 / 12))
    return (at[0], at[1]), error
