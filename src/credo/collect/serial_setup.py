"""Setting up for crystals in a row: beam size, focus, and what stage and deflectors do, stored or measured.

Places on the grid are "grid µm": x along the tilt axis, y across it, both along the stage's own at zero tilt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.collect.calibration.brightness import beam_brightness
from credo.collect.calibration.deflectors import DeflectorSettings
from credo.collect.calibration.needs import beam_need, deflector_need, focus_need, stage_need
from credo.collect.calibration.ready import Need, Policy, ready
from credo.collect.calibration.register import register
from credo.collect.calibration.stage import StageSettings
from credo.collect.calibration.views import approach_focus
from credo.collect.rig import Rig
from credo.collect.seams import bridged, seams
from credo.collect.serial_images import beam_centre
from credo.collect.steps import Look, Move, Note, Read, Set, Steps
from credo.collect.tracking import fit_disc
from credo.model.errors import CannotDo

__all__ = ["SHIFTS", "Bench", "SerialOptics", "set_up", "to_pattern", "to_search"]

#: Deflectors that keep the pattern in its place, in the order in which equations name them.
SHIFTS = ("beamshift", "imageshift1", "imageshift2")
#: Radius of the beam of the search image, in its edges; discs by which the narrow beam is placed.
_WIDE, _DISCS = 1.1, 3
#: Points of a calibration that is made here.
_POINTS = 9
#: Exposures by which the height's sense is found, per search exposure: bare film shows little.
_LONG = 5.0
#: Height step [µm] and tilt [deg] of that.
_LIFT_UM, _LIFT_DEG = 3.0, 8.0

Neutral = Mapping[str, tuple[float, float]]


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
    """The pattern of the narrow beam, in focus as it was calibrated."""
    table = {"mode": "diff", "magnification": o.camera_length, "spotsize": o.spot_diffraction}
    yield Set({**table, "brightness": narrow})
    yield from approach_focus(focus)


def set_up(o: SerialOptics, rig: Rig, policy: Policy = "measure", check: bool = True) -> Steps[Bench]:
    """Everything that a ``Bench`` holds, at the present stage position: calibrations from the store where they hold
    (``check``: by two images each), the others measured, unless ``policy`` is to stop. Raises CannotDo.

    The first place should be a piece of film; crystals and the film's grain are what the stage is measured by.
    """
    before = yield Read((*SHIFTS, "diffshift"))
    neutral = {k: (float(v[0]), float(v[1])) for k, v in before.items()}
    bench = _assumed(o, rig, neutral) if rig.blind else (yield from _measured(o, rig, neutral, policy, check))
    yield Note("bench", bench.facts())
    return bench


def _assumed(o: SerialOptics, rig: Rig, neutral: Neutral) -> Bench:
    """For a rehearsal: what the data sheet says."""
    own = replace(rig, uncalibrated=True)
    centre = np.array(rig.camera.shape[::-1]) / 2
    return _bench(o, own, neutral, o.brightness, o.brightness, o.difffocus, centre, centre, -1.0)


def _measured(o: SerialOptics, rig: Rig, neutral: Neutral, policy: Policy, check: bool) -> Steps[Bench]:
    """Images first, then patterns; the diffraction shift moves images too, so the beam's place comes last."""

    def have(needs: list[Need]) -> Steps[Rig]:
        return ready(rig, needs, policy, {"high_tension": rig.settings.get("high_tension")}, check)

    # the nominal magnification sizes the first steps; what may be measured is measured before it is used
    rig = replace(rig, uncalibrated=rig.uncalibrated or policy == "measure")
    image: dict[str, Any] = {"mode": o.search_mode, "magnification": o.magnification}
    yield from to_search(o, o.brightness, neutral)
    yield Set({"spotsize": o.spot_diffraction})
    rig = yield from have([beam_need(**image)])
    wide = yield from beam_brightness(rig, **image, um=_wide_um(o, rig))
    rig = yield from have([stage_need(StageSettings(**image, brightness=wide, points=_POINTS))])
    yield from to_search(o, wide, neutral)
    lift = yield from _lift(o, rig)
    yield from to_search(o, wide, neutral)
    yield Set({"spotsize": o.spot_diffraction})
    narrow, _ = yield from _narrowed(o, rig, (yield from beam_brightness(rig, **image, um=o.beam_um)))
    rig = yield from have(
        [deflector_need(DeflectorSettings(name="beamshift", **image, brightness=narrow, points=_POINTS))]
    )
    rig = yield from have([focus_need(o.camera_length, narrow, o.beam_um)])
    focus = float(round(rig.calibration.focus[f"{o.camera_length:g}"].value))
    rig = yield from have([_in_pattern(o, "diffshift", 0.0, narrow, focus)])
    centre, neutral = yield from _off_the_seams(o, rig, narrow, focus, neutral)
    rig = yield from have([_in_pattern(o, n, d, narrow, focus) for d in (o.defocus, 0.0) for n in SHIFTS])
    yield from to_search(o, narrow, neutral)
    yield Set({"spotsize": o.spot_diffraction})
    narrow, beam_px = yield from _narrowed(o, rig, narrow)
    return _bench(o, rig, neutral, wide, narrow, focus, beam_px, centre, lift)


def _bench(o: SerialOptics, rig: Rig, neutral: Neutral, wide, narrow, focus, beam_px, centre, lift: float) -> Bench:
    """From the matrices that the rig knows."""
    image = np.linalg.inv(1e-3 * np.array(rig.stage_matrix(o.search_mode, o.magnification).value))
    in_image = np.array(rig.deflector_matrix(o.search_mode, "beamshift", o.magnification).value)
    sharp, blurred = (
        {n: np.array(rig.deflector_matrix("diff", n, o.camera_length, d).value) for n in SHIFTS}
        for d in (0.0, o.defocus)
    )
    beam = np.linalg.solve(image, in_image)
    return Bench(
        optics=o, pixel_um=_pixel_um(o, rig), wide=wide, wide_um=_wide_um(o, rig), narrow=narrow, focus=focus,
        beam_px=beam_px, image=image, beam=beam, shadow=blurred["beamshift"] @ np.linalg.inv(beam), sharp=sharp,
        blurred=blurred, lift=lift, neutral=neutral, valid=seams(rig.camera.shape), centre=centre,
    )  # fmt: skip


def _pixel_um(o: SerialOptics, rig: Rig) -> float:
    return rig.nm_per_pixel(o.search_mode, o.magnification).value / 1e3


def _wide_um(o: SerialOptics, rig: Rig) -> float:
    return _WIDE * min(rig.camera.shape) * _pixel_um(o, rig)


def _in_pattern(o: SerialOptics, name: str, defocus: float, narrow: float, focus: float) -> Need:
    return deflector_need(
        DeflectorSettings(
            name=name,
            mode="diff",
            magnification=o.camera_length,
            defocus=defocus,
            brightness=narrow,
            focus=focus,
            points=_POINTS,
        )
    )


def _narrowed(o: SerialOptics, rig: Rig, brightness: float) -> Steps[tuple[float, np.ndarray]]:
    """(brightness of the narrow beam by its own discs in the search image, their place (2,) [px])."""
    assert rig.calibration.beam is not None
    radii, places = [], []
    yield Set({"brightness": brightness})
    for _ in range(_DISCS):
        shot = yield Look(0.05)
        disc = fit_disc(bridged(shot.image))
        radii.append(disc.radius * _pixel_um(o, rig))
        places.append([disc.x, disc.y])
    better = float(round(brightness + (o.beam_um - np.mean(radii)) / rig.calibration.beam.value[1]))
    yield Set({"brightness": better})
    return better, np.mean(places, axis=0)


def _lift(o: SerialOptics, rig: Rig) -> Steps[float]:
    """Movement across the axis per height and sine of the tilt: −1, or +1 where z counts the other way."""
    here = yield Read()
    yield Move(a=here.a + _LIFT_DEG)
    low = yield Look(_LONG * o.search_exposure)
    yield Move(z=here.z + _LIFT_UM)
    high = yield Look(_LONG * o.search_exposure)
    yield Move(z=here.z, a=here.a)
    moved = register(low.image, high.image, (0.0, 0.0), 80)
    stage = 1e-3 * np.array(rig.stage_matrix(o.search_mode, o.magnification).value)
    found = float((stage @ [moved.x, moved.y])[1]) / ((high.after.z - low.after.z) * np.sin(np.radians(_LIFT_DEG)))
    if not 0.5 < abs(found) < 1.5:
        raise CannotDo(f"tilted, a height of 1 µm moves the image by {found:.2f} of its sine", "is a the tilt axis?")
    return float(np.sign(found))


def _off_the_seams(o: SerialOptics, rig: Rig, narrow: float, focus: float, neutral: Neutral):
    """Bring the direct beam to its place by ``diffshift``; returns the place and the new neutral deflectors."""
    yield from to_pattern(o, narrow, focus)
    target = np.array(rig.camera.shape[::-1]) / 2 + np.array(o.off_middle_px)
    response = np.array(rig.deflector_matrix("diff", "diffshift", o.camera_length).value)
    value, valid = np.array(neutral["diffshift"]), None
    for _ in range(2):  # on the seams a place is rough
        shot = yield Look(0.1)
        value = np.round(value + np.linalg.solve(response, target - beam_centre(shot.image, valid)))
        yield Set({"diffshift": tuple(value)})
        valid = seams(rig.camera.shape)
    shot = yield Look(0.1)
    return beam_centre(shot.image, valid), {**neutral, "diffshift": (float(value[0]), float(value[1]))}
