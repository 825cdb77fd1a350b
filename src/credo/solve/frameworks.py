"""A zeolite framework from data of 1.2-2.4 Å: four-connected nets of T sites that explain |F|, in every group allowed.

Trials (:mod:`credo.solve.frameworks_anneal`) give T sites; a complete net gets oxygens, ideal distances and a
restrained refinement (:mod:`credo.solve.frameworks_fit`), whose R1 decides; coordination sequences give its name
(:mod:`credo.solve.frameworks_topology`). Nothing of a known structure is used to find one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import gemmi
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.model import CannotDo, Cell, CredoError, Structure
from credo.solve.frameworks_anneal import Moduli, NetSites, net_search
from credo.solve.frameworks_fit import Framework, judged
from credo.solve.frameworks_groups import possible_groups
from credo.solve.frameworks_net import net_of_sites
from credo.solve.frameworks_supergroup import higher_groups
from credo.solve.frameworks_topology import signature
from credo.solve.normalise import PhasingData, normalise
from credo.solve.ranking import ORDER, expected_r1
from credo.solve.refine.data import Observed, merge_equivalents

__all__ = [
    "T_ELEMENTS", "FrameworkSearch", "FrameworkSettings", "FrameworkSolution", "find_framework", "framework_search",
    "holds_framework", "likely_groups", "tetrahedra",
]  # fmt: skip

#: What sits in tetrahedra of zeolites.
T_ELEMENTS = ("Si", "Al", "P", "Ge", "Ga", "B", "Zn", "Be", "Co", "Fe", "Mg", "Ti")
#: Data finer than this show every atom to the usual search [Å].
COARSE = 1.1
#: T per 1000 Å³ of a middling framework, and moves per trial for each independent T site expected.
_MIDDLING, _MOVES = 16.5, 50_000
#: Groups beyond this rank get no time; the n-th has a share of 1/n.
_GROUPS = 8
#: CPU seconds, or trials, of a group with a share of 1 that go before each one that joins.
_JOIN, _TRIALS = 10.0, 60
#: A net is refined when its merit comes this near to the best of its group, and again only if it got this much better.
_NEAR, _BETTER = 0.02, 0.01
#: Silicates do not have nets that miss their ideal distances by more than this.
_STRAINED = 1.5
#: R1 above the best one's that leaves a framework possible.
_MARGIN = 0.05
#: Reflections without which nothing is searched; R1 of a wrong structure scatters by about 0.5/√n, so that what is
#: believed is lower by this over √n.
_FEWEST, _CHANCE = 8, 0.6


class FrameworkSettings(BaseModel):
    """How long to search for a framework, and when to believe it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(default=300.0, gt=0, description="CPU seconds after which no new trial starts")
    convincing: float = Field(
        default=0.15, gt=0, description="R1 above what the errors explain, at which the search ends at once"
    )
    believable: float = Field(default=0.40, gt=0, description="R1 above which no framework is believed")


@dataclass(frozen=True)
class FrameworkSolution:
    """``solved`` with ``reasons`` either way; ``candidates`` best first, one of each topology and group; ``groups``:
    (symbol, trials, best merit) in the order of likelihood."""

    solved: bool
    reasons: tuple[str, ...]
    candidates: tuple[Framework, ...]
    groups: tuple[tuple[str, int, float], ...]
    d_min: float
    seconds: float

    @property
    def best(self) -> Framework | None:
        """The first candidate, whether or not it is believed."""
        return self.candidates[0] if self.candidates else None


def holds_framework(formula: dict[str, float], d_min: float) -> bool:
    """Whether the framework search is the likelier way: T atoms and O at about 1:2 and data coarser than 1.1 Å."""
    return d_min > COARSE and tetrahedra(formula) > 0


def tetrahedra(formula: dict[str, float]) -> float:
    """T atoms of a formula that a four-connected framework may have, water in its pores included; else nought."""
    t = sum(formula.get(e, 0.0) for e in ("Si", "Al", "P", "Ge"))
    return t if 1.8 * t < formula.get("O", 0.0) < 3.2 * t else 0.0


def find_framework(
    cell: Cell,
    centring: str,
    laue_group: str,
    hkl: np.ndarray,
    intensity: np.ndarray,
    sigma: np.ndarray,
    wavelength: float,
    element: str = "Si",
    group: gemmi.SpaceGroup | None = None,
    settings: FrameworkSettings | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> FrameworkSolution:
    """hkl (n, 3), intensity (n,), sigma (n,), merged or not; wavelength [Å]; ``group``: where it is known.

    "Not found" is an answer with reasons; it raises only where the input cannot be used.
    """
    settings = settings or FrameworkSettings()
    started = time.process_time()
    data = normalise(cell, centring, laue_group, hkl, intensity, sigma, _FEWEST)
    search = framework_search(data, cell, wavelength, element, settings, seed, progress)
    groups = [group] if group is not None else likely_groups(data, laue_group, centring)
    search.run(groups, started)
    if group is None:
        search.raise_symmetry(lambda s: higher_groups(s, data, laue_group, centring))
    return search.answer(data.d_min, time.process_time() - started)


def framework_search(
    data: PhasingData, cell: Cell, wavelength: float, element: str, settings: FrameworkSettings, seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> FrameworkSearch:  # fmt: skip
    """A search on all of ``data``; cell: conventional."""
    _, first = np.unique(data.unique, return_index=True)
    moduli = Moduli(np.rint(data.hkl[first] @ np.linalg.inv(data.basis)).astype(int), data.f[first])
    return FrameworkSearch(cell, moduli, data.merged, wavelength, element, settings, seed, progress or _silent)


def likely_groups(data: PhasingData, laue_group: str, centring: str) -> list[gemmi.SpaceGroup]:
    """Those that get time."""
    hkl, mean, _ = data.merged
    return [g.group for g in possible_groups(laue_group, centring, hkl, mean)][:_GROUPS]


def _silent(_: str) -> None:
    return None


@dataclass
class _Attempt:
    """One group's trials: ``share`` of the time it should get, what it took, and the ``best`` merit of a net."""

    group: gemmi.SpaceGroup
    share: float
    trials: Iterator[NetSites]
    observed: Observed
    spent: float = 0.0
    count: int = 0
    best: float = -np.inf

    @property
    def effort(self) -> float:
        """What was done, over the share: a group with quick trials has soon had enough of them."""
        return max(self.spent / _JOIN, self.count / _TRIALS) / self.share


@dataclass
class FrameworkSearch:
    """The trials so far, in every group that may be, and the frameworks met: ``steps`` makes more."""

    cell: Cell
    moduli: Moduli
    merged: tuple[np.ndarray, np.ndarray, np.ndarray]
    wavelength: float
    element: str
    settings: FrameworkSettings
    seed: int
    progress: Callable[[str], None]

    def __post_init__(self) -> None:
        self.found: dict[tuple, Framework] = {}
        self.attempts: list[_Attempt] = []
        self.ended = ""
        self.expected = expected_r1(self.merged[1], self.merged[2])
        self._limit = self.settings.believable - _CHANCE / float(np.sqrt(len(self.merged[1])))

    def run(self, groups: list[gemmi.SpaceGroup], started: float) -> None:
        """Trials until a framework convinces or time is up."""
        for _ in self.steps(groups):
            if self.convinced():
                return
            if time.process_time() - started > self.settings.seconds:
                self.ended = f"{self.settings.seconds:g} s"
                return

    def steps(self, groups: list[gemmi.SpaceGroup]) -> Iterator[None]:
        """One trial at a time, without end, in the group that has had the least of its share."""
        waiting = list(groups)
        problem: CredoError | None = None
        while True:
            due = min(self.attempts, key=lambda a: a.effort, default=None)
            if waiting and (due is None or due.effort > len(self.attempts)):
                try:
                    self.attempts.append(self._attempt(waiting.pop(0)))
                except CredoError as error:
                    problem = error
                continue
            if due is None:
                raise problem or CannotDo("no space group to search in", "check --laue-group and --centring")
            self._trial(due)
            yield

    def _attempt(self, group: gemmi.SpaceGroup) -> _Attempt:
        search = net_search(self.cell, group, self.moduli, self.element)
        expected = max(1.0, _MIDDLING * self.cell.volume / 1000 / len(search.waves.rot))
        observed = merge_equivalents(*self.merged, group, self.cell).observed
        return _Attempt(group, 1 / (len(self.attempts) + 1), search.trials(int(_MOVES * expected), self.seed), observed)

    def _trial(self, a: _Attempt) -> None:
        before = time.process_time()
        sites = next(a.trials)
        a.count += 1
        if sites.merit > a.best - _NEAR:
            self._take(a, sites)
        a.spent += time.process_time() - before

    def _take(self, a: _Attempt, sites: NetSites) -> None:
        """A complete net is refined, unless it is known and no better than before."""
        net = net_of_sites(self.cell, a.group, sites.xyz)
        if not net.complete:
            return
        a.best = max(a.best, sites.merit)
        key = (a.group.xhm(), signature(net))
        known = self.found.get(key)
        if known is not None and sites.merit < known.merit + _BETTER:
            self.found[key] = replace(known, hits=known.hits + 1)
            return
        new = judged(net, sites.merit, sites.cc, a.observed, self.wavelength, self.element)
        if known is None or new.corrected_r1 < known.corrected_r1:
            self.found[key] = replace(new, hits=known.hits + 1 if known else 1)
            self.progress(f"{key[0]}, trial {a.count}: {new.name}, R1 {new.r1:.3f}, misfit {new.misfit:.2f}")

    def raise_symmetry(self, higher: Callable[[Structure], list[tuple[gemmi.SpaceGroup, np.ndarray]]]) -> None:
        """The best framework once more in the groups of higher order that it obeys."""
        for best in self.ranked()[:1]:
            for group, xyz in higher(best.structure):
                net = net_of_sites(self.cell, group, xyz)
                key = (group.xhm(), signature(net)) if net.complete else None
                if key is None or key in self.found:
                    continue
                observed = merge_equivalents(*self.merged, group, self.cell).observed
                self.found[key] = judged(net, best.merit, best.cc, observed, self.wavelength, self.element)
                self.progress(f"{group.xhm()}, of {best.space_group}: R1 {self.found[key].r1:.3f}")

    def ranked(self) -> list[Framework]:
        """By R1, a higher order rewarded as for all structures; what distances forbid comes last."""
        return sorted(self.found.values(), key=lambda f: (f.misfit > _STRAINED, self._preference(f)))

    def _preference(self, f: Framework) -> float:
        order = len(gemmi.SpaceGroup(f.space_group).operations())
        return float(np.log(max(f.corrected_r1, 1e-3))) - 0.5 * ORDER * float(np.log2(order))

    def convinced(self) -> bool:
        """Whether the best framework agrees about as well as the errors allow."""
        best = self.ranked()[:1]
        return bool(best) and best[0].misfit < _STRAINED and best[0].corrected_r1 < min(
            self.settings.convincing + self.expected, self._limit
        )  # fmt: skip

    def possible(self) -> list[Framework]:
        """What may be right when T of several elements are told apart, or atoms outside the framework are found."""
        ranked = [f for f in self.ranked() if f.misfit <= _STRAINED and f.corrected_r1 < self.settings.believable]
        return [f for f in ranked if f.corrected_r1 < ranked[0].corrected_r1 + _MARGIN]

    def believed(self) -> Framework | None:
        """The best framework, if it is to be believed."""
        best = self.ranked()[:1]
        good = best and best[0].misfit <= _STRAINED and best[0].corrected_r1 < self._limit
        return best[0] if good else None

    def answer(self, d_min: float, seconds: float) -> FrameworkSolution:
        """The candidates ranked, and whether the first is believed."""
        ranked = self.ranked()
        good = self.believed() is not None
        tried = tuple((a.group.xhm(), a.count, float(a.best)) for a in self.attempts)
        return FrameworkSolution(good, self._reasons(ranked, good), tuple(ranked), tried, d_min, seconds)

    def _reasons(self, ranked: list[Framework], good: bool) -> tuple[str, ...]:
        trials = sum(a.count for a in self.attempts)
        if not ranked:
            return (f"no complete four-connected net in {trials} trials ({self.ended})",)
        best = ranked[0]
        said = f"{best.name} in {best.space_group}, R1 {best.r1:.3f}, misfit of distances {best.misfit:.2f}"
        if not good:
            return (f"not solved after {trials} trials ({self.ended}): the best net is {said}",)
        other = next((f for f in ranked[1:] if f.sequences != best.sequences), None)
        margin = f"the next topology has R1 {other.r1:.3f}" if other else "no other net was met"
        return (said, margin, *([f"not convincing after {self.ended}"] if self.ended else []))
