"""The column's settings as a driver offers them: lenses, deflectors and apertures, each with its range."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from credo.instrument.errors import HardwareFault
from credo.instrument.protocols import Pair, Property, Value
from credo.instrument.sim.optics import CAMERA_LENGTHS, MAGNIFICATIONS, NEUTRAL, ColumnState, illumination
from credo.instrument.sim.truth import InstrumentTruth

__all__ = ["Column", "SimulatedApertures", "SimulatedDeflectors", "SimulatedLenses"]

_RAW = {"unit": "raw", "low": 0.0, "high": 65535.0}
_DEFLECTORS = {
    "gunshift": "gun shift",
    "guntilt": "gun tilt",
    "condenserstig": "condenser stigmator (no effect here)",
    "objectivestig": "objective stigmator (no effect here)",
    "intermediatestig": "intermediate stigmator: stretches the diffraction pattern",
    "beamshift": "beam shift, CLA1",
    "beamtilt": "beam tilt, CLA2",
    "imageshift1": "image shift IS1",
    "imageshift2": "image shift IS2",
    "diffshift": "diffraction shift, PLA",
}


class Column:
    """The settings, in one immutable state; ``before`` is called ahead of every change (the dose so far is booked)."""

    def __init__(self, truth: InstrumentTruth, slack: float, kilovolts: float, before: Callable[[], None]) -> None:
        self.truth, self.slack, self.kilovolts, self._before = truth, slack, kilovolts, before
        self.state = ColumnState()
        self.beamstop = False
        self.objective = self.selectedarea = 0

    def change(self, state: ColumnState) -> None:
        self._before()
        self.state = state


def _refuse(name: str, value: Value, what: str) -> HardwareFault:
    return HardwareFault(f"{name} cannot be {value!r}", what)


class SimulatedLenses:
    """Implements ``protocols.Lenses``."""

    def __init__(self, column: Column) -> None:
        self._column = column

    @property
    def magnifications(self) -> Mapping[str, tuple[float, ...]]:
        return MAGNIFICATIONS | {"diff": CAMERA_LENGTHS}

    @property
    def properties(self) -> Mapping[str, Property]:
        return {
            "mode": Property("function mode", kind="str", choices=tuple(self.magnifications), transient=True),
            "magnification": Property(
                "magnification, or camera length [mm] in mode diff",
                kind="float",
                choices=self.magnifications[self._column.state.mode],
                transient=True,
            ),
            "spotsize": Property("spot size", kind="int", low=1, high=8, transient=True),
            "convergence": Property("alpha selector", kind="int", low=0, high=8, transient=True),
            "brightness": Property("CL3", **_RAW),
            "difffocus": Property("IL1, diffraction focus", modes=("diff",), neutral=NEUTRAL, **_RAW),
            "objfocus": Property("objective lens, fine", neutral=NEUTRAL, **_RAW),
            "high_tension": Property("high tension", "V", writable=False, restore=False),
            "current_density": Property("current density of the beam", "pA/cm2", writable=False, restore=False),
        }

    def get(self, name: str) -> Value:
        c, s = self._column, self._column.state
        if name == "high_tension":
            return 1e3 * c.kilovolts
        if name == "current_density":
            return illumination(s, c.truth).flux / 6.241509e6 * 1e8
        if name == "magnification":
            return s.magnification[s.mode]
        known = {"mode": s.mode, "spotsize": s.spotsize, "convergence": s.alpha, "brightness": s.brightness}
        known |= {"difffocus": s.difffocus, "objfocus": s.objfocus}
        if name not in known:
            raise _refuse(name, "read", f"settings are {', '.join(self.properties)}")
        return known[name]

    def set(self, name: str, value: Value) -> None:
        c, s = self._column, self._column.state
        own = self.properties.get(name)
        if own is None or not own.writable:
            raise _refuse(name, value, f"settings are {', '.join(k for k, p in self.properties.items() if p.writable)}")
        if own.choices and value not in own.choices:
            raise _refuse(name, value, f"take one of {', '.join(map(str, own.choices))}")
        if own.modes and s.mode not in own.modes:
            raise _refuse(name, value, f"only in mode {', '.join(own.modes)}")
        if own.low is not None and own.high is not None and not own.low <= float(value) <= own.high:  # type: ignore[arg-type]
            raise _refuse(name, value, f"{own.low:g} to {own.high:g}")
        if name == "magnification":
            c.change(replace(s, magnification=s.magnification | {s.mode: float(value)}))  # type: ignore[arg-type]
        elif name == "difffocus":
            c.change(s.focused_at(float(round(float(value))), c.slack))  # type: ignore[arg-type]
        elif name in ("brightness", "objfocus"):
            c.change(replace(s, **{name: float(round(float(value)))}))  # type: ignore[arg-type]
        else:
            c.change(replace(s, **{"alpha" if name == "convergence" else name: value}))  # type: ignore[arg-type]


class SimulatedDeflectors:
    """Implements ``protocols.Deflectors``; raw units, whole numbers as in hardware."""

    def __init__(self, column: Column) -> None:
        self._column = column

    @property
    def properties(self) -> Mapping[str, Property]:
        return {k: Property(v, kind="pair", neutral=(NEUTRAL, NEUTRAL), **_RAW) for k, v in _DEFLECTORS.items()}

    def get(self, name: str) -> Pair:
        if name not in _DEFLECTORS:
            raise _refuse(name, "read", f"deflectors are {', '.join(_DEFLECTORS)}")
        return self._column.state.deflector.get(name, (NEUTRAL, NEUTRAL))

    def set(self, name: str, value: Value) -> None:
        if name not in _DEFLECTORS:
            raise _refuse(name, value, f"deflectors are {', '.join(_DEFLECTORS)}")
        x, y = (float(round(float(v))) for v in value)  # type: ignore[union-attr]
        if not (0 <= x <= 65535 and 0 <= y <= 65535):
            raise _refuse(name, value, "0 to 65535")
        s = self._column.state
        self._column.change(replace(s, deflector=s.deflector | {name: (x, y)}))


class SimulatedApertures:
    """Implements ``protocols.Apertures``: holes from the widest, 1, to the smallest, 4; 0 is none. The condenser
    aperture sets current and convergence, the others what of the specimen and of the pattern is seen."""

    def __init__(self, column: Column) -> None:
        self._column = column

    @property
    def properties(self) -> Mapping[str, Property]:
        hole = {"kind": "int", "low": 0, "high": 4, "transient": True}
        return {
            "condenser": Property("condenser aperture", **hole),
            "objective": Property("objective aperture: the angles that are seen in diffraction", **hole),
            "selectedarea": Property("selected-area aperture", **hole),
            "beamstop": Property("beam stop", kind="bool"),
        }

    def get(self, name: str) -> Value:
        if name == "condenser":
            return self._column.state.condenser
        if name in ("objective", "selectedarea", "beamstop"):
            return getattr(self._column, name)
        raise _refuse(name, "read", f"apertures are {', '.join(self.properties)}")

    def set(self, name: str, value: Value) -> None:
        if name not in self.properties:
            raise _refuse(name, value, f"apertures are {', '.join(self.properties)}")
        if name == "beamstop":
            self._column.beamstop = bool(value)
            return
        if value not in range(5):
            raise _refuse(name, value, "holes 0 to 4")
        if name == "condenser":
            self._column.change(replace(self._column.state, condenser=int(value)))  # type: ignore[arg-type]
        else:
            setattr(self._column, name, int(value))  # type: ignore[arg-type]
