"""Positions and excitation errors of indexed spots, with their derivatives: the model of geometry refinement.

A spot is predicted at the angle φ where it was *observed*: q = R(m, φ) U B h gives its position through the detector
and its distance ε from the Ewald sphere, which is zero when the geometry is right. Nothing is divided by the speed
of crossing, so reflections near the rotation axis keep their due (small) weight.
"""

from __future__ import annotations

import numpy as np

__all__ = ["axis_tangents", "rotate_about", "rotation_derivative", "spot_jacobian", "spot_positions"]


def axis_tangents(axis: np.ndarray) -> np.ndarray:
    """Two unit vectors (2, 3) normal to the axis m: in the image plane, and out of it (towards +z for m in plane)."""
    m = np.asarray(axis, dtype=float)
    t1 = np.array([-m[1], m[0], 0.0])
    norm = np.linalg.norm(t1)
    t1 = t1 / norm if norm > 1e-6 else np.array([1.0, 0.0, 0.0])
    return np.stack([t1, np.cross(m, t1)])


def rotate_about(axis: np.ndarray, phi: np.ndarray, v: np.ndarray) -> np.ndarray:
    """R(m, φ_i) v_i: axis (3,), phi (n,) [rad], v (n, 3) or (3,). Returns (n, 3)."""
    c, s = np.cos(phi)[:, None], np.sin(phi)[:, None]
    par = np.atleast_2d(v @ axis).reshape(-1, 1)
    return c * v + s * np.cross(axis, v) + (1 - c) * par * axis


def rotation_derivative(axis: np.ndarray, phi: np.ndarray, v: np.ndarray, dm: np.ndarray) -> np.ndarray:
    """Change of R(m, φ_i) v_i per unit change of m along ``dm`` (3,): sin φ δm×v + (1−cos φ)[δm (m·v) + m (δm·v)]."""
    c, s = np.cos(phi)[:, None], np.sin(phi)[:, None]
    return s * np.cross(dm, v) + (1 - c) * ((v @ axis)[:, None] * dm + (v @ dm)[:, None] * axis)


def spot_positions(
    q: np.ndarray,
    wavelength: float,
    q_per_pixel: float,
    ellipse: np.ndarray,
    centre: np.ndarray,
    barrel: float = 0.0,
    coma: np.ndarray | tuple[float, float] = (0.0, 0.0),
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n, 2) [px] and excitation errors (n,) [Å⁻¹] of q (n, 3) [Å⁻¹].

    ellipse: (2,) the components ε cos 2θ, ε sin 2θ; centre: (n, 2) the direct beam [px] at each spot; barrel [Å²];
    coma (2,) [Å]. See ``Detector``.
    """
    inv = 1.0 / wavelength
    d = q[:, :2] * (inv / (inv + q[:, 2]))[:, None]
    k, r2 = np.asarray(coma, dtype=float), np.einsum("ij,ij->i", d, d)
    d = (d * (1 + barrel * r2 + 2 * (d @ k))[:, None] + r2[:, None] * k) / q_per_pixel
    e1, e2 = ellipse
    xy = np.stack([(1 + e1) * d[:, 0] + e2 * d[:, 1], e2 * d[:, 0] + (1 - e1) * d[:, 1]], axis=1) + centre
    num = np.einsum("ij,ij->i", q, q) + 2 * inv * q[:, 2]
    return xy, num / (np.sqrt(num + inv**2) + inv)


def spot_jacobian(
    q: np.ndarray,
    dq: np.ndarray,
    wavelength: float,
    q_per_pixel: float,
    ellipse: np.ndarray,
    barrel: float = 0.0,
    coma: np.ndarray | tuple[float, float] = (0.0, 0.0),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Derivatives of x, y [px] and ε [Å⁻¹], each (n, p + 6), for p parameters that move q by ``dq`` (p, n, 3).

    The last six columns are the two ellipse components, ln(q per pixel), the barrel and the coma (2), which do not
    move q. With d in Å⁻¹ and u = d (1 + b r² + 2 k·d) + k r² the position is E u / (q per pixel).
    """
    inv = 1.0 / wavelength
    n, p = q.shape[0], dq.shape[0]
    k = np.asarray(coma, dtype=float)
    scale = inv / (inv + q[:, 2])
    d = q[:, :2] * scale[:, None]
    # dd = scale dq_xy − d dq_z / (1/λ + q_z)
    dd = dq[:, :, :2] * scale[None, :, None] - d[None] * (dq[:, :, 2] / (inv + q[:, 2]))[:, :, None]
    r2, along = np.einsum("ij,ij->i", d, d), np.einsum("ij,pij->pi", d, dd)
    stretch = 1 + barrel * r2 + 2 * (d @ k)
    moved = dd * stretch[None, :, None] + (2 * barrel * along + 2 * (dd @ k))[:, :, None] * d[None]
    moved += 2 * along[:, :, None] * k
    u = d * stretch[:, None] + r2[:, None] * k
    own = [u * [1, -1], u[:, ::-1], d * r2[:, None]]
    own += [r2[:, None] * e + 2 * d[:, [i]] * d for i, e in enumerate(np.eye(2))]
    e1, e2 = ellipse
    lens = np.array([[1 + e1, e2], [e2, 1 - e1]]) / q_per_pixel
    jac = np.zeros((2, n, p + 6))
    jac[:, :, :p] = np.transpose(moved @ lens.T, (2, 1, 0))
    jac[:, :, p : p + 2] = np.stack([own[0].T, own[1].T], axis=-1) / q_per_pixel
    jac[:, :, p + 2] = -(u @ lens.T).T
    for i, column in enumerate(own[2:]):
        jac[:, :, p + 3 + i] = (column @ lens.T).T
    je = np.zeros((n, p + 6))
    s1 = q + np.array([0.0, 0.0, inv])
    s1 /= np.linalg.norm(s1, axis=1)[:, None]
    je[:, :p] = np.einsum("pni,ni->np", dq, s1)
    return jac[0], jac[1], je
