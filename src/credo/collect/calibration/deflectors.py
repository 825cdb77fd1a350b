"""What a deflector does to an image, a focused or a defocused pattern: a matrix [pixels per unit], with its error.

The first steps find how strong the deflector is, so that nothing need be known of it; then it is set to points that
fill a disc of the camera evenly. The matrix is for the neighbourhood of the present setting.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.collect import steps as do
from credo.collect.calibration.brightness import beam_brightness
from credo.collect.calibration.focus import sharp_focus
from credo.collect.calibration.linear import Response, fit_response, sunflower
from credo.collect.calibration.result import matrix_of, result_note
from credo.collect.calibration.views import View, enter, kept, look_at, told
from credo.collect.rig import Rig
from credo.collect.seams import seams
from credo.collect.steps import Steps
from credo.instrument.config import MeasuredMatrix
from credo.model.errors import CannotDo

__all__ = [
    "DeflectorSettings", "beam_shift", "beam_tilt", "deflector", "diff_shift", "image_shift", "response_of", "view_of",
]  # fmt: skip


#: Distance of a pattern from the camera's cross [px] that leaves room for small shifts.
_ASIDE = 16.0
#: What crystals and texture at a disc's edge do to its fit, alike for neighbouring points: no scatter tells it [px].
_DISC = 0.025


class DeflectorSettings(BaseModel):
    """Which deflector, seen how, and how far it goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="beamshift", description="the deflector, as the instrument calls it")
    mode: str = Field(default="mag1", description="mode of the optics; diff: the diffraction pattern")
    magnification: float | None = Field(
        default=None, gt=0, description="magnification, or camera length [mm]; 2500 or 600, or the nearest"
    )
    defocus: float = Field(default=0.0, description="in diff: change of difffocus from where the pattern is sharp")
    beam_um: float = Field(default=0.75, gt=0, description="radius of the beam for patterns [µm]")
    brightness: float | None = Field(default=None, description="brightness instead of a radius")
    focus: float | None = Field(default=None, description="difffocus of a sharp pattern; the stored one if absent")
    points: int = Field(default=16, ge=8, le=200, description="settings of the deflector that are looked at")
    reach_px: float | None = Field(
        default=None, gt=0, description="farthest shift [px]; a fifth of the frame if absent"
    )
    first: float = Field(default=32.0, gt=0, description="first step [units of the deflector]")
    largest: float = Field(default=4000.0, gt=0, description="farthest from the present setting [units]")
    beam_reach_um: float = Field(default=8.0, gt=0, description="farthest that the beam moves on the specimen [µm]")
    exposure: float | None = Field(default=None, gt=0, description="exposure [s]; found from the first image if absent")


def beam_shift(rig: Rig, settings: DeflectorSettings | None = None) -> Steps[MeasuredMatrix]:
    """Pixels per unit of the beam shift."""
    return (yield from deflector(rig, _named("beamshift", settings)))


def image_shift(rig: Rig, settings: DeflectorSettings | None = None, which: int = 1) -> Steps[MeasuredMatrix]:
    """Pixels per unit of image shift 1 or 2; in patterns unless told otherwise."""
    given = settings or DeflectorSettings(mode="diff")
    return (yield from deflector(rig, _named(f"imageshift{which}", given)))


def diff_shift(rig: Rig, settings: DeflectorSettings | None = None) -> Steps[MeasuredMatrix]:
    """Pixels per unit of the diffraction shift."""
    return (yield from deflector(rig, _named("diffshift", settings or DeflectorSettings(mode="diff"))))


def beam_tilt(rig: Rig, settings: DeflectorSettings | None = None) -> Steps[MeasuredMatrix]:
    """Pixels per unit of the beam tilt; in radians: times λ q_per_pixel."""
    return (yield from deflector(rig, _named("beamtilt", settings or DeflectorSettings(mode="diff"))))


def _named(name: str, settings: DeflectorSettings | None) -> DeflectorSettings:
    return (settings or DeflectorSettings()).model_copy(update={"name": name})


def deflector(rig: Rig, settings: DeflectorSettings) -> Steps[MeasuredMatrix]:
    """Any deflector in any view; the settings of the column are put back."""
    names = ["mode", settings.name, "brightness", *(["diffshift"] if "diffshift" in rig.settings else [])]

    def plan() -> Steps[MeasuredMatrix]:
        view = yield from enter(rig, (yield from view_of(rig, settings)))
        yield from _aside(rig, view, settings)
        found, table = yield from response_of(rig, view, settings)
        esd = found.esd
        if view.kind == "disc":
            esd = float(np.hypot(esd, _DISC / np.linalg.norm(table["control"], axis=1).max()))
        result = matrix_of(rig, found.matrix, esd, view.settings, found)
        yield result_note("deflectors", view.key, settings.name, result, table)
        return result

    with told(f"{settings.name} in {settings.mode}"):
        return (yield from kept(names, plan))


def view_of(rig: Rig, settings: DeflectorSettings) -> Steps[View]:
    """The view that the settings mean: in an image the beam's disc or (image shift) the image itself; in a pattern
    the direct beam, or its disc."""
    s = settings
    if s.mode != "diff":
        magnification = s.magnification or nearest(rig, s.mode, 2500.0)
        if s.name.startswith(("image", "diff")):
            return View("image", s.mode, magnification, exposure=s.exposure)
        brightness = s.brightness or (yield from beam_brightness(rig, s.mode, magnification, share=0.2))
        return View("disc", s.mode, magnification, brightness, exposure=s.exposure)
    length = s.magnification or nearest(rig, "diff", 600.0)
    brightness = s.brightness or (yield from beam_brightness(rig, um=s.beam_um))
    focus = s.focus if s.focus is not None else (yield from sharp_focus(rig, length, brightness))
    return View("disc" if s.defocus else "spot", "diff", length, brightness, focus, s.defocus, s.exposure)


def nearest(rig: Rig, mode: str, wanted: float) -> float:
    """Of the mode's table the value nearest to ``wanted``, in ratio."""
    table = rig.magnifications.get(mode)
    if not table:
        raise CannotDo(f"{rig.instrument} has no mode {mode}", f"there is {', '.join(rig.magnifications)}")
    return min(table, key=lambda v: abs(np.log(v / wanted)))


def response_of(rig: Rig, view: View, settings: DeflectorSettings) -> Steps[tuple[Response, dict[str, Any]]]:
    """Explore, then measure at points that fill a disc; the deflector is put back by the caller."""
    s = settings
    start = np.array((yield do.Read((s.name,)))[s.name], dtype=float)
    reach = s.reach_px or 0.2 * min(rig.camera.shape)
    largest = _largest(rig, s)
    home, place, shot = yield from _found(rig, view, s, start, largest)
    reference = shot.image if view.kind == "image" else None
    rough = yield from _explored(rig, view, s, start + home, place, reference, reach, largest)
    offset = sunflower(s.points) * reach @ np.linalg.inv(rough).T
    offset *= min(1.0, largest / np.abs(offset).max())
    units, places, failed = [], [], []
    for k, u in enumerate(offset):
        yield do.Set({s.name: _pair(start + u)})
        reached = np.array((yield do.Read((s.name,)))[s.name], dtype=float) - start
        expected = place + rough @ (reached - home)
        try:
            places.append((yield from look_at(rig, view, reference, expected, 0.35 * reach + 12))[0])
        except CannotDo as error:
            failed.append(f"point {k + 1}: {error.reason}")
            places.append(np.full(2, np.nan))
        units.append(reached)
    found = fit_response(np.array(units), np.array(places))
    return found, {"control": units, "seen": places, "unit": "px", "failed": failed, "residual": found.residual}


def _largest(rig: Rig, s: DeflectorSettings) -> float:
    """How far the deflector may go [units]: a beam must stay near, for there may be a grid bar."""
    if s.mode == "diff" and s.name == "beamshift":
        for key, table in rig.calibration.deflectors.items():
            mode, _, magnification = key.partition("@")
            if mode != "diff" and s.name in table and magnification:
                px = float(np.linalg.norm(np.array(table[s.name].value), 2))
                um = px * rig.nm_per_pixel(mode, float(magnification)).value / 1e3
                return min(s.beam_reach_um / um, s.largest)
        return min(10 * s.first, s.largest)
    return s.largest


def _aside(rig: Rig, view: View, s: DeflectorSettings) -> Steps[None]:
    """Move a pattern off the camera's cross by the diffraction shift, where the beam shift moves it too little."""
    if view.kind != "spot" or s.name != "beamshift" or "diffshift" not in rig.settings:
        return
    other = s.model_copy(update={"name": "diffshift"})
    start = np.array((yield do.Read(("diffshift",)))["diffshift"], dtype=float)
    yield from _found(rig, view, other, start, s.largest)


def _gap(rig: Rig, view: View, place: np.ndarray) -> float:
    """Distance of a direct beam from the camera's cross [px]."""
    alike = seams(rig.camera.shape)
    lines = [np.flatnonzero(~alike.any(axis=axis)) for axis in (0, 1)]  # columns, rows
    if view.kind != "spot" or not any(map(len, lines)):
        return np.inf
    return float(min(np.abs(bad + 0.5 - v).min() for bad, v in zip(lines, place, strict=True) if len(bad)))


def _pair(values: np.ndarray) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _found(rig: Rig, view: View, s: DeflectorSettings, start: np.ndarray, largest: float) -> Steps[Any]:
    """(offset (2,) [units], place (2,) [px], shot) where it is seen: at the start, or, where the direct beam lies on
    the camera's cross there, beside it."""
    sizes = [0.0, *(s.first * 1.7**k for k in range(12))]
    best, said = None, None
    for k, size in enumerate(size for size in sizes if size <= largest):
        offset = np.rint(size * np.array([np.cos(2.4 * k), np.sin(2.4 * k)]))
        yield do.Set({s.name: _pair(start + offset)})
        try:
            place, shot = yield from look_at(rig, view)
        except CannotDo as error:
            said = said or error
            continue
        gap = _gap(rig, view, place)
        if best is None or gap > best[0]:
            best = (gap, offset, place, shot)
        if gap > _ASIDE:
            break
    if best is None:
        raise said or CannotDo("nothing is seen")
    yield do.Set({s.name: _pair(start + best[1])})
    return best[1:]


def _explored(rig, view: View, s, start, origin, reference, reach: float, largest: float) -> Steps[np.ndarray]:
    """A rough matrix (2, 2): each coil alone, by steps that grow until they show."""
    columns = []
    for axis in np.eye(2):
        step, best, failed = s.first, (0.0, np.zeros(2)), 0
        for _ in range(16):
            yield do.Set({s.name: _pair(start + np.rint(step) * axis)})
            try:
                moved = (yield from look_at(rig, view, reference))[0] - origin
            except CannotDo:  # on the camera's cross, or out of the frame: somewhat less, then somewhat more
                failed += 1
                step = min(step * (0.75 if failed % 2 else 1.8), largest)
                continue
            size = float(np.linalg.norm(moved))
            best = max(best, (size, moved / np.rint(step)), key=lambda one: one[0])
            if size > 0.25 * reach or step >= largest:
                break
            # what is lost in the noise may be twelve times as large at the next step, not more
            step = min(step * float(np.clip(0.5 * reach / max(size, 0.5), 2, 12)), largest)
        if best[0] < 1.5:
            raise CannotDo(f"{s.name} moves nothing by {step:g} units", "a larger --largest, or a longer camera length")
        columns.append(best[1])
    return np.array(columns).T
