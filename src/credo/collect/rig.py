"""``Rig``: what a plan may know of the instrument, its calibrations above all, each with its uncertainty and age.

Keys of ``Calibration.deflectors`` are optics, "mag1@2500" or "diff@600", a defocused pattern "diff@600+1500" (the
change of ``difffocus`` from where the pattern is sharp); "mag1" alone stands for every magnification.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from credo.collect import nominal
from credo.instrument.config import Calibration, Measured, MeasuredMatrix, MeasuredPair
from credo.instrument.controller import TEMController
from credo.instrument.protocols import CameraInfo
from credo.model.errors import CannotDo
from credo.physics.dose import electrons_of
from credo.physics.electron import wavelength

__all__ = ["Rig", "optics_key"]

#: Relative uncertainty of a scale carried over from another magnification; of a nominal magnification, and how many
#: measured ones that guess is worth.
_CARRIED, _NOMINAL, _WORTH = 0.03, 0.01, 2
#: What an ellipse may differ from that of another camera length, as a share of it.
_ELLIPSE = 0.3
#: What the name of an instrument that is rehearsed with begins with.
_REPLICA = "replica of "


def optics_key(mode: str, magnification: float, defocus: float = 0.0) -> str:
    """The key of ``Calibration.deflectors``: "diff@600+1500"."""
    return f"{mode}@{magnification:g}" + (f"{defocus:+g}" if defocus else "")


@dataclass(frozen=True)
class Rig:
    """``limits``: of each stage axis [µm, deg]; ``speeds``: of the tilt [deg/s]; ``magnifications``: per mode, in
    "diff" camera lengths [mm]; ``wavelength`` [Å]; ``settings``: values of all lenses and deflectors when it was made;
    ``current_density`` [pA/cm²] as the instrument told it then. ``uncalibrated``: nominal values may stand in;
    ``blind``: of a rehearsal, whose images are black, so that nothing can be measured."""

    instrument: str
    camera: CameraInfo
    limits: Mapping[str, tuple[float, float]]
    speeds: tuple[float, float]
    magnifications: Mapping[str, tuple[float, ...]]
    wavelength: float
    settings: Mapping[str, Any]
    calibration: Calibration = field(default_factory=Calibration)
    current_density: float | None = None
    uncalibrated: bool = False
    blind: bool = False
    today: dt.date = field(default_factory=dt.date.today)
    max_age_days: float = 366.0

    @classmethod
    def of(cls, ctrl: TEMController, calibration: Calibration | None = None, **others: Any) -> Rig:
        """Of an instrument as it is now; ``calibration``: that of its configuration unless another is given."""
        about = ctrl.link.call("describe")
        names = list(about["settings"])
        values = ctrl.link.call("get", names=names)
        own = ctrl.configuration.calibration if ctrl.configuration else Calibration()
        limits = {n: tuple(v if n in "ab" else v / 1e3 for v in r) for n, r in ctrl.stage.limits.items()}
        speeds = about["rotation_speeds"]
        nominal_kv = ctrl.configuration.microscope.high_tension_kv if ctrl.configuration else 200.0
        volts = values.get("high_tension") or 1e3 * nominal_kv
        simulated = about["name"].removeprefix(_REPLICA) == "simulated"
        today = dt.datetime.fromtimestamp(ctrl.link.clock.time(), dt.UTC).date()
        made: dict[str, Any] = {
            "instrument": about["name"],
            "camera": ctrl.camera,
            "limits": limits,
            "speeds": (speeds.get("low") or 0.0, speeds.get("high") or np.inf),
            "magnifications": {m: tuple(t) for m, t in about["magnifications"].items()},
            "wavelength": wavelength(volts / 1e3),
            "settings": values,
            "calibration": calibration if calibration is not None else own,
            "current_density": values.get("current_density"),
            "uncalibrated": simulated,
            "blind": about["name"].startswith(_REPLICA),
            "today": today,
        }
        return cls(**(made | others))

    # --- lookups: each a value with its esd and date -----------------------------------------------------------------

    def q_per_pixel(self, camera_length: float) -> Measured:
        """Å⁻¹ per pixel; between two calibrated camera lengths interpolated in their logarithms."""
        found = _between(self.calibration.diffraction, camera_length)
        stand_in = nominal.pattern_scale(camera_length, self.wavelength, self.camera.pixel_size_um)
        return self._usable(found, stand_in, f"the pattern's scale at {camera_length:g} mm", "pixel-size")

    def ellipse(self, camera_length: float) -> MeasuredPair | None:
        """Elongation [%] and azimuth of its long axis [deg] at this camera length; None where it was never measured.

        Between two calibrated lengths interpolated; else the instrument's usual one, or that of the nearest length.
        """
        table = self.calibration.ellipse
        known = sorted((float(k), v) for k, v in table.items())
        below = [one for one in known if one[0] <= camera_length]
        above = [one for one in known if one[0] >= camera_length]
        if below and above:
            return _between_ellipses(*below[-1], *above[0], camera_length)
        percent, azimuth = self.calibration.ellipse_percent, self.calibration.ellipse_azimuth_deg
        if percent is not None and azimuth is not None:
            esd = (percent.esd or 0.0, azimuth.esd or 0.0)
            return MeasuredPair(value=(percent.value, azimuth.value), esd=esd, date=percent.date, at=percent.at)
        if not known:
            return None
        key, near = below[-1] if below else above[0]
        esd = tuple(np.hypot(near.esd or (0.0, 0.0), (_ELLIPSE * near.value[0], np.degrees(_ELLIPSE) / 2)).tolist())
        return near.model_copy(update={"esd": esd, "conditions": f"carried over from {key:g}"})

    @property
    def dead_time(self) -> float:
        """Of the camera, between frames of a stream [s]: the calibrated one, or what its driver says."""
        known = self.calibration.dead_time_s
        return self.camera.dead_time if known is None else known.value

    def nm_per_pixel(self, mode: str, magnification: float) -> Measured:
        """In an imaging mode."""
        found = _between(self.calibration.imaging.get(mode, {}), magnification)
        stand_in = nominal.image_scale(magnification, self.camera.pixel_size_um)
        return self._usable(found, stand_in, f"the image's scale in {mode} at {magnification:g}", "stage")

    def rotation_axis_deg(self) -> Measured:
        """Direction of the tilt axis in the pattern, from columns towards rows."""
        found = self.calibration.rotation_axis_deg
        return self._usable(found, nominal.rotation_axis(), "the direction of the rotation axis", "axis")

    def stage_matrix(self, mode: str, magnification: float) -> MeasuredMatrix:
        """nm of stage (x, y) per pixel (column, row): the stage goes by matrix @ (place − middle) to centre a place."""
        table = self.calibration.stage.get(mode, {})
        found = next((m for key, m in table.items() if float(key) == magnification), None)
        stand_in = nominal.stage(magnification, self.camera.pixel_size_um)
        return self._usable(found, stand_in, f"the stage matrix in {mode} at {magnification:g}", "stage")

    def deflector_matrix(self, mode: str, name: str, magnification: float, defocus: float = 0.0) -> MeasuredMatrix:
        """Pixels (column, row) per unit of the deflector; linear in the defocus between calibrated ones."""
        found = self._deflector(mode, name, magnification, defocus)
        stand_in = nominal.deflector(mode, name, magnification, defocus, self.camera.pixel_size_um)
        what = f"{name} in {optics_key(mode, magnification, defocus)}"
        return self._usable(found, stand_in, what, "deflectors")

    def _deflector(self, mode: str, name: str, magnification: float, defocus: float) -> MeasuredMatrix | None:
        tables = self.calibration.deflectors
        exact = tables.get(optics_key(mode, magnification, defocus), {}).get(name)
        if exact is not None or not defocus:
            return exact or tables.get(mode, {}).get(name)
        sharp = tables.get(optics_key(mode, magnification), {}).get(name)
        start = f"{mode}@{magnification:g}"
        others = [(key[len(start) :], t[name]) for key, t in tables.items() if key.startswith(start) and name in t]
        defocused = [(float(tail), m) for tail, m in others if tail[:1] in ("+", "-")]
        if sharp is None or not defocused:
            return None
        at, blurred = min(defocused, key=lambda one: abs(one[0] - defocus))
        share = defocus / at
        value = (1 - share) * np.array(sharp.value) + share * np.array(blurred.value)
        esd = float(np.hypot((1 - share) * (sharp.esd or 0.0), share * (blurred.esd or 0.0)))
        (a, b), (c, d) = value.tolist()
        return MeasuredMatrix(value=((a, b), (c, d)), esd=esd, date=_older(sharp, blurred), conditions="interpolated")

    def dose_rate(self) -> float | None:
        """e/Å²/s of the current density that the instrument told; None where it tells none."""
        return None if not self.current_density else electrons_of(self.current_density)

    def allowed(self, axis: str, value: float) -> bool:
        """Whether the stage may go there [µm, deg]."""
        low, high = self.limits.get(axis, (0.0, 0.0))
        return low <= value <= high

    @staticmethod
    def is_nominal(value: Measured | MeasuredMatrix | MeasuredPair) -> bool:
        """A stand-in of the data sheet, not a measurement."""
        return value.conditions.startswith(nominal.NOMINAL)

    def _usable(self, found: Any, stand_in: Any, what: str, kind: str) -> Any:
        remedy = f"measure it: credo calibrate {kind}"
        if found is None:
            if self.uncalibrated and stand_in is not None:
                return stand_in
            raise CannotDo(f"{what} of {self.instrument} was never calibrated", remedy)
        if found.date is not None and (self.today - found.date).days > self.max_age_days:
            age = (self.today - found.date).days
            raise CannotDo(f"{what} is {age} days old, more than the {self.max_age_days:g} allowed", remedy)
        return found


def _between_ellipses(k0: float, e0: MeasuredPair, k1: float, e1: MeasuredPair, at: float) -> MeasuredPair:
    """Linear in the logarithm of the camera length, of the components ε cos 2θ and ε sin 2θ."""
    if k0 == k1:
        return e0
    t = float(np.log(at / k0) / np.log(k1 / k0))
    share = np.array([1 - t, t])
    size, turn = np.array([e0.value, e1.value]).T
    turn = 2 * np.radians(turn)
    x, y = share @ (size * np.cos(turn)), share @ (size * np.sin(turn))
    percent = float(np.hypot(x, y))
    esd = float(np.linalg.norm(share * [(e.esd or (0.0, 0.0))[0] for e in (e0, e1)]))
    value = (percent, float(np.degrees(np.arctan2(y, x)) / 2 % 180))
    azimuth = float(np.degrees(esd / (2 * percent))) if percent > esd else 90.0
    said = f"interpolated from {k0:g} and {k1:g}"
    return MeasuredPair(value=value, esd=(esd, azimuth), date=_older(e0, e1), conditions=said)


def _older(*values: Measured | MeasuredMatrix | MeasuredPair) -> dt.date | None:
    return min((v.date for v in values if v.date is not None), default=None)


def _between(table: Mapping[str, Measured], at: float) -> Measured | None:
    """The value of a table by nominal number, inversely proportional to it but for lens errors: exact, interpolated
    in the logarithms, or carried over from the nearest. The esd holds what nominal numbers are off by themselves, as
    the known ones show it."""
    known = sorted((float(k), v) for k, v in table.items())
    if not known:
        return None
    for key, value in known:
        if key == at:
            return value
    below = [one for one in known if one[0] < at]
    above = [one for one in known if one[0] > at]
    if below and above:
        (k0, v0), (k1, v1) = below[-1], above[0]
        t = float(np.log(at / k0) / np.log(k1 / k0))
        value = float(np.exp((1 - t) * np.log(v0.value) + t * np.log(v1.value)))
        lens = _lens_scatter([k * v.value for k, v in known]) * float(np.sqrt(1 + t * t + (1 - t) ** 2))
        esd = value * float(np.hypot(lens, np.hypot((1 - t) * (v0.esd or 0) / v0.value, t * (v1.esd or 0) / v1.value)))
        return Measured(value=value, esd=esd, date=_older(v0, v1), conditions=f"interpolated from {k0:g} and {k1:g}")
    key, near = below[-1] if below else above[0]
    value = near.value * key / at
    esd = float(np.hypot((near.esd or 0.0) * key / at, _CARRIED * value))
    return Measured(value=value, esd=esd, date=near.date, conditions=f"carried over from {key:g}")


def _lens_scatter(products: list[float]) -> float:
    """Rms relative error of nominal numbers, from number × scale of the known ones, which would all be equal."""
    log = np.log(products)
    return float(np.sqrt((_WORTH * _NOMINAL**2 + ((log - log.mean()) ** 2).sum()) / (_WORTH + len(log) - 1)))
