"""The plan ``serial-ed``: one still of every crystal that a raster of the grid shows, the stage never tilted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from credo.collect.calibration.needs import pattern_needs
from credo.collect.calibration.ready import Need
from credo.collect.plans import Forecast, Plan
from credo.collect.raster import look_for_crystals, raster, view_um
from credo.collect.rig import Rig
from credo.collect.serial_setup import Bench, SerialOptics, set_up, to_pattern
from credo.collect.steps import Begin, Done, End, Look, Move, Note, Once, Pause, Read, Set, Steps
from credo.collect.watch import diffracted
from credo.model.errors import CannotDo, CredoError

__all__ = ["SerialED", "beam_onto"]

#: Time of the setting up, of a stage move, of changing views [s].
_SET_UP, _MOVE, _CHANGE = 60.0, 2.0, 0.2


class SerialED(Plan):
    """Stills over a raster: the beam goes to each isolated crystal of a search image, one exposure each.

    After a crash ``--resume`` goes on at the first position that is not done.
    """

    kind: Literal["serial-ed"] = "serial-ed"
    x_um: float | None = Field(default=None, description="middle of the raster; absent: where the stage is [µm]")
    y_um: float | None = Field(default=None, description="middle of the raster; absent: where the stage is [µm]")
    radius_um: float = Field(default=30.0, gt=0, le=900, description="radius of the raster [µm]")
    exposure_s: float = Field(default=0.5, gt=0, le=60, description="exposure of a still [s]")
    max_crystals: int = Field(default=1000, ge=1, description="stills at most")
    gap_um: float = Field(default=1.0, ge=0, description="distance of a crystal to its neighbours, at least [µm]")
    calibrations: Literal["stop", "measure"] = Field(
        default="measure",
        description="when one is missing or does not hold: stop, or measure it where that can be done",
    )
    optics: SerialOptics = Field(default_factory=SerialOptics, description="the two views")

    def forecast(self, rig: Rig) -> Forecast:
        pixel = rig.nm_per_pixel(self.optics.search_mode, self.optics.magnification).value / 1e3
        n = len(raster((0, 0), self.radius_um, 0.8 * min(rig.camera.shape) * pixel))
        # a field shows a handful of crystals; nothing is known of the grid yet
        stills = min(self.max_crystals, 5 * n)
        each = self.exposure_s + rig.dead_time + 0.1
        return Forecast(
            duration_s=_SET_UP + n * (_MOVE + 2 * _CHANGE + self.optics.search_exposure) + stills * each,
            beam_on_s=self.exposure_s,
            frames=stills,
        )

    def needs(self, rig: Rig) -> Sequence[Need]:
        return pattern_needs(self.optics.camera_length)

    def work(self, rig: Rig) -> Steps[int]:
        here = yield Read()
        x = here.x if self.x_um is None else self.x_um
        y = here.y if self.y_um is None else self.y_um
        if self.x_um is not None or self.y_um is not None:
            yield Move(x=x, y=y, from_below=("x", "y"))
        bench = yield from set_up(self.optics, rig, self.calibrations, self.check_calibrations)
        places, taken = raster((x, y), self.radius_um, view_um(rig, bench)), 0
        about: dict[str, Any] = {"camera_length_mm": self.optics.camera_length, "sample": self.sample}
        yield Begin("stills", "stills", about)
        try:
            for number, (px, py) in enumerate(places):
                yield Pause()
                earlier = yield Once(f"position {number}")
                if earlier is None and taken < self.max_crystals:
                    count = yield from self._at(bench, float(px), float(py), self.max_crystals - taken)
                    yield Done(f"position {number}", {"stills": count})
                    taken += count
                elif earlier is not None:
                    taken += int(earlier.get("stills", 0))
        except CredoError as error:
            yield End(error.reason)
            raise
        yield Set(dict(bench.neutral))
        yield End("the raster is done" if taken < self.max_crystals else "all crystals asked for are there")
        return taken

    def _at(self, bench: Bench, x: float, y: float, most: int) -> Steps[int]:
        crystals = yield from look_for_crystals(bench, x, y, self.gap_um)
        yield from to_pattern(bench.optics, bench.narrow, bench.focus)
        count = 0
        for crystal in crystals[:most]:
            try:
                yield Set(beam_onto(bench, crystal.off))
            except CredoError as error:
                yield Note("rejected", {"place_um": list(crystal.place), "reason": f"out of reach: {error.reason}"})
                continue
            about = {"place_um": list(crystal.place), "area_um2": crystal.area_um2, "contrast": crystal.contrast}
            shot = yield Look(self.exposure_s, "data", about=about)
            if not shot.image.any():
                raise CannotDo("the pattern is dark", "see to the beam, then --resume")
            count += 1
            if diffracted(shot.image) <= 0:
                yield Note("rejected", {"place_um": list(crystal.place), "reason": "no reflections"})
        return count


def beam_onto(bench: Bench, off: np.ndarray) -> dict[str, tuple[float, float]]:
    """Settings that bring the beam to ``off`` [µm] and leave the pattern where it was, by image shift 1."""
    beam = bench.units(off)
    back = -np.linalg.solve(bench.sharp["imageshift1"], bench.sharp["beamshift"] @ beam)
    shifted = {"beamshift": beam, "imageshift1": back}
    return {k: tuple((np.array(bench.neutral[k]) + v).tolist()) for k, v in shifted.items()}
