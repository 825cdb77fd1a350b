"""What a vendor's driver offers: named settings with their metadata, stage moves, a blanker, a screen, cameras.

A driver is deliberately dumb. It reads and writes what it is told, in the units that its metadata give, and raises
``HardwareFault`` when the vendor's interface reports an error. It knows no limits of the site, no leases and no
plans: ``safety.Guard`` stands before it and is the only caller. All methods but ``Camera``'s and
``Microscope.halt`` are called from one thread (the one that opened the driver); a camera is called from one
thread of its own, possibly at the same time.

Units everywhere: stage nm and degrees, degrees per second, seconds, camera length in mm, high tension in V, pixels
in µm. Settings of lenses and deflectors keep the vendor's unit (raw 0..65535 at JEOL, m or rad at Thermo Fisher),
named in ``unit``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from credo.instrument.clock import Clock

__all__ = [
    "AXES",
    "Apertures",
    "BeamBlanker",
    "Camera",
    "CameraInfo",
    "Deflectors",
    "Frame",
    "Holder",
    "Lenses",
    "Microscope",
    "Pair",
    "Property",
    "Screen",
    "Settings",
    "Stage",
    "StagePosition",
    "StageState",
    "Value",
]

Pair: TypeAlias = tuple[float, float]
Value: TypeAlias = float | int | str | bool | Pair
AXES = ("x", "y", "z", "a", "b")


def _known(cls: type, told: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(cls)}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in told.items() if k in names}


@dataclass(frozen=True)
class Property:
    """Metadata of one setting or reading.

    ``kind``: "float", "int", "str", "bool" or "pair" (two floats, a deflector). ``low``, ``high``: inclusive range in
    ``unit`` (of each component of a pair), None where unknown. ``choices``: the only values allowed. ``modes``: modes
    of the optics in which it may be set, empty for all. ``transient``: the beam is blanked while it changes.
    ``restore``: part of the snapshot that is put back after an exception. ``neutral``: the vendor's centre.
    """

    about: str
    unit: str = ""
    kind: str = "float"
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    writable: bool = True
    transient: bool = False
    restore: bool = True
    neutral: Value | None = None
    modes: tuple[str, ...] = ()

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Property:
        """From what came over the wire; other keys are left out."""
        return cls(**_known(cls, told))


@runtime_checkable
class Settings(Protocol):
    """A group of named settings. The order of ``properties`` is the order in which they must be restored."""

    @property
    def properties(self) -> Mapping[str, Property]:
        """What there is: the capabilities of this instrument."""
        ...

    def get(self, name: str) -> Value:
        """Read the hardware now."""
        ...

    def set(self, name: str, value: Value) -> None:
        """Write the hardware; returns when the vendor's call does."""
        ...


@runtime_checkable
class Lenses(Settings, Protocol):
    """Optics that are one number or name. Names in use: ``mode`` (of ``magnifications``' keys), ``magnification``
    (times; in mode "diff" the camera length in mm), ``spotsize``, ``brightness``, ``difffocus``, ``objfocus``,
    ``convergence`` (the alpha selector), readings ``high_tension`` [V] and ``current_density`` [pA/cm²]."""

    @property
    def magnifications(self) -> Mapping[str, tuple[float, ...]]:
        """Per mode, the values that ``magnification`` can take, ascending. Modes in use: mag1, mag2, samag, lowmag,
        diff."""
        ...


@runtime_checkable
class Deflectors(Settings, Protocol):
    """Pairs (x, y). Names in use: ``gunshift``, ``guntilt``, ``beamshift``, ``beamtilt``, ``imageshift1``,
    ``imageshift2``, ``diffshift``, ``condenserstig``, ``objectivestig``, ``intermediatestig``."""


@runtime_checkable
class Apertures(Settings, Protocol):
    """Hole numbers, 0 = open. Names in use: ``condenser``, ``objective``, ``selectedarea``; ``beamstop`` (bool)."""


class StagePosition(NamedTuple):
    """Where the stage says it is: x, y, z [nm], tilts a (the goniometer's) and b [deg]."""

    x: float
    y: float
    z: float
    a: float
    b: float


class StageState(StrEnum):
    """What the goniometer says of itself."""

    READY = "ready"
    MOVING = "moving"
    LIMITER = "limiter"  # a hardware limit switch
    UNAVAILABLE = "unavailable"  # disabled, holder exchange, not referenced


@dataclass(frozen=True)
class Holder:
    """The specimen holder as the instrument sees it now. ``tilts``: the axes it can tilt, of "a" and "b"."""

    name: str
    inserted: bool
    tilts: tuple[str, ...] = ("a",)


@runtime_checkable
class Stage(Protocol):
    """The goniometer."""

    @property
    def axes(self) -> Mapping[str, Property]:
        """Hardware range of each axis of ``AXES`` [nm, deg]."""
        ...

    @property
    def can_stop(self) -> bool:
        """Whether ``stop`` halts a drive (Thermo Fisher's scripting cannot)."""
        ...

    @property
    def rotation_speeds(self) -> Property:
        """Range or choices of the speed of axis a [deg/s]; ``writable`` False where it cannot be set."""
        ...

    def position(self) -> StagePosition: ...

    def state(self) -> StageState: ...

    def holder(self) -> Holder: ...

    def start(self, target: Mapping[str, float]) -> None:
        """Begin to move the named axes to absolute values and return at once (the drive's own order and path)."""
        ...

    def stop(self) -> None:
        """Stop all drives; does nothing where ``can_stop`` is False."""
        ...

    def rotation_speed(self) -> float:
        """Speed that moves of axis a will have [deg/s]."""
        ...

    def set_rotation_speed(self, degrees_per_second: float) -> None:
        """The nearest that the hardware can do; ``rotation_speed`` tells which."""
        ...


@runtime_checkable
class BeamBlanker(Protocol):
    """Keeps the beam off the specimen."""

    def is_blanked(self) -> bool: ...

    def blank(self, on: bool) -> None: ...


@runtime_checkable
class Screen(Protocol):
    """The fluorescent screen, which must be up for a camera below it."""

    @property
    def movable(self) -> bool: ...

    def is_up(self) -> bool: ...

    def set_up(self, up: bool) -> None: ...


@dataclass(frozen=True)
class CameraInfo:
    """What a camera is. ``shape`` (rows, columns) unbinned; ``exposures`` (shortest, longest) [s]; ``saturation``
    [counts per pixel and frame]; ``dead_time`` between frames of a stream [s]; ``fragile``: the direct beam can
    damage it; ``retractable``: ``insert`` moves it."""

    name: str
    shape: tuple[int, int]
    pixel_size_um: float
    exposures: tuple[float, float] = (1e-3, 60.0)
    binnings: tuple[int, ...] = (1,)
    dtype: str = "uint16"
    saturation: int = 65535
    dead_time: float = 0.0
    fragile: bool = True
    retractable: bool = False

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> CameraInfo:
        """From what came over the wire; other keys are left out."""
        return cls(**_known(cls, told))


@dataclass(frozen=True)
class Frame:
    """One exposure: ``data`` (rows, columns); ``began``, ``ended``: the exposure's Unix times [s] by the clock;
    ``number`` counts from 0 within a stream, gaps are frames that were lost. ``extra``: what else is known (JSON)."""

    data: np.ndarray
    began: float
    ended: float
    exposure: float
    binning: int = 1
    number: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Camera(Protocol):
    """A detector."""

    @property
    def info(self) -> CameraInfo: ...

    def acquire(self, exposure: float, binning: int = 1) -> Frame:
        """One frame; blocks for the exposure and the read-out."""
        ...

    def stream(self, exposure: float, binning: int = 1, frames: int | None = None) -> Iterator[Frame]:
        """Frames one after another with nothing but the dead time between; closing the iterator ends it."""
        ...

    def is_inserted(self) -> bool: ...

    def insert(self, on: bool) -> None: ...


@runtime_checkable
class Microscope(Protocol):
    """One instrument, opened. High tension, valves and vacuum have no setter here, and none may be added.

    A class may say ``thread_bound = False`` when it does not matter which thread calls it as long as one does at a
    time; then the server saves the way through its hardware thread.
    """

    @property
    def name(self) -> str: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def stage(self) -> Stage: ...

    @property
    def lenses(self) -> Lenses: ...

    @property
    def deflectors(self) -> Deflectors: ...

    @property
    def apertures(self) -> Apertures: ...

    @property
    def blanker(self) -> BeamBlanker: ...

    @property
    def screen(self) -> Screen: ...

    @property
    def cameras(self) -> Mapping[str, Camera]:
        """By name; the first is the default."""
        ...

    def readiness(self) -> Mapping[str, bool]:
        """Preconditions that the instrument can tell, True = fine. Names in use: ``vacuum``, ``emission``,
        ``column_valves``, ``no_buffer_cycle``, ``no_dewar_filling``."""
        ...

    def halt(self) -> None:
        """Emergency: stop all drives that can be stopped and blank. Callable from any thread at any time, also while
        another call hangs (through a connection of its own where the vendor's interface needs one)."""
        ...

    def close(self) -> None:
        """Let go of the hardware, leaving the beam blanked."""
        ...
