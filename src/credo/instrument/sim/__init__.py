"""The simulated microscope: a grid of crystals, a stage, optics and cameras with the errors of a real one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["open_microscope"]


def open_microscope(settings: Mapping[str, Any] | None = None) -> Any:
    """The driver "simulated": an instrument built from a table of ``SimulatorSettings``."""
    from credo.instrument.sim.microscope import SimulatedMicroscope
    from credo.instrument.sim.settings import SimulatorSettings

    return SimulatedMicroscope(SimulatorSettings.model_validate(dict(settings or {})))
