"""Pixel size, centre and elliptical distortion of a diffraction pattern from the rings of a known powder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import least_squares

from credo.model import CannotDo, Ellipse
from credo.reduce.ring_groups import Group, Marks, grouped, measured, shaped
from credo.reduce.ring_lines import Indexed, RingLines, index_rings, tangent
from credo.reduce.ring_pattern import SECTORS, Shape, Unwrapped, peaks, sharpest, trusted, unshadowed, unwrapped

__all__ = ["Ring", "RingFit", "RingSettings", "amplitude_and_azimuth", "fit_rings"]


class RingSettings(BaseModel):
    """How rings are looked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inner: float | None = Field(
        default=None, gt=0, description="Radius within which no ring is looked for [px]; 6 % of the edge unless given."
    )
    coverage: float = Field(
        default=0.5, gt=0, le=1, description="Share of the sectors in which a ring must be seen to be used."
    )


@dataclass(frozen=True)
class Ring:
    """A ring, or several that overlap: indices, d [Å] of the strongest, its radius [px] and how it fits.

    ``residual_px``: mean departure from the fit; ``rms_px``: scatter of its sectors about the fit; ``seen``: sectors;
    ``clipped``: sectors where the border or a mask cuts it off.
    """

    hkl: tuple[tuple[int, ...], ...]
    d: float
    radius_px: float
    residual_px: float
    rms_px: float
    seen: int
    clipped: int


@dataclass(frozen=True)
class RingFit:
    """``parameters`` (5,) or (8,): x, y [px], ε cos 2θ, ε sin 2θ, ln(scale [px Å]) and, where the rings ask for them,
    barrel [Å²] and coma x, y [Å] as :class:`credo.model.Detector` has them; with their ``covariance``.

    ``marks`` (n, 5): group, x, y [px], tan 2θ/λ [Å⁻¹] and relative σ of what was measured and not rejected.
    """

    parameters: np.ndarray
    covariance: np.ndarray
    rings: tuple[Ring, ...]
    warnings: tuple[str, ...]
    indexed: Indexed
    polar: Unwrapped
    marks: np.ndarray

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Å⁻¹ per pixel and its esd."""
        value = float(np.exp(-self.parameters[4]))
        return value, value * float(np.sqrt(self.covariance[4, 4]))

    @property
    def shape(self) -> Shape:
        p = [float(v) for v in self.parameters]
        return Shape((p[0], p[1]), (p[2], p[3]))


def amplitude_and_azimuth(e: np.ndarray, covariance: np.ndarray) -> tuple[float, float, float, float]:
    """Amplitude [%], its esd, azimuth [deg] and its esd, in the convention of :class:`credo.model.Ellipse`.

    e: (ε cos 2θ, ε sin 2θ) with its covariance (2, 2). An azimuth of no ellipse has the esd 52°, of any direction.
    """
    ellipse = Ellipse.from_components(float(e[0]), float(e[1]))
    eps = max(float(np.hypot(*e)), 1e-12)
    along, across = np.array(e) / eps, np.array([-e[1], e[0]]) / eps
    s_along, s_across = (float(np.sqrt(u @ covariance @ u)) for u in (along, across))
    azimuth = min(float(np.degrees(0.5 * s_across / eps)), 180 / np.sqrt(12))
    return ellipse.amplitude_percent, 200 * s_along / (1 - eps) ** 2, ellipse.azimuth_deg, float(azimuth)


def fit_rings(
    image: np.ndarray, lines: RingLines, wavelength: float, near_pixel_size: float | None = None,
    settings: RingSettings | None = None, near_ellipse: tuple[float, float] | None = None,
) -> RingFit:  # fmt: skip
    """Fit all rings of an image (ny, nx) together.

    The geometry of greatest contrast comes first; peaks of the radial profile about it are indexed by their ratios;
    then the radius of every ring in every sector of azimuth is measured, and centre, ellipse and scale are fitted to
    all, four times. Barrel and coma are fitted too where they are significant. Esds come from the scatter, enlarged
    where the rings, each fitted alone, disagree by more.

    near_pixel_size: an approximate value [Å⁻¹/px], where it is known; near_ellipse: (ε cos 2θ, ε sin 2θ) likewise, of a
    neighbouring camera length, where few or crowded rings cannot tell it. Raises CannotDo where there are no rings.
    """
    settings = settings or RingSettings()
    image = np.asarray(image, dtype=float)
    if image.ndim != 2 or min(image.shape) < 64:
        raise CannotDo(f"an image of {' x '.join(map(str, image.shape))} pixels is too small", "use the whole pattern")
    good = unshadowed(image, trusted(image))
    inner = settings.inner or 0.06 * min(image.shape)
    shape = sharpest(image, good, inner)
    if near_ellipse is not None:
        shape = Shape(shape.origin, near_ellipse)
    polar = unwrapped(image, good, shape)
    radius, height, width = peaks(polar.profile(), inner)
    field = (inner, _reach(polar))
    indexed = _indexed(radius, height, field, lines, wavelength, near_pixel_size)
    x = tangent(lines.q, wavelength)
    p = np.array([*shape.origin, *shape.e, np.log(indexed.scale), 0.0, 0.0, 0.0])
    for _ in range(4):
        polar = unwrapped(image, good, Shape((p[0], p[1]), (p[2], p[3])))
        seen = _seen(polar, lines, x * np.exp(p[4]) * (1 + p[5] * x**2), width, field, settings)
        table = _table(seen, polar.theta, p, x, lines)
        p, covariance, rest, weight = _chosen(table, p)
    rings = tuple(_ring(g, m, k, table, rest, weight, lines, x, p) for k, (g, m) in enumerate(seen))
    covariance = _widened(table, weight, p, covariance)
    p = p[: len(covariance)]
    marks = table[weight > 0.05]
    return RingFit(p, covariance, rings, _warnings(rings, indexed, p, covariance), indexed, polar, marks)


def _reach(polar: Unwrapped) -> float:
    """Radius [px] to which half of the sectors reach."""
    seen = (polar.count > 0).sum(axis=0) >= 0.5 * SECTORS
    return float(np.flatnonzero(seen)[-1]) if seen.any() else 0.0


def _indexed(radius, height, field, lines: RingLines, wavelength: float, near: float | None) -> Indexed:
    if len(radius) == 0:
        raise CannotDo("no rings: the pattern fades smoothly", "expose longer, or check that a powder is in the beam")
    if len(radius) < 2:
        raise CannotDo(
            f"one ring only, of {radius[0]:.1f} px: its radius alone does not say which it is",
            "use a shorter camera length, so that three rings or more are on the detector",
            {"radii_px": [float(r) for r in radius]},
        )
    indexed = index_rings(radius, height, field, lines, wavelength, 1 / near if near else None)
    if indexed.score < 0.3 or indexed.matched < 2:
        raise CannotDo(
            f"peaks of {', '.join(f'{r:.1f}' for r in radius)} px are not the rings of the material",
            "check --material or --cif; a single crystal gives no rings",
            {"radii_px": [float(r) for r in radius]},
        )
    return indexed


def _seen(
    polar: Unwrapped, lines: RingLines, radius: np.ndarray, width: float, field: tuple[float, float],
    settings: RingSettings,
) -> list[tuple[Group, Marks]]:  # fmt: skip
    """The groups of rings that show in enough sectors, with their marks."""
    profile = polar.profile()
    width = float(np.clip(width, 2.5, 30.0))
    out = []
    for group in grouped(radius, lines.strength, width, field):
        form = shaped(profile, group, width, lines.strength)
        if form is None:
            continue
        marks = measured(polar, group, form)
        if np.isfinite(marks.off).sum() >= settings.coverage * SECTORS:
            out.append((group, marks))
    if len(out) < 2:
        raise CannotDo(
            f"{'no ring' if not out else 'one ring only'} is seen all around: the pattern is of spots, or too weak",
            "use a powder of fine grains, expose longer, or use a shorter camera length",
        )
    return out


def _table(seen, theta: np.ndarray, p: np.ndarray, x: np.ndarray, lines: RingLines) -> np.ndarray:
    """Marks as rows (n, 5): group, seen x and y [px] of the strongest ring, its tan 2θ/λ, relative σ."""
    m = Shape((p[0], p[1]), (p[2], p[3])).matrix
    rows = []
    for k, (group, marks) in enumerate(seen):
        main = max(group.rings, key=lambda i: lines.strength[i])
        ok = np.flatnonzero(np.isfinite(marks.off))
        r = group.radius[group.rings.index(main)] * (1 + marks.off[ok])
        xy = (np.stack([np.cos(theta[ok]), np.sin(theta[ok])], axis=1) * r[:, None]) @ m.T + p[:2]
        rows.append(np.column_stack([np.full(len(ok), k), xy, np.full(len(ok), x[main]), marks.sigma[ok]]))
    return np.concatenate(rows)


def _rest(p: np.ndarray, table: np.ndarray) -> np.ndarray:
    """ln of the radius, freed of the ellipse, over the expected one q (1 + b q² + 3 q coma·u) (n,)."""
    dx, dy = Shape((p[0], p[1]), (p[2], p[3])).true(table[:, 1], table[:, 2])
    r, q = np.hypot(dx, dy), table[:, 3]
    return np.log(r / q) - p[4] - np.log1p(p[5] * q**2 + 3 * q * (p[6] * dx + p[7] * dy) / r)


_Solved = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _chosen(table: np.ndarray, p: np.ndarray) -> _Solved:
    """With barrel and coma if four rings or more ask for one of them by five esds and become straighter by a tenth."""
    plain = np.concatenate([p[:5], np.zeros(3)])
    simple = _solved(table, plain, 5)
    if len(np.unique(table[:, 0])) < 4:
        return simple
    full = _solved(table, plain, 8)
    significant = np.abs(full[0][5:]) > 5 * np.sqrt(np.diag(full[1])[5:])
    spread = [float(np.median(np.abs(s[2]))) for s in (simple, full)]
    return full if significant.any() and spread[1] < 0.9 * spread[0] else simple


def _solved(table: np.ndarray, p: np.ndarray, free: int) -> _Solved:
    """Parameters (8,), covariance of the first ``free``, residuals, and Tukey's weights, iterated.

    σ gets a floor common to all marks, so that the brightest ring does not decide alone.
    """
    sigma = np.hypot(table[:, 4], np.median(table[:, 4]))
    weight = np.ones(len(table))
    scale = np.array([1, 1, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01])[:free]
    held = p[free:]

    def whole(v: np.ndarray) -> np.ndarray:
        return np.concatenate([v, held])

    for _ in range(8):
        root = np.sqrt(weight) / sigma
        fit = least_squares(lambda v, root=root: _rest(whole(v), table) * root, p[:free], x_scale=scale)
        p = whole(fit.x)
        rest = _rest(p, table)
        z = rest / sigma
        spread = max(1.4826 * float(np.median(np.abs(z))), 1e-9)
        weight = np.clip(1 - (z / (5 * spread)) ** 2, 0, None) ** 2
    chi2 = float((weight * z**2).sum() / max(weight.sum() - free, 1))
    return p, chi2 * np.linalg.pinv(fit.jac.T @ fit.jac), rest, weight


def _widened(table: np.ndarray, weight: np.ndarray, p: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The covariance enlarged, parameter by parameter, where rings fitted alone scatter by more than their esds.

    Barrel and coma, which no ring gives alone, are enlarged as the worst of the others.
    """
    alone, esd = [], []
    for k in np.unique(table[:, 0]):
        mine = (table[:, 0] == k) & (weight > 0.05)
        if mine.sum() < 0.4 * SECTORS:
            continue
        q, c, _, _ = _solved(table[mine], p, 5)
        alone.append(q[:5])
        esd.append(np.sqrt(np.diag(c)))
    if len(alone) < 2:
        return covariance
    w = 1 / np.maximum(np.array(esd), 1e-12) ** 2
    mean = (w * alone).sum(axis=0) / w.sum(axis=0)
    birge = np.sqrt((w * (np.array(alone) - mean) ** 2).sum(axis=0) / (len(alone) - 1))
    # the scale's spread is of a few rings, not of many marks: their own scatter counts
    grow = np.ones(len(covariance))
    grow[:5] = np.maximum(birge, 1.0)
    grow[5:] = grow[:5].max()
    return covariance * np.outer(grow, grow)


def _ring(group: Group, marks: Marks, k: int, table, rest, weight, lines: RingLines, x: np.ndarray, p) -> Ring:
    mine = table[:, 0] == k
    main = max(group.rings, key=lambda i: lines.strength[i])
    radius = float(x[main] * np.exp(p[4]) * (1 + p[5] * x[main] ** 2))
    w, z = weight[mine], rest[mine] * radius
    mean = float((w * z).sum() / max(w.sum(), 1e-12))
    rms = float(np.sqrt((w * (z - mean) ** 2).sum() / max(w.sum(), 1e-12)))
    hkl = tuple(tuple(int(v) for v in lines.hkl[i]) for i in group.rings)
    return Ring(hkl, float(1 / lines.q[main]), radius, mean, rms, int(mine.sum()), int((~marks.complete).sum()))


def _warnings(rings: tuple[Ring, ...], indexed: Indexed, p: np.ndarray, covariance: np.ndarray) -> tuple[str, ...]:
    out = []
    if len(rings) < 3:
        out.append(f"Only {len(rings)} separate rings were measured; a shorter camera length shows more.")
    cut = [r for r in rings if r.clipped]
    if cut:
        names = ", ".join(f"{r.d:.3f} Å ({r.clipped} of {SECTORS} sectors)" for r in cut)
        out.append(f"Rings clipped by the border or a mask: {names}.")
    if indexed.other > 0.75 * indexed.score:
        out.append(
            f"The indexing is ambiguous: {1 / indexed.other_scale:.5f} Å⁻¹/px explains the rings nearly as well "
            f"(score {indexed.other:.2f} against {indexed.score:.2f}); give --pixel-size."
        )
    if len(p) > 5:
        out.append(
            f"The rings are not ellipses about one centre: barrel {p[5]:+.4f} Å², coma ({p[6]:+.4f}, {p[7]:+.4f}) Å "
            "were fitted; the pixel size is that at the centre."
        )
    e = float(np.hypot(p[2], p[3]))
    if e < 3 * np.sqrt(max(covariance[2, 2], covariance[3, 3])):
        out.append("The distortion is below three of its esds, so its azimuth means little.")
    return tuple(out)
