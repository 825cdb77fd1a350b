"""A plain instrument of JEOL's ranges that tests make misbehave by replacing one method or value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from credo.instrument.protocols import CameraInfo, Holder, Property
from credo.instrument.replica import (
    Replica,
    ReplicaBlanker,
    ReplicaCamera,
    ReplicaSettings,
    ReplicaStage,
    StepClock,
)
from credo.instrument.safety import Guard
from credo.instrument.safety_settings import Safety

TABLES = {"mag1": (2500.0, 5000.0, 10000.0), "lowmag": (50.0, 100.0, 250.0), "diff": (200.0, 300.0, 400.0, 800.0)}

DEFLECTORS = ("beamshift", "beamtilt", "imageshift1", "imageshift2", "diffshift", "gunshift")


def plain_microscope(clock: Any = None, **camera: Any) -> Replica:
    clock = clock or StepClock(1.7e9)
    raw = {"kind": "int", "low": 0, "high": 65535}
    pair = Property("a deflector", "raw", "pair", 0, 65535, neutral=(32768.0, 32768.0))
    lenses = {
        "mode": Property("mode of the optics", kind="str", transient=True),
        "magnification": Property("table value", transient=True),
        "spotsize": Property("spot size", kind="int", choices=(1, 2, 3, 4, 5), transient=True),
        "brightness": Property("CL3", "raw", neutral=32768, **raw),
        "difffocus": Property("IL1", "raw", modes=("diff",), neutral=32768, **raw),
        "high_tension": Property("high tension", "V", writable=False),
        "current_density": Property("screen current", "pA/cm2", writable=False),
    }
    values = {"mode": "diff", "magnification": 300.0, "spotsize": 3, "brightness": 40000, "difffocus": 30000}
    values |= {"high_tension": 200_000.0, "current_density": 5.0}
    axes = {n: Property(n, "nm", low=-1e6, high=1e6) for n in "xyz"}
    axes |= {"a": Property("a", "deg", low=-90, high=90), "b": Property("b", "deg", low=-90, high=90)}
    blanker = ReplicaBlanker(on=False)
    info = CameraInfo(**{"name": "timepix", "shape": (16, 16), "pixel_size_um": 55.0, "fragile": False} | camera)
    return Replica(
        "plain",
        clock,
        ReplicaStage(clock, axes, Property("speed", "deg/s", low=0.1, high=12), Holder("tomography", True)),
        ReplicaSettings(lenses, values, TABLES),
        ReplicaSettings(
            dict.fromkeys(DEFLECTORS, pair),
            dict.fromkeys(
                ("beamshift", "beamtilt", "imageshift1", "imageshift2", "diffshift", "gunshift"), (32768.0, 32768.0)
            ),
        ),
        ReplicaSettings({"beamstop": Property("beam stop", kind="bool")}, {"beamstop": False}),
        blanker=blanker,
        cameras={"timepix": ReplicaCamera(info, clock, blanker)},
    )


@pytest.fixture
def make() -> Callable[..., Replica]:
    """``make(clock=None, **camera)``: a plain instrument, beam on, in diffraction at 300 mm."""
    return plain_microscope


@pytest.fixture
def guarded() -> Callable[..., Guard]:
    """``guarded(microscope, **safety)``: a guard in session over it."""

    def build(microscope: Any, begin: bool = True, **safety: Any) -> Guard:
        guard = Guard(microscope, Safety(**safety))
        if begin:
            guard.begin("test")
        return guard

    return build


@pytest.fixture
def settle() -> Callable[[Guard], Any]:
    """Run a guard's waiting to its end on its clock; returns the position."""

    def run(guard: Guard, timeout: float | None = None) -> Any:
        waiting = guard.settle(timeout)
        while True:
            try:
                guard.clock.sleep(next(waiting))
            except StopIteration as done:
                return done.value

    return run
