"""A fragile camera sees the direct beam only at settings that somebody approved, or after a dose check."""

from __future__ import annotations

from credo.instrument.clock import Clock
from credo.instrument.errors import NotReady, Refused
from credo.instrument.protocols import Camera
from credo.instrument.safety_settings import DiffractionPreset, Safety
from credo.instrument.settings_of import SettingsOf

__all__ = ["DoseCheck", "approve"]

_OPTICS = ("mode", "magnification", "spotsize", "brightness", "convergence", "condenser")


class DoseCheck:
    """A current measured on the screen, valid while the optics stay as they were and for a limited time."""

    def __init__(self, settings: SettingsOf, clock: Clock, safety: Safety) -> None:
        self._settings, self._clock, self._safety = settings, clock, safety
        self._optics: tuple = ()
        self._until = -1.0

    def measure(self) -> float:
        """Current density [pA/cm²]; remembers the optics when it is low enough."""
        most = self._safety.max_current_density
        if most is None or "current_density" not in self._settings.names():
            raise Refused(
                "no dose check here", "set max_current_density in the safety settings of an instrument with one"
            )
        density = float(self._settings.get("current_density"))  # type: ignore[arg-type]
        self._optics = self._now() if density <= most else ()
        self._until = self._clock.now() + self._safety.dose_check_s
        return density

    def holds(self) -> bool:
        return bool(self._optics) and self._clock.now() <= self._until and self._optics == self._now()

    def _now(self) -> tuple:
        return tuple(self._settings.get(n) for n in _OPTICS if n in self._settings.names())


def approve(camera: Camera, settings: SettingsOf, safety: Safety, dose: DoseCheck) -> None:
    """Refuse the beam on a fragile inserted camera in diffraction unless a preset or a dose check allows it."""
    if not camera.info.fragile or not camera.is_inserted():
        return
    if "mode" not in settings.names() or settings.get("mode") != "diff":
        return
    if any(_matches(preset, settings) for preset in safety.diffraction) or dose.holds():
        return
    raise NotReady(
        f"{camera.info.name} is fragile and no approved diffraction setting matches",
        "insert the beam stop, choose a weaker spot, or approve this one in safety.diffraction or by a dose check",
    )


def _matches(preset: DiffractionPreset, settings: SettingsOf) -> bool:
    def within(name: str, limits) -> bool:
        if limits is None:
            return True
        return name in settings.names() and limits[0] <= settings.get(name) <= limits[1]

    stop = not preset.beamstop or ("beamstop" in settings.names() and settings.get("beamstop") is True)
    fits = within("spotsize", preset.spotsize) and within("brightness", preset.brightness)
    return stop and fits and within("magnification", preset.camera_length_mm)
