"""Cameras that have an interface of their own, by name: each is ``open(settings, clock) -> Camera``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from credo.instrument.clock import Clock
from credo.instrument.errors import InstrumentError
from credo.instrument.protocols import Camera

__all__ = ["CAMERAS", "open_cameras"]

CAMERAS = {
    "merlin": "credo.instrument.drivers.merlin:open_camera",
    "serval": "credo.instrument.drivers.serval:open_camera",
    "gatan": "credo.instrument.drivers.gatan:open_camera",
}


def open_cameras(tables: Sequence[Mapping[str, Any]], clock: Clock) -> dict[str, Camera]:
    """The cameras of ``tables``, each naming its ``driver``; its other keys are that driver's settings."""
    found: dict[str, Camera] = {}
    for table in tables:
        settings = dict(table)
        name = settings.pop("driver", None)
        if name not in CAMERAS:
            raise InstrumentError(f"no camera driver is called {name!r}", f"take one of {', '.join(CAMERAS)}")
        module, function = CAMERAS[name].split(":")
        camera = getattr(import_module(module), function)(settings, clock)
        found[camera.info.name] = camera
    return found
