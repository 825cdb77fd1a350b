"""Where spots lie in the crystal's reciprocal space, turned back to φ = 0 and freed of each frame's misset."""

from __future__ import annotations

import numpy as np

from credo.kernels.rotation import rotation_matrix
from credo.model import Experiment, Reflections

__all__ = ["fractional_indices", "misset_at", "spot_vectors"]


def spot_vectors(experiment: Experiment, spots: Reflections) -> np.ndarray:
    """q (n, 3) [Å⁻¹] of measured spots (x, y, phi, frame) in the frame of φ = 0: R(m, φ)ᵀ Mᵀ q_lab."""
    scan, frame = experiment.scan, spots["frame"]
    q = experiment.detector.q_lab(spots.xy, experiment.beam.wavelength, scan.shift_at(frame))
    q = q - np.cross(misset_at(experiment, frame), q)
    turn = rotation_matrix(experiment.goniometer.axis, np.radians(spots["phi"]))
    return np.einsum("nji,nj->ni", turn, q)


def misset_at(experiment: Experiment, frame: np.ndarray) -> np.ndarray:
    """The small rotation vectors (n, 3) [rad] of frames given by fractional list index (n,); nought where unknown."""
    misset = experiment.scan.misset_deg
    if misset is None or not len(misset):
        return np.zeros((len(frame), 3))
    return np.radians(misset)[np.clip(frame.astype(int), 0, len(misset) - 1)]


def fractional_indices(ub: np.ndarray, q: np.ndarray) -> np.ndarray:
    """h (n, 3), not rounded, of vectors q (n, 3) [Å⁻¹] at φ = 0."""
    return q @ np.linalg.inv(ub).T
