"""Lenses and deflectors of a 200 kV JEOL: from the settings of the column to a beam, an image scale and a pattern."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from credo.instrument.sim.settings import Imperfections
from credo.instrument.sim.truth import InstrumentTruth
from credo.physics.electron import wavelength

__all__ = [
    "CAMERA_LENGTHS",
    "MAGNIFICATIONS",
    "NEUTRAL",
    "ColumnState",
    "Illumination",
    "ImageGeometry",
    "PatternGeometry",
    "illumination",
    "image_geometry",
    "image_shift",
    "pattern_geometry",
]

NEUTRAL = 32768.0
CAMERA_LENGTHS = (150.0, 200.0, 250.0, 300.0, 400.0, 500.0, 600.0, 800.0, 1000.0, 1200.0, 1500.0, 2000.0, 2500.0)
#: Nominal magnifications of each imaging mode.
MAGNIFICATIONS = {
    "lowmag": (50.0, 80.0, 100.0, 150.0, 200.0, 250.0, 300.0, 400.0, 500.0, 600.0, 800.0, 1000.0, 1200.0, 1500.0,
               2000.0),
    "mag1": (2500.0, 3000.0, 4000.0, 5000.0, 6000.0, 8000.0, 10000.0, 12000.0, 15000.0, 20000.0, 25000.0, 30000.0,
             40000.0, 50000.0),
    "mag2": (2500.0, 5000.0, 10000.0, 20000.0, 40000.0),
    "samag": (4000.0, 6000.0, 8000.0, 10000.0, 15000.0, 20000.0),
}  # fmt: skip
#: Specimen shadow in a defocused pattern: camera millimetres per µm, per unit of defocus, at a camera length of 600 mm.
_SHADOW = 3.2e-3
#: Elliptical distortion [%] per raw unit of the intermediate stigmator.
_STIGMATOR = 2e-4
#: Beam radius on the specimen [µm] per unit of brightness off the crossover, and at the crossover.
_SPREAD, _FINEST = 1.1e-3, 0.12


@dataclass(frozen=True)
class ColumnState:
    """What the lenses and deflectors are set to. Raw units 0..65535 but for mode, magnification, spot and apertures."""

    mode: str = "mag1"
    magnification: dict[str, float] = field(
        default_factory=lambda: {"mag1": 2500.0, "mag2": 2500.0, "samag": 4000.0, "lowmag": 100.0, "diff": 600.0}
    )
    spotsize: int = 3
    alpha: int = 3
    brightness: float = 36000.0
    difffocus: float = 30000.0
    focus_memory: float = 30000.0
    objfocus: float = 32768.0
    condenser: int = 3
    deflector: dict[str, tuple[float, float]] = field(default_factory=dict)

    def deflected(self, name: str) -> np.ndarray:
        """Offset from the neutral setting (2,) [raw units]."""
        return np.array(self.deflector.get(name, (NEUTRAL, NEUTRAL))) - NEUTRAL

    def focused_at(self, value: float, slack: float) -> ColumnState:
        """With another diffraction focus; the lens follows within its hysteresis."""
        memory = min(max(self.focus_memory, value - slack / 2), value + slack / 2)
        return replace(self, difffocus=value, focus_memory=memory)


@dataclass(frozen=True)
class Illumination:
    """The beam on the specimen, in column axes: centre (2,), radius and soft edge [µm], electrons per second, tilt (2,)
    and convergence [rad]."""

    centre: np.ndarray
    radius: float
    edge: float
    current: float
    tilt: np.ndarray
    convergence: float

    @property
    def flux(self) -> float:
        """Electrons per second and µm² inside the beam."""
        return self.current / (np.pi * self.radius**2)


@dataclass(frozen=True)
class ImageGeometry:
    """Column position r [µm] to camera position [mm]: ``shift`` + ``matrix`` r, from the camera's centre."""

    matrix: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True)
class PatternGeometry:
    """A ray of tangents (x, y)/z = t from the column position r [µm] meets the camera at ``shift`` + ``matrix`` t
    + ``shadow`` r [mm] from its centre. t is in image axes; ``turn`` takes column axes to image axes."""

    matrix: np.ndarray
    shift: np.ndarray
    shadow: np.ndarray
    turn: np.ndarray
    defocus: float
    axis_deg: float
    length_mm: float
    ellipse_percent: float
    ellipse_azimuth_deg: float


def _turn(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


def _effect(state: ColumnState, truth: InstrumentTruth, what: str) -> np.ndarray:
    """Sum over the deflectors of matrix × offset (2,), each offset with its own excess at large excitations."""
    total = np.zeros(2)
    for name in state.deflector:
        own = truth.deflectors[name]
        u = state.deflected(name)
        total += getattr(own, what) @ (u * (1 + own.excess * np.abs(u) / NEUTRAL))
    return total


def illumination(state: ColumnState, truth: InstrumentTruth) -> Illumination:
    """The beam that reaches the specimen when it is not blanked."""
    off = state.brightness - truth.crossover
    radius = float(np.hypot(_FINEST, _SPREAD * off))
    current = 6.24e9 * 2.0 ** (1 - state.spotsize) * 4.0 ** -(max(state.condenser, 1) - 1)
    centre = truth.beam_offset + truth.brightness_walk * (state.brightness - NEUTRAL)
    centre = centre + _effect(state, truth, "position")
    widest = 3e-4 * 2.0 ** (3 - max(state.condenser, 1)) * (1 + 0.1 * (state.alpha - 3))
    return Illumination(
        centre, radius, 0.02 + 0.04 * radius, current, _effect(state, truth, "tilt"), widest * _FINEST / radius
    )


def image_geometry(state: ColumnState, truth: InstrumentTruth) -> ImageGeometry:
    """The image of the specimen on the camera in an imaging mode."""
    nominal = state.magnification[state.mode]
    scale = 1e-3 * nominal * truth.scale_factor[nominal]
    matrix = scale * _turn(truth.axis_deg - 40.0 + truth.image_turn[nominal])
    return ImageGeometry(matrix, matrix @ image_shift(state, truth))


def image_shift(state: ColumnState, truth: InstrumentTruth) -> np.ndarray:
    """How far the image deflectors move the image (2,) [µm of the specimen]."""
    return _effect(state, truth, "image")


def pattern_geometry(
    state: ColumnState, truth: InstrumentTruth, imperfections: Imperfections, kilovolts: float
) -> PatternGeometry:
    """The diffraction pattern on the camera; defocus makes shadow images of the beam and of every spot.

    Camera length and the elliptical distortion depend on the nominal length: amplitude · (1 + 0.15 ln(L/600)).
    """
    nominal = state.magnification["diff"]
    length = nominal * truth.length_factor[nominal]
    step = float(np.log(nominal / 600))
    percent = max(imperfections.ellipse_percent * (1 + 0.15 * step), 0.0)
    azimuth = imperfections.ellipse_azimuth_deg + (2.0 * step if imperfections.ellipse_percent else 0.0)
    percent, azimuth = _stigmated(percent, azimuth, state.deflected("intermediatestig"))
    axis = truth.axis_deg + truth.length_turn[nominal]
    defocus = state.focus_memory - truth.focus
    # a change of brightness moves the virtual source, and with it the plane in which the pattern is sharp
    defocus = defocus + 0.01 * (state.brightness - truth.crossover - 680.0) * (imperfections.misalignment > 0)
    matrix = length * ellipse_matrix(percent, azimuth)
    swing = _effect(state, truth, "pattern") + defocus * _effect(state, truth, "defocused")
    shadow = _SHADOW * defocus * (nominal / 600) * _turn(axis + truth.defocus_turn_deg)
    turn = _turn(axis)
    return PatternGeometry(
        matrix, matrix @ swing + truth.pattern_offset, shadow, turn, defocus, axis % 360, length, percent, azimuth
    )


def _stigmated(percent: float, azimuth_deg: float, setting: np.ndarray) -> tuple[float, float]:
    """Percent and azimuth [deg] of an ellipse to which the stigmator adds its own: quadrupoles, x along the axes and y
    along the diagonals, add as (cos 2φ, sin 2φ)."""
    if not setting.any():
        return percent, azimuth_deg
    double = np.radians(2 * azimuth_deg)
    total = percent * np.array([np.cos(double), np.sin(double)]) + _STIGMATOR * setting
    return float(np.hypot(*total)), float(np.degrees(np.arctan2(total[1], total[0])) / 2 % 180)


def ellipse_matrix(percent: float, azimuth_deg: float) -> np.ndarray:
    """(2, 2): stretches by 1 + ε along the azimuth and by 1 − ε across, (1 + ε)/(1 − ε) = 1 + percent/100."""
    e = percent / (200 + percent)
    r = _turn(azimuth_deg)
    return r @ np.diag([1 + e, 1 - e]) @ r.T


def wavelength_of(kilovolts: float) -> float:
    """λ [Å]."""
    return wavelength(kilovolts)
