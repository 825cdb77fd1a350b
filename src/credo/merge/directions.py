"""Completeness by direction: which parts of reciprocal space nobody has seen."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from credo.model import Cell
from credo.physics.ewald import miller_indices
from credo.physics.symmetry import laue_rotations, unique_reflections

__all__ = ["completeness_by_direction"]


def completeness_by_direction(
    hkl: np.ndarray, cell: Cell, laue_group: str, centring: str, d_min: float, n: int = 400
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (n, 3) over the half sphere z ≥ 0 and the share (n,) of possible reflections near each that was
    observed, equivalents in the Laue group counted as observed; NaN where no reflection is possible.

    Cartesian frame of the reciprocal cell (a along x).
    """
    k = np.arange(n) + 0.5
    z, turn = 1 - k / n, np.pi * (1 + 5**0.5) * k
    r = np.sqrt(1 - z**2)
    directions = np.stack([r * np.cos(turn), r * np.sin(turn), z], axis=1)
    rotations = laue_rotations(laue_group)
    possible = miller_indices(cell.B, d_min, centring)
    every, of = unique_reflections(np.concatenate([hkl, possible]), rotations)
    seen = np.zeros(len(every), dtype=bool)
    seen[of[: len(hkl)]] = True
    q = possible @ cell.B.T
    q = q / np.linalg.norm(q, axis=1, keepdims=True)
    q = np.where(q[:, 2:] < 0, -q, q)
    _, nearest = KDTree(directions).query(q)
    total = np.bincount(nearest, minlength=n)
    share = np.bincount(nearest, seen[of[len(hkl) :]], n) / np.maximum(total, 1)
    return directions, np.where(total > 0, share, np.nan)
