"""Rotations: axis-angle and rotation vectors to matrices and back (right-handed, active)."""

from __future__ import annotations

from math import cos, sin

import numpy as np
from numba import njit

__all__ = [
    "angle_between_deg",
    "misorientation_deg",
    "rotation_from_vector",
    "rotation_matrix",
    "rotation_vector",
    "tilted",
]


def rotation_matrix(axis: np.ndarray, phi: np.ndarray | float) -> np.ndarray:
    """Rodrigues' formula: R(m, φ) = cos φ I + sin φ [m]ₓ + (1 − cos φ) m mᵀ.

    axis: (3,) unit vector m. phi: scalar or (n,) [rad]. Returns (3, 3) or (n, 3, 3).
    """
    m = np.asarray(axis, dtype=float)
    phi = np.asarray(phi, dtype=float)
    k = np.array([[0, -m[2], m[1]], [m[2], 0, -m[0]], [-m[1], m[0], 0]])
    c, s = np.cos(phi)[..., None, None], np.sin(phi)[..., None, None]
    return c * np.eye(3) + s * k + (1 - c) * np.outer(m, m)


def rotation_from_vector(v: np.ndarray) -> np.ndarray:
    """Rotation vectors [rad] (..., 3) to matrices (..., 3, 3)."""
    v = np.asarray(v, dtype=float)
    angle = np.linalg.norm(v, axis=-1)[..., None, None]
    k = np.zeros((*v.shape[:-1], 3, 3))
    k[..., 0, 1], k[..., 0, 2], k[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    k[..., 1, 0], k[..., 2, 0], k[..., 2, 1] = v[..., 2], -v[..., 1], v[..., 0]
    # sin(x)/x and (1-cos x)/x² stay finite at x = 0
    a = np.sinc(angle / np.pi)
    b = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return np.eye(3) + a * k + b * (k @ k)


def rotation_vector(r: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) to rotation vectors [rad] (..., 3)."""
    from scipy.spatial.transform import Rotation

    r = np.asarray(r, dtype=float)
    return Rotation.from_matrix(r.reshape(-1, 3, 3)).as_rotvec().reshape(r.shape[:-1])


def angle_between_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle [deg] between vectors (..., 3), exact for small ones too."""
    sine = np.linalg.norm(np.cross(a, b), axis=-1)
    return np.degrees(np.arctan2(sine, np.einsum("...i,...i", a, b)))


def misorientation_deg(r1: np.ndarray, r2: np.ndarray) -> np.ndarray:
    """Angle between two orientations, (..., 3, 3) each [deg]."""
    r = np.asarray(r1) @ np.swapaxes(np.asarray(r2), -1, -2)
    return np.degrees(np.linalg.norm(rotation_vector(r), axis=-1))


@njit(cache=True)
def _product(a, b):
    out = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]
    return out


@njit(cache=True)
def tilted(axis: np.ndarray, alpha: float, beta: float, y: float, z: float) -> np.ndarray:
    """Rotation vector (0, y, z) after a turn by ``alpha`` about ``axis`` (3,) after one by ``beta`` about y (3, 3);
    all angles in rad. One goniometer pose; the functions above are for many and cost ten times as much for one."""
    c, s = cos(alpha), sin(alpha)
    m = (1 - c) * np.outer(axis, axis)
    for i in range(3):
        m[i, i] += c
    m[0, 1] -= s * axis[2]
    m[0, 2] += s * axis[1]
    m[1, 2] -= s * axis[0]
    m[1, 0] += s * axis[2]
    m[2, 0] -= s * axis[1]
    m[2, 1] += s * axis[0]
    holder = np.array([[cos(beta), 0.0, sin(beta)], [0.0, 1.0, 0.0], [-sin(beta), 0.0, cos(beta)]])
    angle = (y * y + z * z) ** 0.5
    a, b = 1.0, 0.5
    if angle > 1e-9:
        a, b = sin(angle) / angle, (1 - cos(angle)) / (angle * angle)
    k = np.array([[0.0, -z, y], [z, 0.0, 0.0], [-y, 0.0, 0.0]])
    return _product(np.eye(3) + a * k + b * _product(k, k), _product(m, holder))
