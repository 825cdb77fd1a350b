"""One stage move, watched until it has arrived: started, polled, verified, tried again within bounds, or an alarm."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from credo.instrument.clock import Clock
from credo.instrument.errors import HardwareFault
from credo.instrument.limits import OVERSHOOT, Leg
from credo.instrument.protocols import Stage, StagePosition, StageState
from credo.instrument.safety_settings import Safety

__all__ = ["Limiter", "PoleTouch", "supervise"]


class PoleTouch(HardwareFault):
    """A tilt stalled on its way or turned back: the holder may touch the pole piece."""


class Limiter(HardwareFault):
    """The goniometer ran into a hardware limit switch."""


def supervise(stage: Stage, clock: Clock, legs: Sequence[Leg], safety: Safety) -> Generator[float, None, None]:
    """Drive ``legs`` one after another; yields the seconds until it wants to look again.

    Raises ``PoleTouch``, ``Limiter`` (both call for the emergency stop) or ``HardwareFault`` (no arrival in
    ``arrival_tries`` tries, no end within the time allowed). Some goniometers report success or rest without having
    moved, so what counts is the position read back (Leginon's and Instamatic's experience with JEOL). A target that is
    approached against the slack is approached so on every try.
    """
    for before, leg in zip((None, *legs), legs):
        for attempt in range(safety.arrival_tries):
            if attempt and before is not None and before.why == OVERSHOOT:
                yield from _driven(stage, clock, before, safety)
            began, ended = yield from _driven(stage, clock, leg, safety)
            if _near(ended, leg.target, safety):
                break
            _look_for_pole_touch(began, ended, leg.target, safety)
            if attempt + 1 == safety.arrival_tries:
                raise HardwareFault(
                    f"the stage did not arrive: wanted {_words(leg.target)}, is at {_words(ended, leg.target)} "
                    f"after {safety.arrival_tries} tries",
                    "look at the goniometer; wider arrival tolerances are set in the configuration",
                )


def _driven(stage: Stage, clock: Clock, leg: Leg, safety: Safety) -> Generator[float, None, tuple[StagePosition, ...]]:
    """Start the leg and wait until the stage rests: where it was before, and where it is."""
    began = stage.position()
    stage.start(leg.target)
    return began, (yield from _until_still(stage, clock, leg, began, safety))


def _until_still(
    stage: Stage, clock: Clock, leg: Leg, began: StagePosition, safety: Safety
) -> Generator[float, None, StagePosition]:
    """Poll until the drive rests at a position that no longer changes; watches limiter, tilt and the deadline."""
    started, deadline = clock.now(), clock.now() + _time_allowed(stage, began, leg.target, safety)
    tilt = _Tilt(began.a, leg.target["a"], stage.rotation_speed(), started, safety) if "a" in leg.target else None
    rest, since, window = began, started, _rest_window(stage, leg.target, safety)
    while True:
        yield safety.poll_s
        state, here, now = stage.state(), stage.position(), clock.now()
        if state is StageState.LIMITER:
            raise Limiter(f"hardware limiter at {_words(here, leg.target)}", "move back by the hand panel")
        if tilt:
            tilt.watch(here.a, now, state is StageState.MOVING)
        if state is not StageState.READY or not _near(here, rest._asdict(), safety, 0.5):
            rest, since = here, now
        waited = now - started >= safety.start_grace_s
        if now - since >= window and (waited or _near(here, leg.target, safety)):
            return here
        if now > deadline:
            raise HardwareFault(
                f"the stage is still at {_words(here, leg.target)} after {now - started:.0f} s on its way to "
                f"{_words(leg.target)}",
                "it was stopped; look at the goniometer",
            )


def _rest_window(stage: Stage, target: Mapping[str, float], safety: Safety) -> float:
    """How long positions must agree before the stage counts as resting [s]: a slow rotation must show by then."""
    slow = safety.arrival_deg / max(stage.rotation_speed(), 1e-3) if "a" in target else 0.0
    return max(safety.poll_s, slow)


def _time_allowed(stage: Stage, began: StagePosition, target: Mapping[str, float], safety: Safety) -> float:
    if "a" not in target:
        return safety.move_timeout_s
    speed = max(stage.rotation_speed(), 1e-3)
    return safety.move_timeout_s + 1.5 * abs(target["a"] - began.a) / speed


class _Tilt:
    """Progress of axis a towards its target: turning back, or standing while the drive says that it moves."""

    def __init__(self, began: float, target: float, speed: float, now: float, safety: Safety) -> None:
        self._began, self._target, self._safety = began, target, safety
        self._sign = 1.0 if target >= began else -1.0
        self._furthest, self._since = 0.0, now
        self._patience = max(5.0, safety.start_grace_s, 5 * safety.pole_touch_deg / max(speed, 1e-3))

    def watch(self, a: float, now: float, moving: bool) -> None:
        progress = self._sign * (a - self._began)
        if progress > self._furthest + 0.01 or not moving:
            self._furthest, self._since = max(self._furthest, progress), now
        if self._furthest - progress > self._safety.pole_touch_deg:
            self._alarm(f"turned back to {a:.2f}")
        if moving and now - self._since > self._patience and abs(a - self._target) > self._safety.arrival_deg:
            self._alarm(f"has stood at {a:.2f} for {now - self._since:.1f} s")

    def _alarm(self, what: str) -> None:
        raise PoleTouch(
            f"tilt {what} deg on its way from {self._began:.2f} to {self._target:.2f}",
            "the holder may touch the pole piece: look before anything else moves",
        )


def _look_for_pole_touch(began, ended, target, safety: Safety) -> None:
    if "a" not in target:
        return
    short, gone = abs(ended.a - target["a"]), abs(ended.a - began.a)
    if short > safety.pole_touch_deg and gone > safety.arrival_deg:
        raise PoleTouch(
            f"tilt stalled at {ended.a:.2f} deg on its way from {began.a:.2f} to {target['a']:.2f}",
            "the holder may touch the pole piece: look before anything else moves",
        )


def _near(here: StagePosition, target: Mapping[str, float], safety: Safety, part: float = 1.0) -> bool:
    """Within ``part`` of the arrival tolerances: whole for arrival, half for the noise of reading a resting stage."""
    tolerance = {
        "x": 1e3 * safety.arrival_um,
        "y": 1e3 * safety.arrival_um,
        "z": 1e3 * safety.arrival_z_um,
        "a": safety.arrival_deg,
        "b": safety.arrival_deg,
    }
    return all(abs(getattr(here, n) - v) <= part * tolerance[n] for n, v in target.items())


def _words(place, names: Mapping[str, float] | None = None) -> str:
    values = place if names is None else {n: getattr(place, n) for n in names}
    return ", ".join(f"{n} {v:.2f}" if n in "ab" else f"{n} {v / 1e3:.2f} µm" for n, v in values.items())
