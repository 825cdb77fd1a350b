"""The plan ``atlas``: a map of the grid at low magnification, tile by tile, stitched when the last tile is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from credo.collect.calibration.register import register
from credo.collect.mosaic import lit, write_mosaic
from credo.collect.plans import Forecast, Plan
from credo.collect.raster import raster
from credo.collect.rig import Rig
from credo.collect.session import GRID, read_log
from credo.collect.steps import Begin, Done, End, Look, Move, Once, Pause, Read, Set, Steps
from credo.model.errors import CannotDo, CredoError

__all__ = ["Atlas"]

#: Part of the lit field by which the stage is moved to find how the image follows.
_NUDGE = 0.35
_SET_UP, _MOVE = 20.0, 3.0


class Atlas(Plan):
    """Overlapping images over an area, stitched into grid/atlas.tiff, atlas.png and atlas.json.

    How the image follows the stage is measured first, by three images, so nothing needs to be calibrated.
    """

    kind: Literal["atlas"] = "atlas"
    x_um: float | None = Field(default=None, description="middle of the map; absent: where the stage is [µm]")
    y_um: float | None = Field(default=None, description="middle of the map; absent: where the stage is [µm]")
    radius_um: float = Field(default=150.0, gt=0, le=990, description="radius of the map [µm]")
    mode: str = Field(default="lowmag", description="imaging mode")
    magnification: float = Field(default=300.0, gt=0, description="magnification")
    brightness: float | None = Field(default=None, description="brightness; absent: as it is [units]")
    exposure_s: float = Field(default=0.3, gt=0, le=60, description="exposure of a tile [s]")
    overlap: float = Field(default=0.25, ge=0.05, le=0.8, description="overlap of neighbouring tiles")

    def forecast(self, rig: Rig) -> Forecast:
        field = min(rig.camera.shape) * rig.nm_per_pixel(self.mode, self.magnification).value / 1e3
        n = len(raster((0, 0), self.radius_um, self._pitch(0.5 * field)))
        return Forecast(duration_s=_SET_UP + n * (_MOVE + self.exposure_s), beam_on_s=self.exposure_s, frames=n)

    def _pitch(self, radius: float) -> float:
        """Between tiles whose lit disc has this radius [µm]: squares within it overlap by the share asked for."""
        return np.sqrt(2) * radius * (1 - self.overlap)

    def work(self, rig: Rig) -> Steps[int]:
        here = yield Read()
        x = here.x if self.x_um is None else self.x_um
        y = here.y if self.y_um is None else self.y_um
        yield Move(x=x, y=y, a=0.0, from_below=("x", "y"))
        settings: dict[str, Any] = {"mode": self.mode, "magnification": self.magnification}
        yield Set(settings if self.brightness is None else settings | {"brightness": self.brightness})
        matrix, radius_px = yield from self._follow(rig, x, y)
        yield Done("matrix", {"px_per_um": matrix.tolist()})
        pitch = self._pitch(radius_px / np.sqrt(abs(np.linalg.det(matrix))))
        yield Begin("tiles", "stills", {"imaging": True, "mode": self.mode, "magnification": self.magnification})
        count = 0
        try:
            for number, (px, py) in enumerate(raster((x, y), self.radius_um, pitch)):
                yield Pause()
                if (yield Once(f"tile {number}")) is None:
                    yield Move(x=float(px), y=float(py), from_below=("x", "y"))
                    yield Look(self.exposure_s, "data")
                    yield Done(f"tile {number}")
                count += 1
        except CredoError as error:
            yield End(error.reason)
            raise
        yield Move(x=x, y=y, from_below=("x", "y"))
        yield End("the area is covered")
        return count

    def _follow(self, rig: Rig, x: float, y: float) -> Steps[tuple[np.ndarray, float]]:
        """K [px/µm] by four moves, since one creeps by some tenths of a µm; and the radius of the lit field [px]."""
        first = yield Look(self.exposure_s)
        half = 0.5 * min(first.image.shape)
        mask = lit(first.image)
        if not mask.any():
            scale = 1e3 / rig.nm_per_pixel(self.mode, self.magnification).value
            if first.image.any():
                raise CannotDo("the image is dark", "widen the beam, or take a higher magnification")
            return scale * np.eye(2), half  # a rehearsal, whose images are black
        radius = min(half, float(np.sqrt(mask.sum() / np.pi)))
        um = _NUDGE * radius * rig.nm_per_pixel(self.mode, self.magnification).value / 1e3
        moves, shifts = [], []
        for dx, dy in ((um, 0.0), (0.0, um), (-um, 0.0), (0.0, -um)):
            yield Move(x=x + dx, y=y + dy, from_below=("x", "y"))
            shot = yield Look(self.exposure_s)
            moved = register(first.image, shot.image, (0.0, 0.0), 1.5 * _NUDGE * radius, mask)
            moves.append([shot.before.x - first.before.x, shot.before.y - first.before.y])
            shifts.append([-moved.x, -moved.y])
        # the first image's own creep is the same in all of them
        a, b = np.array(moves), np.array(shifts)
        return np.linalg.lstsq(a - a.mean(axis=0), b - b.mean(axis=0), rcond=None)[0].T, radius

    def finish(self, session: Path) -> dict[str, Any]:
        """The tiles of this run and of those before a crash, stitched."""
        found = [e for e in read_log(session) if e["kind"] == "done" and e.get("name") == "matrix"]
        if not found:
            raise CannotDo(f"{session}: its log does not say how the image follows the stage", "collect it again")
        return {"atlas": write_mosaic(session / GRID, np.array(found[-1]["facts"]["px_per_um"]))}
