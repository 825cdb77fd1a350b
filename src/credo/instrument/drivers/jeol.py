"""JEOL microscopes through the COM object TEM3, the interface below PyJEM. Never run on hardware by its authors.

Written from public knowledge of TEM3 (PyJEM's offline package, Instamatic's and Leginon's drivers); tested against a
fake TEM3, which Instamatic's own driver accepts as well. Getters return (values..., result), setters result; a result
other than 0 is an error. Stage in nm and degrees, lenses and deflectors 0..65535.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from credo.instrument.clock import Clock, RealClock
from credo.instrument.drivers.cameras import open_cameras
from credo.instrument.drivers.com import Connect, com_client, told
from credo.instrument.drivers.table import Entry, Table
from credo.instrument.errors import HardwareFault, Refused
from credo.instrument.protocols import AXES, Camera, Holder, Property, StagePosition, StageState

__all__ = ["JeolMicroscope", "JeolSettings", "open_microscope"]

_TYPE_LIBRARY = ("{CE70FCE4-26D9-4BAB-9626-EC88DB7F6A0A}", 3, 0)
_MODES = ("mag1", "mag2", "lowmag", "samag", "diff")  # EOS3's function modes 0..4 in TEM
_DEFLECTORS = {
    "beamshift": "CLA1", "beamtilt": "CLA2", "imageshift1": "IS1", "imageshift2": "IS2", "diffshift": "PLA",
    "condenserstig": "CLs", "objectivestig": "OLs", "intermediatestig": "ILs",
}  # fmt: skip
_APERTURES = {"condenser": 1, "objective": 2, "highcontrast": 3, "selectedarea": 4}  # kinds of Apt3
_MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_SPEEDS = (10.0, 2.0, 1.0, 0.5, 0.25, 0.1)  # deg/s of Setf1OverRateTxNum(0..5); 4 and 5 not on every instrument


class JeolSettings(BaseModel):
    """``microscope.options`` of the driver "jeol"."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    magnifications: dict[str, tuple[float, ...]] = Field(
        description="selector tables by mode: magnifications, for diff camera lengths in mm, as the selector steps"
    )
    startup_delay_s: float = Field(default=5.5, ge=0, le=60, description="pause after the COM object is made [s]")
    startup_timeout_s: float = Field(default=30.0, gt=0, le=300, description="longest wait for the first answer [s]")
    status_delay_s: float = Field(default=0.0, ge=0, le=5, description="time in which the stage's status lags [s]")
    rotation: Literal["none", "f1_overrate"] = Field(
        default="none", description="how the rotation speed is set: not at all, or by Setf1OverRateTxNum (Cryo-ARM)"
    )
    rotation_speeds: int = Field(default=4, ge=1, le=6, description="how many of its speeds the instrument has")
    speed_deg_s: float = Field(default=10.0, gt=0, description="rotation speed where it cannot be set [deg/s]")
    holder: str = Field(default="standard", description="name of the holder, which TEM3 does not tell")
    double_tilt: bool = Field(default=False, description="whether the holder tilts about b too")
    gun_tilt: Literal["GunA1", "GunA2"] = Field(default="GunA2", description="which coils are called gun tilt")
    field_emission: bool = Field(default=False, description="whether there is a gun beam valve to look at")
    cameras: list[dict[str, Any]] = Field(default=[], description="cameras, each with its own driver")


def open_microscope(settings: Mapping[str, Any]) -> JeolMicroscope:
    """The driver "jeol"."""
    return JeolMicroscope(JeolSettings.model_validate(dict(settings)), _connect, RealClock())


def _connect() -> Any:
    client = com_client(multithreaded=True)
    with told("JEOL's COM object TEM3 cannot be made"):
        module = client.GetModule(_TYPE_LIBRARY)
        return client.CreateObject(module.TEM3)


def _ok(what: str, answer: Any) -> Any:
    """The values of an answer (values..., result), nothing of a bare result; ``HardwareFault`` unless result is 0."""
    *values, result = answer if isinstance(answer, (tuple, list)) else (answer,)
    if result != 0:
        raise HardwareFault(f"JEOL: {what} ended with result {result}", "look at the microscope's own software")
    return values[0] if len(values) == 1 else tuple(values)


class _Device:
    """One of TEM3's objects: calls by name, with the result checked."""

    def __init__(self, com: Any) -> None:
        self._com = com

    def __call__(self, method: str, *args: Any) -> Any:
        with told(f"JEOL {method}"):
            return _ok(method, getattr(self._com, method)(*args))


class JeolMicroscope:
    """``connect`` makes the COM object; called again in the thread that needs a connection of its own."""

    name = "jeol"

    def __init__(self, settings: JeolSettings, connect: Connect, clock: Clock) -> None:
        self.clock, self._settings, self._connect = clock, settings, connect
        tem = connect()
        clock.sleep(settings.startup_delay_s)
        self._ht = _Device(tem.CreateHT3())
        self._wait_for_answer()
        self._eos, self._lens = _Device(tem.CreateEOS3()), _Device(tem.CreateLens3())
        self._def, self._apt = _Device(tem.CreateDef3()), _Device(tem.CreateApt3())
        self._current = _Device(tem.CreateCamera3())
        self._feg = _Device(tem.CreateFEG3()) if settings.field_emission else None
        self.stage = JeolStage(_Device(tem.CreateStage3()), settings, clock)
        self.lenses = Table(self._lens_entries(), settings.magnifications)
        self.deflectors = Table(self._deflector_entries())
        self.apertures = Table({n: Entry(_hole(n), partial(self._apt, "GetSize", k)) for n, k in _APERTURES.items()})
        self.blanker, self.screen = JeolBlanker(self._def), JeolScreen(_Device(tem.CreateScreen2()))
        self.cameras: Mapping[str, Camera] = open_cameras(settings.cameras, clock)

    def _wait_for_answer(self) -> None:
        until = self.clock.now() + self._settings.startup_timeout_s
        while True:
            try:
                self._ht("GetHTValue")
                return
            except HardwareFault:
                if self.clock.now() > until:
                    raise
                self.clock.sleep(1.0)

    def _lens_entries(self) -> dict[str, Entry]:
        eos, lens = self._eos, self._lens

        def raw(about: str, **more: Any) -> Property:
            return Property(about, "raw", "int", 0, 65535, **more)

        return {
            "mode": Entry(
                Property("mode of the optics", kind="str", transient=True),
                lambda: _MODES[int(eos("GetFunctionMode")[0])],
                lambda mode: eos("SelectFunctionMode", _MODES.index(mode)),
            ),
            "magnification": Entry(
                Property("times, in diff camera length [mm]", transient=True),
                self._magnification,
                lambda value: eos("SetSelector", self._table().index(value)),
            ),
            "spotsize": Entry(
                Property("spot size as shown", kind="int", low=1, high=8, transient=True),
                lambda: int(eos("GetSpotSize")) + 1,
                lambda value: eos("SelectSpotSize", value - 1),
            ),
            "convergence": Entry(
                Property("alpha selector", kind="int", low=0, high=8, transient=True),
                lambda: int(eos("GetAlpha")),
                lambda value: eos("SetAlphaSelector", value),
            ),
            "brightness": Entry(raw("CL3"), lambda: lens("GetCL3"), lambda v: lens("SetCL3", v)),
            "difffocus": Entry(
                raw("IL1, focus of the pattern", modes=("diff",)),
                lambda: lens("GetIL1"),
                lambda v: lens("SetDiffFocus", v),
            ),
            "objfocus": Entry(raw("OL fine"), lambda: lens("GetOLf"), lambda v: lens("SetOLf", v)),
            "objcoarse": Entry(raw("OL coarse"), lambda: lens("GetOLc"), lambda v: lens("SetOLc", v)),
            "high_tension": Entry(
                Property("high tension", "V", writable=False, restore=False), lambda: self._ht("GetHTValue")
            ),
            "current_density": Entry(
                Property("screen current", "pA/cm2", writable=False, restore=False),
                lambda: self._current("GetCurrentDensity") / 1e4,
            ),
        }

    def _deflector_entries(self) -> dict[str, Entry]:
        tilt = self._settings.gun_tilt
        names = _DEFLECTORS | {"guntilt": tilt, "gunshift": "GunA1" if tilt == "GunA2" else "GunA2"}
        entries = {}
        for name, coil in names.items():
            about = Property(f"{name} (Def3 {coil})", "raw", "pair", 0, 65535, neutral=(32768.0, 32768.0))
            entries[name] = Entry(about, partial(self._def, f"Get{coil}"), partial(self._write_pair, coil))
        return entries

    def _write_pair(self, coil: str, value: tuple[float, float]) -> None:
        self._def(f"Set{coil}", round(value[0]), round(value[1]))

    def _table(self) -> tuple[float, ...]:
        mode = str(self.lenses.get("mode"))
        if mode not in self._settings.magnifications:
            raise Refused(f"no selector table for mode {mode}", "add it to microscope.options.magnifications")
        return self._settings.magnifications[mode]

    def _magnification(self) -> float:
        value, unit, *_ = self._eos("GetMagValue")
        return float(value) * _MILLIMETRES.get(str(unit).strip().lower(), 1.0)

    def readiness(self) -> Mapping[str, bool]:
        ready = {"high_tension": float(self._ht("GetHTValue")) > 0}
        return ready if self._feg is None else ready | {"column_valves": bool(self._feg("GetBeamValve"))}

    def halt(self) -> None:
        """Stop all drives and blank through a connection of this thread; both are tried."""
        tem = self._connect()
        try:
            _Device(tem.CreateDef3())("SetBeamBlank", 1)
        finally:
            _Device(tem.CreateStage3())("Stop")

    def close(self) -> None:
        self.blanker.blank(True)


def _hole(name: str) -> Property:
    return Property(f"{name} aperture's hole, 0 open", kind="int", writable=False, restore=False)


class JeolStage:
    """Stage3: moves return at once; the status may lag or stay 0, so the guard watches the position too."""

    can_stop = True
    _SETTERS = {"x": "SetX", "y": "SetY", "z": "SetZ", "a": "SetTiltXAngle", "b": "SetTiltYAngle"}  # noqa: RUF012

    def __init__(self, stage: _Device, settings: JeolSettings, clock: Clock) -> None:
        self._stage, self._settings, self._clock = stage, settings, clock
        self._believe_from = -1.0
        self.axes = {n: Property(f"stage {n}", "nm", low=-1.19e6, high=1.19e6) for n in "xyz"}
        self.axes |= {n: Property(f"tilt {n}", "deg", low=-90.0, high=90.0) for n in "ab"}
        self._speeds = _SPEEDS[: settings.rotation_speeds]
        settable = settings.rotation == "f1_overrate"
        low, high = (min(self._speeds), max(self._speeds)) if settable else (settings.speed_deg_s,) * 2
        choices = self._speeds if settable else ()
        self.rotation_speeds = Property("speed of a", "deg/s", low=low, high=high, choices=choices, writable=settable)

    def position(self) -> StagePosition:
        return StagePosition(*map(float, self._stage("GetPos")))

    def state(self) -> StageState:
        status = self._stage("GetStatus")
        if 2 in status:
            return StageState.LIMITER
        moving = 1 in status or self._clock.now() < self._believe_from
        return StageState.MOVING if moving else StageState.READY

    def holder(self) -> Holder:
        inserted = bool(self._stage("GetHolderStts"))
        return Holder(self._settings.holder, inserted, ("a", "b") if self._settings.double_tilt else ("a",))

    def start(self, target: Mapping[str, float]) -> None:
        for name in AXES:
            if name in target:
                self._stage(self._SETTERS[name], float(target[name]))
        self._believe_from = self._clock.now() + self._settings.status_delay_s

    def stop(self) -> None:
        self._stage("Stop")

    def rotation_speed(self) -> float:
        if not self.rotation_speeds.writable:
            return self._settings.speed_deg_s
        return self._speeds[int(self._stage("Getf1OverRateTxNum"))]

    def set_rotation_speed(self, degrees_per_second: float) -> None:
        nearest = min(range(len(self._speeds)), key=lambda k: abs(self._speeds[k] - degrees_per_second))
        self._stage("Setf1OverRateTxNum", nearest)


class JeolBlanker:
    """Def3's beam blank, by whatever means the machine is set to use."""

    def __init__(self, deflectors: _Device) -> None:
        self._def = deflectors

    def is_blanked(self) -> bool:
        return bool(self._def("GetBeamBlank"))

    def blank(self, on: bool) -> None:
        self._def("SetBeamBlank", int(on))


class JeolScreen:
    """Screen2: 0 down, 2 up."""

    movable = True

    def __init__(self, screen: _Device) -> None:
        self._screen = screen

    def is_up(self) -> bool:
        return self._screen("GetAngle") == 2

    def set_up(self, up: bool) -> None:
        self._screen("SelectAngle", 2 if up else 0)
