"""The dose rate on the specimen, from the current density that the instrument tells."""

from __future__ import annotations

from credo.collect.rig import Rig
from credo.collect.steps import Read, Steps
from credo.physics.dose import electrons_of

__all__ = ["dose_rate"]


def dose_rate(rig: Rig) -> Steps[float | None]:
    """e/Å²/s of the beam as it is now; None where the instrument tells no current density."""
    if "current_density" not in rig.settings:
        return None
    told = yield Read(("current_density",))
    density = told["current_density"]
    return None if density is None else electrons_of(float(density))
