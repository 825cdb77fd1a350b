"""Merging statistics: R_int, R_meas, R_pim, CC½, completeness, by shell, and the resolution that CC½ supports."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import least_squares

from credo.model import Cell, Reflections
from credo.physics.ewald import miller_indices
from credo.physics.symmetry import laue_rotations, unique_reflections

__all__ = ["Shell", "Statistics", "merge_equivalents", "merging_statistics"]


@dataclass(frozen=True)
class Shell:
    """Statistics of one resolution range; R values and CC½ as fractions, NaN where nothing was measured twice."""

    d_max: float
    d_min: float
    n_observed: int
    n_unique: int
    n_possible: int
    multiplicity: float
    completeness: float
    i_over_sigma: float
    r_int: float
    r_meas: float
    r_pim: float
    cc_half: float
    cc_significant: bool


@dataclass(frozen=True)
class Statistics:
    """``overall`` and by ``shells`` (low resolution first); ``resolution`` [Å] where CC½ falls below the limit."""

    overall: Shell
    shells: tuple[Shell, ...]
    resolution: float
    laue_group: str

    @property
    def cc_star(self) -> float:
        """√(2 CC½/(1 + CC½)) (Karplus & Diederichs 2012)."""
        c = max(self.overall.cc_half, 0.0)
        return float(np.sqrt(2 * c / (1 + c)))


def merge_equivalents(reflections: Reflections, laue_group: str) -> Reflections:
    """Weighted means over the Laue class, Friedel mates joined: h k l intensity sigma multiplicity.

    Rejected and overloaded reflections are left out. σ is 1/√Σσ⁻² or the scatter's, whichever is larger.
    """
    use = usable(reflections)
    unique, group = unique_reflections(reflections.hkl[use], laue_rotations(laue_group))
    i, s = reflections["intensity"][use], reflections["sigma"][use]
    w = 1 / s**2
    n = len(unique)
    sw = np.bincount(group, w, n)
    mean = np.bincount(group, w * i, n) / sw
    count = np.bincount(group, minlength=n)
    internal = 1 / np.sqrt(sw)
    scatter = np.bincount(group, w * (i - mean[group]) ** 2, n) / sw / np.maximum(count - 1, 1)
    sigma = np.maximum(internal, np.where(count > 1, np.sqrt(scatter), 0))
    return Reflections(h=unique[:, 0], k=unique[:, 1], l=unique[:, 2], intensity=mean, sigma=sigma, multiplicity=count)


def usable(reflections: Reflections) -> np.ndarray:
    """Mask (n,) of reflections that may be merged."""
    good = np.isfinite(reflections["intensity"]) & (reflections["sigma"] > 0)
    for name in ("rejected", "overloaded"):
        if name in reflections:
            good &= ~reflections[name]
    return good


def merging_statistics(
    reflections: Reflections,
    cell: Cell,
    centring: str,
    laue_group: str,
    n_shells: int = 10,
    d_min: float | None = None,
    cc_limit: float = 0.3,
) -> Statistics:
    """Statistics of unmerged reflections in a Laue group, Friedel mates joined, centring absences not counted.

    R_int = ΣΣ|I − Ī|/ΣΣI, R_meas with √(n/(n−1)), R_pim with √(1/(n−1)) (Diederichs & Karplus 1997; Weiss 2001), both
    sums over what was measured more than once, Ī unweighted. CC½ by the σ-τ method (Assmann, Brehm & Diederichs
    2016). The resolution is where a fitted ½(1 − tanh) of CC½ against 1/d² falls below ``cc_limit``.
    """
    use = usable(reflections)
    hkl, i, s = reflections.hkl[use], reflections["intensity"][use], reflections["sigma"][use]
    d = cell.d_spacing(hkl)
    if d_min is not None:
        inside = d >= d_min
        hkl, i, s, d = hkl[inside], i[inside], s[inside], d[inside]
    if len(hkl) == 0:
        empty = Shell(np.inf, 0.0, 0, 0, 0, 0.0, 0.0, 0.0, *[float("nan")] * 4, False)
        return Statistics(empty, (), float("nan"), laue_group)
    rotations = laue_rotations(laue_group)
    unique, group = unique_reflections(hkl, rotations)
    limit = float(d.min()) * (1 - 1e-9)
    possible, _ = unique_reflections(miller_indices(cell.B, limit, centring), rotations)
    d_unique, d_possible = cell.d_spacing(unique), cell.d_spacing(possible)
    edges = np.quantile(1 / d_possible**2, np.linspace(0, 1, n_shells + 1))
    edges[0], edges[-1] = 0.0, edges[-1] * (1 + 1e-9)
    table = _Table(i, s, group, len(unique))
    overall = _shell(table, np.ones(len(unique), dtype=bool), len(possible), np.inf, limit)
    shells = []
    for low, high in pairwise(edges):
        mine = (1 / d_unique**2 >= low) & (1 / d_unique**2 < high)
        n_possible = int(np.sum((1 / d_possible**2 >= low) & (1 / d_possible**2 < high)))
        d_max = float(1 / np.sqrt(low)) if low > 0 else float(d_possible.max())
        shells.append(_shell(table, mine, n_possible, d_max, float(1 / np.sqrt(high))))
    return Statistics(overall, tuple(shells), _resolution(shells, limit, cc_limit), laue_group)


class _Table:
    """Observations grouped by unique reflection, with what every shell needs."""

    def __init__(self, i: np.ndarray, s: np.ndarray, group: np.ndarray, n: int) -> None:
        self.i, self.s, self.group = i, s, group
        self.count = np.bincount(group, minlength=n)
        self.mean = np.bincount(group, i, n) / self.count
        w = 1 / s**2
        sw = np.bincount(group, w, n)
        self.weighted, self.sigma = np.bincount(group, w * i, n) / sw, 1 / np.sqrt(sw)
        self.spread = np.bincount(group, (i - self.mean[group]) ** 2, n) / np.maximum(self.count - 1, 1)


def _shell(t: _Table, mine: np.ndarray, n_possible: int, d_max: float, d_min: float) -> Shell:
    n_unique = int(mine.sum())
    n_observed = int(t.count[mine].sum())
    twice = mine & (t.count > 1)
    inside = twice[t.group]
    n = t.count[t.group][inside]
    off = np.abs(t.i - t.mean[t.group])[inside]
    total = float(t.i[inside].sum())
    nan = float("nan")
    rs = [
        float(np.sum(off * f) / total) if total > 0 else nan for f in (1.0, np.sqrt(n / (n - 1)), np.sqrt(1 / (n - 1)))
    ]
    cc, significant = _cc_half(t, twice)
    return Shell(
        d_max, d_min, n_observed, n_unique, n_possible, n_observed / max(n_unique, 1),
        n_unique / max(n_possible, 1), float(np.mean(t.weighted[mine] / t.sigma[mine])) if n_unique else nan,
        *rs, cc, significant,
    )  # fmt: skip


def _cc_half(t: _Table, twice: np.ndarray) -> tuple[float, bool]:
    """σ-τ: (σ_y² − ½σ_ε²)/(σ_y² + ½σ_ε²), σ_ε² the variance of a half set's mean; and whether p < 0.001."""
    n = int(twice.sum())
    if n < 5:
        return float("nan"), False
    y2 = float(np.var(t.mean[twice], ddof=1))
    e2 = float(np.mean(2 * t.spread[twice] / t.count[twice]))
    cc = (y2 - 0.5 * e2) / (y2 + 0.5 * e2) if y2 + 0.5 * e2 > 0 else 0.0
    # Student: t = cc √((n − 2)/(1 − cc²)) above 3.1
    return cc, bool(cc * np.sqrt(max(n - 2, 1) / max(1 - cc * cc, 1e-12)) > 3.1)


def _resolution(shells: list[Shell], limit: float, cc_limit: float) -> float:
    """d where ½(1 − tanh((s² − s0²)/r)) through the shells' CC½ falls below the limit; NaN without any CC½."""
    usable_shells = [s for s in shells if np.isfinite(s.cc_half)]
    if not usable_shells:
        return float("nan")
    if len(usable_shells) < 3:
        return limit
    x = np.array([0.5 * (1 / s.d_max**2 + 1 / s.d_min**2) for s in usable_shells])
    y = np.array([s.cc_half for s in usable_shells])
    w = np.sqrt([s.n_unique for s in usable_shells])
    top = float(x.max())
    best = None
    for start in (0.5, 0.9, 1.5):
        fit = least_squares(
            lambda p: w * (0.5 * (1 - np.tanh((x - p[0]) / p[1])) - y),
            [start * top, 0.3 * top], bounds=([0.02 * top, 0.02 * top], [20 * top, 20 * top]), loss="soft_l1",
        )  # fmt: skip
        if best is None or fit.cost < best.cost:
            best = fit
    assert best is not None
    s2 = best.x[0] + best.x[1] * np.arctanh(1 - 2 * cc_limit)
    return float(max(1 / np.sqrt(max(s2, 1e-9)), limit))
