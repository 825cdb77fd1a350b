"""The diffraction focus at which the pattern is sharp, always approached from below."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from credo.collect import steps as do
from credo.collect.calibration.result import number_of, result_note
from credo.collect.calibration.smallest import find_smallest
from credo.collect.calibration.views import View, approach_focus, enter, kept, told
from credo.collect.rig import Rig
from credo.collect.steps import Steps
from credo.instrument.config import Measured

__all__ = ["FocusSettings", "focus", "sharp_focus"]


#: Step of the search, times the beam's radius [unit of difffocus · µm].
_STEP_UM = 1100.0


class FocusSettings(BaseModel):
    """Where the focus is looked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    camera_length: float = Field(default=600.0, gt=0, description="camera length [mm]")
    beam_um: float = Field(default=0.75, gt=0, description="radius of the beam on the specimen [µm]")
    brightness: float | None = Field(default=None, description="brightness instead of a radius")
    step: float | None = Field(
        default=None, gt=0, description="step of the search [unit of difffocus]; 1100 µm by the radius if absent"
    )
    span: tuple[float, float] = Field(default=(0.0, 65535.0), description="lowest and highest difffocus")
    points: int = Field(default=12, ge=6, le=100, description="discs that the result comes from")


def focus(rig: Rig, settings: FocusSettings | None = None) -> Steps[Measured]:
    """The value of ``difffocus`` at which the direct beam is smallest, with a beam of this brightness."""
    from credo.collect.calibration.brightness import beam_brightness  # late: that module needs none of this one

    s = settings or FocusSettings()
    brightness = s.brightness if s.brightness is not None else (yield from beam_brightness(rig, um=s.beam_um))

    def plan() -> Steps[Measured]:
        view = yield from enter(rig, View("disc", "diff", s.camera_length, brightness, exposure=0.02))
        start = float((yield do.Read(("difffocus",)))["difffocus"])
        step = s.step or _STEP_UM / s.beam_um  # a wider beam's disc grows faster
        found = yield from find_smallest(rig, view, approach_focus, start, step, s.span, s.points)
        at = {"mode": "diff", "magnification": s.camera_length, "brightness": brightness}
        result = number_of(rig, found.value, found.value_esd, at, f"{len(found.seen)} discs")
        key = f"{s.camera_length:g}"
        yield result_note("focus", key, "", result, {"lens": "difffocus", "seen": found.seen, "slope": found.slope})
        return result

    with told(f"diffraction focus at {s.camera_length:g} mm"):
        return (yield from kept(("mode", "brightness"), plan))


def sharp_focus(rig: Rig, camera_length: float, brightness: float) -> Steps[float]:
    """The calibrated focus for this camera length and brightness, or, where there is none, a measured one."""
    known = rig.calibration.focus.get(f"{camera_length:g}")
    if known is not None and abs(float(known.at.get("brightness", brightness)) - brightness) < 500:
        return float(round(known.value))
    found = yield from focus(rig, FocusSettings(camera_length=camera_length, brightness=brightness))
    return float(round(found.value))
