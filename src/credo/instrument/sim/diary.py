"""What was true during an exposure, and the true experiment of a series: for comparisons, never for processing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from credo.instrument.sim.diffraction import Spots
from credo.instrument.sim.goniometer import Pose
from credo.instrument.sim.optics import Illumination, PatternGeometry
from credo.model import Beam, Crystal, Detector, Ellipse, Experiment, Goniometer, Scan, Structure

__all__ = ["Exposure", "true_experiment"]


@dataclass(frozen=True)
class Exposure:
    """One exposure, by the instrument's clock [s]: mode, the specimen at its ends, the beam, the pattern's geometry and
    centre (2,) [px] (both None for images), what each lattice contributed, the lit share of each crystal by id."""

    began: float
    ended: float
    mode: str
    first: Pose
    last: Pose
    beam: Illumination
    geometry: PatternGeometry | None
    centre: np.ndarray | None
    spots: list[Spots]
    share: dict[int, float]


def true_experiment(
    exposures: Sequence[Exposure], structure: Structure, orientation: np.ndarray, axis: np.ndarray, size: int,
    pixel_um: float, wavelength: float,
) -> Experiment:  # fmt: skip
    """The experiment as it was: true angles, centres and orientation of one crystal over a series of patterns.

    ``orientation`` U (3, 3) in column axes; ``axis`` (3,) the stage's rotation axis there.
    """
    g = exposures[0].geometry
    if g is None:
        raise ValueError("true_experiment: these exposures are images, not patterns")
    turn = np.eye(3)
    turn[:2, :2] = g.turn
    q_per_pixel = 1e-3 * pixel_um / (g.length_mm * wavelength)
    centres = np.array([e.centre for e in exposures])
    origin = centres.mean(axis=0)
    ellipse = Ellipse(g.ellipse_percent, g.ellipse_azimuth_deg % 180)
    detector = Detector(
        (size, size), q_per_pixel, (float(origin[0]), float(origin[1])), 1e-3 * pixel_um, ellipse=ellipse
    )
    start = np.array([e.first.alpha for e in exposures])
    width = np.array([e.last.alpha for e in exposures]) - start
    scan = Scan(np.arange(1, len(start) + 1), start, width, beam_shift=centres - origin)
    centring = structure.space_group[0] if structure.space_group[0] in "PABCIFR" else "P"
    crystal = Crystal(structure.cell, turn @ orientation, centring, space_group=structure.space_group)
    return Experiment(
        Beam(wavelength), detector, Goniometer(turn @ axis), scan, (crystal,), source="simulated", kind="truth"
    )
