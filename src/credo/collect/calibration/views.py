"""Where calibrations look: an image, a focused or a defocused pattern, and what is measured in its frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from credo.collect import steps as do
from credo.collect.calibration.register import mended, register
from credo.collect.calibration.spot import fit_spot
from credo.collect.rig import Rig, optics_key
from credo.collect.steps import Steps
from credo.collect.tracking import fit_disc
from credo.model.errors import CannotDo, CredoError

__all__ = ["View", "approach_focus", "enter", "kept", "look_at", "place_in", "told"]

#: Units by which the diffraction focus is undershot, so that it is always approached from below.
_UNDERSHOOT = 60.0
#: Counts of a lit pixel that exposures aim at; exposures allowed [s].
_COUNTS, _SHORTEST, _LONGEST = 150.0, 1e-3, 2.0


@dataclass(frozen=True)
class View:
    """``kind``: what moves in the frames and is measured: the beam's "disc", the direct beam's "spot", or the whole
    "image". ``brightness``, ``focus`` (where the pattern is sharp): None leaves them; ``defocus``: off ``focus``;
    ``exposure`` [s]: None finds one. ``magnification``: in "diff" the camera length [mm]."""

    kind: str
    mode: str
    magnification: float
    brightness: float | None = None
    focus: float | None = None
    defocus: float = 0.0
    exposure: float | None = None

    @property
    def key(self) -> str:
        return optics_key(self.mode, self.magnification, self.defocus)

    @property
    def settings(self) -> dict[str, Any]:
        """The instrument's settings that a result holds at (``MeasuredMatrix.at``)."""
        named = {"mode": self.mode, "magnification": self.magnification, "brightness": self.brightness}
        if self.mode == "diff" and self.focus is not None:
            named["difffocus"] = self.focus + self.defocus
        return {k: v for k, v in named.items() if v is not None}


def approach_focus(value: float) -> Steps[None]:
    """Set the diffraction focus from below: a lens with hysteresis then ends at the same field every time."""
    yield do.Set({"difffocus": max(value - _UNDERSHOOT, 0.0)})
    yield do.Set({"difffocus": value})


def enter(rig: Rig, view: View) -> Steps[View]:
    """Set the optics of the view and find its exposure; returns the view with what was found."""
    if view.mode not in rig.magnifications or view.magnification not in rig.magnifications[view.mode]:
        table = ", ".join(f"{v:g}" for v in rig.magnifications.get(view.mode, ())) or "no such mode"
        raise CannotDo(f"{view.mode} has no {view.magnification:g} on {rig.instrument}", f"there is: {table}")
    yield do.Set({"mode": view.mode})
    yield do.Set({"magnification": view.magnification})
    if view.brightness is not None:
        yield do.Set({"brightness": view.brightness})
    if view.focus is not None:
        yield from approach_focus(view.focus + view.defocus)
    if view.exposure is None:
        view = replace(view, exposure=(yield from _exposure(rig, view.kind)))
    return view


def _exposure(rig: Rig, kind: str) -> Steps[float]:
    """That at which what is measured has counts enough, and no more."""
    if kind == "spot":  # its middle pixels may saturate, the flanks tell where it is; but they should be few
        seconds, least = 0.01, max(_SHORTEST, rig.camera.exposures[0])
        while seconds > least:
            shot = yield do.Look(seconds, "calibrate")
            if np.sum(shot.image >= 0.9 * rig.camera.saturation) < 3:
                break
            seconds = max(seconds / 3, least)
        return seconds
    seconds = 0.02
    for _ in range(4):
        shot = yield do.Look(seconds, "calibrate")
        level = float(np.percentile(shot.image[::2, ::2], 97))
        wanted = min(3 * _COUNTS if kind == "image" else _COUNTS, 0.4 * rig.camera.saturation)
        best = seconds * wanted / max(level, 0.5)
        best = float(np.clip(best, max(_SHORTEST, rig.camera.exposures[0]), min(_LONGEST, rig.camera.exposures[1])))
        if 0.6 < best / seconds < 1.7:
            return best
        seconds = best
    return seconds


def look_at(rig: Rig, view: View, reference: np.ndarray | None = None, near=None, within: float = np.inf) -> Steps[Any]:
    """(place (2,) [px], shot): of the disc, the spot, or how far the image lies from ``reference`` (0, 0 without one).

    Raises CannotDo where it is not to be seen in this frame.
    """
    shot = yield do.Look(view.exposure or 0.05, "calibrate")
    return place_in(rig, view.kind, shot.image, reference, near, within), shot


def place_in(rig: Rig, kind: str, frame: np.ndarray, reference=None, near=None, within: float = np.inf) -> np.ndarray:
    """What ``look_at`` measures, of one frame."""
    if kind == "disc":
        disc = fit_disc(mended(frame))
        edge = min(disc.x, disc.y, frame.shape[1] - disc.x, frame.shape[0] - disc.y) - disc.radius
        if edge < 2:
            raise CannotDo("the beam's disc reaches beyond the frame", "use a smaller beam, or smaller shifts")
        return np.array([disc.x, disc.y])
    if kind == "spot":
        spot = fit_spot(frame, 0.9 * rig.camera.saturation)
        return np.array([spot.x, spot.y])
    if reference is None:
        return np.zeros(2)
    moved = register(reference, frame, near, within)
    return np.array([moved.x, moved.y])


def kept(names: Sequence[str], plan: Callable[[], Steps[Any]]) -> Steps[Any]:
    """Do ``plan()`` and put the settings ``names`` back, also when it fails."""
    before = yield do.Read(tuple(names))
    try:
        result = yield from plan()
    except CredoError:
        yield from _back(before)
        raise
    yield from _back(before)
    return result


def _back(before: dict[str, Any]) -> Steps[None]:
    for name, value in before.items():
        yield do.Set({name: tuple(value) if isinstance(value, list) else value})


@contextmanager
def told(what: str) -> Iterator[None]:
    """Errors within say what was being calibrated."""
    try:
        yield
    except CredoError as error:
        error.reason = f"{what}: {error.reason}"
        raise
