"""The beam against brightness: its crossover, how fast its radius grows off it, and how it walks while it does."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.collect import steps as do
from credo.collect.calibration.result import pair_of, result_note
from credo.collect.calibration.smallest import find_smallest
from credo.collect.calibration.views import View, enter, kept, told
from credo.collect.rig import Rig
from credo.collect.steps import Steps
from credo.instrument.config import MeasuredPair
from credo.model.errors import CannotDo

__all__ = ["BrightnessSettings", "beam_brightness", "brightness"]


class BrightnessSettings(BaseModel):
    """Where the beam is looked at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: str = Field(default="mag1", description="an imaging mode")
    magnification: float = Field(default=2500.0, gt=0, description="its magnification")
    step: float = Field(default=1500.0, gt=0, description="step of the search [unit of brightness]")
    span: tuple[float, float] = Field(default=(0.0, 65535.0), description="lowest and highest brightness")
    points: int = Field(default=16, ge=6, le=100, description="discs that the result comes from")


def brightness(rig: Rig, settings: BrightnessSettings | None = None) -> Steps[tuple[MeasuredPair, MeasuredPair]]:
    """(crossover [unit] and radius per unit off it [µm]; walk of the centre [px per unit])."""
    s = settings or BrightnessSettings()

    def put(value: float) -> Steps[None]:
        yield do.Set({"brightness": value})

    def plan() -> Steps[tuple[MeasuredPair, MeasuredPair]]:
        view = yield from enter(rig, View("disc", s.mode, s.magnification, exposure=0.02))
        start = float((yield do.Read(("brightness",)))["brightness"])
        found = yield from find_smallest(rig, view, put, start, s.step, s.span, s.points)
        um = rig.nm_per_pixel(s.mode, s.magnification)
        slope = found.slope * um.value / 1e3
        slope_esd = slope * float(np.hypot(found.slope_esd / found.slope, (um.esd or 0) / um.value))
        at = {"mode": s.mode, "magnification": s.magnification}
        beam = pair_of(rig, (found.value, slope), (found.value_esd, slope_esd), at, f"{len(found.seen)} discs")
        details = {"lens": "brightness", "seen": found.seen, "slope": found.slope}
        yield result_note("beam", "", "", beam, details)
        walk = (float(found.centre.matrix[0, 0]), float(found.centre.matrix[1, 0]))
        walked = pair_of(rig, walk, (found.centre.esd, found.centre.esd), at)
        yield result_note("brightness", view.key, "", walked, {"residual": found.centre.residual, "unit": "px"})
        return beam, walked

    with told("beam against brightness"):
        return (yield from kept(("mode", "brightness"), plan))


def beam_brightness(
    rig: Rig, mode: str = "mag1", magnification: float = 2500.0, *, um: float | None = None, share: float | None = None
) -> Steps[float]:
    """The brightness, above the crossover, of a beam of the radius ``um`` [µm], or of that ``share`` of the frame."""
    beam = rig.calibration.beam
    if beam is None:
        beam, _ = yield from brightness(rig, BrightnessSettings(mode=mode, magnification=magnification))
    if um is None:
        um = (share or 0.2) * min(rig.camera.shape) * rig.nm_per_pixel(mode, magnification).value / 1e3
    if beam.value[1] <= 0:
        raise CannotDo("the beam does not grow with brightness", "measure it: credo calibrate brightness")
    return float(round(beam.value[0] + um / beam.value[1]))
