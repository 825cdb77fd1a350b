"""The plan ``red``: stepwise rotation, goniometer steps with fine beam-tilt steps between them, either way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from credo.collect.calibration.deflectors import DeflectorSettings
from credo.collect.calibration.needs import deflector_need, pattern_needs
from credo.collect.calibration.ready import Need
from credo.collect.dose_rate import dose_rate
from credo.collect.plans import Forecast, Optics, Plan, fraction
from credo.collect.rig import Rig
from credo.collect.steps import Begin, End, Look, Move, Once, Read, Set, Steps, Wait
from credo.collect.watch import BEAM_LOST, Watch
from credo.model.errors import CannotDo, CredoError

__all__ = ["Red", "beam_tilts"]

#: Time that a goniometer step takes [s].
_STEP_S = 1.5


class Red(Plan):
    """Stills at goniometer steps, and at beam-tilt steps between these where a fine one is asked for.

    A negative range goes down. After a crash ``--resume`` goes on at the first angle that is not there yet.
    """

    kind: Literal["red"] = "red"
    name: str = Field(default="0001", pattern=r"^[A-Za-z0-9][\w.-]{0,60}$", description="name of the data set")
    start_deg: float | None = Field(default=None, description="first angle; absent: where the stage is [deg]")
    range_deg: float = Field(default=60.0, description="angle to cover, negative for the other way [deg]")
    step_deg: float = Field(default=1.0, gt=0, le=10, description="step of the goniometer [deg]")
    beam_tilt_deg: float = Field(
        default=0.0, ge=0, le=1, description="step of the beam tilt, a part of step_deg; 0: goniometer only [deg]"
    )
    exposure_s: float = Field(default=0.5, gt=0, le=60, description="exposure of a frame [s]")
    settle_s: float = Field(default=0.5, ge=0, le=60, description="wait after a goniometer step [s]")
    optics: Optics = Field(default_factory=Optics, description="lenses; absent values stay")

    @model_validator(mode="after")
    def _check(self) -> Red:
        if self.range_deg == 0:
            raise ValueError("range_deg is 0: nothing to cover")
        n = self.step_deg / self.beam_tilt_deg if self.beam_tilt_deg else 1.0
        if abs(n - round(n)) > 1e-6 or n < 1:
            raise ValueError(f"beam_tilt_deg {self.beam_tilt_deg:g} is no whole part of step_deg {self.step_deg:g}")
        return self

    @property
    def fine(self) -> int:
        """Frames at one goniometer angle."""
        return round(self.step_deg / self.beam_tilt_deg) if self.beam_tilt_deg else 1

    def angles(self, start: float) -> np.ndarray:
        """Goniometer angles (n,) [deg], the first included."""
        n = int(abs(self.range_deg) / self.step_deg + 1e-9) + 1
        return start + np.sign(self.range_deg) * self.step_deg * np.arange(n)

    def forecast(self, rig: Rig) -> Forecast:
        n = len(self.angles(0.0))
        beam = n * self.fine * self.exposure_s
        rate = rig.dose_rate()
        return Forecast(
            duration_s=beam + n * (self.settle_s + _STEP_S),
            beam_on_s=beam,
            dose_e_per_A2=None if rate is None else rate * beam,
            rotation_deg=abs(self.range_deg),
            reciprocal_fraction=fraction(self.range_deg),
            frames=n * self.fine,
        )

    def needs(self, rig: Rig) -> Sequence[Need]:
        """Of patterns; and where the beam is tilted, the deflectors for it, those in patterns checked there."""
        length = self.optics.camera_length(rig)
        needs = [*pattern_needs(length)]
        if self.fine > 1:
            o = self.optics
            mode, magnification = _imaging(rig)
            in_patterns = DeflectorSettings(
                mode="diff", magnification=length, brightness=o.brightness, focus=o.difffocus
            )
            seen = o.brightness is not None and o.difffocus is not None
            names = ("beamtilt", "diffshift", "beamshift")
            needs += [deflector_need(in_patterns.model_copy(update={"name": n}), seen) for n in names]
            in_images = DeflectorSettings(mode=mode, magnification=magnification)
            needs += [deflector_need(in_images.model_copy(update={"name": n}), False) for n in names[::2]]
        return needs

    def settings(self, rig: Rig) -> Mapping[str, Any]:
        return self.optics.in_patterns(rig)

    def work(self, rig: Rig) -> Steps[int]:
        yield from self.optics.set_up()
        pose = yield Read()
        start = pose.a if self.start_deg is None else self.start_deg
        angles, name = yield from self._left(self.angles(start))
        for angle in angles:
            if not rig.allowed("a", float(angle)):
                raise CannotDo(f"{angle:.1f} deg is beyond the stage's limits", "take a smaller range")
        if not len(angles):
            return 0
        tilts = yield from beam_tilts(rig, self.optics.camera_length(rig), self.beam_tilt_deg, self.fine)
        rate = yield from dose_rate(rig)
        about: Mapping[str, Any] = {
            "camera_length_mm": self.optics.camera_length(rig), "sample": self.sample, "dose_rate": rate,
            "step_deg": float(np.sign(self.range_deg)) * (self.beam_tilt_deg or self.step_deg),
        }  # fmt: skip
        yield Begin(name, "steps", about)
        try:
            count = yield from self._stills(rig, angles, tilts)
        except CredoError as error:
            yield End(error.reason)
            raise
        yield Set(tilts[0].neutral)
        yield End("all steps are done")
        return count

    def _left(self, angles: np.ndarray) -> Steps[tuple[np.ndarray, str]]:
        """Angles that earlier runs did not reach with all beam tilts, and the name of their data set."""
        name, i, sign = self.name, 1, np.sign(self.range_deg)
        whole = 0.5 * (self.step_deg - self.step_deg / self.fine)  # from an angle to the start of its last frame
        while (earlier := (yield Once(f"data set {name}"))) is not None:
            i += 1
            name = f"{self.name}-{i}"
            end = earlier.get("end_deg")
            if end is not None:
                angles = angles[sign * (angles - float(end)) + whole > 0]
        return angles, name

    def _stills(self, rig: Rig, angles: np.ndarray, tilts: list[_Tilt]) -> Steps[int]:
        """One frame for every goniometer angle and beam tilt, all tilts the way the goniometer goes."""
        watch, count = Watch(lost=-1.0), 0
        # from the same side every time, since the goniometer has slack
        yield Move(a=float(np.clip(angles[0] - np.sign(self.range_deg), *rig.limits["a"])))
        for angle in angles:
            yield Move(a=float(angle))
            yield Wait(self.settle_s)
            for tilt in tilts if self.range_deg > 0 else reversed(tilts):
                if len(tilts) > 1:
                    yield Set(tilt.settings)
                shot = yield Look(self.exposure_s, "data", about={"tilt_deg": tilt.degrees})
                count += 1
                if watch.see(shot.image, shot.after.a) == BEAM_LOST:
                    raise CannotDo(f"{BEAM_LOST} at {angle:.1f} deg", "see to the gun and the valves, then --resume")
        return count


@dataclass(frozen=True)
class _Tilt:
    """A beam tilt that stands for ``degrees`` of the goniometer; ``settings`` also bring pattern and beam back to their
    places; ``neutral`` are the settings without it."""

    degrees: float
    settings: Mapping[str, Any]
    neutral: Mapping[str, Any]


def beam_tilts(rig: Rig, camera_length: float, step: float, n: int) -> Steps[list[_Tilt]]:
    """``n`` tilts of the beam about the goniometer's axis, ``step`` [deg] apart, symmetric about none.

    A crystal turned by φ about m sees what a beam turned by −φ sees: in the pattern the direct beam goes by
    φ (−sin θ, cos θ)/(λ q), θ the direction of m. ``diffshift`` brings it back, so that the axis, the centre and the
    frames are those of a turned crystal; ``beamshift`` brings the beam back onto the crystal.
    """
    if n == 1:
        return [_Tilt(0.0, {}, {})]
    names = ("beamtilt", "diffshift", "beamshift")
    values = yield Read(names)
    now = {k: np.array(values[k], dtype=float) for k in names}
    neutral = {k: tuple(v.tolist()) for k, v in now.items()}
    axis = np.radians(rig.rotation_axis_deg().value)
    across = np.array([-np.sin(axis), np.cos(axis)]) / (rig.wavelength * rig.q_per_pixel(camera_length).value)
    in_pattern, back = (_matrix(rig, "diff", k, camera_length) for k in ("beamtilt", "diffshift"))
    mode, magnification = _imaging(rig)
    moved, follow = (_matrix(rig, mode, k, magnification) for k in ("beamtilt", "beamshift"))
    tilts = []
    for k in range(n):
        degrees = step * (k - (n - 1) / 2)
        pixels = np.radians(degrees) * across
        tilt = np.linalg.solve(in_pattern, pixels)
        follow_by = -np.linalg.solve(follow, moved @ tilt)
        # the beam shift that follows tilts the beam a little too
        pattern = in_pattern @ tilt + _matrix(rig, "diff", "beamshift", camera_length) @ follow_by
        settings = {
            "beamtilt": tuple((now["beamtilt"] + tilt).tolist()),
            "beamshift": tuple((now["beamshift"] + follow_by).tolist()),
            "diffshift": tuple((now["diffshift"] - np.linalg.solve(back, pattern)).tolist()),
        }
        tilts.append(_Tilt(degrees, settings, neutral))
    return tilts


def _matrix(rig: Rig, mode: str, name: str, magnification: float) -> np.ndarray:
    return np.array(rig.deflector_matrix(mode, name, magnification).value)


def _imaging(rig: Rig) -> tuple[str, float]:
    """The optics in which the beam's place on the specimen is calibrated."""
    for key in rig.calibration.deflectors:
        mode, _, magnification = key.partition("@")
        if mode != "diff" and magnification:
            return mode, float(magnification)
    return "mag1", 2500.0
