"""Setting up for crystals in a row: beam size, focus, and what stage and deflectors do, measured in a minute or two.

Places on the grid are "grid µm": x along the tilt axis, y across it, both along the stage's own at zero tilt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.collect.rig import Rig
from credo.collect.seams import seams
from credo.collect.serial_images import beam_centre, shift_between
from credo.collect.steps import Look, Move, Note, Read, Set, Shot, Steps, Wait
from credo.collect.tracking import Disc, fit_disc
from credo.model.errors import CannotDo

__all__ = ["SHIFTS", "Bench", "SerialOptics", "set_up", "to_pattern", "to_search"]

#: Deflectors that keep the pattern in its place, in the order in which equations name them.
SHIFTS = ("beamshift", "imageshift1", "imageshift2")
#: Steps of calibration: beam shift in the image and defocused, image shifts defocused, all focused [units].
_BEAM_STEP, _BLUR_STEPS, _SHARP_STEPS = 40.0, (16.0, 600.0, 600.0), (200.0, 1200.0, 800.0)
#: Radius of the beam of the search image, in its edges.
_WIDE = 1.1
#: Exposures by which the stage is measured, per search exposure: bare film shows little.
_LONG = 5.0
#: A stage creeps after a move, by more or less: time to wait before it is measured [s].
_CREEP_S = 12.0
#: Stage step [µm], height step [µm] and tilt [deg] of the calibration of the stage.
_STAGE_UM, _LIFT_UM, _LIFT_DEG = 2.5, 3.0, 8.0


class SerialOptics(BaseModel):
    """The two views of serial rotation electron diffraction: the search image and the pattern of a narrow beam."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    search_mode: str = Field(default="mag1", description="mode of the search image")
    magnification: float = Field(default=2500.0, gt=0, description="of the search image")
    search_exposure: float = Field(default=0.2, gt=0, description="of the search image [s]")
    spot_search: int = Field(default=3, ge=1, description="spot size of the search image")
    brightness: float = Field(default=30000.0, description="one at which the search image shows the beam as a disc")
    camera_length: float = Field(default=600.0, gt=0, description="of the pattern [mm]")
    spot_diffraction: int = Field(default=5, ge=1, description="spot size of the pattern")
    beam_um: float = Field(default=0.75, gt=0, description="radius of the narrow beam [µm]")
    difffocus: float = Field(default=30000.0, description="diffraction focus, roughly [units]")
    defocus: float = Field(default=1500.0, description="added to it to see the crystal in the beam [units]")
    off_middle_px: tuple[float, float] = Field(
        default=(32.0, 32.0), description="where the direct beam is put, off the camera's middle and its seams [px]"
    )


@dataclass(frozen=True)
class Bench:
    """What was set up and measured.

    A point u [grid µm] from the beam (undeflected) is seen in the search image at ``beam_px`` + ``image`` u [px]; a
    unit of ``beamshift`` moves the beam by ``beam`` [grid µm]; in the defocused pattern 1 µm is ``shadow`` [px].
    ``sharp``, ``blurred``: px that a unit of each deflector of SHIFTS moves the focused and the defocused pattern.
    ``lift``: µm across the axis per µm of height z and sine of the tilt. ``neutral``: deflectors to begin with.
    ``centre``: of the focused pattern [px]; ``wide``, ``narrow``: brightness of beams of ``wide_um`` and the optics'
    radius; ``focus``: difffocus of a sharp pattern.
    """

    optics: SerialOptics
    pixel_um: float
    wide: float
    wide_um: float
    narrow: float
    focus: float
    beam_px: np.ndarray
    image: np.ndarray
    beam: np.ndarray
    shadow: np.ndarray
    sharp: Mapping[str, np.ndarray]
    blurred: Mapping[str, np.ndarray]
    lift: float
    neutral: Mapping[str, tuple[float, float]]
    valid: np.ndarray
    centre: np.ndarray

    def grid(self, px: np.ndarray) -> np.ndarray:
        """Grid µm from the undeflected beam of places (…, 2) in the search image."""
        return (np.asarray(px) - self.beam_px) @ np.linalg.inv(self.image).T

    def units(self, um: np.ndarray) -> np.ndarray:
        """Beam shift (2,) [units] that moves the beam by ``um`` (2,) on the grid."""
        return np.linalg.solve(self.beam, um)

    def brightness(self, radius_um: float) -> float:
        """Brightness at which the beam has this radius."""
        o = self.optics
        share = (radius_um - o.beam_um) / (self.wide_um - o.beam_um)
        return float(round(self.narrow + share * (self.wide - self.narrow)))

    def facts(self) -> dict[str, Any]:
        """As plain JSON, for the event log."""
        plain = {k: v for k, v in asdict(replace(self, optics=SerialOptics())).items() if k not in ("optics", "valid")}
        tidy: Callable[[Any], Any] = lambda v: v.tolist() if isinstance(v, np.ndarray) else v  # noqa: E731
        return {k: {n: tidy(w) for n, w in v.items()} if isinstance(v, dict) else tidy(v) for k, v in plain.items()}


def to_search(o: SerialOptics, brightness: float, neutral: Mapping[str, tuple[float, float]]) -> Steps[None]:
    """The search image, deflectors neutral."""
    table = {"mode": o.search_mode, "magnification": o.magnification, "spotsize": o.spot_search}
    yield Set({**table, "brightness": brightness, **neutral})


def to_pattern(o: SerialOptics, narrow: float, focus: float) -> Steps[None]:
    """The pattern of the narrow beam; the lens has slack, so the focus is always come to from the defocused side."""
    table = {"mode": "diff", "magnification": o.camera_length, "spotsize": o.spot_diffraction}
    yield Set({**table, "brightness": narrow, "difffocus": focus + o.defocus})
    yield Set({"difffocus": focus})


def set_up(o: SerialOptics, rig: Rig) -> Steps[Bench]:
    """Measure everything that a ``Bench`` holds, at the present stage position. Raises CannotDo.

    The first place should be a piece of film; crystals and the film's grain are what the stage is measured by.
    """
    before = yield Read((*SHIFTS, "diffshift"))
    neutral = {k: (float(v[0]), float(v[1])) for k, v in before.items()}
    pixel_um = rig.nm_per_pixel(o.search_mode, o.magnification).value / 1e3
    valid = seams(rig.camera.shape)
    yield from to_search(o, o.brightness, neutral)
    yield Set({"spotsize": o.spot_diffraction})
    narrow, wide = yield from _brightness(o, pixel_um, min(rig.camera.shape))
    focus = yield from _focus(o, narrow)
    # the diffraction shift moves images too: it is set before anything is measured in them
    centre, neutral = yield from _off_the_seams(o, narrow, focus, neutral, rig)
    yield from to_search(o, narrow, neutral)
    yield Set({"spotsize": o.spot_diffraction})
    beam_px, beam_image = yield from _beam_in_image(neutral["beamshift"])
    yield from to_search(o, wide, neutral)
    image = -(yield from _stage(o, valid))
    lift = yield from _lift(o, image, valid)
    yield from to_pattern(o, narrow, focus)
    yield Set({"difffocus": focus + o.defocus})
    blurred = yield from _responses(neutral, _BLUR_STEPS, lambda shot: _disc_of(shot))
    yield Set({"difffocus": focus})
    sharp = yield from _responses(neutral, _SHARP_STEPS, lambda shot: beam_centre(shot.image, valid))
    beam = np.linalg.solve(image, beam_image)
    shadow = blurred["beamshift"] @ np.linalg.inv(beam)
    bench = Bench(
        o, pixel_um, wide, _WIDE * min(rig.camera.shape) * pixel_um, narrow, focus, beam_px, image, beam, shadow, sharp,
        blurred, lift, neutral,
        valid, centre,
    )  # fmt: skip
    yield Note("bench", bench.facts())
    return bench


def _disc_of(shot: Shot) -> np.ndarray:
    disc = fit_disc(shot.image)
    return np.array([disc.x, disc.y])


def _disc() -> Steps[Disc]:
    shot = yield Look(0.05)
    return fit_disc(shot.image)


def _brightness(o: SerialOptics, pixel_um: float, edge: int) -> Steps[tuple[float, float]]:
    """Brightness of the narrow beam and of one that lights the whole search image; the radius is linear in it."""
    first = yield from _disc()
    yield Set({"brightness": o.brightness + 500})
    second = yield from _disc()
    slope = (second.radius - first.radius) * pixel_um / 500
    if abs(slope) * 500 < 0.02 * first.radius * pixel_um:
        raise CannotDo("the beam keeps its size when the brightness changes", "give a brightness at which it is a disc")
    crossover = o.brightness - first.radius * pixel_um / slope
    narrow = crossover + o.beam_um / slope
    yield Set({"brightness": round(narrow)})
    third = yield from _disc()
    narrow = float(round(narrow + (o.beam_um - third.radius * pixel_um) / slope))
    yield Set({"brightness": narrow})
    return narrow, float(round(crossover + _WIDE * edge * pixel_um / slope))


def _beam_in_image(neutral: tuple[float, float]) -> Steps[tuple[np.ndarray, np.ndarray]]:
    """Where the narrow beam is in the search image [px], and what a unit of beam shift does to it (2, 2)."""
    at = {}
    for dx, dy in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        yield Set({"beamshift": (neutral[0] + dx * _BEAM_STEP, neutral[1] + dy * _BEAM_STEP)})
        disc = yield from _disc()
        at[dx, dy] = np.array([disc.x, disc.y])
    yield Set({"beamshift": neutral})
    columns = [(at[1, 0] - at[-1, 0]) / (2 * _BEAM_STEP), (at[0, 1] - at[0, -1]) / (2 * _BEAM_STEP)]
    return np.mean(list(at.values()), axis=0), np.stack(columns, axis=1)


def _stage(o: SerialOptics, valid: np.ndarray) -> Steps[np.ndarray]:
    """Pixels (2, 2) that the image moves per µm of stage x and y."""
    shots = []
    here = yield Read()
    for dx, dy in ((0, 0), (1, 0), (0, 1), (0, 0)):
        yield Move(x=here.x + dx * _STAGE_UM, y=here.y + dy * _STAGE_UM, from_below=("x", "y"))
        yield Wait(_CREEP_S)
        shot = yield Look(_LONG * o.search_exposure)
        shots.append(shot)
    rows, shifts = [], []
    for one in shots[1:3]:
        for other in (shots[0], shots[3]):
            shift, height = shift_between(other.image, one.image, valid, 200)
            if height < 6:
                raise CannotDo("the image of the film shows too little to measure the stage by", "begin elsewhere")
            rows.append([one.after.x - other.after.x, one.after.y - other.after.y])
            shifts.append(shift)
    return np.linalg.lstsq(np.array(rows), np.array(shifts), rcond=None)[0].T


def _lift(o: SerialOptics, image: np.ndarray, valid: np.ndarray) -> Steps[float]:
    """Movement across the axis per height and sine of the tilt: −1, or +1 where z counts the other way."""
    here = yield Read()
    yield Move(a=here.a + _LIFT_DEG)
    low = yield Look(_LONG * o.search_exposure)
    yield Move(z=here.z + _LIFT_UM)
    high = yield Look(_LONG * o.search_exposure)
    yield Move(z=here.z, a=here.a)
    shift, _ = shift_between(low.image, high.image, valid, 80)
    across = float(np.linalg.solve(image, shift)[1])
    found = across / ((high.after.z - low.after.z) * np.sin(np.radians(_LIFT_DEG)))
    if not 0.5 < abs(found) < 1.5:
        raise CannotDo(f"tilted, a height of 1 µm moves the image by {found:.2f} of its sine", "is a the tilt axis?")
    return float(np.sign(found))


def _focus(o: SerialOptics, narrow: float) -> Steps[float]:
    """The difffocus half-way between two at which the beam's disc has grown alike, weighted by its radii."""
    yield from to_pattern(o, narrow, o.difffocus)
    yield Set({"difffocus": o.difffocus + o.defocus})
    over = yield from _disc()
    yield Set({"difffocus": o.difffocus - o.defocus})
    under = yield from _disc()
    return float(round(o.difffocus + o.defocus * (under.radius - over.radius) / (under.radius + over.radius)))


def _off_the_seams(o: SerialOptics, narrow: float, focus: float, neutral, rig: Rig):
    """Bring the direct beam to its place by ``diffshift``; returns the place and the new neutral deflectors."""
    yield from to_pattern(o, narrow, focus)
    target = np.array(rig.camera.shape[::-1]) / 2 + np.array(o.off_middle_px)
    value = np.array(neutral["diffshift"])
    at = []
    for step in ((0, 0), (400, 0), (0, 400)):
        yield Set({"diffshift": tuple(value + step)})
        shot = yield Look(0.1)
        at.append(beam_centre(shot.image))
    response = np.stack([at[1] - at[0], at[2] - at[0]], axis=1) / 400
    value = np.round(value + np.linalg.solve(response, target - at[0]))
    yield Set({"diffshift": tuple(value)})
    shot = yield Look(0.1)
    centre = beam_centre(shot.image, seams(rig.camera.shape))
    return centre, {**neutral, "diffshift": (float(value[0]), float(value[1]))}


def _responses(neutral, steps: tuple[float, ...], place: Callable[[Shot], np.ndarray]) -> Steps[dict[str, np.ndarray]]:
    """Pixels (2, 2) that a unit of each of SHIFTS moves the pattern; each from both sides, twice."""
    found = {}
    for name, step in zip(SHIFTS, steps, strict=True):
        columns = []
        for axis in np.eye(2):
            at: dict[int, list[np.ndarray]] = {1: [], -1: []}
            for sign in (1, -1, 1, -1):
                yield Set({name: tuple(np.array(neutral[name]) + sign * step * axis)})
                shot = yield Look(0.1)
                at[sign].append(place(shot))
            columns.append((np.mean(at[1], axis=0) - np.mean(at[-1], axis=0)) / (2 * step))
        yield Set({name: neutral[name]})
        found[name] = np.stack(columns, axis=1)
    return found
