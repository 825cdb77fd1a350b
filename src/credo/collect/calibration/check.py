"""Does a stored calibration still hold? From its age and settings at once, and by one to three images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from credo.collect import steps as do
from credo.collect.calibration.deflectors import DeflectorSettings, view_of
from credo.collect.calibration.register import mended
from credo.collect.calibration.stage import StageSettings, view_nm
from credo.collect.calibration.views import View, approach_focus, enter, kept, look_at, place_in
from credo.collect.rig import Rig
from credo.collect.steps import Note, Pose, Steps
from credo.collect.tracking import fit_disc
from credo.instrument.config import Measured, MeasuredMatrix, MeasuredPair
from credo.model.errors import CannotDo

__all__ = ["Held", "check_deflector", "check_focus", "check_stage", "required", "stale"]

#: Deviation [standard uncertainties] up to which a calibration holds; error of a place in a frame [px].
_HOLDS, _PLACE = 4.0, 0.3
#: Relative change of a setting that matters; of those that are names or numbers of a table, any.
_SAME = {"brightness": 0.03, "difffocus": 0.01, "high_tension": 0.003}


@dataclass(frozen=True)
class Held:
    """``holds``; by how much the image disagreed, in px and in standard uncertainties; of what."""

    what: str
    holds: bool
    off_px: float
    pull: float


def stale(
    value: Measured | MeasuredMatrix | MeasuredPair, rig: Rig, settings: Mapping[str, Any] | None = None
) -> list[str]:
    """Why a value should not be trusted now: its age, and what was set otherwise when it was measured."""
    said = []
    if value.date is not None and (age := (rig.today - value.date).days) > rig.max_age_days:
        said.append(f"it is {age} days old")
    for name, then in value.at.items():
        now = (settings or {}).get(name)
        if now is None:
            continue
        if isinstance(then, str) or name not in _SAME:
            differs = str(then) != str(now) if isinstance(then, str) else float(then) != float(now)
        else:
            differs = abs(float(now) - then) > _SAME[name] * abs(then)
        if differs:
            said.append(f"{name} was {then}, it is {now}")
    return said


def check_deflector(rig: Rig, settings: DeflectorSettings) -> Steps[Held]:
    """Two images: the deflector moved along both coils at once, against where its matrix says that it moves."""
    s = settings

    def plan() -> Steps[Held]:
        view = yield from enter(rig, (yield from view_of(rig, s)))
        stored = rig.deflector_matrix(s.mode, s.name, view.magnification, s.defocus)
        matrix = np.array(stored.value)
        start = np.array((yield do.Read((s.name,)))[s.name], dtype=float)
        reach = s.reach_px or 0.1 * min(rig.camera.shape)
        step = np.rint(np.linalg.solve(matrix, reach * np.array([0.8, 0.6])))
        step = np.rint(step * min(1.0, s.largest / np.abs(step).max()))
        before, shot = yield from look_at(rig, view)
        yield do.Set({s.name: (float(start[0] + step[0]), float(start[1] + step[1]))})
        expected = matrix @ step
        reference = shot.image if view.kind == "image" else None
        after, _ = yield from look_at(rig, view, reference, expected, 0.5 * reach + 12)
        return (yield from _judged(f"{s.name} in {view.key}", after - before - expected, step, stored.esd))

    return (yield from kept(["mode", s.name, "brightness"], plan))


def check_focus(rig: Rig, camera_length: float, brightness: float, off: float = 1500.0) -> Steps[Held]:
    """Two images: discs as far below the focus as above it, approached alike, are equally large."""

    def plan() -> Steps[Held]:
        stored = rig.calibration.focus[f"{camera_length:g}"]
        view = yield from enter(rig, View("disc", "diff", camera_length, brightness, stored.value, -off))
        radii = []
        for side in (-off, off):
            yield from approach_focus(stored.value + side)
            shot = yield do.Look(view.exposure or 0.02, "calibrate")
            radii.append(fit_disc(mended(shot.image)).radius)
        growth = sum(radii) / (2 * off)  # of the radius per unit, off the focus
        off_px = 0.5 * (radii[1] - radii[0])
        return (yield from _verdict(f"focus in {view.key}", np.array([off_px]), growth * (stored.esd or 0.0), _PLACE))

    return (yield from kept(("mode", "brightness"), plan))


def check_stage(rig: Rig, settings: StageSettings | None = None) -> Steps[Held]:
    """Two images: the stage moved by a tenth of the field, against where its matrix puts the image."""
    s = settings or StageSettings()

    def plan() -> Steps[Held]:
        view = yield from enter(rig, View("image", s.mode, s.magnification, s.brightness, exposure=s.exposure))
        stored = rig.stage_matrix(s.mode, s.magnification)
        to_px = -np.linalg.inv(np.array(stored.value)) * 1e3
        home: Pose = yield do.Read()
        step = 1e-3 * view_nm(rig, view) * 0.1 * min(rig.camera.shape) * np.array([0.8, 0.6])
        yield do.Move(x=home.x, y=home.y, from_below=("x", "y"))
        yield do.Wait(s.settle_s)
        first = yield do.Look(view.exposure or 0.2, "calibrate")
        yield do.Move(x=home.x + float(step[0]), y=home.y + float(step[1]), from_below=("x", "y"))
        yield do.Wait(s.settle_s)
        second = yield do.Look(view.exposure or 0.2, "calibrate")
        yield do.Move(x=home.x, y=home.y, from_below=("x", "y"))
        moved = np.array([second.before.x - first.before.x, second.before.y - first.before.y])
        expected = to_px @ moved
        place = place_in(rig, "image", second.image, first.image, expected, 25.0)
        # read-outs of the stage err by some 10 nm each time
        read = float(np.hypot(0.015 * np.linalg.norm(to_px, 2), _PLACE))
        relative = (stored.esd or 0) / np.sqrt(abs(np.linalg.det(np.array(stored.value))))
        return (
            yield from _verdict(f"stage in {view.key}", place - expected, relative * np.linalg.norm(expected), read)
        )

    return (yield from kept(("mode", "brightness"), plan))


def required(held: Held, kind: str) -> None:
    """Raise what the user must do about a calibration that no longer holds."""
    if not held.holds:
        raise CannotDo(
            f"{held.what}: the stored calibration is off by {held.off_px:.1f} px ({held.pull:.1f} uncertainties)",
            f"measure it again: credo calibrate {kind}",
        )


def _judged(what: str, off: np.ndarray, step: np.ndarray, esd: float | None) -> Steps[Held]:
    return (yield from _verdict(what, off, (esd or 0.0) * float(np.linalg.norm(step)), _PLACE))


def _verdict(what: str, off: np.ndarray, of_value: float, of_place: float) -> Steps[Held]:
    size = float(np.linalg.norm(off))
    pull = size / float(np.hypot(of_value, of_place) * np.sqrt(off.size))
    held = Held(what, pull <= _HOLDS, size, pull)
    yield Note("checked", {"what": what, "holds": held.holds, "off_px": size, "pull": pull})
    return held
