"""Drivers by name: each is ``open(settings) -> Microscope``, imported only when its name is in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from credo.instrument.errors import InstrumentError
from credo.instrument.protocols import Microscope

__all__ = ["DRIVERS", "open_driver"]

DRIVERS = {
    "simulated": "credo.instrument.sim:open_microscope",
    "jeol": "credo.instrument.drivers.jeol:open_microscope",
    "thermofisher": "credo.instrument.drivers.thermofisher:open_microscope",
    "remote": "credo.instrument.drivers.remote:open_microscope",
}


def open_driver(name: str, settings: Mapping[str, Any]) -> Microscope:
    """The instrument that the driver ``name`` opens with its own ``settings`` (the TOML table of that driver).

    Other packages add drivers as entry points of the group ``credo.instruments``; a site's own may be named by its
    place, "module:function".
    """
    place = DRIVERS.get(name) or next((e.value for e in entry_points(group="credo.instruments", name=name)), name)
    if ":" not in place:
        raise InstrumentError(f"no driver is called {name!r}", f"take one of {', '.join(DRIVERS)}")
    module, function = place.split(":")
    return getattr(import_module(module), function)(dict(settings))
