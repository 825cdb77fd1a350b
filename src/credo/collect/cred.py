"""The plan ``cred``: continuous rotation electron diffraction of one crystal, from an angle to an angle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from credo.collect.calibration.needs import pattern_needs
from credo.collect.calibration.ready import Need
from credo.collect.plans import Forecast, Optics, Plan, fraction
from credo.collect.rig import Rig
from credo.collect.rotation import AT_TARGET, LookEvery, Result, Sweep, Tracker, rotate
from credo.collect.steps import Done, Move, Once, Read, Steps
from credo.collect.watch import CRYSTAL_LOST, Watch
from credo.model.errors import CannotDo

__all__ = ["Cred"]

#: Speed of the goniometer between rotations [deg/s], and what setting up takes [s].
_FAST, _SET_UP = 8.0, 5.0
#: Rest of a rotation that is not worth a data set of its own [deg].
_LEAST = 0.5


class Cred(Plan):
    """Continuous rotation of one crystal, begun and ended at angles; the crystal is where the beam is.

    After a crash ``--resume`` goes on from the last frame's angle.
    """

    kind: Literal["cred"] = "cred"
    name: str = Field(default="0001", pattern=r"^[A-Za-z0-9][\w.-]{0,60}$", description="name of the data set")
    start_deg: float | None = Field(default=None, description="first angle; absent: where the stage is [deg]")
    stop_deg: float | None = Field(default=None, description="last angle, or give range_deg [deg]")
    range_deg: float | None = Field(default=None, description="angle to turn by, negative for the other way [deg]")
    speed_deg_s: float = Field(default=0.5, gt=0, le=30, description="speed of the rotation [deg/s]")
    exposure_s: float = Field(default=0.5, gt=0, le=60, description="exposure of a frame [s]")
    binning: int = Field(default=1, ge=1, le=8, description="binning of the camera")
    lead_deg: float = Field(default=1.0, ge=0, le=10, description="turned before the first frame, for the slack [deg]")
    x_um: float | None = Field(default=None, description="stage x of the crystal; absent: where it is [µm]")
    y_um: float | None = Field(default=None, description="stage y of the crystal; absent: where it is [µm]")
    look_every: int = Field(default=0, ge=0, description="frames between defocused views; 0: none")
    look_defocus: float = Field(default=1500.0, description="change of the diffraction focus for a view [units]")
    stop_when_lost: bool = Field(default=True, description="whether the loss of the crystal ends the rotation")
    optics: Optics = Field(default_factory=Optics, description="lenses; absent values stay")

    @model_validator(mode="after")
    def _check(self) -> Cred:
        if (self.stop_deg is None) == (self.range_deg is None):
            raise ValueError("give one of stop_deg and range_deg")
        return self

    def sweep(self, here: float) -> Sweep:
        """From an angle ``here`` [deg] where the plan gives none."""
        start = here if self.start_deg is None else self.start_deg
        stop = self.stop_deg if self.stop_deg is not None else start + (self.range_deg or 0.0)
        return Sweep(start, stop, self.speed_deg_s, self.exposure_s, self.binning, self.lead_deg)

    def forecast(self, rig: Rig) -> Forecast:
        sweep = self.sweep(0.0)
        angle = abs(sweep.stop - sweep.start)
        beam = sweep.seconds + self.exposure_s
        beat = self.exposure_s + rig.dead_time
        rate = rig.dose_rate() if self._beam_is_set(rig) else None
        return Forecast(
            duration_s=beam + abs(sweep.start) / _FAST + _SET_UP,
            beam_on_s=beam,
            dose_e_per_A2=None if rate is None else rate * beam,
            rotation_deg=angle,
            reciprocal_fraction=fraction(angle),
            frames=int(angle / self.speed_deg_s / beat) + 1,
        )

    def _beam_is_set(self, rig: Rig) -> bool:
        """Whether the current density that the rig knows is that of the plan's beam."""
        wanted = (("spotsize", self.optics.spotsize), ("brightness", self.optics.brightness))
        return all(value is None or rig.settings.get(name) == value for name, value in wanted)

    def needs(self, rig: Rig) -> Sequence[Need]:
        return pattern_needs(self.optics.camera_length(rig))

    def settings(self, rig: Rig) -> Mapping[str, Any]:
        return self.optics.in_patterns(rig)

    def work(self, rig: Rig) -> Steps[Result | None]:
        yield from self.optics.set_up()
        if self.x_um is not None or self.y_um is not None:
            yield Move(
                x=self.x_um, y=self.y_um, from_below=tuple(n for n in "xy" if getattr(self, f"{n}_um") is not None)
            )
        pose = yield Read()
        begun = yield Once("range")
        sweep = self.sweep(begun["start"] if begun else pose.a)
        for angle in (sweep.start, sweep.stop):
            if not rig.allowed("a", angle):
                low, high = rig.limits["a"]
                raise CannotDo(f"{angle:.1f} deg is beyond the stage's {low:g} to {high:g}", "take a smaller range")
        yield Done("range", {"start": sweep.start})
        rest, name = yield from _what_is_left(sweep, self.name)
        if rest is None:
            return None
        watch = Watch() if self.stop_when_lost else Watch(lost=-1.0)
        about: Mapping[str, Any] = {"camera_length_mm": self.optics.camera_length(rig), "sample": self.sample}
        return (yield from rotate(rig, rest, name, about, self.tracker(), watch))

    def tracker(self) -> Tracker | None:
        """The views; serial rotation electron diffraction has trackers that follow the crystal by them."""
        return LookEvery(self.look_every, self.look_defocus) if self.look_every else None


def _what_is_left(sweep: Sweep, name: str) -> Steps[tuple[Sweep | None, str]]:
    """The part that earlier runs did not collect, and the name of its data set."""
    rest, free, i = sweep, name, 1
    while (earlier := (yield Once(f"data set {free}"))) is not None:
        i += 1
        free = f"{name}-{i}"
        if earlier.get("reason_ended") in (AT_TARGET, CRYSTAL_LOST):
            return None, free
        if earlier.get("end_deg") is not None:
            end = float(earlier["end_deg"])
            rest = Sweep(end, sweep.stop, sweep.speed, sweep.exposure, sweep.binning, sweep.lead)
    if sweep.direction * (rest.stop - rest.start) < _LEAST:
        return None, free
    return rest, free
