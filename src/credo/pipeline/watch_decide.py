"""Decisions for a collection that asks: of the crystal that turns, and of what is to come after it."""

from __future__ import annotations

from collections.abc import Sequence

from credo.collect.advice import CrystalNow, Decision
from credo.pipeline.watch_company import Outlook
from credo.pipeline.watch_next import Goal, PhaseNow, missing, next_plan
from credo.pipeline.watch_set import LiveState

__all__ = ["after", "while_turning"]


def while_turning(
    crystal: CrystalNow, state: LiveState, phases: Sequence[PhaseNow], goal: Goal, tilt: tuple[float, float],
    outlook: Outlook,
) -> Decision:  # fmt: skip
    """Go on, and how far, or not; within ``tilt`` [deg] and what the rotation is to reach."""
    low, up = tilt
    limits = (low, crystal.to_deg) if crystal.to_deg > crystal.tilt_deg else (crystal.to_deg, up)
    said = next_plan(state, phases, goal, limits, outlook.pace)
    reached = None if said.to_deg is None else (crystal.tilt_deg, said.to_deg)
    return Decision(said.verdict, said.reason, reached, (said.phase,) if said.phase else ())


def after(crystal: CrystalNow, phases: Sequence[PhaseNow], goal: Goal, outlook: Outlook) -> Decision:
    """Stop where every phase of interest is complete, else how the next crystal is to turn, from where the stage is."""
    lacking = [p for p in phases if p.wanted(goal) and not p.complete(goal)]
    there = {n for p in phases for n in (p.name, p.known)}
    absent = [n for n in goal.phases if n not in there]
    if phases and not lacking and not absent:
        return Decision("stop", "every phase of interest is complete")
    low, up = outlook.range_deg
    between = (low, up) if abs(crystal.tilt_deg - low) <= abs(crystal.tilt_deg - up) else (up, low)
    reason = "; ".join(f"{p.name}: {missing(p, goal).reason}" for p in lacking)
    reason = "; ".join([x for x in (reason, *(f"{n} is not there yet" for n in absent)) if x])
    return Decision("continue", reason or "no phase is there yet", between, (*(p.name for p in lacking), *absent))
