"""Spots as reciprocal points: measured positions turned back to φ = 0, each with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.kernels.rotation import rotation_matrix
from credo.model import Experiment, Reflections

__all__ = ["Points", "reciprocal_points", "strongest"]


@dataclass(frozen=True)
class Points:
    """``q`` (n, 3) [Å⁻¹] at φ = 0; ``lab`` (n, 3) as seen; ``phi`` (n,) [rad], increasing; ``rotation`` (n, 3, 3);
    ``sigma`` (n,) [Å⁻¹], isotropic; ``row`` (n,): which spot."""

    q: np.ndarray
    lab: np.ndarray
    phi: np.ndarray
    rotation: np.ndarray
    sigma: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.q)


def strongest(spots: Reflections, most: int, experiment: Experiment, q_min: float = 0.0) -> np.ndarray:
    """Rows of the ``most`` strongest spots, outside ``q_min`` [Å⁻¹], shared fairly over the rotation."""
    lab = experiment.detector.q_lab(spots.xy, experiment.beam.wavelength, experiment.scan.shift_at(spots["frame"]))
    usable = np.flatnonzero(np.linalg.norm(lab, axis=1) > q_min)
    if len(usable) <= most:
        return usable
    # one frame with a zone axis would fill the list: rank within each twentieth of the scan
    part = np.minimum((spots["frame"][usable] / max(len(experiment.scan), 1) * 20).astype(int), 19)
    strength = spots["intensity"][usable] / np.sqrt(np.maximum(spots["intensity"][usable], 1))
    rank = np.empty(len(usable))
    for p in range(20):
        here = np.flatnonzero(part == p)
        rank[here[np.argsort(-strength[here], kind="stable")]] = np.arange(len(here))
    return usable[np.argsort(rank, kind="stable")[:most]]


def reciprocal_points(
    experiment: Experiment, spots: Reflections, rows: np.ndarray, axis: np.ndarray, sigma_px: float = 1.0
) -> Points:
    """Points of the given spots for a rotation ``axis`` (3,).

    σ² = (σ_px q/px)² + (|(m × q)| σ_φ)², where σ_φ is the spot's own or a third of the frame's width.
    """
    phi_deg = spots["phi"][rows]
    order = np.argsort(phi_deg, kind="stable")
    rows, phi = rows[order], np.radians(phi_deg[order])
    shift = experiment.scan.shift_at(spots["frame"][rows])
    lab = experiment.detector.q_lab(spots.xy[rows], experiment.beam.wavelength, shift)
    rotation = rotation_matrix(axis, phi)
    q = np.einsum("nji,nj->ni", rotation, lab)
    width = np.radians(float(np.median(np.abs(experiment.scan.width_deg))))
    var_phi = np.radians(np.sqrt(spots["var_phi"][rows])) ** 2 if "var_phi" in spots else 0.0
    sigma_phi2 = np.maximum(var_phi, (width / 3) ** 2) + np.radians(0.05) ** 2
    across = np.sum(np.cross(axis, lab) ** 2, axis=1)
    sigma = np.sqrt((sigma_px * experiment.detector.q_per_pixel) ** 2 + across * sigma_phi2)
    return Points(np.ascontiguousarray(q), lab, phi, rotation, sigma, rows)
