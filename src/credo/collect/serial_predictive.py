"""Ours: crystals followed by prediction. The stage's errors are learned; views are taken only when they demand it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from credo.collect.advice import CrystalNow, Decision
from credo.collect.crystals import Crystal, find_crystals
from credo.collect.dose_rate import dose_rate
from credo.collect.raster import raster, view_um
from credo.collect.rig import Rig
from credo.collect.rotation import Sweep, rotate
from credo.collect.seams import bridged
from credo.collect.serial_images import beam_centre, foreshortened, shift_between
from credo.collect.serial_setup import Bench, to_pattern, to_search
from credo.collect.serial_stage import StageModel, Where
from credo.collect.serial_steering import Steering, go
from credo.collect.steps import Ask, Done, Look, Move, Note, Once, Pause, Pose, Read, Set, Shot, Steps, Stop, Turn, Wait
from credo.collect.tracking import Disc, Expected, find_shadow, fit_disc
from credo.collect.watch import Watch, diffracted
from credo.model.errors import CannotDo

if TYPE_CHECKING:
    from credo.collect.serial_red import SerialRED

__all__ = ["Predictive", "PredictiveTracker"]

#: Standard deviation of a prediction, in beam radii, that asks for a view; frames between two views at least.
_UNSURE, _APART = 0.2, 12
#: Share of frames that views may take, and views that are free at the beginning.
_SHARE, _FREE = 0.028, 2
#: Standard deviation of the eucentric height at which it is measured [µm], tilt for that [deg].
_HEIGHT_UM, _HEIGHT_DEG = 1.2, 12.0
#: Least error of a view [µm]; part of a pattern's displacement that is taken back at each frame.
_VIEW_UM, _GAIN = 0.04, 0.15
#: Place of a crystal before it was seen in the beam [µm]; distance at which two finds are one [µm].
_ARRIVAL_UM, _SAME_UM = 0.4, 1.0
#: Crystals that are taken: radius of equal area [µm], contrast.
_RADIUS_UM, _CONTRAST = (0.1, 0.9), 0.08
#: Speed of tilts between rotations [deg/s].
_FAST_DEG_S = 8.0
#: A rotation begins so near to an end of the range [deg].
_OFF_DEG = 5.0
#: Part of the lead of a rotation that is turned before the first view.
_TAKEN_UP = 0.7
#: Farthest that a crystal strays between two images of a turn [µm].
_STRAY_UM = 1.5
#: Beam of a recovery [µm]; wide views without the crystal after which it is given up; frames that judge a crystal.
_WIDE_UM, _GIVE_UP, _JUDGED = 2.0, 3, 8
#: Frames from one question to whoever processes them to the next.
_ASKED = 4
#: Turns there and back by which the stage is learned; their speed [deg/s], exposure [s], error of a place [µm].
_SWEEPS, _SWEEP_DEG_S, _SWEEP_S, _PLACE_UM = 2, 4.0, 0.35, 0.06


NO_REFLECTIONS = "no reflections"


class NotInBeam(CannotDo):
    """The crystal was not seen in the beam before the rotation: there is no data set."""


class PredictiveTracker:
    """The beam goes where the stage model says that the crystal is; views correct the model."""

    method = "predicted from the learned stage, corrected in defocused views"

    def __init__(
        self, bench: Bench, model: StageModel, crystal: int, radius_um: float, start: np.ndarray, name: str = ""
    ) -> None:
        self.name, self._until = name, np.nan
        self.bench, self.model, self.crystal, self.radius = bench, model, crystal, radius_um
        self.looks = self.missed = self.frames = 0
        self.reflections = self.dose_rate = 0.0
        self.dose = np.inf
        self._start, self._since, self._free = start, 0, _FREE
        self._worst = 0.0
        self._disc = Disc(float(bench.centre[0]), float(bench.centre[1]), 1.0, 0.0, 1.0)

    def begin(self, rig: Rig, sweep: Sweep, pose: Pose) -> Steps[None]:
        self._sweep, self._pose = sweep, pose
        self.dose_rate = (yield from dose_rate(rig)) or 0.0
        self._steering = Steering(self.bench, sweep.exposure)
        self.model.learn(self._where(pose.a, pose.time, -sweep.direction), self._start, _ARRIVAL_UM)
        # the slack is taken up, and the bearing gone over to the way of the rotation, before the crystal is seen
        pose = yield from go(Move(a=pose.a + _TAKEN_UP * sweep.lead * sweep.direction))
        mean, _ = self.model.predict(self._where(pose.a, pose.time, sweep.direction))
        yield from self._steering.aim(mean)
        for _ in range(2):
            view = yield from self._steering.look()
            reason = yield from self._seen(view, sweep.direction)
            if reason:
                raise NotInBeam(reason, "the next crystal is taken")
            mean, _ = self.model.predict(self._where(pose.a, pose.time, sweep.direction))
            yield from self._steering.aim(mean)

    def _where(self, tilt: float, time: float, way: float) -> Where:
        p = self._pose
        return Where(self.crystal, 2 * self.crystal + (way == self._sweep.direction), p.x, p.y, p.z, tilt, way, time)

    def frame(self, shot: Shot) -> Steps[str]:
        s = self._sweep
        self.frames += 1
        self._since += 1
        if self.dose_rate * (shot.after.time - self._pose.time) > self.dose:
            return "dose budget"
        if self.frames <= _JUDGED:
            self.reflections += diffracted(shot.image)
            if self.frames == _JUDGED and self.reflections <= 0:
                return NO_REFLECTIONS
        reason = yield from self._advised(shot.after.a)
        if reason:
            return reason
        place = beam_centre(shot.image, self.bench.valid)
        self._steering.trim(_GAIN * np.clip(self.bench.centre - place, -3, 3))
        ahead = shot.after.a + 0.5 * s.direction * s.speed * s.exposure
        mean, sd = self.model.predict(self._where(ahead, shot.after.time, s.direction))
        self._worst = max(self._worst, float(sd.max()))
        allowed = self._free + _SHARE * self.frames
        apart = 2 if self.frames < 12 or self.missed else _APART
        try:
            if sd.max() > _UNSURE * self.bench.optics.beam_um and self._since >= apart and self.looks < allowed:
                self._since = 0
                yield from self._steering.aim(mean)
                view = yield from self._steering.look()
                self.looks += 1
                reason = yield from self._seen(view, s.direction)
                if reason:
                    return reason
                mean, _ = self.model.predict(
                    self._where(ahead + s.direction * s.speed * s.exposure, view.after.time, s.direction)
                )
            yield from self._steering.aim(mean)
        except CannotDo as error:
            return error.reason
        return ""

    def _advised(self, tilt: float) -> Steps[str]:
        """What whoever processes the frames says of the crystal: why to end its rotation here, or ""."""
        s = self._sweep
        if self.frames % _ASKED == 0:
            said: Decision = yield Ask(CrystalNow(self.name, self.frames, tilt, s.stop))
            if not said.goes_on:
                return f"{said.verdict}: {said.reason}"
            self._until = said.range_deg[1] if said.range_deg else np.nan
        return "as far as advised" if s.direction * (tilt - self._until) >= 0 else ""

    def _recover(self, way: float) -> Steps[str]:
        """A view with a wide beam: where is the crystal that the narrow one does not meet?"""
        yield Set({"brightness": self.bench.brightness(_WIDE_UM)})
        view = yield from self._steering.look()
        self.looks += 1
        yield Set({"brightness": self.bench.narrow})
        return (yield from self._seen(view, way, wide=True))

    def _seen(self, view: Shot, way: float, wide: bool = False) -> Steps[str]:
        """Learn from a defocused view; a crystal that is not in it is looked for around where it should be."""
        tilt = 0.5 * (view.before.a + view.after.a)
        where = self._where(tilt, view.after.time, way)
        mean, sd = self.model.predict(where)
        image, at = view.image, self._steering.place
        try:
            disc = _widened(image, self._disc, _WIDE_UM / self.bench.optics.beam_um) if wide else fit_disc(image)
        except CannotDo as error:
            yield Note("view", {"reason": error.reason})
            self.missed += 1
            return "" if self.missed < 3 else "no beam in the defocused view"
        self._disc = self._disc if wide else disc
        scale = float(np.sqrt(abs(np.linalg.det(self.bench.shadow))))
        off = self.bench.shadow @ (mean - at)
        sigma = scale * float(np.clip(np.hypot(*sd) / np.sqrt(2), 0.1, 0.8 if wide else 0.4))
        found = find_shadow(
            image, disc, Expected((float(off[0]), float(off[1])), sigma, self.radius * scale), valid=self.bench.valid
        )
        good = found.seen and found.confidence > 0.6
        facts = {"tilt": tilt, "seen": good, "expected_um": (mean - at).tolist(), "sd_um": sd.tolist()}
        if not good and not wide:
            yield Note("view", facts)
            return (yield from self._recover(way))
        if not good:
            self.missed += 1
            yield Note("view", {**facts, "wide": True})
            return "" if self.missed < _GIVE_UP else "the crystal is not in the beam"
        self.missed = 0
        here = at + np.linalg.solve(self.bench.shadow, np.array(found.offset))
        self.model.learn(where, here, max(found.error / scale, _VIEW_UM))
        yield Note("view", {**facts, "found_um": (here - at).tolist(), "error_um": found.error / scale})
        return ""

    def facts(self) -> Mapping[str, Any]:
        return {"looks": self.looks, "worst_sd_um": self._worst}


class Predictive:
    """Field after field at the tilt where the last rotation ended; each rotation goes the whole way back."""

    def __init__(self, plan: SerialRED, rig: Rig, bench: Bench) -> None:
        self.plan, self.rig, self.bench = plan, rig, bench
        self.model = StageModel(bench.lift)
        self.taken, self._number = 0, 0
        self._range, self._over = plan.range_deg, ""
        self._film = 0.0
        self._sweeps = 0
        self._done: list[np.ndarray] = []

    def collect(self, middle: tuple[float, float]) -> Steps[int]:
        places = raster(middle, self.plan.radius_um, view_um(self.rig, self.bench))
        places = places[np.argsort(np.hypot(*(places - np.array(middle)).T), kind="stable")]
        for number, (x, y) in enumerate(places):
            yield Pause()
            earlier = yield Once(f"field {number}")
            if earlier is None and self._goes_on():
                try:
                    yield from self._field(float(x), float(y))
                except CannotDo as error:
                    yield Note("field", {"place_um": [float(x), float(y)], "reason": error.reason})
                    yield Read()  # an instrument that is in alarm says so here
                yield Done(f"field {number}", {"data sets": self.taken})
            elif earlier is not None:
                self.taken = int(earlier["data sets"])
        return self.taken

    def _goes_on(self) -> bool:
        return self.taken < self.plan.max_crystals and not self._over

    def _learn_stage(self) -> Steps[bool]:
        """Turn through the whole range and back while the search image shows one crystal: the bearing's path."""
        low, up = self.plan.range_deg
        yield from to_search(self.bench.optics, self.bench.wide, self.bench.neutral)
        crystal = yield from self._lone_crystal()
        if crystal is None:
            return False
        self._number += 1
        place = self.bench.grid(np.array([crystal.x, crystal.y]))
        for way, end in ((1.0, up + 1), (-1.0, low - 1)):
            place = yield from self._watch_turning(way, end, place, crystal.area_um2)
            yield Note("stage", {"to_deg": end, "found": place is not None})
            if place is None:
                return False
        return True

    def _watch_turning(self, way: float, end: float, place: np.ndarray, area: float) -> Steps[np.ndarray | None]:
        """Views of the crystal from here to ``end``; returns where it was last, None if it was lost."""
        first = yield Look(_SWEEP_S, stream=True)
        yield Turn(end, _SWEEP_DEG_S)
        p, missed = first.after, 0
        while way * (end - p.a) > 0.6 and missed < 6:
            shot = yield Look(_SWEEP_S, stream=True)
            p = shot.after
            tilt = 0.5 * (shot.before.a + p.a)
            found = find_crystals(bridged(shot.image), self.bench.pixel_um)
            offs = [self.bench.grid(np.array([c.x, c.y])) for c in found if 0.3 < c.area_um2 / area < 3]
            gaps = [float(np.hypot(*(o - place))) for o in offs]
            if not gaps or min(gaps) > _STRAY_UM:
                missed += 1
                continue
            place, missed = offs[int(np.argmin(gaps))], 0
            rotation = -2 * self._number - (way > 0)
            at = Where(self._number, rotation, p.x, p.y, p.z, tilt, way, p.time)
            self.model.learn(at, place, _PLACE_UM)
        yield Stop()
        return place if missed < 6 else None

    def _lone_crystal(self) -> Steps[Crystal | None]:
        """The clearest isolated crystal in the middle of the view."""
        shot = yield Look(self.bench.optics.search_exposure)
        found = find_crystals(bridged(shot.image), self.bench.pixel_um, gap_um=1.5, edge_um=3.0)
        alone = [c for c in found if c.isolated and c.contrast > 2 * _CONTRAST and c.area_um2 < 1.5]
        return max(alone, key=lambda c: c.significance, default=None)

    def _field(self, x: float, y: float) -> Steps[None]:
        pose = yield Read()
        z, sd = self.model.height(x, y)
        high = abs(z - pose.z) > 0.3
        yield from to_search(self.bench.optics, self.bench.wide, self.bench.neutral)
        yield from go(Move(x=x, y=y, z=z if high and sd < 5 else None))
        if sd > _HEIGHT_UM:
            yield from self._measure_height(x, y)
            z, sd = self.model.height(x, y)
            yield from go(Move(z=z))
        if self._sweeps < _SWEEPS:
            yield from _tilt(self.plan.range_deg[0] - 1)
            self._sweeps += yield from self._learn_stage()
        pose = yield Read()
        low, up = self._range
        ends = (low, up) if abs(pose.a - low) < abs(pose.a - up) else (up, low)
        if abs(pose.a - ends[0]) > _OFF_DEG:
            yield from _tilt(float(ends[0] - np.sign(ends[1] - ends[0])))
        found, pose = yield from self._find()
        yield Note("field", {"place_um": [x, y], "crystals": len(found)})
        for crystal, place in found:
            if self._goes_on():
                reason = yield from self._crystal(crystal, place)
                if reason:
                    yield Note("rejected", {"place_um": place.tolist(), "reason": reason})

    def _measure_height(self, x: float, y: float) -> Steps[None]:
        """The whole image's shift over a tilt towards zero, as a view of one more crystal at two tilts."""
        here = yield Read()
        other = here.a - np.sign(here.a or 1.0) * _HEIGHT_DEG
        self._number += 1
        shots = []
        for a in (here.a, other, here.a):
            yield from _tilt(float(a))
            shot = yield Look(5 * self.bench.optics.search_exposure)
            shots.append(shot)
        ratio = np.cos(np.radians(shots[1].after.a)) / np.cos(np.radians(shots[0].after.a))
        as_seen = foreshortened(shots[0].image, self.bench.image, self.bench.beam_px, float(ratio))
        shift, height = shift_between(as_seen, shots[1].image, self.bench.valid, 250)
        if height < 6:
            return
        moved = np.linalg.solve(self.bench.image, shift)
        for shot, place in ((shots[0], np.zeros(2)), (shots[1], moved)):
            p = shot.after
            way = np.sign(other - here.a)
            self.model.learn(Where(-self._number, -self._number, x, y, p.z, p.a, way, p.time), place, 0.08)

    def _find(self) -> Steps[tuple[list[tuple[Crystal, np.ndarray]], Pose]]:
        """Crystals of the present view that are worth a rotation, with the stage position of each."""
        shot = yield Look(self.bench.optics.search_exposure)
        image, pose = shot.image, shot.after
        level = float(np.median(image))
        self._film = max(self._film, level)
        if level < 0.25 * self._film:
            return [], pose
        found = find_crystals(bridged(image), self.bench.pixel_um, gap_um=self.plan.gap_um)
        cosine = float(np.cos(np.radians(pose.a)))
        taken = []
        for c in found:
            place = np.array([pose.x, pose.y]) + self.bench.grid(np.array([c.x, c.y])) / np.array([1.0, cosine])
            if any(np.hypot(*(place - p)) < _SAME_UM / cosine for p in self._done):
                continue
            radius = float(np.sqrt(c.area_um2 / np.pi))
            reason = "not isolated" if not c.isolated else "too faint" if c.contrast < _CONTRAST else ""
            reason = reason or ("" if _RADIUS_UM[0] < radius < _RADIUS_UM[1] else f"radius {radius:.2f} µm")
            self._done.append(place)
            if reason:
                yield Note("rejected", {"place_um": place.tolist(), "reason": reason})
            else:
                taken.append((c, place))
        return taken, pose

    def _crystal(self, crystal: Crystal, place: np.ndarray) -> Steps[str]:
        """To the beam, seen there once, rotated; returns why there is no data set, or ""."""
        low, up = self._range
        pose = yield Read()
        first, last = (low, up) if pose.a < 0.5 * (low + up) else (up, low)
        if abs(pose.a - first) > _OFF_DEG:  # the rotation before was ended early
            yield from _tilt(float(first - np.sign(last - first)))
        yield from to_search(self.bench.optics, self.bench.wide, self.bench.neutral)
        pose = yield from go(Move(x=float(place[0]), y=float(place[1])))
        shot = yield Look(self.bench.optics.search_exposure)
        again = find_crystals(bridged(shot.image), self.bench.pixel_um)
        offs = [self.bench.grid(np.array([c.x, c.y])) for c in again]
        gaps = [float(np.hypot(*o)) for o in offs]
        if not gaps or min(gaps) > 1.5:
            return "not found again after the move"
        best = int(np.argmin(gaps))
        lead = 1.0 if last > first else -1.0
        start = pose.a + lead
        self._number += 1
        radius = float(np.sqrt(again[best].area_um2 / np.pi))
        name = f"{self.taken + 1:04d}"
        tracker = PredictiveTracker(self.bench, self.model, self._number, radius, offs[best], name)
        tracker.dose = self.plan.dose_e_per_A2
        yield from to_pattern(self.bench.optics, self.bench.narrow, self.bench.focus)
        about: dict[str, Any] = {
            "camera_length_mm": self.bench.optics.camera_length, "sample": self.plan.sample, "strategy": "default",
            "place_um": [pose.x, pose.y], "target_um": place.tolist(), "radius_um": radius,
        }  # fmt: skip
        sweep = Sweep(start, last, self.plan.speed_deg_s, self.plan.exposure_s, lead=abs(lead))
        try:
            ended = yield from rotate(self.rig, sweep, name, about, tracker, Watch(lost=-1.0))
        except NotInBeam as error:
            return error.reason
        self.taken += 1
        yield from self._next(CrystalNow(name, ended.frames, ended.angle, last, ended.reason))
        return ""

    def _next(self, crystal: CrystalNow) -> Steps[None]:
        """What is wanted after it: where the next is to turn, or nothing more."""
        said: Decision = yield Ask(crystal)
        if said.verdict == "stop":
            self._over = said.reason or "all is there"
        if said.range_deg:
            low, up = self.plan.range_deg
            a, b = np.clip(sorted(said.range_deg), low, up)
            self._range = (float(a), float(b)) if b - a > 2 * _OFF_DEG else self.plan.range_deg


def _tilt(a: float) -> Steps[None]:
    """Go to a tilt fast: a move would keep the speed of the last rotation."""
    yield Turn(a, _FAST_DEG_S)
    yield Wait()


def _widened(image: np.ndarray, disc: Disc, ratio: float) -> Disc:
    """The disc of a beam ``ratio`` times as wide as that of the view before, which may reach beyond the camera."""
    y, x = np.indices(image.shape) + 0.5
    inside = np.hypot(x - disc.x, y - disc.y) < 0.85 * ratio * disc.radius
    level = float(np.percentile(image[inside], 65)) if inside.any() else 0.0
    if level <= 0:
        raise CannotDo("the defocused view is dark", "is the beam on?")
    return Disc(disc.x, disc.y, ratio * disc.radius, level, 1.0)
