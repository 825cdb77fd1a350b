"""The plan ``serial-red``: every isolated crystal of an area found, centred, and rotated while the beam follows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from credo.collect.calibration.needs import pattern_needs
from credo.collect.calibration.ready import Need
from credo.collect.plans import Forecast, Plan, fraction
from credo.collect.raster import raster, view_um
from credo.collect.rig import Rig
from credo.collect.rotation import Result, Sweep, rotate
from credo.collect.seams import bridged
from credo.collect.serial_setup import Bench, SerialOptics, set_up, to_pattern, to_search
from credo.collect.serial_steering import go
from credo.collect.serial_thesis import (
    ThesisTracker,
    blank_variance,
    centre_by_image,
    find_again,
    find_thesis,
    height_by_rotation,
    height_by_two,
)
from credo.collect.steps import Done, Look, Move, Note, Once, Pause, Read, Steps
from credo.collect.watch import Watch
from credo.model.errors import CredoError

__all__ = ["SerialRED"]

#: Time [s] of the setting up, of one search position, and of one crystal besides its rotation, ours and the thesis's.
_SET_UP, _FIELD, _CRYSTAL = 70.0, 0.7, {"default": 2.0, "thesis": 14.0}
#: Ours: search positions for a crystal that is taken; speed at which the stage is learned [deg/s].
_FIELDS, _LEARN_DEG_S = 2.0, 10.0
#: Stage move after which the thesis's baseline sets the height anew [µm]; share of the film's light below which a
#: view is of a bar.
_FAR, _BAR = 50.0, 0.25


class SerialRED(Plan):
    """Rotation data of many crystals without a person: one data set each, a reason for each that has none.

    ``strategy = "thesis"`` is the method of the thesis. After a crash ``--resume`` goes on at the next position.
    """

    kind: Literal["serial-red"] = "serial-red"
    strategy: Literal["default", "thesis"] = Field(default="default", description="ours, or the thesis's baseline")
    x_um: float | None = Field(default=None, description="middle of the area; absent: where the stage is [µm]")
    y_um: float | None = Field(default=None, description="middle of the area; absent: where the stage is [µm]")
    radius_um: float = Field(default=100.0, gt=0, le=900, description="radius of the area [µm]")
    max_crystals: int = Field(default=100, ge=1, description="data sets at most")
    exposure_s: float = Field(default=0.5, gt=0, le=10, description="exposure of a frame [s]")
    speed_deg_s: float = Field(default=0.86, gt=0, le=10, description="speed of the rotation [deg/s]")
    range_deg: tuple[float, float] = Field(default=(-60.0, 60.0), description="angles to rotate between [deg]")
    gap_um: float = Field(default=1.0, ge=0, description="distance of a crystal to its neighbours, at least [µm]")
    look_interval: int = Field(default=10, ge=2, description="thesis: frames from one defocused view to the next")
    height: Literal["rotation", "two"] = Field(
        default="rotation", description="thesis: height by the 15° rotation, or by the older method at two heights"
    )
    predicted_beam_um: float = Field(
        default=1.1, gt=0, description="ours: radius of the beam at least, wide enough for what a prediction errs [µm]"
    )
    dose_e_per_A2: float = Field(default=40.0, gt=0, description="ours: fluence that a crystal gets at most [e/Å²]")
    calibrations: Literal["stop", "measure"] = Field(
        default="measure",
        description="when one is missing or does not hold: stop, or measure it where that can be done",
    )
    optics: SerialOptics = Field(default_factory=SerialOptics, description="the two views")

    def forecast(self, rig: Rig) -> Forecast:
        angle = abs(self.range_deg[1] - self.range_deg[0])
        turning = angle / self.speed_deg_s
        pixel = rig.nm_per_pixel(self.optics.search_mode, self.optics.magnification).value / 1e3
        fields = len(raster((0, 0), self.radius_um, 0.8 * min(rig.camera.shape) * pixel))
        beat = self.exposure_s + rig.dead_time
        before = _SET_UP
        if self.strategy == "default":
            fields = min(fields, int(_FIELDS * self.max_crystals) + 1)
            before += 10.0 + 2.5 * angle / _LEARN_DEG_S
        return Forecast(
            duration_s=before + fields * _FIELD + self.max_crystals * (turning + _CRYSTAL[self.strategy]),
            beam_on_s=turning,
            rotation_deg=angle,
            reciprocal_fraction=fraction(angle),
            frames=int(self.max_crystals * turning / beat),
        )

    def needs(self, rig: Rig) -> Sequence[Need]:
        return pattern_needs(self.optics.camera_length)

    def work(self, rig: Rig) -> Steps[int]:
        here = yield Read()
        middle = (here.x if self.x_um is None else self.x_um, here.y if self.y_um is None else self.y_um)
        yield from go(Move(x=middle[0], y=middle[1], a=0.0, from_below=("x", "y")))
        if self.strategy == "thesis":
            bench = yield from set_up(self.optics, rig, self.calibrations, self.check_calibrations)
            return (yield from Baseline(self, rig, bench).collect(middle))
        from credo.collect.serial_predictive import Predictive

        beam = max(self.optics.beam_um, self.predicted_beam_um)
        # the disc of the defocused beam keeps its size on the camera
        defocus = float(round(self.optics.defocus * self.optics.beam_um / beam))
        optics = self.optics.model_copy(update={"beam_um": beam, "defocus": defocus})
        bench = yield from set_up(optics, rig, self.calibrations, self.check_calibrations)
        return (yield from Predictive(self, rig, bench).collect(middle))


class Baseline:
    """The thesis's run: field after field, crystal after crystal, each rotation from where the last one ended."""

    def __init__(self, plan: SerialRED, rig: Rig, bench: Bench) -> None:
        self.plan, self.rig, self.bench = plan, rig, bench
        self.taken = 0
        self._height_at: np.ndarray | None = None
        self._film = 0.0
        self._blank: float | None = None

    def collect(self, middle: tuple[float, float]) -> Steps[int]:
        for number, (x, y) in enumerate(raster(middle, self.plan.radius_um, view_um(self.rig, self.bench))):
            yield Pause()
            earlier = yield Once(f"field {number}")
            if earlier is None and self.taken < self.plan.max_crystals:
                yield from self._field(float(x), float(y))
                yield Done(f"field {number}", {"data sets": self.taken})
            elif earlier is not None:
                self.taken = int(earlier["data sets"])
        return self.taken

    def _field(self, x: float, y: float) -> Steps[None]:
        yield from go(Move(x=x, y=y))
        yield from to_search(self.plan.optics, self.bench.wide, self.bench.neutral)
        shot = yield Look(self.plan.optics.search_exposure)
        image, pose = bridged(shot.image), shot.after
        level = float(np.median(image))
        self._film = max(self._film, level)
        if level < _BAR * self._film or not image.any():
            yield Note("field", {"place_um": [x, y], "crystals": 0, "reason": "a bar of the grid"})
            return
        found = find_thesis(image, self.bench, self.plan.gap_um)
        if self._blank is None:
            self._blank = yield from blank_variance(self.bench, found, self.plan.exposure_s)
        cosine = float(np.cos(np.radians(pose.a)))
        places = []
        for c in found:
            off = self.bench.grid(np.array([c.x, c.y])) / np.array([1.0, cosine])
            if c.isolated:
                places.append((pose.x + off[0], pose.y + off[1]))
            else:
                yield Note("rejected", {"place_um": [pose.x + off[0], pose.y + off[1]], "reason": "not isolated"})
        yield Note("field", {"place_um": [x, y], "crystals": len(found), "isolated": len(places)})
        for place in places:
            if self.taken < self.plan.max_crystals:
                reason = yield from self._crystal(place)
                if reason:
                    yield Note("rejected", {"place_um": list(place), "reason": reason})

    def _crystal(self, place: tuple[float, float]) -> Steps[str]:
        """Centre, height, rotate; returns why there is no data set, or ""."""
        yield from to_search(self.plan.optics, self.bench.wide, self.bench.neutral)
        pose = yield from go(Move(x=place[0], y=place[1]))
        crystal = yield from find_again(self.bench, self.bench.beam_px)
        if crystal is None:
            return "not found again after the move"
        here = np.array([pose.x, pose.y])
        if self._height_at is None or np.hypot(*(here - self._height_at)) > _FAR:
            yield from self._height()
            self._height_at = here
            crystal = yield from find_again(self.bench, self.bench.beam_px)
            if crystal is None:
                return "not found again after the height was set"
        cosine = float(np.cos(np.radians(pose.a)))
        if np.hypot(*self.bench.grid(np.array([crystal.x, crystal.y]))) > 1.0:
            crystal = yield from centre_by_image(self.bench, crystal, cosine)
            if crystal is None:
                return "not found again after centring"
        off = self.bench.grid(np.array([crystal.x, crystal.y]))
        yield Note("centred", {"off_um": off.tolist(), "area_um2": crystal.area_um2})
        yield from self._rotate(place, off)
        return ""

    def _height(self) -> Steps[None]:
        try:
            if self.plan.height == "two":
                yield from height_by_two(self.bench)
            else:
                yield from height_by_rotation(self.bench, self.rig)
        except CredoError as error:
            yield Note("height", {"reason": error.reason})

    def _rotate(self, place: tuple[float, float], off: np.ndarray) -> Steps[Result]:
        pose = yield Read()
        low, high = self.rig.limits["a"]
        up = pose.a <= 0
        lead = 1.0 if up else -1.0
        sweep = Sweep(pose.a + lead, (high if up else low) - 2 * lead, self.plan.speed_deg_s, self.plan.exposure_s)
        self.taken += 1
        name = f"{self.taken:04d}"
        yield from to_pattern(self.plan.optics, self.bench.narrow, self.bench.focus)
        about: dict[str, Any] = {
            "camera_length_mm": self.plan.optics.camera_length, "sample": self.plan.sample, "strategy": "thesis",
            "place_um": [pose.x, pose.y], "target_um": list(place),
        }  # fmt: skip
        tracker = ThesisTracker(self.bench, off, self._blank or 0.0, self.plan.look_interval)
        return (yield from rotate(self.rig, sweep, name, about, tracker, Watch(lost=-1.0)))
