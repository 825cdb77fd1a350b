"""Ours: crystals surveyed at zero tilt, the goniometer learned by watching one, then rotation after rotation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from credo.collect.advice import CrystalNow
from credo.collect.raster import Fields, raster, view_um
from credo.collect.rig import Rig
from credo.collect.rotation import Sweep, rotate
from credo.collect.serial_learning import Goniometer
from credo.collect.serial_setup import Bench, to_pattern, to_search
from credo.collect.serial_stage import StageModel, Where
from credo.collect.serial_steering import go
from credo.collect.serial_survey import Candidate, Particle, Survey
from credo.collect.serial_tracker import NO_REFLECTIONS, NotInBeam, PredictiveTracker, Stay
from credo.collect.steps import Ask, Done, Look, Move, Note, Once, Pause, Pose, Read, Steps
from credo.collect.watch import BEAM_LOST
from credo.instrument.errors import InstrumentError, Refused
from credo.model.errors import CannotDo

if TYPE_CHECKING:
    from credo.collect.serial_red import SerialRED

__all__ = ["Predictive"]

#: Candidates of one survey at most, and how many more than data sets that are wanted; crystals tried for learning.
_BATCH, _SPARE, _TRIES = 24, 1.2, 3
#: Time from a stop of the stage to the survey's image [s].
_RESTED_S = 0.3
#: Way beyond the range that the tilt goes between rotations, and from where it turns steadily into the range [deg]:
#: between them the slack is taken up, and the bearing goes over to the way of the rotation.
_LEAD, _RUN_UP = 1.0, 0.3
#: Height that the stage is moved for [µm]; error of a place in a search image [µm].
_HEIGHT_UM, _PLACE_UM = 0.4, 0.08
#: Standard deviation of the height from which it is measured by the image [µm].
_ROUGH_UM = 3.0
#: Radius of the beam at least, per radius of the crystal (many are longer than wide), and besides [µm].
_WIDER, _MARGIN_UM = 1.5, 0.6


class Predictive:
    """Survey, learn, rotate; again until enough are taken or the area is done. Rotations go to and fro."""

    def __init__(self, plan: SerialRED, rig: Rig, bench: Bench) -> None:
        self.plan, self.rig, self.bench = plan, rig, bench
        self.model = StageModel(bench.lift)
        self.goniometer = Goniometer(bench, self.model)
        self.survey = Survey(bench, plan.gap_um, max(map(abs, plan.range_deg)))
        #: Data sets of crystals, and all that were begun; stays of the stage.
        self.taken = self._begun = self._stays = 0
        self._learned = self._over = False
        self._between: tuple[float, float] | None = None

    def collect(self, middle: tuple[float, float]) -> Steps[int]:
        pitch = view_um(self.rig, self.bench)
        fields = Fields(raster(middle, self.plan.radius_um, pitch), pitch)
        batch = 0
        while fields and self._goes_on():
            batch += 1
            crystals = yield from self._surveyed(batch, fields)
            yield from self._learn_stage(crystals)
            while crystals and self._goes_on():
                yield from self._next(crystals)
        return self.taken

    def _goes_on(self) -> bool:
        return self.taken < self.plan.max_crystals and not self._over

    def _surveyed(self, batch: int, fields: Fields) -> Steps[list[Candidate]]:
        """Candidates of as many ``fields`` as are needed; after a crash those that were found."""
        earlier = yield Once(f"survey {batch}")
        if earlier is not None:
            for x, y, film in earlier["fields"]:
                fields.look(x, y, film)
            crystals = [Candidate.of(told) for told in earlier["crystals"]]
            for one in crystals:
                self.survey.add(one)
            self.survey.seen += [Particle((x, y), area) for x, y, area in earlier["particles"]]
        else:
            crystals = yield from self._looked_for(batch, fields)
        for one in crystals:
            self._learn_place(one)
        return crystals

    def _looked_for(self, batch: int, fields: Fields) -> Steps[list[Candidate]]:
        wanted = min(_BATCH, int(np.ceil(_SPARE * (self.plan.max_crystals - self.taken))) + 1)
        crystals, begun, known = [], len(fields.looked), len(self.survey.seen)
        yield from to_search(self.bench.optics, self.bench.wide, self.bench.neutral)
        pose = yield from self.goniometer.tilt(0.0)
        here = (pose.x, pose.y)
        while fields and len(crystals) < wanted:
            yield Pause()
            here = fields.next(here)
            crystals += yield from self._field(*here)
            fields.look(*here, self.survey.film)
        crystals = yield from self.survey.clear(crystals)
        facts = {
            "fields": fields.looked[begun:].tolist(), "crystals": [vars(one) for one in crystals],
            "particles": [[*one.place, one.area_um2] for one in self.survey.seen[known:]],
        }  # fmt: skip
        yield Done(f"survey {batch}", facts)
        return crystals

    def _field(self, x: float, y: float) -> Steps[list[Candidate]]:
        try:
            return (yield from self.survey.look(x, y))
        except CannotDo as error:
            if _ends_the_run(error):
                raise
            yield Note("field", {"place_um": [x, y], "crystals": 0, "reason": error.reason})
            return []

    def _learn_place(self, one: Candidate) -> None:
        """Where the survey saw it, the stage standing so that it was in the undeflected beam."""
        at = Where(one.number, -1 - one.number, 0, *one.place, 0.0, 0.0, 1.0, 0.0, _RESTED_S)
        self.model.learn(at, np.zeros(2), _PLACE_UM)

    def _learn_stage(self, crystals: list[Candidate]) -> Steps[None]:
        """Watch the clearest crystals in turn until one was seen all the way; once in a session."""
        best = sorted(crystals, key=lambda c: -min(c.gap_um, 3.0) * min(c.contrast, 0.5))
        for one in best[:_TRIES]:
            if self._learned:
                return
            yield from self.goniometer.tilt(0.0)
            yield from self._go_to(one, None)
            z, sd = self.model.height(*one.place)
            if sd > _ROUGH_UM:
                z = yield from self.goniometer.rough_height()
            self._learned = yield from self._watched(one, z)
            yield Note("stage", {"place_um": list(one.place), "learned": self._learned})

    def _watched(self, one: Candidate, z: float | None) -> Steps[bool]:
        """From zero tilt, at the height ``z``, to either end of the range and back; False if the crystal was lost."""
        low, up = self.plan.range_deg
        stay, pose = yield from self._go_to(one, z)
        for k, end in enumerate((low - _LEAD, up + _LEAD, low - _LEAD)):
            better, _ = self.model.height(*one.place)
            if k and abs(better - pose.z) > _HEIGHT_UM:  # as the way so far tells it
                pose = yield from go(Move(z=better))
            place = yield from self._seen(one, stay, pose)
            if place is not None:
                at = stay.where(pose, pose.a, self.goniometer.way, pose.time)
                place = yield from self.goniometer.watch(end, at, place, one.area_um2)
            if place is None:
                return False
        return True

    def _go_to(self, one: Candidate, z: float | None) -> Steps[tuple[Stay, Pose]]:
        yield from to_search(self.bench.optics, self.bench.wide, self.bench.neutral)
        pose = yield from go(Move(x=one.place[0], y=one.place[1], z=z))
        self._stays += 1
        name = f"{self._begun + 1:04d}"
        return Stay(one.number, self._stays, self.goniometer.turn, pose.time, one.radius_um, name), pose

    def _seen(self, one: Candidate, stay: Stay, pose: Pose) -> Steps[np.ndarray | None]:
        """The crystal in a search image, where it should be; its place is learned."""
        shot = yield Look(self.bench.optics.search_exposure)
        stay = replace(stay, turn=self.goniometer.turn)
        where = stay.where(pose, shot.after.a, self.goniometer.way, shot.after.time)
        mean, sd = self.model.predict(where)
        place = self.survey.recognised(shot, one, mean, sd)
        if place is not None:
            self.model.learn(where, place, _PLACE_UM)
        return place

    def _next(self, crystals: list[Candidate]) -> Steps[None]:
        """The nearest crystal is taken off the list and rotated, unless it was before a crash."""
        pose = yield Read()
        one = min(crystals, key=lambda c: float(np.hypot(c.place[0] - pose.x, c.place[1] - pose.y)))
        crystals.remove(one)
        yield Pause()
        name = f"crystal {one.number}"
        earlier = yield Once(name)
        if earlier is not None:
            self.taken, self._begun = int(earlier["data sets"]), int(earlier["begun"])
            return
        try:
            reason = yield from self._crystal(one)
        except CannotDo as error:
            if _ends_the_run(error):
                raise
            reason = error.reason
        if reason:
            yield Note("rejected", {"place_um": list(one.place), "reason": reason})
        yield Done(name, {"data sets": self.taken, "begun": self._begun})

    def _crystal(self, one: Candidate) -> Steps[str]:
        """To the beam, seen there, rotated; returns why there is no data set, or ""."""
        pose = yield Read()
        first, last = self._ends(pose.a)
        way = float(np.sign(last - first))
        yield from self.goniometer.tilt(first - way * _LEAD)
        z, _ = self.model.height(*one.place)
        stay, pose = yield from self._go_to(one, z if abs(z - pose.z) > _HEIGHT_UM else None)
        if (yield from self._seen(one, stay, pose)) is None:
            return "not found again at the tilt of the rotation's start"
        self.goniometer.turned(way)
        pose = yield from go(Move(a=first - way * _RUN_UP))
        yield from self._seen(one, stay, pose)
        sweep = Sweep(first, last, self.plan.speed_deg_s, self.plan.exposure_s, lead=_RUN_UP)
        try:
            yield from self._rotate(one, replace(stay, turn=self.goniometer.turn), pose, sweep)
        except NotInBeam as error:
            return error.reason
        return ""

    def _ends(self, tilt: float) -> tuple[float, float]:
        """Where the next rotation begins and ends [deg]: as was advised, or from the nearer end of the range."""
        low, up = self.plan.range_deg
        if self._between is not None:
            first, last = np.clip(self._between, low, up)
            if abs(last - first) > _LEAD:
                return float(first), float(last)
        return (low, up) if abs(tilt - low) < abs(tilt - up) else (up, low)

    def _rotate(self, one: Candidate, stay: Stay, pose: Pose, sweep: Sweep) -> Steps[None]:
        """One data set; then whoever processes the data is asked what is next."""
        bench = _lighting(self.bench, one.radius_um)
        tracker = PredictiveTracker(bench, self.model, stay, self.plan.dose_e_per_A2)
        yield from to_pattern(bench.optics, bench.narrow, bench.focus)
        about: dict[str, Any] = {
            "camera_length_mm": bench.optics.camera_length, "sample": self.plan.sample, "strategy": "default",
            "place_um": [pose.x, pose.y], "target_um": list(one.place), "radius_um": one.radius_um,
            "beam_um": bench.optics.beam_um,
        }  # fmt: skip
        result = yield from rotate(self.rig, sweep, stay.name, about, tracker, tracker.watch)
        self._begun += 1
        self.taken += result.reason != NO_REFLECTIONS
        answer = yield Ask(CrystalNow(stay.name, result.frames, result.angle, sweep.stop, ended=result.reason))
        self._over = answer.verdict == "stop"
        self._between = answer.range_deg


def _ends_the_run(error: CannotDo) -> bool:
    """Whether the instrument failed; what it refuses, or what a crystal does not allow, ends only that crystal."""
    return (isinstance(error, InstrumentError) and type(error) is not Refused) or BEAM_LOST in error.reason


def _lighting(bench: Bench, radius_um: float) -> Bench:
    """The bench with a beam that holds a crystal of this radius with a margin."""
    beam = max(bench.optics.beam_um, _WIDER * radius_um + _MARGIN_UM)
    optics = bench.optics.model_copy(update={"beam_um": beam})
    return replace(bench, optics=optics, narrow=bench.brightness(beam))
