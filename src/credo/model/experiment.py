"""One crystal's experiment: beam, detector, goniometer, scan and, once found, the crystals."""

from __future__ import annotations

from dataclasses import dataclass, field

from credo.model.acquisition import Acquisition
from credo.model.crystal import Crystal
from credo.model.geometry import Beam, Detector, Goniometer, Optics, Scan
from credo.model.value import Value

__all__ = ["Experiment"]


@dataclass(frozen=True, eq=False)
class Experiment(Value):
    """``known`` names what the file really said (others are placeholders): any of wavelength, q_per_pixel, origin,
    axis, angles, pixel_size. ``source`` is where the frames are; ``problems`` are sentences for people."""

    beam: Beam
    detector: Detector
    goniometer: Goniometer
    scan: Scan
    crystals: tuple[Crystal, ...] = ()
    optics: Optics = field(default_factory=Optics)
    source: str = ""
    kind: str = ""
    known: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    acquisition: Acquisition = field(default_factory=Acquisition)

    @property
    def crystal(self) -> Crystal:
        """The main lattice; an error when nothing was indexed."""
        if not self.crystals:
            raise ValueError("Experiment: no crystal has been found yet")
        return self.crystals[0]
