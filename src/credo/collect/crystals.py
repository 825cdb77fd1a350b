"""Crystals in an image of low magnification: where they are, how large, how thick, how isolated and how sure.

Places are (x, y) in pixels of the image given, pixel j reaching from j to j + 1. `find_crystals` is credo's own;
`find_by_threshold` is the thesis's (section 4.2.2), kept as the baseline.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.spatial import ConvexHull

from credo.kernels.untyped import fft, ndimage, special
from credo.model.errors import UnreadableInput

__all__ = ["Crystal", "find_by_threshold", "find_crystals", "opaque"]

#: Pixel at which detection works [µm]; block of the background [µm]; radii of the matched filters [µm].
_WORK_UM, _BLOCK_UM, _RADII_UM = 0.045, 1.8, (0.15, 0.25, 0.4, 0.65)
#: An area this dark and this large [µm²] is a bar of the mesh or lies outside the beam; the margin around it [µm].
_OPAQUE, _OPAQUE_UM2, _MARGIN_UM = 0.08, 4.0, 0.5
#: Share of the shadow's depth at which its outline is drawn.
_OUTLINE = 0.4
#: Farthest from the peak that the outline of a shadow at the threshold goes [radii of the filter].
_REACH = 1.6


@dataclass(frozen=True)
class Crystal:
    """One particle. ``x``, ``y``: centre [px]; ``outline`` (k, 2): convex [px]; ``area_um2``; ``contrast``: mean of
    1 − I/I_0 inside; ``significance``: peak of the matched filter in standard deviations of the background (nan with
    the thesis's method); ``gap_um``: to the nearest other outline, at least (inf: none); ``edge_um``: centre to the
    border of the image; ``isolated``: both gaps are large enough."""

    x: float
    y: float
    outline: np.ndarray
    area_um2: float
    contrast: float
    significance: float
    gap_um: float = np.inf
    edge_um: float = np.inf
    isolated: bool = True


def find_crystals(
    image: np.ndarray, pixel_um: float, *, false_alarms: float = 0.1, gap_um: float = 1.0, edge_um: float = 1.0,
    valid: np.ndarray | None = None,
) -> list[Crystal]:  # fmt: skip
    """Crystals in ``image`` (ny, nx) of positive counts, the most significant first.

    ``valid`` (ny, nx): False where pixels were not measured but bridged (``seams``): there nothing is found by itself.

    Matched filters for discs, whitened by the power spectrum of this image's own background; the threshold is that at
    which a Gaussian background with this spectrum shows ``false_alarms`` peaks in the whole image (mean Euler
    characteristic of a random field: R. J. Adler, The Geometry of Random Fields, 1981). Isolated: no other outline
    within ``gap_um``, border of the image farther than ``edge_um`` from the centre. Raises UnreadableInput.
    """
    _check(image, pixel_um, false_alarms)
    small, factor = _binned(image, max(int(_WORK_UM / pixel_um), 1))
    px = pixel_um * factor
    hidden = _hidden(small, px)
    contrast, weight = _contrast(small, px, hidden)
    measured = weight if valid is None else weight * (_binned(valid, factor)[0] == 1)
    z, radius, threshold = _significance(contrast * measured, hidden, px, false_alarms)
    found, taken = [], np.zeros(z.shape, dtype=bool)
    for i, j in _peaks(z, hidden, threshold):
        if taken[i, j]:
            continue
        region = _region(contrast, i, j, float(radius[i, j]) / px, threshold / float(z[i, j]))
        if region is None or taken[region].mean() > 0.3:
            continue
        taken[region] = True
        found.append(_crystal(contrast, region, float(z[i, j]), factor, pixel_um))
    return _isolated(found, image.shape, pixel_um, gap_um, edge_um)


def find_by_threshold(
    image: np.ndarray, pixel_um: float, *, block: int = 75, offset: float = 15 / 255, gap_um: float = 1.0
) -> list[Crystal]:
    """The thesis's method with the numbers of the public program, without its random walker.

    ``image`` shrunk to 256 pixels, dark against the mean of a ``block`` by ``offset`` of the maximum; areas below 16
    pixels removed, closed, opened; isolation by the distance matrix of the centres, and by that to the border.
    """
    _check(image, pixel_um, 1.0)
    small, factor = _binned(image, max(round(max(image.shape) / 256), 1))
    small = small / max(float(small.max()), 1e-9)
    dark = small < ndimage.uniform_filter(small, block, mode="reflect") - offset
    labels, n = ndimage.label(dark)
    size = np.bincount(labels.ravel(), minlength=n + 1)
    y, x = np.mgrid[-3:4, -3:4]
    disk = x * x + y * y <= 9
    dark = ndimage.binary_closing((labels > 0) & (size >= 16)[labels], disk)
    labels, n = ndimage.label(ndimage.binary_opening(dark, disk))
    contrast = 1 - small / max(float(np.median(small)), 1e-9)
    found = [_crystal(contrast, np.nonzero(labels == k), np.nan, factor, pixel_um) for k in range(1, n + 1)]
    xy = np.array([(c.x, c.y) for c in found]).reshape(-1, 2)
    apart = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1)) * pixel_um
    np.fill_diagonal(apart, np.inf)
    edge = [_to_border(c, image.shape) * pixel_um for c in found]
    near = apart.min(axis=1) if len(found) else []
    return [
        replace(c, gap_um=float(g), edge_um=float(e), isolated=bool(g > gap_um and e > gap_um))
        for c, g, e in zip(found, near, edge, strict=True)
    ]


def opaque(image: np.ndarray, pixel_um: float) -> np.ndarray:
    """True where a bar of the mesh or the beam's end hides the film, with a margin of 0.5 µm; as large as ``image``."""
    small, factor = _binned(image, max(int(_WORK_UM / pixel_um), 1))
    hidden = np.kron(_hidden(small, pixel_um * factor), np.ones((factor, factor), dtype=bool))
    rest = [(0, n - m) for n, m in zip(image.shape, hidden.shape, strict=True)]
    return np.pad(hidden, rest, mode="edge")


def _check(image: np.ndarray, pixel_um: float, false_alarms: float) -> None:
    if image.ndim != 2 or min(image.shape) < 64 or not pixel_um > 0 or not 0 < false_alarms <= 10:
        raise UnreadableInput(
            f"crystal finding: image {image.shape}, pixel {pixel_um} µm, false alarms {false_alarms}",
            "give an image of two dimensions and at least 64 pixels, a positive pixel size, 0 < false alarms ≤ 10",
        )
    if not np.isfinite(total := float(image.sum(dtype=np.float64))) or total <= 0:
        raise UnreadableInput("crystal finding: the image is dark or has values that are not finite", "is the beam on?")


def _binned(image: np.ndarray, factor: int) -> tuple[np.ndarray, int]:
    """Means (float32) over factor × factor pixels; what does not fill one is cut at the far borders."""
    ny, nx = (n // factor for n in image.shape)
    cut = image[: ny * factor, : nx * factor]
    if factor == 1:
        return cut.astype(np.float32), 1
    rows = np.zeros((ny, nx * factor), dtype=np.float32)
    for k in range(factor):
        rows += cut[k::factor]
    total = np.zeros((ny, nx), dtype=np.float32)
    for k in range(factor):
        total += rows[:, k::factor]
    return total / np.float32(factor**2), factor


def _hidden(image: np.ndarray, px: float) -> np.ndarray:
    """What bars of the mesh or the beam's end hide, with a margin."""
    dark = image < _OPAQUE * np.percentile(image[::4, ::4], 90)
    if not dark.any():
        return dark
    labels, n = ndimage.label(dark)
    large = np.bincount(labels.ravel(), minlength=n + 1) * px**2 > _OPAQUE_UM2
    large[0] = False
    opaque = large[labels]
    return ndimage.distance_transform_edt(~opaque) < _MARGIN_UM / px if opaque.any() else opaque


def _contrast(image: np.ndarray, px: float, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 − I/B, and the weight √(B/mean B) that makes counting noise even. B leaves out what a first pass shows."""
    if hidden.any():
        image = np.where(hidden, np.median(image[~hidden]) if not hidden.all() else 1.0, image)
    block = max(round(_BLOCK_UM / px), 4)
    b = _background(image, block)
    smooth = ndimage.uniform_filter(image / b, max(round(0.2 / px), 3))
    spread = 1.4826 * float(np.median(np.abs(smooth[::3, ::3] - np.median(smooth[::3, ::3]))))
    b = _background(np.where(np.abs(smooth - 1) > 3 * spread, b, image), block)
    return np.where(hidden, 0, 1 - image / b), np.sqrt(b / b.mean())


def _background(image: np.ndarray, block: int) -> np.ndarray:
    """Medians of blocks: a surface of second order through them, times what they differ from it, locally."""
    ky, kx = (max(n // block, 1) for n in image.shape)
    by, bx = image.shape[0] // ky, image.shape[1] // kx
    parts = image[: ky * by, : kx * bx].reshape(ky, by, kx, bx)[:, ::3, :, ::2]
    grid = np.median(parts.transpose(0, 2, 1, 3).reshape(ky, kx, -1), axis=2)
    ty, tx = _straight(image.shape[0], ky, by), _straight(image.shape[1], kx, bx)
    surface = _surface(grid)
    rest = ndimage.median_filter(grid / _evaluated(surface, np.arange(ky), np.arange(kx)), 3, mode="nearest")
    y, x = ((np.arange(n) + 0.5) / b - 0.5 for n, b in zip(image.shape, (by, bx), strict=True))
    b = _evaluated(surface, y, x) * (ty @ rest @ tx.T)
    return np.maximum(b, 0.02 * max(float(np.median(grid)), 1e-6)).astype(np.float32)


def _evaluated(surface: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Σ c_ab yᵃ xᵇ (len(y), len(x)), positive."""
    value = np.vander(y, 3, increasing=True) @ surface @ np.vander(x, 3, increasing=True).T
    step = max(min(value.shape) // 32, 1)
    return np.maximum(value, 0.02 * max(float(np.median(value[::step, ::step])), 1e-6))


def _surface(grid: np.ndarray) -> np.ndarray:
    """Coefficients (3, 3) of a polynomial of second order through ``grid`` (ky, kx), outliers losing their weight."""
    ky, kx = grid.shape
    powers = [(a, b) for a in range(min(ky, 3)) for b in range(min(kx, 3)) if a + b <= 2]
    # from −1 to 1, where the normal equations are well conditioned
    y, x = (2 * i.ravel() / max(n - 1, 1) - 1 for i, n in zip(np.indices(grid.shape), grid.shape, strict=True))
    design, value, weight = np.stack([y**a * x**b for a, b in powers], axis=1), grid.ravel(), np.ones(grid.size)
    for _ in range(6):
        weighted = design * weight[:, None]
        fit = np.linalg.solve(weighted.T @ design, weighted.T @ value)
        off = np.abs(value - design @ fit)
        weight = 1 / (1 + (off / (1.5 * np.median(off) + 1e-9)) ** 2)
    out = np.zeros((3, 3))
    for (a, b), c in zip(powers, fit, strict=True):
        out[a, b] = c
    return _unscaled(out, ky, kx)


def _unscaled(surface: np.ndarray, ky: int, kx: int) -> np.ndarray:
    """The polynomial of blocks counted from 0, of one in their places from −1 to 1."""
    ty, tx = (np.array([[1, -1, 1], [0, s, -2 * s], [0, 0, s * s]]) for s in (2 / max(k - 1, 1) for k in (ky, kx)))
    return ty @ surface @ tx.T


def _straight(n: int, blocks: int, width: int) -> np.ndarray:
    """(n, blocks): straight lines between the middles of blocks, constant beyond the outermost."""
    t = np.clip((np.arange(n) + 0.5) / width - 0.5, 0, blocks - 1)
    return np.maximum(1 - np.abs(t[:, None] - np.arange(blocks)), 0)


@lru_cache(maxsize=4)
def _frequencies(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """|f| [1/px] of a real transform, its ring, and how often each coefficient counts."""
    f = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]).astype(np.float32)
    count = np.full(f.shape, 2.0, dtype=np.float32)
    count[:, 0] = 1
    if shape[1] % 2 == 0:
        count[:, -1] = 1
    return f, np.rint(f * 0.5 * min(shape)).astype(np.intp), count


@lru_cache(maxsize=4)
def _coefficients(shape: tuple[int, int]) -> np.ndarray:
    """Of every ring, the number."""
    _, ring, count = _frequencies(shape)
    return np.bincount(ring.ravel(), count.ravel())


@lru_cache(maxsize=32)
def _disc(shape: tuple[int, int], radius: float) -> np.ndarray:
    """Transform of a disc of ``radius`` [px], unit height and a soft edge, seen through the pixel, without its mean.

    Crystals are thinner towards their edges: a disc of 0.8 of the radius is spread over another of 0.45.
    """
    f = _frequencies(shape)[0]
    t = np.pi * radius**2 * _jinc(0.8 * radius * f) * _jinc(0.45 * radius * f) * np.exp(-((np.pi * f) ** 2) / 6)
    t[0, 0] = 0
    return t.astype(np.float32)


def _jinc(rf: np.ndarray) -> np.ndarray:
    """2 J₁(v)/v, v = 2π r f: transform of a disc of unit content."""
    v = 2 * np.pi * np.maximum(rf, 1e-9)
    return 2 * special.j1(v) / v


@lru_cache(maxsize=32)
def _rings(shape: tuple[int, int], radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Sums over each ring of t² and of t² (2π f)², t being the disc's transform."""
    f, ring, count = _frequencies(shape)
    power = (count * _disc(shape, radius) ** 2).ravel()
    return np.bincount(ring.ravel(), power), np.bincount(ring.ravel(), power * (2 * np.pi * f.ravel()) ** 2)


def _spectrum(power: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Mean of |F|² over rings of equal |f|."""
    _, ring, count = _frequencies(shape)
    mean = np.bincount(ring.ravel(), (power * count).ravel()) / _coefficients(shape)
    mean[0] = mean[1]
    smooth = ndimage.gaussian_filter1d(np.log(np.maximum(mean, 1e-12 * mean.max() + 1e-30)), 1.0, mode="nearest")
    return np.exp(smooth)


def _significance(d: np.ndarray, hidden: np.ndarray, px: float, rate: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Largest matched-filter output (ny, nx) in standard deviations, the radius it had [µm], and the threshold.

    The first spectrum is of clipped values; the second leaves out what the first pass found.
    """
    sigma = 1.4826 * float(np.median(np.abs(d[::3, ::3]))) + 1e-9
    # a margin of zeros, lest a crystal at one border show at the other
    ny, nx = (fft.next_fast_len(n + int(2 * max(_RADII_UM) / px), real=True) for n in d.shape)
    shape = (ny, nx)
    quiet, full = np.clip(d, -3 * sigma, 3 * sigma), fft.rfft2(d, shape)
    for last in (False, True):
        share = np.count_nonzero(quiet) / (shape[0] * shape[1])
        power = np.abs(fft.rfft2(quiet, shape)) ** 2 / max(share, 0.05)
        z, radius, threshold = _filtered(
            full, _spectrum(power, shape), shape, ~hidden, _RADII_UM if last else _RADII_UM[1:2], px, rate
        )
        if not last:
            around = 2 * max(round(0.2 / px), 1) + 1
            seen = ndimage.maximum_filter((z > threshold).astype(np.uint8), around) > 0
            quiet = np.where(seen | hidden, 0, d) if seen.mean() < 0.6 else quiet
    return z, radius, threshold


def _filtered(full, noise, shape, visible, radii, px: float, rate: float) -> tuple[np.ndarray, np.ndarray, float]:
    ny, nx = visible.shape
    best, radius = np.full((ny, nx), -np.inf, dtype=np.float32), np.zeros((ny, nx), dtype=np.float32)
    peaks, seen = 0.0, visible[::4, ::4]
    whitened = full * (1 / noise).astype(np.float32)[_frequencies(shape)[1]]
    for r in radii:
        power, steep = _rings(shape, r / px)
        total = float((power / noise).sum())
        z = fft.irfft2(whitened * _disc(shape, r / px), s=shape)[:ny, :nx]
        z *= np.float32(shape[0] * shape[1] / np.sqrt(total))
        z /= max(1.4826 * float(np.median(np.abs(z[::4, ::4][seen]))), 0.5) if seen.any() else 1.0
        np.copyto(radius, r, where=z > best)
        np.maximum(best, z, out=best)
        # variance of a derivative of the map, its own variance being 1: half of (2π f)², the map being isotropic
        peaks += visible.sum() * float((steep / noise).sum()) / total / 2 * (2 * np.pi) ** -1.5
    u = 4.0
    for _ in range(20):
        u = np.sqrt(2 * np.log(max(peaks * u / rate, 10.0)))
    return best, radius, float(u)


def _peaks(z: np.ndarray, hidden: np.ndarray, threshold: float) -> np.ndarray:
    """Rows and columns (n, 2) of the maxima above the threshold, the highest first."""
    at = np.argwhere((z > threshold) & ~hidden)
    wide = np.pad(z, 2, constant_values=-np.inf)
    high = z[tuple(at.T)]
    top = np.ones(len(at), dtype=bool)
    for di, dj in np.ndindex(5, 5):
        top &= high >= wide[at[:, 0] + di, at[:, 1] + dj]
    return at[top][np.argsort(-high[top], kind="stable")]


def _region(contrast: np.ndarray, i: int, j: int, radius: float, faint: float):
    """Indices (rows, columns) of the area around (i, j) that is deeper than a share of the shadow; None: no shadow.

    ``radius`` [px] of the filter that saw it best; ``faint``: threshold over significance. The edge of a faint shadow
    is lost in the background: the fainter, the more the map is smoothed, and the nearer the area keeps to the disc.
    """
    sigma = max(0.6, 0.5 * radius * min(faint, 1.0))
    reach = _REACH * radius / max(min(faint, 1.0), 0.05) + 1
    half = int(3 * radius) + 3
    for _ in range(4):
        y0, x0 = max(i - half, 0), max(j - half, 0)
        window = contrast[y0 : i + half + 1, x0 : j + half + 1]
        smooth = ndimage.gaussian_filter(window, sigma, mode="nearest")
        level = float(smooth[i - y0, j - x0])
        if level <= 0:
            return None
        y, x = np.ogrid[: window.shape[0], : window.shape[1]]
        near = (y - (i - y0)) ** 2 + (x - (j - x0)) ** 2 <= reach**2
        labels, _ = ndimage.label((smooth > _OUTLINE * level) & near)
        mine = labels == labels[i - y0, j - x0]
        inner = mine[1:-1, 1:-1].sum() == mine.sum()
        if inner or window.shape == contrast.shape:
            break
        half *= 2
    rows, columns = np.nonzero(mine)
    return rows + y0, columns + x0


def _crystal(contrast: np.ndarray, region, significance: float, factor: int, pixel_um: float) -> Crystal:
    rows, columns = region  # row by row
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    left, right = np.minimum.reduceat(columns, first), np.maximum.reduceat(columns, first) + 1
    corners = np.concatenate([np.stack([x, rows[first] + b], axis=1) for x in (left, right) for b in (0, 1)])
    outline = corners[ConvexHull(corners).vertices] * float(factor)
    x, y = (columns.mean() + 0.5) * factor, (rows.mean() + 0.5) * factor
    area = len(rows) * (factor * pixel_um) ** 2
    return Crystal(float(x), float(y), outline, area, float(contrast[region].mean()), significance)


def _to_border(c: Crystal, shape: tuple[int, ...]) -> float:
    return min(c.x, c.y, shape[1] - c.x, shape[0] - c.y)


def _isolated(found: list[Crystal], shape, pixel_um: float, gap_um: float, edge_um: float) -> list[Crystal]:
    """Each with its gap (distance of centres less both largest radii) and whether it stands alone."""
    if not found:
        return []
    xy = np.array([(c.x, c.y) for c in found])
    reach = np.array([np.hypot(*(c.outline - at).T).max() for c, at in zip(found, xy, strict=True)])
    gap = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1)) - reach[:, None] - reach[None]
    np.fill_diagonal(gap, np.inf)
    nearest, edge = np.maximum(gap.min(axis=1), 0) * pixel_um, [_to_border(c, shape) * pixel_um for c in found]
    return [
        replace(c, gap_um=float(g), edge_um=float(e), isolated=bool(g > gap_um and e > edge_um))
        for c, g, e in zip(found, nearest, edge, strict=True)
    ]
