"""Merging statistics: agreement of equivalents, CC½, completeness and their course with resolution."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from credo.model import Cell, Reflections
from credo.physics.ewald import miller_indices
from credo.physics.symmetry import laue_rotations, unique_reflections
from credo.reduce.equivalents import Groups, group_equivalents, systematically_absent

__all__ = ["Shell", "Statistics", "Wilson", "cc_half", "find_resolution", "merging_statistics", "wilson"]

#: Below this many reflections with two or more observations a shell's CC½ says nothing.
MIN_PAIRS = 40


@dataclass(frozen=True)
class Shell:
    """One resolution shell, or all data. ``d_max`` > ``d_min`` [Å].

    ``r_int`` = ΣΣ|I − Ī| / ΣΣI over reflections seen at least twice, in numerator and denominator; ``r_meas`` with
    the factor √(n/(n−1)) (Diederichs & Karplus 1997), ``r_pim`` with √(1/(n−1)) (Weiss 2001); ``cc_half`` by the σ-τ
    method (Assmann, Brehm & Diederichs 2016), ``cc_star`` = √(2 CC½/(1 + CC½)); ``pairs``: reflections seen twice or
    more; ``significance`` of CC½ in standard deviations (Fisher). NaN where there is nothing to compare.
    """

    d_max: float
    d_min: float
    observations: int
    unique: int
    possible: int
    completeness: float
    multiplicity: float
    i_over_sigma: float
    r_int: float
    r_meas: float
    r_pim: float
    cc_half: float
    cc_star: float
    pairs: int
    significance: float


@dataclass(frozen=True)
class Statistics:
    """``overall`` and ``shells`` of equal volume, from low to high resolution, in Laue group ``laue_group``."""

    laue_group: str
    overall: Shell
    shells: tuple[Shell, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; NaN becomes None."""
        return {
            "laue_group": self.laue_group,
            "overall": _plain(self.overall),
            "shells": [_plain(s) for s in self.shells],
        }


def _plain(shell: Shell) -> dict[str, Any]:
    return {k: None if v != v else v for k, v in asdict(shell).items()}


def merging_statistics(
    reflections: Reflections,
    cell: Cell,
    laue_group: str,
    centring: str = "P",
    space_group: str | None = None,
    d_min: float | None = None,
    n_shells: int | None = None,
    weighted: bool = True,
) -> Statistics:
    """Statistics of unmerged ``reflections`` (h k l intensity sigma; rejected and overloaded rows are left out).

    Ī is the weighted mean (as SHELX's and XDS's R_int) or, with ``weighted`` False, the plain one. Friedel mates are
    equivalent. Completeness counts the reflections of the Laue group that the centring (and the space group's
    absences, if given) allows between the lowest and the highest resolution observed (or ``d_min``).
    """
    table = usable(reflections)
    s2 = 1 / cell.d_spacing(table.hkl) ** 2 if len(table) else np.empty(0)
    absent = systematically_absent(table.hkl, space_group, centring)
    keep = ~absent if d_min is None else ~absent & (s2 <= 1 / d_min**2 + 1e-12)
    table, s2 = table.select(keep), s2[keep]
    groups = group_equivalents(table, laue_group, weighted)
    top = float(1 / d_min**2) if d_min else float(s2.max(initial=1e-9))
    low = float(s2.min(initial=top))
    s2_h = 1 / cell.d_spacing(groups.hkl) ** 2 if len(groups.hkl) else np.empty(0)
    possible = _possible(cell, laue_group, centring, space_group, low, top)
    if n_shells is None:
        n_shells = int(np.clip(len(groups.hkl) // 60, 1, 12))
    edges = np.linspace(low**1.5, top**1.5, n_shells + 1) ** (2 / 3)
    edges[0], edges[-1] = low * (1 - 1e-9), top * (1 + 1e-9)
    shells = []
    for a, b in itertools.pairwise(edges):
        mine = (s2_h > a) & (s2_h <= b)
        shells.append(_shell(groups, mine, a, b, int(((possible > a) & (possible <= b)).sum())))
    overall = _shell(groups, np.ones(len(groups.hkl), dtype=bool), edges[0], edges[-1], len(possible))
    return Statistics(laue_group, overall, tuple(shells))


def usable(reflections: Reflections) -> Reflections:
    """The rows that merging uses."""
    keep = (reflections["sigma"] > 0) & np.isfinite(reflections["intensity"])
    for name in ("rejected", "overloaded"):
        if name in reflections:
            keep &= ~reflections[name]
    return reflections.select(keep)


def _possible(cell: Cell, laue_group: str, centring: str, space_group, low: float, top: float) -> np.ndarray:
    """s² = 1/d² of all unique reflections in the range."""
    h = miller_indices(cell.B, 1 / np.sqrt(top * (1 + 1e-9)), centring)
    h = h[~systematically_absent(h, space_group, centring)]
    unique, _ = unique_reflections(h, laue_rotations(laue_group))
    s2 = 1 / cell.d_spacing(unique) ** 2 if len(unique) else np.empty(0)
    return s2[s2 > low * (1 - 1e-9)]


def _shell(groups: Groups, mine: np.ndarray, low: float, top: float, possible: int) -> Shell:
    n = groups.count[mine]
    many = n > 1
    total = groups.total[mine][many].sum()
    spread, k = groups.spread[mine][many], n[many]

    def r(factor: np.ndarray) -> float:
        return float(np.sum(factor * spread) / total) if total > 0 and many.any() else float("nan")

    cc = cc_half(groups.mean[mine][many], groups.variance[mine][many])
    pairs, unique, seen = int(many.sum()), int(mine.sum()), int(n.sum())
    z = float(np.arctanh(np.clip(cc, -0.999999, 0.999999)) * np.sqrt(pairs - 3)) if pairs > 3 else float("nan")
    return Shell(
        d_max=1 / float(np.sqrt(low)), d_min=1 / float(np.sqrt(top)), observations=seen, unique=unique,
        possible=possible, completeness=unique / possible if possible else float("nan"),
        multiplicity=seen / unique if unique else float("nan"),
        i_over_sigma=float(np.mean(groups.mean[mine] / groups.sigma[mine])) if unique else float("nan"),
        r_int=r(np.ones(pairs)), r_meas=r(np.sqrt(k / np.maximum(k - 1, 1))),
        r_pim=r(np.sqrt(1 / np.maximum(k - 1, 1))),
        cc_half=cc, cc_star=float(np.sqrt(2 * cc / (1 + cc))) if cc > 0 else float("nan"), pairs=pairs, significance=z,
    )  # fmt: skip


def cc_half(mean: np.ndarray, variance: np.ndarray) -> float:
    """CC½ = (σ_y² − ½σ_ε²)/(σ_y² + ½σ_ε²), σ-τ method: no random halves.

    mean: (n,) merged intensities of reflections seen at least twice; variance: (n,) of these means, from the scatter
    of the observations, which is ½σ_ε².
    """
    if len(mean) < 3:
        return float("nan")
    y, e = float(np.var(mean, ddof=1)), float(np.mean(variance))
    return (y - e) / (y + e) if y + e > 0 else float("nan")


def find_resolution(statistics: Statistics, level: float = 0.3) -> tuple[float, str]:
    """Resolution [Å] at which CC½ falls to ``level``, and by what it was judged.

    The shells' CC½ are fitted by A/2 (1 − tanh((s² − s₀²)/r)) (the form of AIMLESS and KAMO), weighted by their
    numbers of pairs. Where too few reflections were seen twice, ⟨I/σ⟩ = 1 decides instead.
    """
    shells = [s for s in statistics.shells if s.unique]
    if not shells:
        return statistics.overall.d_min, "no data"
    s2 = np.array([0.5 * (1 / s.d_max**2 + 1 / s.d_min**2) for s in shells])
    top = 1 / shells[-1].d_min ** 2
    cc = np.array([s.cc_half for s in shells])
    pairs = np.array([s.pairs for s in shells])
    if (pairs >= MIN_PAIRS).sum() >= 3 and pairs.sum() > 0.3 * sum(s.unique for s in shells):
        good = (pairs >= MIN_PAIRS) & np.isfinite(cc)
        limit = _tanh_crossing(s2[good], cc[good], pairs[good], level)
        return float(1 / np.sqrt(np.clip(limit, s2[0], top))), "cc_half"
    ratio = np.array([s.i_over_sigma for s in shells])
    below = np.flatnonzero(ratio < 1.0)
    if not len(below):
        return float(1 / np.sqrt(top)), "i_over_sigma"
    k = int(below[0])
    if k == 0:
        return float(shells[0].d_min), "i_over_sigma"
    t = (ratio[k - 1] - 1) / max(ratio[k - 1] - ratio[k], 1e-9)
    return float(1 / np.sqrt(s2[k - 1] + t * (s2[k] - s2[k - 1]))), "i_over_sigma"


def _tanh_crossing(s2: np.ndarray, cc: np.ndarray, pairs: np.ndarray, level: float) -> float:
    """s² at which the fitted fall of CC½ crosses ``level``; infinite when it does not."""
    weight = np.sqrt(pairs / pairs.mean())
    best = (np.inf, np.inf)
    span = s2[-1] - s2[0] + 1e-9
    for s0 in np.linspace(s2[0], s2[-1] + span, 60):
        for r in span * np.array([0.05, 0.1, 0.2, 0.35, 0.6, 1.0]):
            shape = 0.5 * (1 - np.tanh((s2 - s0) / r))
            top = np.clip(np.sum(weight**2 * shape * cc) / np.sum(weight**2 * shape**2 + 1e-12), 0.05, 1.0)
            loss = float(np.sum(np.abs(weight * (cc - top * shape))))
            if loss < best[0]:
                crossing = s0 + r * np.arctanh(1 - 2 * level / top) if top > level else -np.inf
                best = (loss, crossing)
    return best[1]


@dataclass(frozen=True)
class Wilson:
    """``s2`` = (sin θ/λ)² [Å⁻²] and ``log_i`` = ln⟨I⟩ by shell; slope gives the overall ``b`` [Å²] (relative to the
    atoms' own fall-off); ``e2_minus_1`` = ⟨|E² − 1|⟩: 0.968 centrosymmetric, 0.736 not."""

    s2: np.ndarray
    log_i: np.ndarray
    b: float
    e2_minus_1: float


def wilson(merged: Reflections, cell: Cell, n_shells: int = 20) -> Wilson:
    """Wilson statistics of merged intensities in shells of equal numbers."""
    s2 = 0.25 / cell.d_spacing(merged.hkl) ** 2
    order = np.argsort(s2, kind="stable")
    parts = [p for p in np.array_split(order, max(1, min(n_shells, len(order) // 20))) if len(p)]
    x = np.array([s2[p].mean() for p in parts])
    mean = np.array([merged["intensity"][p].mean() for p in parts])
    good = mean > 0
    if good.sum() < 3:
        return Wilson(x[good], np.log(mean[good]), float("nan"), float("nan"))
    slope = np.polyfit(x[good], np.log(mean[good]), 1)[0]
    smooth = np.exp(np.interp(s2, x[good], np.log(mean[good])))
    # where noise is not small against ⟨I⟩ it would pass for a spread of E²
    strong = smooth > 2 * merged["sigma"]
    pick = strong if strong.sum() > 50 else np.ones(len(s2), dtype=bool)
    e2 = merged["intensity"][pick] / smooth[pick]
    return Wilson(x[good], np.log(mean[good]), float(-slope / 2), float(np.mean(np.abs(e2 - 1))))
