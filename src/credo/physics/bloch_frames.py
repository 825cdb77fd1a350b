"""Intensities of single frames that integrate over a small rotation: dynamical, and the kinematical curve beside them.

rows = potential.rows(hkl)
i = frame_intensities(potential, pose, rows, thickness, mix)        # Bloch waves
p, share = frame_curves(potential, pose, rows, thickness, mix)      # kinematical: |U|² p
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.kernels.rotation import rotation_from_vector, rotation_matrix
from credo.physics.bloch_rotation import sum_orientations
from credo.physics.bloch_waves import Potential
from credo.physics.ewald import crossing_speed

__all__ = ["Pose", "frame_curves", "frame_intensities"]


@dataclass(frozen=True)
class Pose:
    """How the crystal lies in a frame: ``ub`` (3, 3) in its middle, the rotation's ``axis`` (3,), and the angle
    ``width_deg`` over which it turns."""

    ub: np.ndarray
    axis: np.ndarray
    width_deg: float

    def tilted(self, tilt_deg: np.ndarray) -> Pose:
        """The crystal turned by a small ``tilt_deg`` (2,) about the laboratory's x and y."""
        turn = rotation_from_vector(np.radians([tilt_deg[0], tilt_deg[1], 0.0]))
        return Pose(turn @ self.ub, self.axis, self.width_deg)

    def orientations(self, step_deg: float) -> tuple[np.ndarray, float]:
        """UB (n, 3, 3) in the middles of n equal steps, at most ``step_deg`` wide, and their width [rad]."""
        n = max(1, int(np.ceil(self.width_deg / step_deg)))
        phi = np.radians(((np.arange(n) + 0.5) / n - 0.5) * self.width_deg)
        return rotation_matrix(self.axis, phi) @ self.ub, float(np.radians(self.width_deg / n))


def frame_intensities(
    potential: Potential, pose: Pose, rows: np.ndarray, thickness: np.ndarray, mix: np.ndarray,
    s_max: float = 0.01, step_deg: float = 0.04,
) -> np.ndarray:  # fmt: skip
    """∫|ψ|² dφ [rad] (n_mix, n) of the beams in ``rows`` (n,) of ``potential.beams``, for every mixture of
    thicknesses (see :func:`~credo.physics.bloch_rotation.thickness_shares`)."""
    ub, width = pose.orientations(step_deg)
    return sum_orientations(potential, ub, np.full(len(ub), width), thickness, mix, s_max)[:, rows]


def frame_curves(
    potential: Potential, pose: Pose, rows: np.ndarray, thickness: np.ndarray, mix: np.ndarray,
    s_max: float = 0.01, step_deg: float = 0.04,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(p (n_mix, n), share (n_mix, n)): p = ∫ (π t/K)² sinc²(ts) dφ over the frame, so that |U|² p is the kinematical
    intensity; ``share`` of the curve of a whole crossing that the frame holds."""
    ub, width = pose.orientations(step_deg)
    k = potential.wavenumber
    q = np.einsum("oij,nj->oni", ub, potential.beams[rows].astype(float))
    s = -(np.einsum("oni,oni->on", q, q) + 2 * k * q[..., 2]) / (2 * k)
    t = np.asarray(thickness, dtype=float)[:, None, None]
    curve = np.where(np.abs(s) <= s_max, (np.pi * t / k * np.sinc(t * s)) ** 2, 0.0).sum(axis=1) * width
    middle = np.einsum("ij,nj->ni", pose.ub, potential.beams[rows].astype(float))
    whole = (np.pi / k) ** 2 * t[:, 0] / np.maximum(np.abs(crossing_speed(middle, pose.axis)), 1e-6)
    return mix @ curve, (mix @ curve) / (mix @ whole)
