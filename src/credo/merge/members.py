"""Which data sets belong to the merge: each is judged by the others, with a posterior and a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
from scipy.special import expit, gammaln, log_ndtr

from credo.merge.error_model import NU
from credo.merge.scale import Pool, Scaled, ScalingSettings, scale_sets
from credo.model import CannotDo, Cell
from credo.physics.symmetry import laue_rotations, unique_reflections
from credo.reduce.statistics import cc_half

__all__ = ["Member", "judge", "same_data", "scale_members"]

#: A set must share as many unique reflections with the others to be scaled.
MIN_COMMON = 8
#: Sets of another structure, or junk, before anything is known.
_PRIOR_FOREIGN = 0.1
#: Reflections of one set err together (its orientation, its thickness): this share of the evidence counts.
_INDEPENDENT = 0.25


@dataclass(frozen=True)
class Member:
    """A data set's part in the merge. ``posterior`` that it is of this structure (NaN: nothing to judge by); ``common``
    unique reflections with the others and ``cc`` with their means; ``noise``: how much wider its errors are than the
    common model; ``delta_cc_half``: what CC½ loses without it; ``reason``: a sentence."""

    kept: bool
    reason: str
    observations: int
    posterior: float = float("nan")
    common: int = 0
    cc: float = float("nan")
    noise: float = 1.0
    delta_cc_half: float = float("nan")


def same_data(data: Pool) -> dict[int, int]:
    """Data sets that repeat an earlier one, observation by observation: {repeat: first}."""
    seen: dict[bytes, int] = {}
    out = {}
    for d, rows in enumerate(_rows(data)):
        if not len(rows):
            continue
        table = np.column_stack([data.hkl[rows], data.intensity[rows]])
        key = table[np.lexsort(table.T)].tobytes()
        if key in seen:
            out[d] = seen[key]
        seen.setdefault(key, d)
    return out


def _rows(data: Pool) -> list[np.ndarray]:
    order = np.argsort(data.dataset, kind="stable")
    return np.split(order, np.cumsum(np.bincount(data.dataset, minlength=data.count))[:-1])


def scale_members(
    data: Pool,
    cell: Cell,
    laue_group: str,
    settings: ScalingSettings | None = None,
    names: Sequence[str] = (),
    least: float = 0.05,
) -> tuple[Pool, Scaled, list[Member]]:
    """Scale, judge, leave out what does not belong, and scale again; the observations kept, their scaling, all members.

    A set is left out when it repeats another, cannot be compared, or has a posterior below ``least``.
    """
    names = list(names) or [f"set {d + 1}" for d in range(data.count)]
    size = np.bincount(data.dataset, minlength=data.count)
    members = [Member(True, "", int(n)) for n in size]
    for d in np.flatnonzero(size == 0):
        members[d] = replace(members[d], kept=False, reason="has no usable observation")
    for d, first in same_data(data).items():
        members[d] = replace(members[d], kept=False, reason=f"holds the same observations as {names[first]}")
    _without_contact(data, laue_group, members)
    scaled = None
    while True:
        kept = _kept(data, members)
        scaled = scale_sets(kept, cell, laue_group, settings, scaled)
        judged = judge(kept, scaled, cell, least)
        foreign = sorted((d for d, m in judged.items() if not m.kept), key=lambda d: judged[d].posterior)
        for d, m in judged.items():
            members[d] = m if m.kept else members[d]
        if not foreign:
            return kept, scaled, members
        # the worst first: what is foreign spoils the means by which the others are judged
        for d in foreign[: max(1, len(judged) // 3)]:
            members[d] = judged[d]
        if sum(m.kept for m in members) < 2:
            _refuse(members, judged, names)


def _refuse(members: list[Member], judged: dict[int, Member], names: Sequence[str]) -> NoReturn:
    every = [judged.get(d, m) for d, m in enumerate(members)]
    rejected = [{"dataset": names[d], "reason": m.reason} for d, m in enumerate(every)]
    raise CannotDo(
        "no two data sets agree in their intensities",
        "check that they are of one phase (credo cluster), and their cells",
        {"members": [], "rejected": rejected},
    )


def _kept(data: Pool, members: list[Member]) -> Pool:
    return data.select(np.array([m.kept for m in members])[data.dataset])


def _without_contact(data: Pool, laue_group: str, members: list[Member]) -> None:
    """Leave out sets that share too few reflections with the largest group of sets to get a scale."""
    ids = [d for d, m in enumerate(members) if m.kept]
    if len(ids) < 2:
        return
    hkl, of = unique_reflections(data.hkl, laue_rotations(laue_group))
    mine = [np.unique(of[rows]) for rows in _rows(data)]
    seen = np.zeros(len(hkl), dtype=bool)
    start = max(ids, key=lambda d: len(mine[d]))
    seen[mine[start]] = True
    inside, waiting = {start}, set(ids) - {start}
    joined = True
    while joined:
        near = [d for d in waiting if seen[mine[d]].sum() >= MIN_COMMON]
        joined = bool(near)
        for d in near:
            seen[mine[d]] = True
        inside, waiting = inside | set(near), waiting - set(near)
    for d in waiting:
        n = int(seen[mine[d]].sum())
        members[d] = replace(
            members[d], kept=False, common=n,
            reason=f"shares {n} unique reflections with the others: it cannot be brought to their scale",
        )  # fmt: skip


def judge(data: Pool, scaled: Scaled, cell: Cell, least: float = 0.05) -> dict[int, Member]:
    """Every set of ``data`` by the means of the others: {number: member}.

    Evidence: the likelihood of its mean intensities about those of the others, under the error model (wider if that is
    likelier, at a price), against that of intensities of any structure of the same fall-off (Wilson). NaN where it
    stands alone.
    """
    sums = _Sums(data, scaled, cell)
    total = cc_half(*sums.moments())
    out = {}
    for d in np.unique(data.dataset):
        rows = sums.rows_of(int(d))
        y, v, m, vm, foreign = sums.against_others(rows)
        n = len(y)
        own = Member(True, "", int((data.dataset == d).sum()), noise=float(scaled.noise[d]))
        if n < MIN_COMMON:
            alone = len(np.unique(data.dataset)) == 1
            reason = "the only data set" if alone else f"shares {n} reflections with those that remain"
            out[int(d)] = replace(own, reason=reason, common=n, kept=alone)
            continue
        gain = _INDEPENDENT * _evidence(y, v, m, vm, foreign) - np.log(_PRIOR_FOREIGN / (1 - _PRIOR_FOREIGN))
        posterior = expit(gain)
        cc = float(np.corrcoef(np.arcsinh(y / foreign), np.arcsinh(m / foreign))[0, 1])
        kept = bool(posterior >= least)
        out[int(d)] = replace(
            own, kept=kept, posterior=float(posterior), common=n, cc=cc, reason=_sentence(kept, posterior, cc, n, own),
            delta_cc_half=total - cc_half(*sums.moments(without=rows)),
        )  # fmt: skip
    return out


def _sentence(kept: bool, posterior: float, cc: float, n: int, m: Member) -> str:
    if not kept:
        return (
            f"its intensities are not those of the others (CC {cc:.2f} over {n} reflections, posterior {posterior:.2g})"
        )
    if m.noise > 1.4:
        return f"kept at {1 / m.noise**2:.2f} of the weight: its errors are {m.noise:.1f} times those of the others"
    return "agrees with the others"


class _Sums:
    """Weighted sums by (unique reflection, data set), from which means without a set follow at once."""

    def __init__(self, data: Pool, scaled: Scaled, cell: Cell) -> None:
        self.m, d = len(scaled.hkl), data.count
        key, self.pair = np.unique(scaled.of.astype(np.int64) * d + data.dataset, return_inverse=True)
        self.h, self.d = key // d, key % d
        i = data.intensity / scaled.scale
        w = scaled.u / scaled.sigma_scaled**2
        self.plain = np.bincount(self.pair, 1 / scaled.sigma_scaled**2)
        self.own = np.bincount(self.pair, i / scaled.sigma_scaled**2) / self.plain
        self.w, self.wi = np.bincount(self.pair, w), np.bincount(self.pair, w * i)
        self.wii, self.n = np.bincount(self.pair, w * i * i), np.bincount(self.pair)
        self.noise = scaled.noise
        self.total = np.stack([np.bincount(self.h, x, self.m) for x in (self.w, self.wi, self.wii, self.n)])
        self.foreign = _wilson_mean(scaled, cell)

    def rows_of(self, d: int) -> np.ndarray:
        return np.flatnonzero(self.d == d)

    def against_others(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """The set's means and variances, those of the others, and ⟨I⟩ at that resolution."""
        h = self.h[rows]
        w = self.total[0, h] - self.w[rows]
        shared = self.total[3, h] > self.n[rows]
        rows, h, w = rows[shared], h[shared], w[shared]
        m = (self.total[1, h] - self.wi[rows]) / np.maximum(w, 1e-300)
        # its own noise is what is in question: the variance is that of the common model
        v = 1 / self.plain[rows] / self.noise[self.d[rows]] ** 2
        return self.own[rows], v, m, 1 / np.maximum(w, 1e-300), self.foreign[h]

    def moments(self, without: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Means of reflections seen twice or more and the variances of these means, from the scatter."""
        w, wi, wii, n = (x.copy() for x in self.total)
        if without is not None:
            for total, part in zip((w, wi, wii, n), (self.w, self.wi, self.wii, self.n)):
                total[self.h[without]] -= part[without]
        several = n > 1.5
        w, wi, wii, n = w[several], wi[several], wii[several], n[several]
        mean = wi / w
        return mean, np.maximum(wii / w - mean**2, 0) / (n - 1)


def _wilson_mean(scaled: Scaled, cell: Cell) -> np.ndarray:
    """⟨I⟩ (m,) of the reflections of like resolution."""
    s2 = 1 / cell.d_spacing(scaled.hkl) ** 2
    parts = np.array_split(np.argsort(s2), max(1, min(20, len(s2) // 50)))
    x = [float(s2[p].mean()) for p in parts]
    mean = np.array([max(float(scaled.intensity[p].mean()), 0.0) for p in parts])
    return np.interp(s2, x, np.maximum(mean, 0.01 * mean.max() + 1e-30))


def _evidence(y: np.ndarray, v: np.ndarray, m: np.ndarray, vm: np.ndarray, foreign: np.ndarray) -> float:
    """ln of a ratio of likelihoods: y (n,) are the intensities m of the others, or those of any structure."""
    own = [_log_student(y - m, a * a * v + vm).sum() - 2 * np.log(a) ** 2 for a in (1.0, 1.4, 2.0, 2.8)]
    return float(max(own) - _log_wilson(y, v, foreign).sum())


def _log_student(r: np.ndarray, v: np.ndarray) -> np.ndarray:
    constant = gammaln((NU + 1) / 2) - gammaln(NU / 2) - 0.5 * np.log(NU * np.pi)
    return constant - 0.5 * np.log(v) - (NU + 1) / 2 * np.log1p(r**2 / (NU * v))


def _log_wilson(y: np.ndarray, v: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """ln of the density of exponentially distributed intensities with Gaussian errors."""
    s = np.sqrt(v)
    return -np.log(mean) + v / (2 * mean**2) - y / mean + log_ndtr(y / s - s / mean)
