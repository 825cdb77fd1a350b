"""Direction of the tilt axis in an image, from how heights move with the tilt.

A point at height z above the axis is seen at −z sin α across the axis. How the image moves with z at +α less how it
does at −α is therefore across the axis, whatever the stage does sideways at each tilt: that is the same at all heights.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.collect import steps as do
from credo.collect.calibration.linear import fit_response
from credo.collect.calibration.result import number_of, result_note
from credo.collect.calibration.stage import view_nm
from credo.collect.calibration.views import View, enter, kept, place_in, told
from credo.collect.rig import Rig
from credo.collect.steps import Pose, Steps
from credo.instrument.config import Measured
from credo.model.errors import CannotDo

__all__ = ["AxisSettings", "image_axis"]

#: How far the axis of a goniometer wobbles while it turns, rms; it looks like a direction of the axis [deg].
_WOBBLE = 0.03


class AxisSettings(BaseModel):
    """Which image, how far tilted, how far up and down."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: str = Field(default="mag1", description="an imaging mode")
    magnification: float = Field(default=2500.0, gt=0, description="its magnification")
    tilt_deg: float = Field(default=30.0, gt=1, le=60, description="tilt to both sides [deg]")
    height_um: float | None = Field(
        default=None, gt=0, le=20, description="heights to both sides [µm]; a sixth of the frame's shift if absent"
    )
    heights: int = Field(default=4, ge=3, le=20, description="heights at each tilt")
    settle_s: float = Field(default=1.0, ge=0, description="wait after each move [s]")
    exposure: float | None = Field(default=None, gt=0, description="exposure [s]; found from the first image if absent")


def image_axis(rig: Rig, settings: AxisSettings | None = None) -> Steps[Measured]:
    """Direction of the tilt axis on the image, from columns towards rows [deg, −180 to 180].

    The tilt counts as right-handed about it when z grows along the travelling beam; where a stage matrix is known, the
    direction is the one of the two that lies nearer to that of stage x. The stage and the optics are put back.
    """
    s = settings or AxisSettings()

    def plan() -> Steps[Measured]:
        view = yield from enter(rig, View("image", s.mode, s.magnification, exposure=s.exposure))
        home: Pose = yield do.Read()
        rows, places, failed = yield from _seen(rig, view, s, home)
        yield do.Move(a=home.a, z=home.z, from_below=("a", "z"))
        found = fit_response(rows, places)
        across, spread = found.matrix[:, 0], float(np.sqrt(found.covariance[0, 0]))
        if np.linalg.norm(across) < 5 * spread:
            raise CannotDo("heights do not move with the tilt in these images", "larger --height-um or --tilt-deg")
        direction = _signed(rig, s, np.array([-across[1], across[0]]))
        wobble = _WOBBLE / np.sin(np.radians(s.tilt_deg))
        esd = float(np.hypot(np.degrees(spread / np.linalg.norm(across)), wobble))
        result = number_of(rig, direction, esd, view.settings, f"{int(found.used.sum())} images")
        details = {"control": rows[:, :2], "seen": places, "residual": found.residual, "failed": failed, "unit": "px"}
        yield result_note("axis_deg", view.key, "", result, details)
        return result

    with told(f"tilt axis in {s.mode} at {s.magnification:g}"):
        return (yield from kept(("mode",), plan))


def _signed(rig: Rig, s: AxisSettings, along: np.ndarray) -> float:
    """The direction [deg] of ``along``, turned round where stage x goes the other way."""
    table = rig.calibration.stage.get(s.mode, {})
    if f"{s.magnification:g}" in table:
        x = np.linalg.inv(np.array(table[f"{s.magnification:g}"].value))[:, 0]
        along = along if along @ x >= 0 else -along
    return float(np.degrees(np.arctan2(along[1], along[0])))


def _seen(rig: Rig, view: View, s: AxisSettings, home: Pose) -> Steps[tuple[np.ndarray, np.ndarray, list[str]]]:
    """(z sin α [µm], z [µm], which tilt) (n, 3), and places (n, 2) [px] against the first image there."""
    rows, places, failed = [], [], []
    sixth = min(rig.camera.shape) / 6 * view_nm(rig, view) / 1e3 / np.sin(np.radians(s.tilt_deg))
    top = s.height_um or float(np.clip(sixth, 1.0, 20.0))
    zs = np.linspace(-top, top, s.heights)
    for side in (-1.0, 1.0):
        tilt = home.a + side * s.tilt_deg
        yield do.Move(a=tilt, z=home.z, from_below=("a", "z"))
        reference = None  # of each tilt its own: the same place may be out of sight at the other
        for z in (0.0, *(zs if side < 0 else zs[::-1])):  # to and fro: a drift then looks like neither
            yield do.Move(z=home.z + float(z), from_below=("z",))
            yield do.Wait(s.settle_s)
            shot = yield do.Look(view.exposure or 0.2, "calibrate")
            if reference is None:
                reference = shot.image
            try:
                place = place_in(rig, view.kind, shot.image, reference)
            except CannotDo as error:
                failed.append(f"tilt {tilt:.1f}, height {z:.1f}: {error.reason}")
                place = np.full(2, np.nan)
            up = 0.5 * (shot.before.z + shot.after.z) - home.z
            rows.append([up * np.sin(np.radians(tilt)), up, side])
            places.append(place)
    return np.array(rows), np.array(places), failed
