"""What a collection asks of whoever processes its data meanwhile, and what it is answered: plain values, for any wire.

A plan yields :class:`credo.collect.steps.Ask`; the engine hands the crystal to its ``ask`` and sends back the decision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from credo.model.errors import UnreadableInput

__all__ = ["AskNext", "CrystalNow", "Decision", "Verdict"]

Verdict = Literal["continue", "abandon", "enough", "stop"]
#: Longest reason and most phases that are taken from outside.
_WORDS, _PHASES = 500, 50


@dataclass(frozen=True)
class CrystalNow:
    """A crystal as collection knows it: the ``name`` of its data set and its ``folder`` ("" where none is written),
    ``frames`` of data so far, the stage's tilt [deg], where the rotation is to end [deg]; ``ended``: why it ended, ""
    while it turns."""

    name: str
    frames: int
    tilt_deg: float
    to_deg: float
    ended: str = ""
    folder: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Decision:
    """While a crystal turns: ``continue``, to ``range_deg[1]`` if that is told, or ``abandon`` it, or it is
    ``enough``. After its data set: ``continue`` with the next crystal, between the angles ``range_deg`` (the direction
    is their order), or ``stop``, since all is there. ``phases``: the names of those still wanted, none: any."""

    verdict: Verdict = "continue"
    reason: str = ""
    range_deg: tuple[float, float] | None = None
    phases: tuple[str, ...] = ()

    @property
    def goes_on(self) -> bool:
        return self.verdict == "continue"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Decision:
        """As :meth:`to_dict` gives it; anything else raises UnreadableInput."""
        verdict, between, phases = told.get("verdict"), told.get("range_deg"), told.get("phases") or ()
        right = verdict in get_args(Verdict) and isinstance(phases, list | tuple) and len(phases) <= _PHASES
        if between is not None:
            right = right and isinstance(between, list | tuple) and len(between) == 2 and all(map(_angle, between))
        if not right:
            raise UnreadableInput(
                f"an answer that is no decision: {str(told)[:200]}", "ask a `credo watch` of this version"
            )
        return cls(
            verdict, str(told.get("reason", ""))[:_WORDS],  # type: ignore[arg-type]
            None if between is None else (float(between[0]), float(between[1])), tuple(str(p)[:_WORDS] for p in phases),
        )  # fmt: skip


def _angle(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) <= 180


#: Must return at once, or nearly so: the crystal goes on turning.
AskNext = Callable[[CrystalNow], Decision]
