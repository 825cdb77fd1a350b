"""A crystal turned while the camera streams: from an angle to an angle, with looks between, until something ends it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from credo.collect.calibration.views import approach_focus
from credo.collect.dataset import geometry
from credo.collect.dose_rate import dose_rate
from credo.collect.rig import Rig
from credo.collect.steps import Begin, End, Look, Move, Pose, Read, Set, Shot, Steps, Stop, Turn
from credo.collect.watch import BEAM_LOST, Watch
from credo.model.errors import CannotDo, CredoError

__all__ = ["AT_TARGET", "LookEvery", "Result", "Sweep", "Tracker", "rotate"]

AT_TARGET = "target angle"


@dataclass(frozen=True)
class Sweep:
    """From ``start`` to ``stop`` [deg] at ``speed`` [deg/s], frames of ``exposure`` [s]. The turning begins ``lead``
    degrees before, where it takes up the slack of the goniometer, and goes as far beyond."""

    start: float
    stop: float
    speed: float
    exposure: float
    binning: int = 1
    lead: float = 1.0

    @property
    def direction(self) -> float:
        return 1.0 if self.stop >= self.start else -1.0

    @property
    def seconds(self) -> float:
        return (abs(self.stop - self.start) + 2 * self.lead) / self.speed

    def ends(self, rig: Rig) -> tuple[float, float]:
        """Where the turning begins and where it would end, within the limits [deg]."""
        low, high = rig.limits["a"]
        begin, end = self.start - self.direction * self.lead, self.stop + self.direction * self.lead
        return float(np.clip(begin, low, high)), float(np.clip(end, low, high))


@dataclass(frozen=True)
class Result:
    """Why a rotation ended, where [deg], after how many frames of data and of looking."""

    reason: str
    angle: float
    frames: int
    looks: int


class Tracker(Protocol):
    """Keeps the crystal in the beam. ``frame`` is called after every frame of data and may yield steps of its own
    (``Set``, ``Look(stream=True)``, ``Read``, ``Note``), among which the stage goes on turning."""

    looks: int
    #: What a CIF is told of the tracking; "none" for views that nobody acts on.
    method: str

    def begin(self, rig: Rig, sweep: Sweep, pose: Pose) -> Steps[None]:
        """At rest, before the turning."""
        ...

    def frame(self, shot: Shot) -> Steps[str]:
        """Returns why to stop, or ""."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """For collect.json."""
        ...


@dataclass
class LookEvery:
    """A defocused view every ``n`` frames of data, which a person watches; the base of trackers that correct.

    The look takes a place in the camera's stream, so its frame is a gap of the scan. ``seen`` is what a subclass does
    with the view; ``correct``, if given, is asked for the beam's shift (x, y) [units] (a person's click).
    """

    n: int = 10
    defocus: float = 1500.0
    settle_s: float = 0.0
    correct: Any = None
    looks: int = 0
    method: str = "none"
    _since: int = field(default=0, repr=False)
    _focus: float = field(default=0.0, repr=False)
    _how: tuple[float, int] = field(default=(0.1, 1), repr=False)

    def begin(self, rig: Rig, sweep: Sweep, pose: Pose) -> Steps[None]:
        self.method = "none" if self.correct is None else "by hand, in defocused views"
        self._since, self.looks, self._how = 0, 0, (sweep.exposure, sweep.binning)
        values = yield Read(("difffocus",))
        self._focus = float(values["difffocus"])
        yield from approach_focus(self._focus)

    def frame(self, shot: Shot) -> Steps[str]:
        self._since += 1
        if not self.n or self._since < self.n:
            return ""
        self._since = 0
        view = yield from self.look()
        return (yield from self.seen(view))

    def look(self) -> Steps[Shot]:
        """The defocused view, between two frames of data; afterwards the pattern is sharp again."""
        exposure, binning = self._how
        yield Set({"difffocus": self._focus + self.defocus})
        pose = yield Read()
        view = yield Look(exposure, "look", stream=True, binning=binning, since=pose.time + self.settle_s)
        self.looks += 1
        yield from approach_focus(self._focus)
        return view

    def seen(self, view: Shot) -> Steps[str]:
        if self.correct is None:
            return ""
        shift = self.correct(view)
        if shift is not None:
            values = yield Read(("beamshift",))
            x, y = values["beamshift"]
            yield Set({"beamshift": (x + shift[0], y + shift[1])})
        return ""

    def facts(self) -> Mapping[str, Any]:
        return {"looks": self.looks}


def rotate(
    rig: Rig,
    sweep: Sweep,
    name: str,
    about: Mapping[str, Any] | None = None,
    tracker: Tracker | None = None,
    watch: Watch | None = None,
) -> Steps[Result]:
    """Turn from start to stop and keep every frame between them in the data set ``name``.

    Ends at the target angle, when the tracker or the watch say so, or after half as much time again as it should take.
    An instrument's error closes the data set and goes on to the plan, as does the loss of the beam (CannotDo).
    """
    told = about or {}
    if length := told.get("camera_length_mm"):
        geometry(rig, float(length), rig.camera.shape)  # what is not calibrated is refused before anything moves
    begin, end = sweep.ends(rig)
    pose = yield Move(a=begin)
    if tracker is not None:
        yield from tracker.begin(rig, sweep, pose)
    rate = yield from dose_rate(rig)
    facts = {"dose_rate": rate, "sweep": vars(sweep), "tracking": "none" if tracker is None else tracker.method}
    yield Begin(name, "rotation", {**facts, **told})
    counted = [0]
    try:
        result = yield from _turning(sweep, end, tracker, watch or Watch(), counted)
    except CredoError as error:
        with suppress(CredoError):  # an alarm: the guard stopped it
            yield Stop()
        yield End(error.reason, _facts(tracker))
        raise
    yield Stop()
    yield End(result.reason, _facts(tracker))
    if result.reason == BEAM_LOST:
        raise CannotDo(f"{name}: {BEAM_LOST} at {result.angle:.1f} deg", "see to the gun and the valves, then --resume")
    return result


def _facts(tracker: Tracker | None) -> dict[str, Any]:
    return {} if tracker is None else dict(tracker.facts())


def _turning(sweep: Sweep, end: float, tracker: Tracker | None, watch: Watch, counted: list[int]) -> Steps[Result]:
    """From the first frame at rest to the reason to stop."""
    direction = sweep.direction
    shot = yield Look(sweep.exposure, "look", stream=True, binning=sweep.binning)
    speed = yield Turn(end, sweep.speed)
    began, reason = shot.after.time, ""
    dead = 0.5 * speed * sweep.exposure
    while not reason:
        inside = direction * (shot.after.a - sweep.start) >= -dead
        shot = yield Look(sweep.exposure, "data" if inside else "look", stream=True, binning=sweep.binning)
        if inside:
            counted[0] += 1
            reason = watch.see(shot.image, shot.after.a)
            if not reason and tracker is not None:
                reason = yield from tracker.frame(shot)
        if direction * (sweep.stop - shot.after.a) <= dead:
            reason = reason or AT_TARGET
        elif shot.after.time - began > 1.5 * sweep.seconds + 30:
            reason = "the rotation takes too long"
    return Result(reason, shot.after.a, counted[0], tracker.looks if tracker else 0)
