"""The rings of an unwrapped map measured: their common shape in the mean profile, then their radius in every sector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from credo.reduce.ring_pattern import Unwrapped

__all__ = ["Group", "Marks", "grouped", "measured", "shaped"]


@dataclass(frozen=True)
class Group:
    """Rings that overlap, measured as one: ``rings`` their places among the lines, ``radius`` (k,) expected [px]."""

    rings: tuple[int, ...]
    radius: np.ndarray
    window: tuple[float, float]


@dataclass(frozen=True)
class Marks:
    """Where the rings of a group were seen, a row for each sector: relative departure from the expected radius.

    ``off``, ``sigma`` (sectors,), NaN where the ring was not seen; ``height`` (sectors,) of the strongest ring.
    """

    off: np.ndarray
    sigma: np.ndarray
    height: np.ndarray
    complete: np.ndarray


def grouped(radius: np.ndarray, strength: np.ndarray, width: float, field: tuple[float, float]) -> list[Group]:
    """Rings in the field [px], those closer than two widths together, with the window in which each is fitted.

    radius: (n,) [px] increasing. Rings below 3 % of the strongest of their group are left out of its shape.
    """
    inside = np.flatnonzero((radius > field[0] + width) & (radius < field[1]))
    groups: list[list[int]] = []
    for k in inside:
        if groups and radius[k] - radius[groups[-1][-1]] < 2.0 * width:
            groups[-1].append(int(k))
        else:
            groups.append([int(k)])
    out = []
    for rings in groups:
        kept = tuple(k for k in rings if strength[k] > 0.03 * strength[rings].max())
        low, high = radius[kept[0]] - 1.8 * width, radius[kept[-1]] + 1.8 * width
        others = np.delete(radius, rings)
        below, above = others[others < radius[kept[0]]], others[others > radius[kept[-1]]]
        low = max(low, float(below.max()) + 0.8 * width if len(below) else low, field[0])
        high = min(high, float(above.min()) - 0.8 * width if len(above) else high)
        out.append(Group(kept, radius[list(kept)], (low, high)))
    return out


def _rings(r: np.ndarray, radius: np.ndarray, heights: np.ndarray, width: float, eta: float) -> np.ndarray:
    """Sum of pseudo-Voigt peaks at ``radius`` [px], ``width`` the full width at half height."""
    t2 = ((r[..., None] - radius) * (2 / width)) ** 2
    return ((1 - eta) * np.exp(-np.log(2) * t2) + eta / (1 + t2)) @ heights


@dataclass(frozen=True)
class _Form:
    """The shape of a group: heights (k,), full width [px], Lorentzian share, and the shift of all its rings."""

    heights: np.ndarray
    width: float
    eta: float
    off: float


def shaped(profile: np.ndarray, group: Group, width: float, strength: np.ndarray) -> _Form | None:
    """Least squares of the rings on a parabola in the mean profile (n,); None where they do not show.

    Rings nearer to each other than 0.8 widths keep the ratio of the heights expected of them.
    """
    r = np.arange(len(profile)) + 0.5
    use = (r > group.window[0]) & (r < group.window[1]) & np.isfinite(profile)
    tied = _tied(group, width, strength)
    k = tied.shape[1]
    if use.sum() < k + 7:
        return None
    r, y = r[use], profile[use]
    x = (r - r.mean()) / np.ptp(r)
    ground = np.stack([np.ones(len(x)), x, x**2], axis=1)
    unit = max(float(np.ptp(y)), 1e-300)

    def rest(p: np.ndarray) -> np.ndarray:
        return ground @ p[:3] + _rings(r, group.radius * (1 + p[3]), tied @ p[6:], p[4], p[5]) - y / unit

    start = np.concatenate([[y.min() / unit, 0, 0, 0, width, 0.3], np.full(k, 0.5)])
    low = np.concatenate([[-np.inf] * 3, [-0.02, 0.4 * width, 0], np.zeros(k)])
    high = np.concatenate([[np.inf] * 3, [0.02, 2.5 * width, 1], np.full(k, 10.0)])
    p = least_squares(rest, start, bounds=(low, high)).x
    if p[6:].max() < 4 * float(np.std(rest(p))):
        return None
    return _Form(tied @ p[6:] * unit, float(p[4]), float(p[5]), float(p[3]))


def _tied(group: Group, width: float, strength: np.ndarray) -> np.ndarray:
    """(rings, free heights): the expected heights of rings that share one, the greatest of them 1."""
    part = np.cumsum(np.diff(group.radius, prepend=group.radius[0]) > 0.8 * width)
    share = strength[list(group.rings)]
    out = np.zeros((len(part), part[-1] + 1))
    for j in range(part[-1] + 1):
        out[part == j, j] = share[part == j] / share[part == j].max()
    return out


def measured(polar: Unwrapped, group: Group, form: _Form, rounds: int = 4) -> Marks:
    """Radius of the group in every sector: its shape moved, scaled, and set on a parabola of that sector's own."""
    n = len(polar.theta)
    off, sigma, height = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n)
    complete = np.zeros(n, dtype=bool)
    top = max(float(form.heights.max()), 1e-300)
    for s in range(n):
        columns = np.arange(max(int(group.window[0]), 0), min(int(group.window[1]) + 1, polar.mean.shape[1]))
        use = columns[polar.count[s, columns] > 0]
        complete[s] = len(use) >= 0.9 * (group.window[1] - group.window[0])
        if not complete[s]:
            continue
        found = _sector(polar.radius[s, use], polar.mean[s, use], polar.count[s, use], group, form, rounds)
        if found is not None:
            off[s], sigma[s], height[s] = found[0], found[1], found[2] * top
    return Marks(off, sigma, height, complete)


def _sector(
    r: np.ndarray, y: np.ndarray, count: np.ndarray, group: Group, form: _Form, rounds: int
) -> tuple[float, float, float] | None:
    """(relative departure, its σ, height in units of the mean profile's) of one sector, or None if not seen."""
    x = (r - r.mean()) / np.ptp(r)
    weight = np.sqrt(count / count.mean())
    off, step = form.off, 1e-4

    def shape(d: float) -> np.ndarray:
        return _rings(r, group.radius * (1 + d), form.heights, form.width, form.eta)

    ground = np.stack([np.ones(len(x)), x, x**2], axis=1)
    p, design = np.zeros(5), np.zeros((len(x), 5))
    for _ in range(rounds):
        slope = (shape(off + step) - shape(off - step)) / (2 * step)
        design = np.column_stack([ground, shape(off), slope]) * weight[:, None]
        p = np.linalg.lstsq(design, y * weight, rcond=None)[0]
        if p[3] <= 0:
            return None
        off = off + float(np.clip(p[4] / p[3], -0.01, 0.01))
        if abs(off) > 0.05:
            return None
    rest = y * weight - design @ p
    covariance = float(rest @ rest) / max(len(r) - 5, 1) * np.linalg.pinv(design.T @ design)
    if p[3] < 4 * np.sqrt(covariance[3, 3]) or abs(p[4] / p[3]) > 0.002:
        return None
    return off, float(np.sqrt(covariance[4, 4]) / p[3]), float(p[3])
