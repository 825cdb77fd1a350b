"""The path of the zone axes: how far along the rotation beyond the nominal angles, and how far off its cone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.orient.thesis import rotation_sense

__all__ = ["Path", "along_path", "from_path", "path_of", "rotation_axis", "same_axes"]

#: How far from square to the beam a rotation axis usually is, and the least error of a zone axis [rad].
_SQUARE, _LEAST = 0.02, 1e-4


@dataclass(frozen=True, eq=False)
class Path:
    """``axis`` (3,) in crystal axes, right-handed with rising angles; ``origin``, ``across`` (3,) span the plane of the
    rotation; ``turn_deg`` (f,): angle in that plane, unwrapped; ``height_deg`` (f,) out of it; ``angle_deg`` (f,)
    nominal."""

    axis: np.ndarray
    origin: np.ndarray
    across: np.ndarray
    turn_deg: np.ndarray
    height_deg: np.ndarray
    angle_deg: np.ndarray


def path_of(zone: np.ndarray, angle_deg: np.ndarray) -> Path:
    """The decomposition of zone axes (f, 3) about the rotation's axis."""
    axis = rotation_axis(zone)
    axis = axis * rotation_sense(zone, axis, angle_deg)
    across = np.cross(axis, zone[len(zone) // 2])
    across /= np.linalg.norm(across)
    origin = np.cross(across, axis)
    return _on_axes(zone, axis, origin, across, np.asarray(angle_deg, dtype=float))


def rotation_axis(zone: np.ndarray) -> np.ndarray:
    """m (3,) of least Σ(m·u − c)²/σ² + c²/σ_c²: the normal of the plane fitted to the zone axes u (f, 3), which an arc
    of a few degrees does not determine alone; that the axis is about square to the beam (σ_c) then does. σ is that of u
    about the plane."""
    least = np.linalg.svd(zone - zone.mean(axis=0), compute_uv=False)[2]
    sigma2 = max(float(least) ** 2 / len(zone), _LEAST**2)
    total = zone.sum(axis=0)
    matrix = zone.T @ zone - np.outer(total, total) / (len(zone) + sigma2 / _SQUARE**2)
    return np.linalg.eigh(matrix)[1][:, 0]


def same_axes(path: Path, zone: np.ndarray) -> Path:
    """Other zone axes (f, 3) of the same frames, on the axes of ``path``."""
    return _on_axes(zone, path.axis, path.origin, path.across, path.angle_deg)


def _on_axes(zone: np.ndarray, axis: np.ndarray, origin: np.ndarray, across: np.ndarray, angle_deg: np.ndarray) -> Path:
    turn = np.degrees(np.unwrap(np.arctan2(zone @ across, zone @ origin)))
    height = np.degrees(np.arcsin(np.clip(zone @ axis, -1, 1)))
    return Path(axis, origin, across, turn, height, angle_deg)


def along_path(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(f,) [deg] along, nominal angles taken off, and (f,) [deg] across."""
    return path.turn_deg - path.angle_deg, path.height_deg


def from_path(path: Path, along: np.ndarray, height: np.ndarray) -> np.ndarray:
    """The zone axes (f, 3) of such coordinates: the inverse of ``along_path``."""
    a, h = np.radians(along + path.angle_deg), np.radians(height)
    level = np.cos(a)[:, None] * path.origin + np.sin(a)[:, None] * path.across
    return np.cos(h)[:, None] * level + np.sin(h)[:, None] * path.axis
