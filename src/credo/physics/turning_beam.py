"""The simulator's own geometry: a beam that turns about a resting crystal. It shares no formula with the estimators'.

What ``ewald`` and ``Detector`` solve in closed form is found here by other ways: quaternions, sign changes on a grid of
angles, spherical angles on the detector, differences for derivatives. An error in either shows as a disagreement.
"""

from __future__ import annotations

import gemmi
import numpy as np
from scipy.spatial.transform import Rotation

from credo.model import Crystal, Experiment, Reflections

__all__ = ["crossings", "excitation_errors", "nodes", "on_detector", "vectors"]


def nodes(crystal: Crystal, d_min: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices (n, 3) and reciprocal vectors (n, 3) [Å⁻¹] at φ = 0 of all nodes to ``d_min`` [Å] that are not absent."""
    cell = gemmi.UnitCell(*crystal.cell.parameters)
    hkl = np.array(gemmi.make_miller_array(cell, gemmi.SpaceGroup(crystal.space_group or "P 1"), d_min, unique=False))
    return hkl, vectors(crystal, hkl)


def vectors(crystal: Crystal, hkl: np.ndarray) -> np.ndarray:
    """Reciprocal vectors (n, 3) [Å⁻¹] of indices (n, 3) at φ = 0, with gemmi's reciprocal basis."""
    star = np.array(gemmi.UnitCell(*crystal.cell.parameters).frac.mat.tolist())
    return Rotation.from_matrix(crystal.orientation).apply(np.asarray(hkl) @ star)


def excitation_errors(
    experiment: Experiment, q0: np.ndarray, phi_deg: np.ndarray | float, misset_deg: np.ndarray | None = None
) -> np.ndarray:
    """|s0 + M R q0| − 1/λ (n,) [Å⁻¹]: the length of the diffracted wave vector of a node less the sphere's radius."""
    turned = _turn(experiment, phi_deg).apply(q0)
    if misset_deg is not None:
        turned = Rotation.from_rotvec(misset_deg, degrees=True).apply(turned)
    k = 1 / experiment.beam.wavelength
    return np.linalg.norm(turned + [0, 0, k], axis=-1) - k


def crossings(
    experiment: Experiment, crystal: Crystal, d_min: float, margin_deg: float = 0.0, step_deg: float = 0.2
) -> Reflections:
    """Every node's passages through the Ewald sphere within a regular scan (± margin), on the detector.

    Columns h k l x y phi frame d lorentz. In the crystal's frame the beam s(φ) = R(m, −φ) s0 turns, and a node lies on
    the sphere where q² + 2 q·s(φ) changes its sign: bracketed every ``step_deg``, then halved. A node that only grazes
    the sphere, in and out within a step, is left out. Lorentz factor: 1/|dε/dφ| [Å·rad] by difference.
    """
    scan = experiment.scan
    ends = np.concatenate([scan.start_deg, scan.end_deg])
    low, high = float(ends.min()) - margin_deg, float(ends.max()) + margin_deg
    grid = np.linspace(low, high, max(int(np.ceil((high - low) / step_deg)), 1) + 1)
    hkl, q0 = nodes(crystal, d_min)
    rows, left = [], []
    for block in np.array_split(np.arange(len(q0)), len(q0) // 20_000 + 1):
        inside = _depth(experiment, q0[block], grid) < 0
        i, j = np.nonzero(inside[:, 1:] != inside[:, :-1])
        rows.append(block[i])
        left.append(grid[j])
    row, a = np.concatenate(rows), np.concatenate(left)
    phi = _halved(experiment, q0[row], a, a + (grid[1] - grid[0]))
    h = 1e-4
    slope = excitation_errors(experiment, q0[row], phi + h) - excitation_errors(experiment, q0[row], phi - h)
    frame = np.clip((phi - scan.start_deg[0]) / scan.width_deg[0], 0, len(scan))
    xy = on_detector(experiment, _turn(experiment, phi).apply(q0[row])) + scan.shift_at(frame)
    ny, nx = experiment.detector.shape
    on = np.flatnonzero(np.all((xy >= 0) & (xy < [nx, ny]), axis=1))
    on = on[np.argsort(phi[on], kind="stable")]
    with np.errstate(divide="ignore"):
        lorentz = np.radians(2 * h) / np.abs(slope)
    return Reflections(
        h=hkl[row[on], 0], k=hkl[row[on], 1], l=hkl[row[on], 2], x=xy[on, 0], y=xy[on, 1], phi=phi[on],
        frame=frame[on], d=1 / np.linalg.norm(q0[row[on]], axis=1), lorentz=lorentz[on],
    )  # fmt: skip


def on_detector(experiment: Experiment, q_lab: np.ndarray) -> np.ndarray:
    """Where the waves s0 + q (n, 3) [Å⁻¹] meet the detector (n, 2) [px], by their angles 2θ and azimuth.

    The lens stretches along the ellipse's azimuth by 1 + ε and across by 1 − ε, (1 + ε)/(1 − ε) being the axis ratio.
    """
    det, wavelength = experiment.detector, experiment.beam.wavelength
    x, y, z = (q_lab + [0, 0, 1 / wavelength]).T
    two_theta, azimuth = np.arctan2(np.hypot(x, y), z), np.arctan2(y, x)
    radius = np.tan(two_theta) / (wavelength * det.q_per_pixel)
    ratio, long_axis = 1 + det.ellipse.amplitude_percent / 100, np.radians(det.ellipse.azimuth_deg)
    along = radius * np.cos(azimuth - long_axis) * 2 * ratio / (ratio + 1)
    across = radius * np.sin(azimuth - long_axis) * 2 / (ratio + 1)
    seen = (along + 1j * across) * np.exp(1j * long_axis)
    return np.stack([seen.real, seen.imag], axis=1) + det.origin


def _turn(experiment: Experiment, phi_deg: np.ndarray | float) -> Rotation:
    axis = np.asarray(experiment.goniometer.axis)
    return Rotation.from_rotvec(np.multiply.outer(phi_deg, axis), degrees=True)


def _depth(experiment: Experiment, q0: np.ndarray, phi_deg: np.ndarray) -> np.ndarray:
    """q² + 2 q·s(φ) (nodes, angles): negative inside the sphere."""
    beam = _turn(experiment, phi_deg).inv().apply([0, 0, 1 / experiment.beam.wavelength])
    return np.sum(q0**2, axis=1)[:, None] + 2 * q0 @ beam.T


def _halved(experiment: Experiment, q0: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The angle between ``low`` and ``high`` (n,) [deg] at which each node lies on the sphere, by halving."""
    k = 1 / experiment.beam.wavelength

    def inside(phi: np.ndarray) -> np.ndarray:
        beam = _turn(experiment, phi).inv().apply([0, 0, k])
        return np.sum(q0 * (q0 + 2 * beam), axis=1) < 0

    first = inside(low)
    for _ in range(40):
        mid = 0.5 * (low + high)
        same = inside(mid) == first
        low, high = np.where(same, mid, low), np.where(same, high, mid)
    return 0.5 * (low + high)
