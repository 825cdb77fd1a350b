"""A plan rehearsed: every waypoint through the guard's limits on a replica of the instrument, nothing real moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from credo.collect.engine import Engine, Event
from credo.collect.plans import Plan
from credo.collect.rig import Rig
from credo.instrument.controller import TEMController
from credo.model.errors import CredoError

__all__ = ["Rehearsal", "rehearse"]


@dataclass
class Rehearsal:
    """What happened: ``seconds`` by the replica's clock, ``box``: from where to where each axis went [µm, deg],
    ``beam_on_s``: exposures with the beam on, ``waypoints``, ``frames`` of data; ``refused``: why it would not do."""

    seconds: float = 0.0
    beam_on_s: float = 0.0
    waypoints: int = 0
    frames: int = 0
    box: dict[str, list[float]] = field(default_factory=dict)
    refused: str = ""

    def __call__(self, event: Event) -> None:
        if event.kind == "move":
            self.waypoints += 1
            self._reach(event.facts)
        elif event.kind == "turn":
            self.waypoints += 1
            self._reach({"a": event.facts["to"]})
        elif event.kind == "frame" and event.facts.get("role") == "data":
            self.frames += 1

    def _reach(self, place: Any) -> None:
        for axis in "xyzab":
            if axis in place:
                low, high = self.box.get(axis, [float("inf"), float("-inf")])
                self.box[axis] = [min(low, float(place[axis])), max(high, float(place[axis]))]


def rehearse(plan: Plan, ctrl: TEMController) -> Rehearsal:
    """Run ``plan`` on a replica of the present state. Its images are black: what a plan does with what it sees, as
    centring and the choice of crystals, is not part of it."""
    seen = Rehearsal()
    replica = ctrl.rehearse()
    clock = replica.link.clock
    began = clock.now()
    try:
        Engine(replica, [seen]).run(plan.steps(Rig.of(replica)))
    except CredoError as error:
        seen.refused = error.reason
    finally:
        seen.seconds = clock.now() - began
        guard = getattr(replica.link, "guard", None)
        seen.beam_on_s = sum(c.seconds for c in guard.microscope.cameras.values()) if guard else 0.0
        replica.close()
    return seen
