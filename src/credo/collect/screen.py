"""The plan ``screen``: a few degrees of every crystal that a raster shows, and how good it is, quickly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import Field

from credo.collect.calibration.needs import pattern_needs
from credo.collect.calibration.ready import Need
from credo.collect.dataset import geometry
from credo.collect.plans import Forecast, Plan, fraction
from credo.collect.quality import quality
from credo.collect.raster import Found, look_for_crystals, raster, view_um
from credo.collect.rig import Rig
from credo.collect.rotation import Sweep, rotate
from credo.collect.serial_ed import beam_onto
from credo.collect.serial_setup import Bench, SerialOptics, set_up, to_pattern
from credo.collect.steps import Done, Move, Note, Once, Pause, Pose, Read, Set, Shot, Steps
from credo.collect.watch import Watch
from credo.model import Scan

__all__ = ["Screen"]

_SET_UP, _MOVE, _BETWEEN = 60.0, 2.0, 6.0


class Screen(Plan):
    """A small rotation of each isolated crystal, with a score: reflections, resolution, and whether it indexes.

    report.json lists the crystals with their quality and place, to be collected in full. ``--resume`` goes on.
    """

    kind: Literal["screen"] = "screen"
    x_um: float | None = Field(default=None, description="middle of the raster; absent: where the stage is [µm]")
    y_um: float | None = Field(default=None, description="middle of the raster; absent: where the stage is [µm]")
    radius_um: float = Field(default=10.0, gt=0, le=900, description="radius of the raster [µm]")
    range_deg: float = Field(default=6.0, gt=0, le=30, description="angle about the present tilt [deg]")
    speed_deg_s: float = Field(default=2.0, gt=0, le=30, description="speed of the rotation [deg/s]")
    exposure_s: float = Field(default=0.2, gt=0, le=60, description="exposure of a frame [s]")
    max_crystals: int = Field(default=20, ge=1, description="crystals at most")
    gap_um: float = Field(default=1.0, ge=0, description="distance of a crystal to its neighbours, at least [µm]")
    calibrations: Literal["stop", "measure"] = Field(
        default="measure",
        description="when one is missing or does not hold: stop, or measure it where that can be done",
    )
    optics: SerialOptics = Field(default_factory=SerialOptics, description="the two views")

    def sweep(self, here: float) -> Sweep:
        half = 0.5 * self.range_deg
        return Sweep(here - half, here + half, self.speed_deg_s, self.exposure_s)

    def forecast(self, rig: Rig) -> Forecast:
        beam = self.sweep(0.0).seconds
        frames = int(self.range_deg / self.speed_deg_s / (self.exposure_s + rig.dead_time)) + 1
        return Forecast(
            duration_s=_SET_UP + _MOVE + self.max_crystals * (beam + _BETWEEN),
            beam_on_s=beam,
            rotation_deg=self.range_deg,
            reciprocal_fraction=fraction(self.range_deg),
            frames=frames * self.max_crystals,
        )

    def needs(self, rig: Rig) -> Sequence[Need]:
        return pattern_needs(self.optics.camera_length)

    def work(self, rig: Rig) -> Steps[list[dict[str, Any]]]:
        here = yield Read()
        x = here.x if self.x_um is None else self.x_um
        y = here.y if self.y_um is None else self.y_um
        yield Move(x=x, y=y, from_below=("x", "y"))
        bench = yield from set_up(self.optics, rig, self.calibrations, self.check_calibrations)
        results: list[dict[str, Any]] = []
        for number, (px, py) in enumerate(raster((x, y), self.radius_um, view_um(rig, bench))):
            yield Pause()
            earlier = yield Once(f"position {number}")
            if earlier is None and len(results) < self.max_crystals:
                found = yield from look_for_crystals(bench, float(px), float(py), self.gap_um)
                before = len(results)
                for crystal in found[: self.max_crystals - len(results)]:
                    results.append((yield from self._one(rig, bench, crystal, len(results) + 1, here.a)))
                yield Done(f"position {number}", {"results": results[before:]})
            elif earlier is not None:
                results += earlier.get("results", [])
        yield Set(dict(bench.neutral))
        return sorted(results, key=lambda one: -float(one["quality"]["score"]))

    def _one(self, rig: Rig, bench: Bench, crystal: Found, number: int, angle: float) -> Steps[dict[str, Any]]:
        """Rotate about ``angle`` with the beam on the crystal; a bad one is noted as rejected, with the reason."""
        yield from to_pattern(bench.optics, bench.narrow, bench.focus)
        yield Set(beam_onto(bench, crystal.off))
        judge = _Judge(rig, self.optics.camera_length)
        name = f"{number:04d}"
        about = {"camera_length_mm": self.optics.camera_length, "place_um": list(crystal.place), "sample": self.sample}
        ended = yield from rotate(rig, self.sweep(angle), name, about, judge, Watch(lost=-1.0))
        yield Move(a=angle)
        told = {"crystal": name, "place_um": list(crystal.place), "area_um2": crystal.area_um2,
                "reason_ended": ended.reason, "quality": judge.told}  # fmt: skip
        yield Note("screened", told)
        if not judge.told.get("indexable"):
            yield Note("rejected", {"crystal": name, "reason": judge.told.get("reason") or "not one lattice"})
        return told


@dataclass
class _Judge:
    """A tracker that follows nothing: it keeps the frames and tells their quality at the end."""

    rig: Rig
    camera_length: float
    looks: int = 0
    method: str = "none"
    told: dict[str, Any] = field(default_factory=dict)
    _shots: list[Shot] = field(default_factory=list)

    def begin(self, rig: Rig, sweep: Sweep, pose: Pose) -> Steps[None]:
        self._shots.clear()
        return
        yield

    def frame(self, shot: Shot) -> Steps[str]:
        self._shots.append(shot)
        return ""
        yield

    def facts(self) -> Mapping[str, Any]:
        if len(self._shots) < 3:
            self.told = {"score": 0.0, "indexable": False, "reason": "fewer than three frames"}
        else:
            images = np.stack([s.image for s in self._shots])
            frame = geometry(self.rig, self.camera_length, (int(images.shape[1]), int(images.shape[2])))
            self.told = quality(images, frame.replace(scan=_scan(self._shots))).facts()
        self._shots.clear()
        return {"quality": self.told}


def _scan(shots: list[Shot]) -> Scan:
    start, end = (np.array([getattr(s, k).a for s in shots]) for k in ("before", "after"))
    return Scan(
        np.arange(1, len(shots) + 1), start, end - start, exposure_s=np.array([s.frame.exposure for s in shots])
    )
