"""Thermo Fisher (FEI) microscopes through the COM object TEMScripting. Never run on hardware by its authors.

Written from the public scripting manual and type library (temscript's documentation, Leginon's dumps); tested against
a fake. SI units: m, rad, V. The enumerations are TEMScripting's; those of TEM.Instrument.1 differ and are not used.
There is no stop for the stage: ``halt`` blanks, and the guard refuses everything after it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from credo.instrument.clock import Clock, RealClock
from credo.instrument.drivers.cameras import open_cameras
from credo.instrument.drivers.com import Connect, com_client, told
from credo.instrument.drivers.table import Entry, Table
from credo.instrument.errors import HardwareFault, Refused
from credo.instrument.protocols import AXES, Camera, CameraInfo, Frame, Holder, Property, StagePosition, StageState

__all__ = ["ThermoFisherMicroscope", "ThermoFisherSettings", "open_microscope"]

_PROGID = "TEMScripting.Instrument.1"
_DIFFRACTION, _IMAGING = 2, 1
_SUBMODES = {1: "lowmag", 2: "mag1", 3: "mag1", 4: "mag1", 5: "lowdiff", 6: "diff"}  # LM, Mi, SA, Mh, LAD, D
_HOLDERS = {1: "single tilt", 2: "double tilt", 5: "polara", 6: "dual axis", 7: "rotation"}
_READY, _GOING = 0, (3, 4, 5)  # going, moving, wobbling
_MASKS = {"x": 1, "y": 2, "z": 4, "a": 8, "b": 16}
_PAIRS = {  # name: (group, property, unit, range of each component)
    "beamshift": ("Illumination", "Shift", "m", None),
    "beamtilt": ("Illumination", "RotationCenter", "rad", None),
    "imageshift1": ("Projection", "ImageShift", "m", None),
    "diffshift": ("Projection", "DiffractionShift", "rad", None),
    "gunshift": ("Gun", "Shift", "", 1.0),
    "guntilt": ("Gun", "Tilt", "", 1.0),
    "condenserstig": ("Illumination", "CondenserStigmator", "", 1.0),
    "objectivestig": ("Projection", "ObjectiveStigmator", "", 1.0),
    "intermediatestig": ("Projection", "DiffractionStigmator", "", 1.0),
}


class ThermoFisherSettings(BaseModel):
    """``microscope.options`` of the driver "thermofisher"."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    magnifications: dict[str, tuple[float, ...]] = Field(
        description="by mode (lowmag, mag1; diff in mm) the values at successive indices, from index 1"
    )
    speed_table: dict[float, float] = Field(
        default={0.01: 0.297, 0.05: 1.48, 0.1: 2.91, 0.3: 8.2, 0.5: 12.69, 0.7: 16.9, 1.0: 21.14},
        description="speed setting (0 to 1) to rotation speed [deg/s], calibrated on this goniometer",
    )
    camera: str | None = Field(default=None, description="a CCD of TIA's, by the name it has there")
    camera_shape: tuple[int, int] = Field(default=(2048, 2048), description="its rows and columns, unbinned")
    camera_pixel_um: float = Field(default=14.0, gt=0, description="its pixel size [µm]")
    cameras: list[dict[str, Any]] = Field(default=[], description="other cameras, each with its own driver")


def open_microscope(settings: Mapping[str, Any]) -> ThermoFisherMicroscope:
    """The driver "thermofisher"."""
    return ThermoFisherMicroscope(ThermoFisherSettings.model_validate(dict(settings)), _connect, RealClock())


def _connect() -> Any:
    client = com_client(multithreaded=False)
    with told(f"{_PROGID} cannot be made"):
        return client.CreateObject(_PROGID)


class ThermoFisherMicroscope:
    """``connect`` makes the COM object; a move runs in a thread with a connection of its own, since GoTo blocks."""

    name = "thermofisher"

    def __init__(self, settings: ThermoFisherSettings, connect: Connect, clock: Clock) -> None:
        self.clock, self._settings, self._connect = clock, settings, connect
        self._tem = tem = connect()
        self.stage = ThermoFisherStage(tem, settings, connect)
        self.lenses = Table(self._lens_entries(), settings.magnifications)
        self.deflectors = Table({n: self._pair(n, *how) for n, how in _PAIRS.items()})
        self.apertures = Table({})
        self.blanker, self.screen = ThermoFisherBlanker(tem), ThermoFisherScreen(tem)
        cameras: dict[str, Camera] = dict(open_cameras(settings.cameras, clock))
        if settings.camera is not None:
            cameras[settings.camera] = TiaCamera(connect, settings, clock)
        self.cameras: Mapping[str, Camera] = cameras

    def _lens_entries(self) -> dict[str, Entry]:
        tem = self._tem

        def at(group: str, name: str) -> tuple[Any, Any]:
            def read() -> Any:
                with told(f"{group}.{name}"):
                    return getattr(getattr(tem, group), name)

            def write(value: Any) -> None:
                with told(f"{group}.{name} = {value}"):
                    setattr(getattr(tem, group), name, value)

            return read, write

        return {
            "mode": Entry(Property("mode of the optics", kind="str", transient=True), self._mode, self._set_mode),
            "magnification": Entry(
                Property("times, in diff camera length [mm]", transient=True), self._magnification, self._magnify
            ),
            "spotsize": Entry(
                Property("spot size", kind="int", low=1, high=11, transient=True), *at("Illumination", "SpotsizeIndex")
            ),
            "brightness": Entry(Property("intensity (C2)", low=0.0, high=1.0), *at("Illumination", "Intensity")),
            "difffocus": Entry(Property("defocus in diffraction", "m", modes=("diff",)), *at("Projection", "Defocus")),
            "objfocus": Entry(
                Property("focus", low=-1.0, high=1.0, modes=("mag1", "lowmag")), *at("Projection", "Focus")
            ),
            "high_tension": Entry(
                Property("high tension", "V", writable=False, restore=False), at("Gun", "HTValue")[0]
            ),
            "screen_current": Entry(
                Property("screen current", "A", writable=False, restore=False), at("Camera", "ScreenCurrent")[0]
            ),
        }

    def _mode(self) -> str:
        with told("Projection.SubMode"):
            return _SUBMODES.get(int(self._tem.Projection.SubMode), "unknown")

    def _set_mode(self, mode: str) -> None:
        """Diffraction is entered from SA or higher only; the imaging modes are reached by their magnification."""
        projection = self._tem.Projection
        with told(f"mode {mode}"):
            if mode == "diff":
                if self._mode() == "lowmag":
                    self._magnify_in("mag1", self._settings.magnifications["mag1"][0])
                projection.Mode = _DIFFRACTION
                return
            projection.Mode = _IMAGING
            if self._mode() != mode:
                self._magnify_in(mode, self._settings.magnifications[mode][0])

    def _magnification(self) -> float:
        with told("Projection.Magnification"):
            projection = self._tem.Projection
            if self._mode() == "diff":
                return self._nearest("diff", 1e3 * float(projection.CameraLength))
            value = float(projection.Magnification)
            if value == 0.0:  # Titan 1.1 does not tell; the index does
                return self._by_index(self._mode(), int(projection.MagnificationIndex))
            return self._nearest(self._mode(), value)

    def _magnify(self, value: float) -> None:
        self._magnify_in(self._mode(), value)

    def _magnify_in(self, mode: str, value: float) -> None:
        index = self._settings.magnifications[mode].index(value) + 1
        if mode == "mag1":  # one index counts through lowmag and then the higher modes
            index += len(self._settings.magnifications.get("lowmag", ()))
        with told(f"magnification {value:g}"):
            if mode == "diff":
                self._tem.Projection.CameraLengthIndex = index
            else:
                self._tem.Projection.MagnificationIndex = index

    def _by_index(self, mode: str, index: int) -> float:
        table = (*self._settings.magnifications.get("lowmag", ()), *self._settings.magnifications.get("mag1", ()))
        if not 1 <= index <= len(table):
            raise HardwareFault(f"magnification index {index} in mode {mode} is not in the tables")
        return table[index - 1]

    def _nearest(self, mode: str, value: float) -> float:
        """The table's value for what the instrument shows, when they agree to 2 %; else what it shows."""
        near = min(self._settings.magnifications.get(mode, ()), key=lambda v: abs(v - value), default=value)
        return near if abs(near - value) <= 0.02 * value else value

    def _pair(self, name: str, group: str, prop: str, unit: str, most: float | None) -> Entry:
        tem, low = self._tem, None if most is None else -most

        def read() -> tuple[float, float]:
            with told(f"{group}.{prop}"):
                pair = getattr(getattr(tem, group), prop)
                return float(pair.X), float(pair.Y)

        def write(value: tuple[float, float]) -> None:
            with told(f"{group}.{prop} = {value}"):
                pair = getattr(getattr(tem, group), prop)
                pair.X, pair.Y = value
                setattr(getattr(tem, group), prop, pair)  # what was read is a copy

        about = Property(f"{name} ({group}.{prop})", unit, "pair", low, most, neutral=(0.0, 0.0))
        if name == "guntilt":  # cannot be read while the beam is blanked, as it is for a snapshot
            about = Property(about.about, unit, "pair", low, most, restore=False, neutral=(0.0, 0.0))
        return Entry(about, read, write)

    def readiness(self) -> Mapping[str, bool]:
        with told("Vacuum"):
            vacuum = self._tem.Vacuum
            return {
                "vacuum": int(vacuum.Status) == 5,
                "column_valves": bool(vacuum.ColumnValvesOpen),
                "no_buffer_cycle": not bool(vacuum.PVPRunning),
                "high_tension": int(self._tem.Gun.HTState) == 3,
            }

    def halt(self) -> None:
        """Blank, through a connection of this thread. The stage cannot be stopped by scripting."""
        with told("halt"):
            self._connect().Illumination.BeamBlanked = True

    def close(self) -> None:
        self.blanker.blank(True)


class ThermoFisherStage:
    """Stage with Position in m and rad; one axis per call where a speed is given."""

    can_stop = False

    def __init__(self, tem: Any, settings: ThermoFisherSettings, connect: Connect) -> None:
        self._tem, self._connect = tem, connect
        self._table = sorted(settings.speed_table.items())
        self._setting = 1.0
        self._mover: threading.Thread | None = None
        self._failure: Exception | None = None
        speeds = [v for _, v in self._table]
        self.rotation_speeds = Property("speed of a", "deg/s", low=min(speeds), high=max(speeds))
        self.axes = {n: self._axis(n) for n in AXES}

    def _axis(self, name: str) -> Property:
        with told(f"Stage.AxisData {name}"):
            low, high, _ = self._tem.Stage.AxisData(_MASKS[name])
        unit, scale = ("deg", math.degrees(1.0)) if name in "ab" else ("nm", 1e9)
        return Property(f"stage {name}", unit, low=float(low) * scale, high=float(high) * scale)

    def position(self) -> StagePosition:
        with told("Stage.Position"):
            p = self._tem.Stage.Position
            return StagePosition(1e9 * p.X, 1e9 * p.Y, 1e9 * p.Z, math.degrees(p.A), math.degrees(p.B))

    def state(self) -> StageState:
        if self._mover is not None and self._mover.is_alive():
            return StageState.MOVING
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise HardwareFault(
                f"the stage refused: {failure}"[:500], "look at the microscope's own software"
            ) from failure
        with told("Stage.Status"):
            status = int(self._tem.Stage.Status)
        if status == _READY:
            return StageState.READY
        return StageState.MOVING if status in _GOING else StageState.UNAVAILABLE

    def holder(self) -> Holder:
        with told("Stage.Holder (it fails during a holder exchange)"):
            kind = int(self._tem.Stage.Holder)
        name = _HOLDERS.get(kind, "none")
        return Holder(name, kind in _HOLDERS, ("a", "b") if kind == 2 else ("a",))

    def start(self, target: Mapping[str, float]) -> None:
        if self._mover is not None and self._mover.is_alive():
            raise Refused("the stage is moving")
        self._failure = None
        self._mover = threading.Thread(
            target=self._go, args=(dict(target), self._setting), name="credo-goto", daemon=True
        )
        self._mover.start()

    def _go(self, target: dict[str, float], setting: float) -> None:
        try:
            stage = self._connect().Stage
            tilts = [{n: target[n]} for n in "ab" if n in target]
            slow = setting < 1.0 and tilts
            steps = [{n: v for n, v in target.items() if n in "xyz"}, *tilts] if slow else [target]
            for step in filter(None, steps):
                place, mask = stage.Position, 0
                for name, value in step.items():
                    setattr(place, name.upper(), math.radians(value) if name in "ab" else 1e-9 * value)
                    mask |= _MASKS[name]
                if slow and step.keys() <= {"a", "b"}:
                    stage.GoToWithSpeed(place, mask, setting)
                else:
                    stage.GoTo(place, mask)
        except Exception as error:  # noqa: BLE001 (told by state, in the thread that asks)
            self._failure = error

    def stop(self) -> None:
        """Not possible through this interface."""

    def rotation_speed(self) -> float:
        return _interpolate(self._table, self._setting)

    def set_rotation_speed(self, degrees_per_second: float) -> None:
        self._setting = _interpolate([(v, s) for s, v in self._table], degrees_per_second)


def _interpolate(table: list[tuple[float, float]], x: float) -> float:
    """Piecewise linear, through the origin below the first entry, constant above the last."""
    before = (0.0, 0.0)
    for x1, y1 in table:
        if x <= x1:
            x0, y0 = before
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
        before = (x1, y1)
    return before[1]


class ThermoFisherBlanker:
    """Illumination.BeamBlanked."""

    def __init__(self, tem: Any) -> None:
        self._tem = tem

    def is_blanked(self) -> bool:
        with told("Illumination.BeamBlanked"):
            return bool(self._tem.Illumination.BeamBlanked)

    def blank(self, on: bool) -> None:
        with told("Illumination.BeamBlanked"):
            self._tem.Illumination.BeamBlanked = on


class ThermoFisherScreen:
    """Camera.MainScreen: 1 unknown, 2 up, 3 down."""

    movable = True

    def __init__(self, tem: Any) -> None:
        self._tem = tem

    def is_up(self) -> bool:
        with told("Camera.MainScreen"):
            return int(self._tem.Camera.MainScreen) == 2

    def set_up(self, up: bool) -> None:
        with told("Camera.MainScreen"):
            self._tem.Camera.MainScreen = 2 if up else 3


class TiaCamera:
    """A CCD through TIA's acquisition object; one frame at a time, with a COM connection of the camera's thread."""

    def __init__(self, connect: Connect, settings: ThermoFisherSettings, clock: Clock) -> None:
        self._connect, self._name, self._clock = connect, settings.camera, clock
        self._acquisition: Any = None
        self.info = CameraInfo(
            str(settings.camera), settings.camera_shape, settings.camera_pixel_um, (1e-3, 60.0), (1, 2, 4, 8)
        )

    def acquire(self, exposure: float, binning: int = 1) -> Frame:
        import numpy as np

        with told(f"camera {self._name}"):
            if self._acquisition is None:
                self._acquisition = self._connect().Acquisition
            acquisition = self._acquisition
            acquisition.RemoveAllAcqDevices()
            acquisition.AddAcqDeviceByName(self._name)
            params = next(c for c in acquisition.Cameras if c.Info.Name == self._name).AcqParams
            params.ImageSize, params.Binning = 0, binning
            params.ExposureTime = exposure  # last: the binning changes it
            if abs(float(params.ExposureTime) - exposure) > 0.01 * exposure + 1e-4:
                raise HardwareFault(f"the exposure is {params.ExposureTime} s after it was set to {exposure} s")
            began = self._clock.time()
            image = np.asarray(acquisition.AcquireImages()[0].AsSafeArray)
        return Frame(image, began, self._clock.time(), exposure, binning)

    def stream(self, exposure: float, binning: int = 1, frames: int | None = None):
        from dataclasses import replace

        number = 0
        while frames is None or number < frames:
            yield replace(self.acquire(exposure, binning), number=number)
            number += 1

    def is_inserted(self) -> bool:
        return True

    def insert(self, on: bool) -> None:
        raise Refused("this camera is moved in the microscope's own software")
