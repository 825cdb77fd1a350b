"""The calibrations that plans use: where each is found, what must be as it was, how it is checked and measured."""

from __future__ import annotations

from typing import Any

from credo.collect.calibration.brightness import BrightnessSettings, brightness
from credo.collect.calibration.check import check_deflector, check_focus, check_stage
from credo.collect.calibration.deflectors import DeflectorSettings, deflector
from credo.collect.calibration.focus import FocusSettings, focus
from credo.collect.calibration.ready import Need
from credo.collect.calibration.stage import StageSettings, stage_matrix
from credo.collect.rig import Rig, optics_key

__all__ = ["beam_need", "deflector_need", "focus_need", "pattern_needs", "stage_need"]


def pattern_needs(camera_length: float) -> tuple[Need, ...]:
    """What the geometry of patterns at ``camera_length`` [mm] is written from.

    A plan cannot measure these: there is a crystal in the beam, and no gold.
    """
    at, volts = f"at {camera_length:g} mm", ("high_tension", "difffocus")
    rings = f"pixel-size --camera-length {camera_length:g}"
    return (
        Need(f"the pattern's scale {at}", rings, lambda rig: rig.q_per_pixel(camera_length), volts),
        Need(f"the pattern's ellipse {at}", rings, lambda rig: rig.ellipse(camera_length), volts, optional=True),
        Need("the direction of the rotation axis", "axis --processed RESULT", Rig.rotation_axis_deg),
    )


def stage_need(settings: StageSettings) -> Need:
    """How the image follows the stage."""
    s = settings
    return Need(
        f"the stage in {optics_key(s.mode, s.magnification)}",
        f"stage --mode {s.mode} --magnification {s.magnification:g}",
        lambda rig: rig.stage_matrix(s.mode, s.magnification),
        ("high_tension",),
        lambda rig: check_stage(rig, s),
        lambda rig: stage_matrix(rig, s),
    )


def beam_need(mode: str, magnification: float) -> Need:
    """The beam's radius against brightness; whoever uses it sees the disc, which is the check."""
    return Need(
        "the beam against brightness",
        f"brightness --mode {mode} --magnification {magnification:g}",
        lambda rig: rig.calibration.beam,
        ("high_tension",),
        measure=lambda rig: brightness(rig, BrightnessSettings(mode=mode, magnification=magnification)),
    )


def focus_need(camera_length: float, at_brightness: float, beam_um: float) -> Need:
    """The diffraction focus of a sharp pattern with a beam of this brightness, whose radius is about ``beam_um``."""
    settings = FocusSettings(camera_length=camera_length, brightness=at_brightness, beam_um=beam_um)
    return Need(
        f"the diffraction focus at {camera_length:g} mm",
        f"focus --camera-length {camera_length:g} --brightness {at_brightness:g}",
        lambda rig: rig.calibration.focus.get(f"{camera_length:g}"),
        ("high_tension", "brightness"),
        lambda rig: check_focus(rig, camera_length, at_brightness),
        lambda rig: focus(rig, settings),
    )


def deflector_need(settings: DeflectorSettings, seen: bool = True) -> Need:
    """What a deflector does in an image or a pattern of a given magnification; ``seen``: images may check it."""
    s = settings
    assert s.magnification is not None
    given: dict[str, Any] = {"name": s.name, "mode": s.mode, "magnification": f"{s.magnification:g}"}
    given |= {"defocus": f"{s.defocus:g}"} if s.defocus else {}
    magnification = s.magnification
    return Need(
        f"{s.name} in {optics_key(s.mode, s.magnification, s.defocus)}",
        "deflectors " + " ".join(f"--{k} {v}" for k, v in given.items()),
        lambda rig: rig.deflector_matrix(s.mode, s.name, magnification, s.defocus),
        ("high_tension",),
        (lambda rig: check_deflector(rig, s)) if seen else None,
        lambda rig: deflector(rig, s),
    )
