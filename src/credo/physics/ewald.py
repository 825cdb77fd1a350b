"""Ewald geometry of a rotation series: where and when each reflection diffracts, and how fast it crosses."""

from __future__ import annotations

import numpy as np

from credo.kernels.rotation import rotation_matrix
from credo.model import Crystal, Experiment, Reflections

__all__ = [
    "allowed_by_centring",
    "crossing_angles",
    "crossing_speed",
    "excitation",
    "frame_of_angle",
    "lorentz",
    "miller_indices",
    "predict",
    "scattering_vectors",
]


def miller_indices(b: np.ndarray, d_min: float, centring: str = "P") -> np.ndarray:
    """All indices (n, 3) int with d ≥ ``d_min`` [Å], both Friedel mates, without 000 and lattice absences.

    b: B or UB (3, 3) [Å⁻¹].
    """
    direct = np.linalg.inv(b)
    limit = np.floor(np.linalg.norm(direct, axis=1) / d_min).astype(int)
    h = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in limit), indexing="ij"), axis=-1).reshape(-1, 3)
    q2 = np.einsum("ij,ij->i", h @ b.T, h @ b.T)
    h = h[(q2 <= 1 / d_min**2) & (q2 > 0)]
    return h[allowed_by_centring(h, centring)]


def allowed_by_centring(h: np.ndarray, centring: str) -> np.ndarray:
    """Mask (n,) of indices that the lattice centring allows; R is the obverse hexagonal setting."""
    a, b, c = h[:, 0], h[:, 1], h[:, 2]
    match centring:
        case "P":
            return np.ones(len(h), dtype=bool)
        case "A":
            return (b + c) % 2 == 0
        case "B":
            return (a + c) % 2 == 0
        case "C":
            return (a + b) % 2 == 0
        case "I":
            return (a + b + c) % 2 == 0
        case "F":
            return ((a + b) % 2 == 0) & ((b + c) % 2 == 0)
        case "R":
            return (-a + b + c) % 3 == 0
    raise ValueError(f"centring {centring!r} is none of P A B C I F R")


def crossing_angles(q0: np.ndarray, axis: np.ndarray, wavelength: float) -> tuple[np.ndarray, np.ndarray]:
    """The two angles φ [rad] (n,), (n,) at which |R(m, φ) q0 + s0| = 1/λ; NaN where there is none.

    With q∥ = q0·m, the condition 2 s0·R q0 + q² = 0 reads A cos φ + B sin φ = C, where A = s0·q⊥,
    B = s0·(m × q0) and C = −q²/2 − (s0·m) q∥.
    """
    m = np.asarray(axis)
    s0 = np.array([0.0, 0.0, 1.0 / wavelength])
    par = q0 @ m
    a = (q0 - par[:, None] * m) @ s0
    b = np.cross(m, q0) @ s0
    c = -0.5 * np.einsum("ij,ij->i", q0, q0) - (s0 @ m) * par
    with np.errstate(invalid="ignore", divide="ignore"):
        half = np.arccos(c / np.hypot(a, b))
    mid = np.arctan2(b, a)
    return mid - half, mid + half


def scattering_vectors(ub: np.ndarray, hkl: np.ndarray, axis: np.ndarray, phi_deg: np.ndarray) -> np.ndarray:
    """q = R(m, φ) U B h in the laboratory frame, (n, 3) [Å⁻¹]."""
    r = rotation_matrix(axis, np.radians(phi_deg))
    return np.einsum("...ij,...j->...i", r, np.asarray(hkl) @ np.asarray(ub).T)


def excitation(q_lab: np.ndarray, wavelength: float) -> np.ndarray:
    """Distance of q from the Ewald sphere (n,) [Å⁻¹], |s0 + q| − 1/λ: negative inside."""
    inv = 1.0 / wavelength
    # (|s|² − 1/λ²) / (|s| + 1/λ) keeps the digits that the direct difference loses
    num = np.einsum("...i,...i", q_lab, q_lab) + 2 * inv * q_lab[..., 2]
    return num / (np.sqrt(num + inv**2) + inv)


def crossing_speed(q_lab: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """dε/dφ (n,) [Å⁻¹/rad] at the crossing: s1·(m × q)/|s1| = λ s0·(m × q), that is (m × q)_z."""
    m = np.asarray(axis)
    return np.cross(m, q_lab)[..., 2]


def lorentz(q_lab: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Lorentz factor of a rotation (n,) [Å·rad]: the inverse of the speed of crossing."""
    with np.errstate(divide="ignore"):
        return 1.0 / np.abs(crossing_speed(q_lab, axis))


def predict(experiment: Experiment, crystal: Crystal, d_min: float, margin_deg: float = 0.0) -> Reflections:
    """Every crossing of the Ewald sphere within the scan (± margin), on the detector.

    Columns h k l x y phi frame d lorentz. Crossings inside gaps are kept (their tails may be recorded); `frame` is
    then the border of the gap. Frame missets are not applied: see ``reduce``.
    """
    beam, det, scan = experiment.beam, experiment.detector, experiment.scan
    axis = experiment.goniometer.axis
    h = miller_indices(crystal.UB, d_min, crystal.centring)
    q0 = h @ crystal.UB.T
    ends = np.concatenate([scan.start_deg, scan.end_deg])
    low, high = ends.min() - margin_deg, ends.max() + margin_deg
    rows, angles = [np.empty(0, dtype=int)], [np.empty(0)]
    for phi in crossing_angles(q0, axis, beam.wavelength):
        deg = low + (np.degrees(phi) - low) % 360.0
        while np.any(deg <= high):
            ok = deg <= high
            rows.append(np.flatnonzero(ok))
            angles.append(deg[ok])
            deg = deg + 360.0
    row, phi = np.concatenate(rows), np.concatenate(angles)
    q = scattering_vectors(crystal.UB, h[row], axis, phi)
    frame = frame_of_angle(scan, phi)
    xy = det.pixels(q, beam.wavelength, scan.shift_at(frame))
    ny, nx = det.shape
    on = (xy[:, 0] >= 0) & (xy[:, 0] < nx) & (xy[:, 1] >= 0) & (xy[:, 1] < ny)
    row, phi, q, frame, xy = row[on], phi[on], q[on], frame[on], xy[on]
    order = np.argsort(phi, kind="stable")
    row, phi, q, frame, xy = row[order], phi[order], q[order], frame[order], xy[order]
    return Reflections(
        h=h[row, 0], k=h[row, 1], l=h[row, 2], x=xy[:, 0], y=xy[:, 1], phi=phi, frame=frame,
        d=1 / np.linalg.norm(q, axis=1), lorentz=lorentz(q, axis),
    )  # fmt: skip


def frame_of_angle(scan, phi_deg: np.ndarray) -> np.ndarray:
    """List index (fractional) of rotation angles; angles in a gap map to the gap's border, outside to 0 or n."""
    sign = 1.0 if scan.width_deg[0] >= 0 else -1.0
    start, end = sign * scan.start_deg, sign * scan.end_deg
    phi = sign * np.asarray(phi_deg, dtype=float)
    i = np.clip(np.searchsorted(start, phi, side="right") - 1, 0, len(scan) - 1)
    return i + np.clip((phi - start[i]) / (end[i] - start[i]), 0.0, 1.0)
