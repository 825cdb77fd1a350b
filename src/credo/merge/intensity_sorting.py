"""Data sets of one lattice sorted by what they hold, settings resolved: each with a verdict, its odds and a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from credo.merge.agglomerates import Mixture, mixtures
from credo.merge.ambiguity import Changes, changes_of_setting, require_no_more_strain
from credo.merge.intensity_picture import IntensityPicture, intensity_picture
from credo.merge.log_intensities import LogIntensities, log_intensities
from credo.merge.phases import Phases, find_phases
from credo.merge.subgroups import subgroups
from credo.model import CannotDo, Cell, Reflections, UnreadableInput

__all__ = ["IntensitySorting", "Verdict", "sort_by_intensity", "stability"]

#: Probability from which a verdict is no longer called undecided.
_SURE = 0.9
#: A priori, one set in twenty is an agglomerate of two phases.
_MIXED = 0.05


@dataclass(frozen=True)
class Verdict:
    """``kind``: phase, mixture, junk, undecided, strained, empty or only; ``label``: the phase from 1, 0 for none;
    ``posterior``: probability of the verdict; ``cc``: of its log intensities with the mean of the others of the
    (likeliest) phase, over ``common`` reflections; ``operator`` T (3, 3): (a', b', c') = (a, b, c) T to the setting of
    the phase, ``setting_odds``: its log odds against the next best, infinite where there is none; ``subgroup``: from 1
    within the phase, 0 for none; ``reason``: all this in words."""

    kind: str
    label: int
    posterior: float
    cc: float
    common: int
    operator: np.ndarray
    subgroup: int
    reason: str
    setting_odds: float = np.inf


@dataclass(frozen=True)
class IntensitySorting:
    """``verdicts`` of the n sets; ``between`` (k, k): CC of the profiles; ``picture``; ``curve`` (j, 2): number of
    groups and log evidence as they were joined; ``cosets``: settings that the lattice allows beyond the Laue group;
    ``noise``: rms error of ln I within phases; ``model``: the phases, to place more sets by."""

    verdicts: tuple[Verdict, ...]
    between: np.ndarray
    picture: IntensityPicture
    curve: np.ndarray
    cosets: int
    noise: float
    model: Phases
    changes: Changes

    @property
    def labels(self) -> np.ndarray:
        """Phases (n,) from 1, the largest first; 0: in none."""
        return np.array([v.label for v in self.verdicts], dtype=int)

    @property
    def k(self) -> int:
        """Number of phases."""
        return int(self.labels.max(initial=0))


def sort_by_intensity(
    sets: Sequence[Reflections],
    cells: Sequence[Cell],
    laue_group: str,
    centring: str = "P",
    tolerance: float = 0.02,
    reference: int = 0,
) -> IntensitySorting:
    """Sort data sets whose indices lie on like axes (see merge.strain), by the intensities alone.

    Phases, their number, junk and agglomerates are found, and each set's setting among those that the lattice of the
    ``reference`` allows within ``tolerance`` (strain). No set is left out: each gets a :class:`Verdict`. Sets with
    nothing in common are said to be undecided.
    """
    if not sets:
        raise UnreadableInput("there is no data set to sort", "give reflection files")
    if len(sets) != len(cells):
        raise ValueError(f"sort_by_intensity: {len(sets)} sets, {len(cells)} cells")
    changes = changes_of_setting(cells[reference], laue_group, centring, tolerance)
    twin = _twins(sets)
    # a set that is there twice would agree with itself without any noise
    once = [s if twin[d] == d else s.select(np.zeros(len(s), dtype=bool)) for d, s in enumerate(sets)]
    data = log_intensities(once, cells[reference], changes.core, changes.operators)
    found = find_phases(data, changes.product)
    _to_common_setting(found, changes)
    inner, mixed = subgroups(found), mixtures(found)
    operators = changes.operators[changes.same[found.settings]]
    verdicts = []
    for d in range(len(sets)):
        one = _verdict(found, d, mixed[d], operators[d], inner)
        try:
            require_no_more_strain(cells[d], one.operator, cells[reference], tolerance)
        except CannotDo as no:
            one = Verdict("strained", 0, 1.0, one.cc, one.common, np.eye(3), 0, no.reason)
        verdicts.append(one)
    verdicts = _renamed(verdicts)
    for d in np.flatnonzero(twin != np.arange(len(sets))):
        first = verdicts[twin[d]]
        verdicts[d] = replace(first, reason=f"{first.reason}; the same data as set {twin[d] + 1}")
    picture = intensity_picture(found.data.table(found.settings), len(found))
    return IntensitySorting(
        tuple(verdicts), _between(found), picture, found.curve, changes.cosets, float(np.sqrt(found.sigma2)), found,
        changes,
    )  # fmt: skip


def _to_common_setting(found: Phases, changes: Changes) -> None:
    """Settings and profiles turned so that as many sets of each phase as can keep the axes they came with."""
    for k in range(len(found)):
        members = found.labels == k
        commonest = int(np.bincount(changes.same[found.settings[members]]).argmax())
        turn = int(changes.inverse[commonest])
        near = members | ((found.labels < 0) & (found.odds[:, : len(found)].argmax(axis=1) == k))
        found.settings[near] = changes.product[found.settings[near], turn]
        back = found.data.images[commonest]
        found.weight[k], found.total[k] = found.weight[k][back], found.total[k][back]


def _verdict(found: Phases, d: int, mixed: Mixture | None, operator: np.ndarray, inner: np.ndarray) -> Verdict:
    """What a set is, from the odds of each phase, of none, and of a mixture."""
    n, k = int(found.data.counts[d]), len(found)
    if n == 0:
        return Verdict("empty", 0, 1.0, np.nan, 0, np.eye(3), 0, "no reflection with a positive mean intensity")
    if len(found.labels) == 1:
        return Verdict("only", 1, 1.0, np.nan, 0, np.eye(3), 0, "the only data set")
    if k == 0:
        return _without_phases(found, d)
    near = int(found.odds[d, :k].argmax())
    cc, common = _agreement(found, d, near)
    log = found.odds[d].copy()
    mixture = -np.inf if mixed is None else log[list(mixed.phases)].max() + mixed.gain + np.log(_MIXED)
    total = np.logaddexp(np.logaddexp.reduce(log), mixture)
    chance = np.exp(log - np.logaddexp.reduce(log))
    what = f"CC {cc:.2f} with phase {near + 1} over {common} reflections"
    if mixed is not None and np.exp(mixture - total) > _SURE:
        a, b = (x + 1 for x in mixed.phases)
        text = f"intensities of phases {a} and {b} at once, about {mixed.share:.0%} of {a} (log odds {mixed.gain:.0f} "
        text += f"against one phase alone); {what}"
        return Verdict("mixture", 0, float(np.exp(mixture - total)), cc, common, np.eye(3), 0, text)
    if found.labels[d] >= 0:
        p, group = float(chance[near]), inner[d] - inner[found.labels == found.labels[d]].clip(0).min() + 1
        text, clear = f"{what}, log odds {log[near] - log[k]:.0f} against none", float(found.clear[d])
        if clear < np.log(_SURE / (1 - _SURE)):
            text += f"; its setting is not settled (log odds {clear:.1f})"
        return Verdict("phase", near + 1, p, cc, common, operator, int(group) if inner[d] >= 0 else 0, text, clear)
    if chance[k] < _SURE:
        text = f"{what}: too little to tell (probability {chance[near]:.2f})"
        return Verdict("undecided", 0, float(chance[k]), cc, common, np.eye(3), 0, text)
    text = f"agrees with no phase: {what}, log odds {log[near] - log[k]:.0f}"
    return Verdict("junk", 0, float(chance[k]), cc, common, np.eye(3), 0, text)


def _without_phases(found: Phases, d: int) -> Verdict:
    """No two sets agree: is it that they differ, or that they have nothing in common?"""
    r = found.data.rows(d)
    seen = np.zeros(len(found.data.hkl), dtype=bool)
    seen[found.data.images[:, found.data.ids[r]]] = True
    shared = max(int(seen[found.data.ids[found.data.rows(e)]].sum()) for e in range(len(found.labels)) if e != d)
    kind = "junk" if shared >= 20 else "undecided"
    text = f"agrees with no other data set, of up to {shared} reflections in common"
    return Verdict(kind, 0, 1.0 if kind == "junk" else 0.5, np.nan, shared, np.eye(3), 0, text)


def _agreement(found: Phases, d: int, k: int) -> tuple[float, int]:
    """CC of a set with the profile of phase k without it, and the number of reflections."""
    weight, total = found.without(d)
    r = found.data.rows(d)
    ids = found.data.images[found.settings[d], found.data.ids[r]]
    both = weight[k, ids] > 0
    if both.sum() < 3:
        return float("nan"), int(both.sum())
    y, mean = found.data.y[r][both], (total[k, ids] / (weight[k, ids] + 1 / found.tau2))[both]
    spread = np.std(y) * np.std(mean)
    return (float(np.mean((y - y.mean()) * (mean - mean.mean())) / spread) if spread > 0 else float("nan")), len(y)


def _between(found: Phases) -> np.ndarray:
    """CC (k, k) of the profiles over the reflections that both phases have; NaN below three."""
    k = len(found)
    out = np.eye(k)
    mean = found.profiles[0] if k else np.empty((0, 0))
    for a in range(k):
        for b in range(a):
            both = np.isfinite(mean[a]) & np.isfinite(mean[b])
            out[a, b] = out[b, a] = np.corrcoef(mean[a, both], mean[b, both])[0, 1] if both.sum() > 2 else np.nan
    return out


def _renamed(verdicts: list[Verdict]) -> list[Verdict]:
    """Labels without gaps, where a phase has lost all its sets to other verdicts."""
    names = {old: new for new, old in enumerate(sorted({v.label for v in verdicts if v.label > 0}), start=1)}
    return [v if v.label == 0 else replace(v, label=names[v.label]) for v in verdicts]


def _twins(sets: Sequence[Reflections]) -> np.ndarray:
    """The first set (n,) that has the same data as each; itself for those that are there once."""
    first: dict[bytes, int] = {}
    keys = [r.hkl.tobytes() + r["intensity"].tobytes() if len(r) else None for r in sets]
    return np.array([d if key is None else first.setdefault(key, d) for d, key in enumerate(keys)])


def stability(data: LogIntensities, labels: np.ndarray, product: np.ndarray, turns: int = 5, seed: int = 0) -> float:
    """Share of the pairs of sets that stay together or apart when a fifth of the sets is left out, mean of ``turns``.

    labels: (n,) as found from all of ``data``. Costs as many sortings.
    """
    rng, kept = np.random.default_rng(seed), []
    for _ in range(turns):
        some = np.sort(rng.permutation(len(data))[: max(2, round(0.8 * len(data)))])
        again = find_phases(data.select(some), product).labels
        a, b = (x[:, None] == x[None] for x in (labels[some], again))
        in_one = (labels[some] >= 0) & (again >= 0)
        pairs = np.outer(in_one, in_one) & ~np.eye(len(some), dtype=bool)
        kept.append(float((a == b)[pairs].mean()) if pairs.any() else 1.0)
    return float(np.mean(kept))
