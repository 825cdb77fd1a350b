"""Where the stage may go: hardware, site and holder together; whatever lies outside is refused, never clipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from credo.instrument.errors import NotReady, Refused
from credo.instrument.protocols import AXES, Holder, Property, StagePosition
from credo.instrument.safety_settings import Safety

__all__ = ["OVERSHOOT", "Leg", "allowed_ranges", "check_legs", "plan_move"]

#: Why of the leg that goes below the target, so that the next one comes to it against the slack.
OVERSHOOT = "overshoot against backlash"

_Range = tuple[float, float]
_UNIT = {"x": "nm", "y": "nm", "z": "nm", "a": "deg", "b": "deg"}


@dataclass(frozen=True)
class Leg:
    """One command to the drives: axes to absolute values [nm, deg]; ``why`` of legs that nobody asked for."""

    target: Mapping[str, float]
    why: str = ""


def allowed_ranges(axes: Mapping[str, Property], safety: Safety, holder: Holder) -> dict[str, tuple[float, float]]:
    """Per axis the intersection of hardware, site and holder [nm, deg]; an axis that must not move is absent."""
    ranges: dict[str, _Range | None] = {n: _nm(getattr(safety, f"{n}_um")) for n in "xyz"}
    if holder.inserted:
        own = safety.holders.get(holder.name)
        for name in holder.tilts:
            of_site = getattr(safety, f"{name}_deg")
            of_holder = getattr(own, f"{name}_deg") if own else of_site
            ranges[name] = _intersect(of_site, of_holder) if of_holder else None
    found = {}
    for name, pair in ranges.items():
        if pair is not None and name in axes:
            found[name] = _intersect(pair, (axes[name].low, axes[name].high))
    return found


def _nm(um: _Range) -> _Range:
    return 1e3 * um[0], 1e3 * um[1]


def _intersect(a: _Range, b: tuple[float | None, float | None]) -> tuple[float, float]:
    low = a[0] if b[0] is None else max(a[0], b[0])
    high = a[1] if b[1] is None else min(a[1], b[1])
    return low, high


def check_legs(legs: Sequence[Leg], ranges: Mapping[str, tuple[float, float]], holder: Holder) -> None:
    """Refuse the whole move when any leg leaves the allowed ranges (NaN is outside of every range)."""
    for leg in legs:
        for name, value in leg.target.items():
            if name not in AXES:
                raise Refused(f"the stage has no axis {name!r}", f"axes are {', '.join(AXES)}")
            if name not in ranges:
                raise NotReady(
                    f"axis {name} cannot be moved with holder {holder.name!r}"
                    + ("" if holder.inserted else ", which is not inserted"),
                    "insert a holder that has this tilt",
                )
            low, high = ranges[name]
            if not low <= value <= high:
                leading = f" ({leg.why})" if leg.why else ""
                raise Refused(
                    f"stage {name} = {value:g} {_UNIT[name]}{leading} is outside {low:g} to {high:g} {_UNIT[name]}",
                    "choose another target, or change the limits of the site in the configuration",
                )


def plan_move(
    start: StagePosition, target: Mapping[str, float], safety: Safety, backlash: Sequence[str] = ()
) -> tuple[Leg, ...]:
    """The legs that bring the stage from ``start`` to ``target`` [nm, deg] in a safe order.

    A long way in x, y or z at a steep tilt is made at zero tilt: b and a to 0, z, (x, y), a, b, the order of Thermo
    Fisher's MoveTo. Axes named in ``backlash`` are approached from below by the overshoot of the settings.
    """
    target = {axis: float(value) for axis, value in target.items()}
    if not _is_large(start, target, safety):
        order = [{n: v for n, v in target.items() if n in "xyz"}, {n: v for n, v in target.items() if n in "ab"}]
        legs = [Leg(t) for t in order if t]
    else:
        level = [Leg({n: 0.0}, "levelled before a large move") for n in "ba" if abs(getattr(start, n)) > 1e-3]
        tilts: dict[str, float] = {n: target[n] if n in target else float(getattr(start, n)) for n in "ab"}
        back = [Leg({n: tilts[n]}) for n in "ab" if n in target or abs(tilts[n]) > 1e-3]
        flat = [Leg({"z": target["z"]})] if "z" in target else []
        plane = {n: target[n] for n in "xy" if n in target}
        legs = [*level, *flat, *([Leg(plane)] if plane else []), *back]
    return tuple(piece for leg in legs for piece in _approach(leg, safety, backlash))


def _is_large(start: StagePosition, target: Mapping[str, float], safety: Safety) -> bool:
    steep = max(abs(start.a), abs(start.b), abs(target.get("a", 0.0)), abs(target.get("b", 0.0))) > safety.steep_deg
    dx, dy, dz = (abs(target[n] - getattr(start, n)) if n in target else 0.0 for n in "xyz")
    return steep and (max(dx, dy) > 1e3 * safety.large_xy_um or dz > 1e3 * safety.large_z_um)


def _approach(leg: Leg, safety: Safety, backlash: Sequence[str]) -> list[Leg]:
    step = {n: 1e3 * safety.backlash_um if n in "xyz" else safety.backlash_deg for n in AXES}
    before = {n: v - step[n] for n, v in leg.target.items() if n in backlash and not leg.why}
    return [Leg({**leg.target, **before}, OVERSHOOT), leg] if before else [leg]
