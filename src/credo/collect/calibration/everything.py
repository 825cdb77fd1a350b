"""All calibrations of a fresh instrument, in the order in which each can use those before it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from credo.collect.calibration.axis import AxisSettings, image_axis
from credo.collect.calibration.brightness import BrightnessSettings, brightness
from credo.collect.calibration.deflectors import DeflectorSettings, deflector
from credo.collect.calibration.focus import FocusSettings, focus
from credo.collect.calibration.result import learnt, number_of, result_note
from credo.collect.calibration.rings import RingsSettings, pixel_size
from credo.collect.calibration.stage import StageSettings, stage_matrix
from credo.collect.calibration.timing import TimingSettings, dead_time, rotation
from credo.collect.rig import Rig
from credo.collect.steps import Note, Steps
from credo.instrument.config import Calibration
from credo.model.errors import CannotDo

__all__ = ["AllSettings", "calibrate_all"]


class AllSettings(BaseModel):
    """What the instrument will be used with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: str = Field(default="mag1", description="imaging mode in which crystals are looked for")
    magnification: float = Field(default=2500.0, gt=0, description="its magnification")
    camera_length: float = Field(default=600.0, gt=0, description="camera length of the patterns [mm]")
    other_lengths: tuple[float, ...] = Field(default=(400.0, 800.0), description="others with rings on the camera [mm]")
    defocus: float = Field(default=1500.0, description="defocus of the patterns in which crystals are tracked")
    beam_um: float = Field(default=0.75, gt=0, description="radius of the beam for patterns [µm]")
    rings: bool = Field(default=True, description="whether there is a gold film in the beam")


def calibrate_all(rig: Rig, settings: AllSettings | None = None) -> Steps[Calibration]:
    """From nothing to everything that collection needs; what fails is told and left out, unless others need it."""
    s = settings or AllSettings()
    known = _Known(rig)
    image: dict[str, Any] = {"mode": s.mode, "magnification": s.magnification}
    yield from known.add(lambda r: dead_time(r), "dead time")
    yield from known.add(lambda r: stage_matrix(r, StageSettings(**image)), "stage", needed=True)
    yield from known.add(lambda r: brightness(r, BrightnessSettings(**image)), "brightness", needed=True)
    for name in ("beamshift", "beamtilt"):
        yield from known.add(lambda r, n=name: deflector(r, DeflectorSettings(name=n, **image)), f"{name} in images")
    yield from known.add(
        lambda r: focus(r, FocusSettings(camera_length=s.camera_length, beam_um=s.beam_um)), "focus", needed=True
    )
    for length in (s.camera_length, *s.other_lengths) if s.rings else ():
        rings = RingsSettings(camera_length=length, beam_um=s.beam_um)
        yield from known.add(lambda r, one=rings: pixel_size(r, one), f"rings at {length:g} mm")
    yield from known.add(lambda r: _usual_ellipse(r, s.camera_length), "ellipse")
    pattern: dict[str, Any] = {"mode": "diff", "magnification": s.camera_length, "beam_um": s.beam_um}
    for name, defocus in [(n, 0.0) for n in ("beamshift", "imageshift1", "imageshift2", "diffshift", "beamtilt")] + [
        (n, s.defocus) for n in ("beamshift", "imageshift1", "imageshift2")
    ]:
        if name in rig.settings:
            one = DeflectorSettings(name=name, defocus=defocus, **pattern)
            yield from known.add(lambda r, d=one: deflector(r, d), f"{name} at defocus {defocus:g}")
    yield from known.add(lambda r: image_axis(r, AxisSettings(**image)), "axis in images")
    yield from known.add(lambda r: rotation(r, _timing(r)), "rotation")
    return known.rig.calibration


def _usual_ellipse(rig: Rig, length: float) -> Steps[None]:
    """The ellipse of the camera length in use, as the one of the instrument."""
    found = rig.calibration.ellipse.get(f"{length:g}")
    if found is not None and found.esd is not None:
        names = ("ellipse_percent", "ellipse_azimuth_deg")
        for name, value, esd in zip(names, found.value, found.esd):
            yield result_note(name, "", "", number_of(rig, value, esd, found.at, found.conditions), {})


def _timing(rig: Rig) -> TimingSettings:
    """Those of the usual speeds that this stage has."""
    usual = TimingSettings().speeds
    return TimingSettings(speeds=tuple(v for v in usual if rig.speeds[0] <= v <= rig.speeds[1]) or (rig.speeds[1],))


class _Known:
    """The rig with all that was found so far."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def add(self, plan: Any, what: str, needed: bool = False) -> Steps[None]:
        """Run a calibration, taking its results from its notes; one that fails is told, and raised only if needed."""
        try:
            self.rig, _ = yield from learnt(self.rig, plan(self.rig))
        except CannotDo as error:
            if needed:
                raise
            yield Note("not calibrated", {"what": what, "reason": str(error)})
