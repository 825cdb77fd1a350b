"""What to collect next: whether a crystal is worth turning on, how far, and what each phase still lacks.

All values are plain and immutable, so that collection can ask and a log can keep them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from credo.merge.directions import completeness_by_direction
from credo.merge.known_phases import KnownPhase, identify
from credo.model import Cell, Experiment, Scan
from credo.physics.ewald import miller_indices, predict
from credo.physics.symmetry import laue_rotations, unique_reflections
from credo.pipeline.watch_set import LiveState

__all__ = ["Advice", "Goal", "PhaseAdvice", "PhaseNow", "missing", "next_plan", "phase_of"]

#: Rotation [deg] after which a crystal without a lattice is given up, and the least spots a frame of one worth more.
_LOST, _FEW = 15.0, 1.5
#: Steps [deg] in which a further range is weighed, and the gain, relative to the best step's, that is worth a step.
_STEP, _WORTH = 5.0, 0.1
#: How probable a phase must be to be taken for it.
_SURE = 0.8


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
    """A phase as it is merged so far. ``hkl`` (n, 3): unique reflections measured, on its axes; ``d_min`` [Å]."""

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
    known = [KnownPhase(p.name, p.cell.replace(covariance=None), p.centring) for p in phases]
    found = identify([state.crystal.cell], [state.crystal.centring], known)
    best = int(np.argmax(found.probability[0]))
    if best == len(phases):
        return None, float(found.probability[0][best]), np.eye(3)
    return phases[best], float(found.probability[0][best]), found.reindex[0]


def next_plan(
    state: LiveState, phases: Sequence[PhaseNow] = (), goal: Goal | None = None,
    limits_deg: tuple[float, float] = (-60.0, 60.0),
) -> Advice:  # fmt: skip
    """What to do with the crystal that is turning now; ``limits_deg``: of the stage."""
    goal = goal or Goal()
    if state.crystal is None or state.experiment is None:
        return _unindexed(state)
    if goal.resolution and state.resolution and state.resolution > goal.resolution:
        return Advice("abandon", f"it diffracts to {state.resolution:.2f} Å, {goal.resolution:.2f} Å are wanted")
    phase, probability, change = phase_of(state, phases)
    if phase is not None and probability >= _SURE:
        if not phase.wanted(goal):
            return Advice("abandon", f"phase {phase.name} is not wanted", phase=phase.name)
        if phase.complete(goal):
            return Advice("abandon", f"phase {phase.name} is complete already", phase=phase.name)
    else:
        phase, change = None, np.eye(3)
    return _further(state.experiment, phase, change, goal, limits_deg, state.resolution or 1.0)


def _unindexed(state: LiveState) -> Advice:
    if state.turned_deg >= _LOST:
        per_frame = state.n_spots / max(state.frames, 1)
        if per_frame < _FEW:
            return Advice("abandon", f"{per_frame:.1f} spots a frame after {state.turned_deg:.0f}°")
        return Advice("abandon", f"no lattice after {state.turned_deg:.0f}°: {state.reason}")
    return Advice("continue", state.reason or "no lattice yet")


def _further(
    experiment: Experiment, phase: PhaseNow | None, change: np.ndarray, goal: Goal, limits: tuple[float, float],
    resolution: float,
) -> Advice:  # fmt: skip
    """How far to turn, in the direction of the scan: as long as there is something new to see."""
    scan, crystal = experiment.scan, experiment.crystal
    laue = phase.laue_group if phase else crystal.laue_group
    cell, centring = (phase.cell, phase.centring) if phase else (crystal.cell, crystal.centring)
    d_min = max(phase.d_min if phase else resolution, resolution)
    rotations = laue_rotations(laue)
    possible, _ = unique_reflections(miller_indices(cell.B, d_min, centring), rotations)
    own = np.rint(predict(experiment, crystal, d_min).hkl @ change).astype(int)
    seen = np.concatenate([own, _array(phase.hkl if phase else ())])
    forward = scan.width_deg[-1] > 0
    here, end = float(scan.end_deg[-1]), limits[1] if forward else limits[0]
    name = phase.name if phase else None
    edges = np.arange(here, end, _STEP if forward else -_STEP)
    gains, known = [], {tuple(h) for h in unique_reflections(seen, rotations)[0].tolist()}
    covered = len(known) / max(len(possible), 1)
    for a in edges:
        b = min(a + _STEP, end) if forward else max(a - _STEP, end)
        more = predict(experiment.replace(scan=Scan.regular(1, a, b - a)), crystal, d_min)
        unique, _ = unique_reflections(np.rint(more.hkl @ change).astype(int), rotations)
        fresh = {tuple(h) for h in unique.tolist()} - known
        known |= fresh
        gains.append(len(fresh) / max(len(possible), 1))
    if not gains or max(gains) < 0.002:
        return Advice("enough", f"nothing new is seen by turning on ({covered:.0%} are covered)", phase=name)
    last = int(np.flatnonzero(np.array(gains) >= _WORTH * max(gains))[-1])
    to = float(edges[last] + np.sign(end - here) * _STEP)
    to = min(to, end) if forward else max(to, end)
    gain = float(sum(gains[: last + 1]))
    if covered >= goal.completeness and phase is not None and phase.members > 1:
        return Advice("enough", f"phase {phase.name} is covered to {covered:.0%}", phase=name)
    return Advice("continue", f"{gain:.0%} more of the unique reflections by {to:.0f}°", here, to, gain, name)


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
