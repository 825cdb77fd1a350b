"""Before a plan uses a calibration: is it in the store, does it still hold, and if not, stop or measure it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from credo.collect.calibration.check import Held, stale
from credo.collect.calibration.result import learnt
from credo.collect.rig import Rig
from credo.collect.steps import Note, Steps
from credo.instrument.config import Measured, MeasuredMatrix, MeasuredPair
from credo.model.errors import CannotDo

__all__ = ["USED", "Need", "Policy", "ready"]

#: The kind of the notes that tell which calibrations a plan uses.
USED = "calibration"

Value = Measured | MeasuredMatrix | MeasuredPair
#: What to do about a calibration that is missing or does not hold.
Policy = Literal["stop", "measure"]


@dataclass(frozen=True)
class Need:
    """A calibration that a plan uses.

    ``what``: for people; ``command``: arguments of ``credo calibrate`` that measure it; ``find``: looks it up, None or
    CannotDo where there is none; ``same``: settings that must be as they were; ``check``: a few images that tell
    whether it holds; ``measure``: makes it anew, None where a plan cannot (no gold in the beam). ``optional``: done
    without.
    """

    what: str
    command: str
    find: Callable[[Rig], Value | None]
    same: tuple[str, ...] = ()
    check: Callable[[Rig], Steps[Held]] | None = None
    measure: Callable[[Rig], Steps[Any]] | None = None
    optional: bool = False


def ready(
    rig: Rig, needs: Sequence[Need], policy: Policy, settings: Mapping[str, Any] | None = None, look: bool = True
) -> Steps[Rig]:
    """The rig with every need met; each is told by a note of kind ``USED``, which data sets keep.

    settings: what will be set when the calibrations are used; those that are not named count as they were. look:
    whether values are checked by images. Raises CannotDo, with the command to give, for what is missing, stale or off
    and must not, or cannot, be measured here.
    """
    for need in needs:
        found, why = _stored(rig, need, settings or {})
        held = None
        if found is not None and not why and look and not rig.blind and need.check and not Rig.is_nominal(found):
            held = yield from need.check(rig)
            if not held.holds:
                why = [f"it is off by {held.off_px:.1f} px, {held.pull:.0f} uncertainties"]
        anew = bool(why) or (policy == "measure" and need.measure is not None and _stands_in(found))
        source = "stored"
        if anew and not (need.optional and found is None):
            rig, found, source = yield from _made(rig, need, policy, why)
        elif _stands_in(found):
            source = "nominal" if found is not None else "none"
        yield Note(USED, _facts(need, found, source, why, held))
    return rig


def _stored(rig: Rig, need: Need, settings: Mapping[str, Any]) -> tuple[Value | None, list[str]]:
    """(the value, why it must not be used as it is)."""
    try:
        found = need.find(rig)
    except CannotDo as error:
        return None, [error.reason]
    if found is None:
        return None, [] if need.optional else ["it was never measured"]
    return found, stale(found, rig, {k: settings[k] for k in need.same if k in settings})


def _stands_in(found: Value | None) -> bool:
    return found is None or Rig.is_nominal(found)


def _made(rig: Rig, need: Need, policy: Policy, why: Sequence[str]) -> Steps[tuple[Rig, Value | None, str]]:
    """(rig, value, source) after measuring; in a rehearsal what would be measured is taken from the data sheet."""
    if policy == "stop" or need.measure is None:
        raise CannotDo(
            f"{need.what}: {'; '.join(why)}",
            f"measure it: credo calibrate {need.command} --into SESSION/calibration.toml (or the configuration)",
        )
    if rig.blind:
        rig = replace(rig, uncalibrated=True)
        return rig, _stored(rig, need, {})[0], "would be measured"
    rig, _ = yield from learnt(rig, need.measure(rig))
    return rig, need.find(rig), "measured"


def _facts(need: Need, found: Value | None, source: str, why: Sequence[str], held: Held | None) -> dict[str, Any]:
    """Plain JSON: what is used, its uncertainty, where it comes from, and how it was checked."""
    told: dict[str, Any] = {"what": need.what, "source": source}
    if found is not None:
        told |= found.model_dump(mode="json", exclude_defaults=True)
    if why:
        told["instead_of"] = list(why)
    if held is not None:
        told["checked"] = {"off_px": held.off_px, "pull": held.pull}
    return told
