"""Pixel size and elliptical distortion of a camera length, from the rings of a powder on the specimen stage."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.collect import steps as do
from credo.collect.calibration.brightness import beam_brightness
from credo.collect.calibration.focus import sharp_focus
from credo.collect.calibration.register import mended
from credo.collect.calibration.result import number_of, pair_of, result_note
from credo.collect.calibration.views import View, enter, kept, told
from credo.collect.rig import Rig
from credo.collect.steps import Steps
from credo.instrument.config import Measured, MeasuredPair
from credo.model.errors import CannotDo

__all__ = ["RingsSettings", "pixel_size"]


class RingsSettings(BaseModel):
    """Which camera length, and how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    camera_length: float = Field(default=600.0, gt=0, description="camera length [mm]")
    material: str = Field(default="gold", description="a powder among the samples that come with credo")
    beam_um: float = Field(default=0.75, gt=0, description="radius of the beam on the specimen [µm]")
    exposure: float = Field(default=0.5, gt=0, description="exposure of one frame [s]")
    frames: int = Field(default=2, ge=1, le=100, description="frames that are added up")


def pixel_size(rig: Rig, settings: RingsSettings | None = None) -> Steps[tuple[Measured, MeasuredPair]]:
    """(Å⁻¹ per pixel; ellipse: axis ratio less 1 [%] and azimuth of the long axis [deg]) of a camera length."""
    s = settings or RingsSettings()

    def plan() -> Steps[tuple[Measured, MeasuredPair]]:
        brightness = yield from beam_brightness(rig, um=s.beam_um)
        near = min(rig.calibration.focus, key=lambda k: abs(float(k) - s.camera_length), default="600")
        focus = yield from sharp_focus(rig, float(near), brightness)
        view = yield from enter(rig, View("rings", "diff", s.camera_length, brightness, focus, exposure=s.exposure))
        total = np.zeros(rig.camera.shape)
        for _ in range(s.frames):
            total += (yield do.Look(s.exposure, "calibrate")).image
        return (yield from _fitted(rig, s, view, total))

    with told(f"rings at {s.camera_length:g} mm"):
        return (yield from kept(("mode", "brightness"), plan))


def _fitted(rig: Rig, s: RingsSettings, view: View, image: np.ndarray) -> Steps[tuple[Measured, MeasuredPair]]:
    from credo.io.samples import SAMPLES, sample  # late: who only drives a microscope needs no structures
    from credo.reduce.ring_lines import lines_of_structure
    from credo.reduce.rings import amplitude_and_azimuth, fit_rings

    if s.material not in SAMPLES:
        raise CannotDo(f"{s.material!r} is not a sample", f"give one of {', '.join(SAMPLES)}")
    # the nominal camera length is right within some per cent: it tells which ring is which where few are seen
    nominal = 1e-3 * rig.camera.pixel_size_um / (rig.wavelength * s.camera_length)
    lines = lines_of_structure(sample(s.material))
    fit = fit_rings(mended(image), lines, rig.wavelength, nominal, near_ellipse=_near_ellipse(rig, s.camera_length))
    size, esd = fit.pixel_size
    percent, percent_esd, azimuth, azimuth_esd = amplitude_and_azimuth(fit.parameters[2:4], fit.covariance[2:4, 2:4])
    said = f"{len(fit.rings)} rings of {s.material}"
    scale = number_of(rig, size, esd, view.settings, said)
    ellipse = pair_of(rig, (percent, azimuth), (percent_esd, azimuth_esd), view.settings, said)
    key = f"{s.camera_length:g}"
    rows = [[r.d, r.radius_px, r.residual_px, r.rms_px] for r in fit.rings]
    details = {"rings": rows, "warnings": list(fit.warnings), "centre": fit.parameters[:2]}
    yield result_note("diffraction", key, "", scale, details)
    yield result_note("ellipse", key, "", ellipse, {})
    return scale, ellipse


def _near_ellipse(rig: Rig, length: float) -> tuple[float, float] | None:
    """(ε cos 2θ, ε sin 2θ) of the nearest camera length that was calibrated."""
    known = rig.calibration.ellipse
    if not known:
        return None
    percent, azimuth = known[min(known, key=lambda k: abs(np.log(float(k) / length)))].value
    size, angle = percent / (200 + percent), 2 * np.radians(azimuth)
    return float(size * np.cos(angle)), float(size * np.sin(angle))
