"""How the intensities were measured, as a log of the collection tells it: exposure, dose, tracking, instrument."""

from __future__ import annotations

from dataclasses import dataclass

from credo.model.value import Value

__all__ = ["Acquisition"]


@dataclass(frozen=True, eq=False)
class Acquisition(Value):
    """``None`` wherever nothing was said: these values are published, and none is guessed.

    ``mode``: rotation (while the frames were taken) or stepwise; ``rotation_deg`` of one crystal, ``speed_deg_s``;
    ``exposed_s``: the time for which the beam was on the crystal; ``flux``: electrons on it [e Å⁻² s⁻¹];
    ``precession_deg``: semi-angle, 0 for none; ``tracking``: whether the crystal was followed, and how;
    ``illumination``: parallel or convergent; ``area``: SAED or probe, with ``area_size_um`` across;
    ``crystals``: how many were merged, values are then means of one crystal; ``log``: the file that says so.
    """

    mode: str | None = None
    rotation_deg: float | None = None
    speed_deg_s: float | None = None
    exposed_s: float | None = None
    flux: float | None = None
    precession_deg: float | None = None
    tracking: bool | None = None
    tracking_method: str | None = None
    illumination: str | None = None
    area: str | None = None
    area_size_um: float | None = None
    temperature_k: float | None = None
    microscope: str | None = None
    source: str | None = None
    camera: str | None = None
    software: str | None = None
    date: str | None = None
    mosaicity_deg: float | None = None
    crystals: int = 1
    log: str | None = None

    @property
    def fluence(self) -> float | None:
        """Electrons that met one crystal [e Å⁻²]."""
        return None if self.flux is None or self.exposed_s is None else self.flux * self.exposed_s
