"""The hidden truth of one simulated instrument: what its imperfections came out as, drawn once from the seed.

Only the simulator and reports that compare may read this; an import contract keeps it from what processes data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.instrument.sim.settings import SimulatorSettings

__all__ = ["DeflectorTruth", "InstrumentTruth", "StageTruth", "draw_truth"]


@dataclass(frozen=True)
class DeflectorTruth:
    """What one raw unit of a deflector does, each a (2, 2) acting on (x, y).

    ``position``: of the beam on the specimen [µm]; ``tilt``: of the beam there [rad]; ``pattern``: of the diffraction
    pattern [rad]; ``image``: of the image, at the specimen [µm]; ``defocused``: of the pattern besides, per unit of
    diffraction defocus [rad]. ``excess``: relative non-linearity at full scale.
    """

    position: np.ndarray
    tilt: np.ndarray
    pattern: np.ndarray
    image: np.ndarray
    defocused: np.ndarray
    excess: float


@dataclass(frozen=True)
class StageTruth:
    """Errors of the goniometer. Lengths µm, angles deg.

    ``height`` (6,): eucentric height c0 + c1 X + c2 Y + c3 X² + c4 XY + c5 Y² over X, Y in mm; ``swing`` (2, 2, 3):
    for each of x, y in column axes the coefficients of sin α and 1 − cos α, each as c0 + c1 X + c2 Y; ``axis_out_deg``
    the tilt of the rotation axis towards the beam; ``readout_phase`` [rad]; ``drift`` (2,) [µm/s].
    """

    height: np.ndarray
    swing: np.ndarray
    axis_out_deg: float
    tilt_scale: float
    readout_phase: float
    drift: np.ndarray
    seed: int


@dataclass(frozen=True)
class InstrumentTruth:
    """Everything hidden but the specimen.

    ``axis_deg``: direction of the tilt axis in diffraction patterns, from x to y; ``length_factor``, ``length_turn``:
    per nominal camera length [mm], the true over the nominal one and the pattern's rotation [deg]; ``scale_factor``,
    ``image_turn``: the same per magnification; ``beam_px``: pattern centre off the camera's centre [mm];
    ``image_centre`` [µm at the camera, mm]; ``focus``: difffocus at which the pattern is sharp; ``crossover``:
    brightness of the smallest beam; ``brightness_walk`` (2,): beam's walk on the specimen with brightness [µm/unit];
    ``beam_offset`` (2,) [µm]; ``defocus_turn_deg``: rotation of the shadow image against the pattern.
    """

    axis_deg: float
    length_factor: dict[float, float]
    length_turn: dict[float, float]
    scale_factor: dict[float, float]
    image_turn: dict[float, float]
    pattern_offset: np.ndarray
    focus: float
    crossover: float
    brightness_walk: np.ndarray
    beam_offset: np.ndarray
    defocus_turn_deg: float
    deflectors: dict[str, DeflectorTruth]
    stage: StageTruth


#: Raw unit's nominal effect: position [µm], tilt [rad], pattern [rad], image [µm], defocused pattern [rad/unit].
_NOMINAL = {
    "gunshift": (0.004, 0.0, 0.0, 0.0, 0.0),
    "guntilt": (0.0005, 0.0, 0.0, 0.0, 0.0),
    "beamshift": (0.025, 2.5e-6, 0.0, 0.0, 0.0),
    "beamtilt": (0.001, 5.56e-6, 0.0, 0.0, 0.0),
    "imageshift1": (0.0, 0.0, 0.9e-6, 0.010, 1.6e-9),
    "imageshift2": (0.0, 0.0, 1.4e-6, 0.008, 0.7e-9),
    "diffshift": (0.0, 0.0, 2.2e-6, 0.0004, 0.0),
    "condenserstig": (0.0, 0.0, 0.0, 0.0, 0.0),
    "objectivestig": (0.0, 0.0, 0.0, 0.0, 0.0),
    "intermediatestig": (0.0, 0.0, 0.0, 0.0, 0.0),
}
#: Directions of the same [deg].
_TURN = {
    "gunshift": (25, 0, 0, 0, 0),
    "guntilt": (70, 0, 0, 0, 0),
    "beamshift": (-38, 61, 0, 0, 0),
    "beamtilt": (115, 20, 0, 0, 0),
    "imageshift1": (0, 0, 152, 33, -41),
    "imageshift2": (0, 0, -64, -75, 97),
    "diffshift": (0, 0, 12, 50, 0),
    "condenserstig": (0, 0, 0, 0, 0),
    "objectivestig": (0, 0, 0, 0, 0),
    "intermediatestig": (0, 0, 0, 0, 0),
}


def draw_truth(
    settings: SimulatorSettings, camera_lengths: tuple[float, ...], magnifications: tuple[float, ...]
) -> InstrumentTruth:
    """The instrument that this seed has."""
    i = settings.imperfections
    rng = np.random.default_rng([settings.seed, 11])
    lengths = {float(v): 1 + i.calibration * float(rng.normal()) for v in camera_lengths}
    scales = {float(v): 1 + i.calibration * float(rng.normal()) for v in magnifications}
    turn = {v: i.rotation_deg * (float(np.log(v / 600)) + 0.2 * float(rng.normal())) for v in lengths}
    image_turn = {v: i.rotation_deg * (2 * float(np.log(v / 2500)) + 0.2 * float(rng.normal())) for v in scales}
    m = i.misalignment
    return InstrumentTruth(
        axis_deg=141.0 + i.rotation_deg * float(rng.normal()),
        length_factor=lengths,
        length_turn=turn,
        scale_factor=scales,
        image_turn=image_turn,
        pattern_offset=m * 0.3 * rng.normal(size=2),
        focus=30000.0 + m * 300 * float(rng.normal()),
        crossover=28000.0 + m * 400 * float(rng.normal()),
        brightness_walk=m * 6e-5 * rng.normal(size=2),
        beam_offset=m * 0.3 * rng.normal(size=2),
        defocus_turn_deg=18.0 + i.rotation_deg * float(rng.normal()),
        deflectors={name: _deflector(name, settings, rng) for name in _NOMINAL},
        stage=_stage(settings, rng),
    )


def _deflector(name: str, settings: SimulatorSettings, rng: np.random.Generator) -> DeflectorTruth:
    i = settings.imperfections
    made = [_matrix(size, turn, i, rng) for size, turn in zip(_NOMINAL[name], _TURN[name])]
    if name == "beamshift":
        made[1] = made[1] * min(i.misalignment, 1.0)  # pivot points: none in a perfect instrument
    if name == "beamtilt":
        made[0] = made[0] * min(i.misalignment, 1.0)
    return DeflectorTruth(*made, excess=i.nonlinearity * float(rng.uniform(-1, 1)))


def _matrix(size: float, turn_deg: float, i, rng: np.random.Generator) -> np.ndarray:
    """Scale times rotation, with both a little wrong and the two coils not quite equal and square."""
    a = np.radians(turn_deg + i.rotation_deg * rng.normal())
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return size * (1 + 2 * i.calibration * rng.normal()) * turn @ (np.eye(2) + i.calibration * rng.normal(size=(2, 2)))


def _stage(settings: SimulatorSettings, rng: np.random.Generator) -> StageTruth:
    i = settings.imperfections
    swing = i.swing_um * rng.normal(size=(2, 2, 3)) * np.array([1.0, 0.4, 0.4])
    return StageTruth(
        height=i.height_um * rng.normal(size=6) * np.array([1.0, 1.2, 1.2, 0.6, 0.6, 0.6]),
        swing=swing * np.array([0.5, 1.0])[:, None, None],
        axis_out_deg=0.15 * min(i.misalignment, 1.0) * float(rng.normal()),
        tilt_scale=1 + i.tilt_scale * float(rng.normal()),
        readout_phase=float(rng.uniform(0, 2 * np.pi)),
        drift=1e-3 * i.drift_nm_s * rng.normal(size=2),
        seed=settings.seed,
    )
