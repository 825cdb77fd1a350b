"""What to collect next: whether a crystal is worth turning on, how far, and what each phase still lacks.

All values are plain and immutable, so that collection can ask and a log can keep them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from credo.merge.directions import completeness_by_direction
from credo.merge.known_phases import KnownPhase, identify
from credo.model import Cell, Experiment
from credo.pipeline.watch_set import LiveState
from credo.pipeline.watch_worth import STEP_DEG, Prospect, Unique, best_end, profile

__all__ = ["SURE", "Advice", "Goal", "PhaseAdvice", "PhaseNow", "missing", "next_plan", "phase_of"]

#: Rotation [deg] after which a crystal without a lattice is given up, and the least spots a frame of one worth more.
_LOST, _FEW = 15.0, 1.5
#: Gain, relative to the best step's, that is worth a step where no other crystals are known; rotation [deg] after which
#: one that is left is no longer said to be abandoned.
_WORTH, _BEGUN = 0.1, 25.0
#: How probable a phase must be to be taken for it.
SURE = 0.8


@dataclass(frozen=True)
class Goal:
    """When it is enough. ``phases``: names of those wanted (none: all); ``resolution`` [Å]: a crystal that gives less
    is given up."""

    completeness: float = 0.95
    cc_half: float = 0.9
    resolution: float | None = None
    phases: tuple[str, ...] = ()


@dataclass(frozen=True)
class PhaseNow:
    """A phase as it is merged so far. ``hkl`` (n, 3): reflections measured, on its axes, and ``times`` (n,), how often
    each was (empty: once); ``d_min`` [Å]."""

    name: str
    cell: Cell
    centring: str
    laue_group: str
    hkl: tuple[tuple[int, int, int], ...] = ()
    members: int = 0
    completeness: float = 0.0
    cc_half: float | None = None
    d_min: float = 1.0
    known: str | None = None
    times: tuple[int, ...] = ()

    def measured(self, d_min: float) -> tuple[Unique, np.ndarray]:
        """The unique reflections to ``d_min`` [Å], and how often each was measured."""
        unique = Unique.of(self.cell, self.centring, self.laue_group, d_min)
        hkl = _array(self.hkl)
        return unique, unique.times(np.repeat(hkl, self.times, axis=0) if self.times else hkl)

    def complete(self, goal: Goal) -> bool:
        """Whether nothing more is wanted of it."""
        return self.completeness >= goal.completeness and (self.cc_half or 0.0) >= goal.cc_half

    def wanted(self, goal: Goal) -> bool:
        return not goal.phases or self.name in goal.phases or self.known in goal.phases


@dataclass(frozen=True)
class Advice:
    """``abandon`` the crystal; ``continue`` from ``from_deg`` to ``to_deg`` (the direction is their order); or it is
    ``enough``. ``gain``: new unique reflections as a share of all possible; ``phase``: which it is taken for."""

    verdict: Literal["abandon", "continue", "enough"]
    reason: str
    from_deg: float | None = None
    to_deg: float | None = None
    gain: float = 0.0
    phase: str | None = None


@dataclass(frozen=True)
class PhaseAdvice:
    """``zone``: the lattice direction [uvw] about which most is unseen, that the next crystal should have near the
    beam; ``seen``: the share of reflections measured around it."""

    name: str
    enough: bool
    completeness: float
    cc_half: float | None
    zone: tuple[int, int, int] | None = None
    seen: float | None = None
    reason: str = ""


def phase_of(state: LiveState, phases: Sequence[PhaseNow]) -> tuple[PhaseNow | None, float, np.ndarray]:
    """The phase that a live crystal's cell is of, its probability, and P (3, 3): (a, b, c) P on the phase's axes."""
    if state.crystal is None or not phases:
        return None, 0.0, np.eye(3)
    cell, known = state.crystal.cell, tuple((p.name, p.cell.parameters, p.centring) for p in phases)
    esd = () if cell.covariance is None else tuple(map(float, np.ravel(cell.covariance)))
    best, probability, change = _identified(tuple(cell.parameters), esd, state.crystal.centring, known)
    return (None if best == len(phases) else phases[best]), probability, change


@lru_cache(maxsize=1000)
def _identified(
    cell: tuple[float, ...], covariance: tuple[float, ...], centring: str, phases: tuple[Any, ...]
) -> tuple[int, float, np.ndarray]:
    """The likeliest phase's place, its probability, and the change of axes; of the same values found only once."""
    known = [KnownPhase(name, Cell(*p), c) for name, p, c in phases]
    found = identify(
        [Cell(*cell, covariance=np.reshape(covariance, (6, 6)) if covariance else None)], [centring], known
    )
    best = int(np.argmax(found.probability[0]))
    change = np.eye(3) if best == len(phases) else found.reindex[0]
    return best, float(found.probability[0][best]), change


def next_plan(
    state: LiveState, phases: Sequence[PhaseNow] = (), goal: Goal | None = None,
    limits_deg: tuple[float, float] = (-60.0, 60.0), pace: float = 0.0,
) -> Advice:  # fmt: skip
    """What to do with the crystal that is turning now; ``limits_deg``: of the stage; ``pace`` [1/deg]: what other
    crystals give (:mod:`credo.pipeline.watch_company`), 0 where that is not known."""
    goal = goal or Goal()
    if state.crystal is None or state.experiment is None:
        return _unindexed(state)
    if goal.resolution and state.resolution and state.resolution > goal.resolution:
        return Advice("abandon", f"it diffracts to {state.resolution:.2f} Å, {goal.resolution:.2f} Å are wanted")
    phase, probability, change = phase_of(state, phases)
    if phase is not None and probability >= SURE:
        if not phase.wanted(goal):
            return Advice("abandon", f"phase {phase.name} is not wanted", phase=phase.name)
        if phase.complete(goal):
            return Advice("abandon", f"phase {phase.name} is complete already", phase=phase.name)
    else:
        phase, change = None, np.eye(3)
    return _further(state.experiment, phase, change, goal, limits_deg, state.resolution or 1.0, pace)


def _unindexed(state: LiveState) -> Advice:
    if state.turned_deg >= _LOST:
        per_frame = state.n_spots / max(state.frames, 1)
        if per_frame < _FEW:
            return Advice("abandon", f"{per_frame:.1f} spots a frame after {state.turned_deg:.0f}°")
        return Advice("abandon", f"no lattice after {state.turned_deg:.0f}°: {state.reason}")
    return Advice("continue", state.reason or "no lattice yet")


def _further(
    experiment: Experiment, phase: PhaseNow | None, change: np.ndarray, goal: Goal, limits: tuple[float, float],
    resolution: float, pace: float,
) -> Advice:  # fmt: skip
    """How far to turn, in the direction of the scan: as long as it is worth more than going on to another crystal."""
    scan, crystal = experiment.scan, experiment.crystal
    name = phase.name if phase else None
    lone = PhaseNow("", crystal.cell, crystal.centring, crystal.laue_group, d_min=resolution)
    d_min = max(phase.d_min if phase else resolution, resolution)
    unique, times = (phase or lone).measured(d_min)
    prospect = Prospect.of(unique, experiment, crystal, change, d_min, _span(experiment, limits))
    start, here = float(scan.start_deg[0]), float(scan.end_deg[-1])
    times = times + np.bincount(prospect.between(start, here), minlength=len(times))
    covered = float(np.mean(times > 0)) if len(times) else 1.0
    if covered >= goal.completeness and phase is not None and phase.members > 1 and not pace:
        return Advice("enough", f"phase {phase.name} is covered to {covered:.0%}", phase=name)
    edges = _steps(here, limits[1] if scan.width_deg[-1] > 0 else limits[0])
    gains, widths = profile(prospect, times, edges), np.abs(np.diff(edges))
    fresh = [float(np.mean((times == 0) & seen)) for seen in _by_step(prospect, edges, len(times))]
    leave = "abandon" if abs(here - start) < _BEGUN else "enough"
    # what was seen before is still worth something where the pace of others is known, since it is measured anew
    if not len(gains) or (sum(fresh) < 0.002 and not pace):
        return Advice(leave, f"nothing new is seen by turning on ({covered:.0%} are covered)", phase=name)
    steps, _ = best_end(gains, widths, pace or _WORTH * float((gains / widths).max()))
    gain = float(np.mean((times == 0) & np.any(_by_step(prospect, edges[: steps + 1], len(times)), axis=0)))
    if not steps:
        return Advice(leave, f"others are worth more: this one shows {sum(fresh):.0%} that is new", phase=name)
    to = float(edges[steps])
    return Advice("continue", f"{gain:.0%} more of the unique reflections by {to:.0f}°", here, to, gain, name)


def _span(experiment: Experiment, limits: tuple[float, float]) -> tuple[float, float]:
    """The stage's limits, and what was seen beyond them."""
    ends = np.concatenate([experiment.scan.start_deg, experiment.scan.end_deg])
    return min(limits[0], float(ends.min())), max(limits[1], float(ends.max()))


def _steps(here: float, end: float) -> np.ndarray:
    """Tilts from here to the end, a step apart; only here where there is nowhere to go."""
    edges = np.arange(here, end, np.copysign(STEP_DEG, end - here))
    return np.append(edges, end) if len(edges) else np.array([here])


def _by_step(prospect: Prospect, edges: np.ndarray, n: int) -> np.ndarray:
    """Whether each of n reflections is seen in each step (steps, n)."""
    out = np.zeros((len(edges) - 1, n), dtype=bool)
    for k, (a, b) in enumerate(pairwise(edges)):
        out[k, prospect.between(a, b)] = True
    return out


def _array(hkl: Any) -> np.ndarray:
    return np.array(hkl, dtype=int).reshape(-1, 3)


def missing(phase: PhaseNow, goal: Goal | None = None) -> PhaseAdvice:
    """What a phase lacks: enough, or the direction in which fewest of its reflections were measured."""
    goal = goal or Goal()
    if phase.complete(goal):
        return PhaseAdvice(phase.name, True, phase.completeness, phase.cc_half, reason="complete")
    hkl = _array(phase.hkl)
    directions, share = completeness_by_direction(hkl, phase.cell, phase.laue_group, phase.centring, phase.d_min)
    worst = int(np.nanargmin(share))
    # a wedge about the unseen direction is seen where the beam stands across it
    zone = _zone_across(directions[worst], phase.cell)
    text = " ".join(map(str, zone))
    if phase.completeness < goal.completeness:
        why = f"{phase.completeness:.0%} complete; least is known about q across [{text}]: turn crystals there"
    else:
        why = f"complete, but CC½ is {phase.cc_half or 0:.2f}: any crystal helps"
    return PhaseAdvice(phase.name, False, phase.completeness, phase.cc_half, zone, float(share[worst]), why)


def _zone_across(q: np.ndarray, cell: Cell, most: int = 3) -> tuple[int, int, int]:
    """The lattice direction of small indices nearest to across a reciprocal direction ``q``, the shortest of these."""
    steps = np.arange(-most, most + 1)
    uvw = np.array(np.meshgrid(steps, steps, steps)).reshape(3, -1).T
    uvw = uvw[np.any(uvw != 0, axis=1) & (np.gcd.reduce(uvw, axis=1) == 1)]
    r = uvw @ cell.O.T
    length = np.linalg.norm(r, axis=1)
    off = np.abs(r @ q) / length
    best = int(np.argmin(off + 0.002 * length))
    first = uvw[best][np.flatnonzero(uvw[best])[0]]
    return tuple(int(x) for x in uvw[best] * np.sign(first))  # type: ignore[return-value]
