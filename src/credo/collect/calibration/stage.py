"""How images move with the stage: the stage matrix of a magnification, its pixel size, and where x goes in the image.

Positions are those that the stage reads back after it arrived, always from below against its slack; a steady drift of
the specimen is fitted too.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.collect import steps as do
from credo.collect.calibration.linear import fit_response, sunflower
from credo.collect.calibration.result import matrix_of, number_of, result_note
from credo.collect.calibration.views import View, enter, kept, place_in, told
from credo.collect.rig import Rig
from credo.collect.steps import Pose, Shot, Steps
from credo.instrument.config import MeasuredMatrix
from credo.model.errors import CannotDo

__all__ = ["StageSettings", "pixel_size_of", "stage_matrix"]


class StageSettings(BaseModel):
    """Which image, and how the stage moves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: str = Field(default="mag1", description="an imaging mode")
    magnification: float = Field(default=2500.0, gt=0, description="its magnification")
    brightness: float | None = Field(default=None, description="brightness to spread the beam with; as it is if absent")
    points: int = Field(default=14, ge=8, le=200, description="positions of the stage")
    reach: float = Field(default=0.18, gt=0, le=0.4, description="farthest shift of the image, as a share of the frame")
    settle_s: float = Field(default=2.0, ge=0, description="wait after each move, for creep [s]")
    exposure: float | None = Field(default=None, gt=0, description="exposure [s]; found from the first image if absent")


def stage_matrix(rig: Rig, settings: StageSettings | None = None) -> Steps[MeasuredMatrix]:
    """nm of stage (x, y) per pixel (column, row): the stage goes by matrix @ (place − middle) to centre a place.

    The stage and the optics are put back. The pixel size follows from the determinant and is told too.
    """
    s = settings or StageSettings()

    def plan() -> Steps[MeasuredMatrix]:
        view = yield from enter(rig, View("image", s.mode, s.magnification, s.brightness, exposure=s.exposure))
        home: Pose = yield do.Read()
        at, places, failed = yield from _walked(rig, view, s, home)
        yield do.Move(x=home.x, y=home.y, from_below=("x", "y"))
        found = fit_response(at[:, :2], places, at[:, 2])
        # pixels per µm of stage to nm per pixel, against the stage's motion: the specimen moves with the stage
        inverse = -np.linalg.inv(found.matrix)
        spread = np.sqrt(np.diag(found.covariance))
        each = np.einsum("ik,lj,l->ijk", inverse**2, inverse**2, spread**2).sum(axis=2)
        result = matrix_of(rig, 1e3 * inverse, 1e3 * float(np.sqrt(each.mean())), view.settings, found)
        size, esd = pixel_size_of(1e3 * inverse, inverse, spread)
        details = {"control": at[:, :2], "unit": "px", "control_unit": "µm", "seen": places, "failed": failed}
        yield result_note("stage", s.mode, f"{s.magnification:g}", result, details | {"residual": found.residual})
        pixel = number_of(rig, size, esd, view.settings, "from the stage matrix")
        yield result_note("imaging", s.mode, f"{s.magnification:g}", pixel, {})
        return result

    with told(f"stage in {s.mode} at {s.magnification:g}"):
        return (yield from kept(("mode", "brightness"), plan))


def pixel_size_of(matrix: np.ndarray, inverse: np.ndarray, spread: np.ndarray) -> tuple[float, float]:
    """√|det| of a stage matrix [nm per pixel], and its esd from those (2,) of the columns of its inverse."""
    size = float(np.sqrt(abs(np.linalg.det(matrix))))
    return size, size * 0.5 * float(np.sqrt((inverse.T**2 * spread**2).sum()))


def _walked(rig: Rig, view: View, s: StageSettings, home: Pose) -> Steps[tuple[np.ndarray, np.ndarray, list[str]]]:
    """(x, y [µm] off home, time [s]) (n, 3), how the image lies there (n, 2) [px], and what failed."""
    field = 1e-3 * view_nm(rig, view) * min(rig.camera.shape)
    shot: Shot = yield from _at(view, s, home, np.zeros(2))
    reference, where = shot.image, _mean(shot)
    at, places, failed = [[0.0, 0.0, where.time]], [np.zeros(2)], []
    rough = np.zeros((2, 2))
    for k, off in enumerate(np.vstack([np.eye(2) * 0.3 * s.reach, sunflower(s.points) * s.reach]) * field):
        shot = yield from _at(view, s, home, off)
        here = _mean(shot)
        moved = np.array([here.x - where.x, here.y - where.y])
        near, within = (None, np.inf) if k < 2 else (rough @ moved, 0.6 * s.reach * min(rig.camera.shape))
        try:
            place = place_in(rig, view.kind, shot.image, reference, near, within)
        except CannotDo as error:
            if k < 2:
                raise
            failed.append(f"position {k - 1}: {error.reason}")
            place = np.full(2, np.nan)
        at.append([*moved, here.time])
        places.append(place)
        if k > 0:
            rough = _rough(np.array(at)[:, :2], np.array(places))
    return np.array(at), np.array(places), failed


def _rough(at: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(2, 2) pixels per µm of the read-outs so far. The first ones are small, and a move that was corrected ends on the
    other side of the slack: only later ones make it right."""
    known = np.isfinite(places).all(axis=1)
    return np.linalg.lstsq(at[known], places[known], rcond=None)[0].T


def view_nm(rig: Rig, view: View) -> float:
    """nm per pixel that the nominal magnification means: good enough for the size of a step."""
    return 1e3 * rig.camera.pixel_size_um / view.magnification


def _at(view: View, s: StageSettings, home: Pose, off: np.ndarray) -> Steps[Shot]:
    yield do.Move(x=home.x + float(off[0]), y=home.y + float(off[1]), from_below=("x", "y"))
    yield do.Wait(s.settle_s)
    return (yield do.Look(view.exposure or 0.2, "calibrate"))


def _mean(shot: Shot) -> Pose:
    """The stage's position during the shot."""
    a, b = shot.before, shot.after
    return Pose(*(0.5 * (getattr(a, n) + getattr(b, n)) for n in ("x", "y", "z", "a", "b", "time")))
