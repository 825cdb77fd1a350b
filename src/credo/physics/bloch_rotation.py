"""Dynamical intensities integrated over a rotation: what a rotation series of one crystal records.

rocked = integrated_intensities(potential, ub, axis, (-60, 60), thickness=np.array([300.0, 600.0]))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from credo.kernels.bloch import rotation_sums
from credo.kernels.rotation import rotation_matrix
from credo.physics.bloch_waves import Potential
from credo.physics.ewald import crossing_angles, crossing_speed, scattering_vectors

__all__ = ["Rocked", "fine_step_deg", "integrated_intensities", "sum_orientations", "thickness_shares"]


@dataclass(frozen=True)
class Rocked:
    """``hkl`` (n, 3) of reflections that crossed the Ewald sphere whole; ``intensity`` (n_t, n) [Å⁻⁴]: the integral
    over the rotation by the one of the kinematical rocking curve of |U|² = 1, so that thin crystals give |U_g|²."""

    hkl: np.ndarray
    intensity: np.ndarray


def thickness_shares(mean: np.ndarray, spread: float, nodes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """(t (m,) [Å], mix (n, m)): crystals of ``mean`` thickness (n,) [Å] whose thickness varies normally by the relative
    rms ``spread``, each as ``nodes`` equally likely thicknesses; spread 0: the thickness itself."""
    mean = np.atleast_1d(np.asarray(mean, dtype=float))
    if spread <= 0:
        return mean, np.eye(len(mean))
    offsets = ndtri((np.arange(nodes) + 0.5) / nodes)
    t = np.maximum(np.outer(mean, 1 + spread * offsets), 1.0)
    return t.ravel(), np.kron(np.eye(len(mean)), np.full(nodes, 1 / nodes))


def fine_step_deg(thickness: float, d_min: float) -> float:
    """The largest step [deg] that loses nothing of a rocking curve to ``d_min`` [Å]: sinc²(ts) has no frequency above
    t [Å], so that sums over steps Δs ≤ 1/t are its integral (Shannon); Δs ≤ Δφ/d_min."""
    return float(np.degrees(d_min / thickness))


def sum_orientations(
    potential: Potential, ub: np.ndarray, weight: np.ndarray, thickness: np.ndarray, mix: np.ndarray,
    s_max: float = 0.01, error: float = 1e-3,
) -> np.ndarray:  # fmt: skip
    """Σ_o w_o Σ_i mix[j, i] |ψ_g(t_i)|² (n_mix, n) of ``potential.beams``, for UB (n_o, 3, 3) as the crystal lies."""
    return rotation_sums(
        potential.beams, np.ascontiguousarray(ub, dtype=float), np.asarray(weight, dtype=float), potential.wavenumber,
        s_max, potential.re, potential.im, np.asarray(thickness, dtype=float),
        np.ascontiguousarray(mix, dtype=float), error,
    )  # fmt: skip


def integrated_intensities(
    potential: Potential, ub: np.ndarray, axis: np.ndarray, range_deg: tuple[float, float], thickness: np.ndarray,
    spread: float = 0.0, s_max: float = 0.01, step_deg: float | None = None, slowest: float = 0.1,
) -> Rocked:  # fmt: skip
    """A whole rotation about ``axis`` (3,) of a crystal with UB (3, 3) at φ = 0, for each mean thickness (n_t,) [Å].

    Left out: reflections that cross within 1° of an end of the range, and those slower than ``slowest`` |q| (close to
    the axis), whose curves are cut. ``step_deg``: see :func:`fine_step_deg`.
    """
    t, mix = thickness_shares(thickness, spread)
    step = step_deg or fine_step_deg(float(t.max()), potential.d_min)
    n = int(np.ceil((range_deg[1] - range_deg[0]) / step))
    phi = np.radians(range_deg[0] + (np.arange(n) + 0.5) * (range_deg[1] - range_deg[0]) / n)
    turned = rotation_matrix(axis, phi) @ ub
    width = float(phi[1] - phi[0]) if n > 1 else float(np.radians(step))
    sums = sum_orientations(potential, turned, np.full(n, width), t, mix, s_max)[:, 1:]
    lorentz = _whole_crossings(potential, ub, axis, range_deg, slowest)
    whole = lorentz > 0
    curve = (np.pi / potential.wavenumber) ** 2 * np.outer(mix @ t, lorentz[whole])
    return Rocked(potential.beams[1:][whole], sums[:, whole] / curve)


def _whole_crossings(
    potential: Potential, ub: np.ndarray, axis: np.ndarray, range_deg: tuple[float, float], slowest: float
) -> np.ndarray:
    """Σ 1/|ds/dφ| (n,) [Å rad] over the crossings of each beam but 000; nought for those that are cut."""
    hkl = potential.beams[1:]
    q0 = hkl @ np.asarray(ub).T
    total, cut = np.zeros(len(hkl)), np.zeros(len(hkl), dtype=bool)
    low, high = np.radians(range_deg)
    edge = np.radians(1.0)
    for phi in crossing_angles(q0, axis, 1 / potential.wavenumber):
        phi = low - edge + (phi - low + edge) % (2 * np.pi)
        inside = (phi >= low - edge) & (phi <= high + edge)
        q = scattering_vectors(ub, hkl, axis, np.degrees(np.where(inside, phi, 0.0)))
        speed = np.abs(crossing_speed(q, axis))
        cut |= inside & ((phi < low + edge) | (phi > high - edge) | (speed < slowest * np.linalg.norm(q, axis=1)))
        total[inside] += 1 / np.maximum(speed[inside], 1e-9)
    return np.where(cut, 0.0, total)
