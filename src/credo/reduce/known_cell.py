"""Where a crystal of known cell lies: orientations from pairs of spots whose lengths and angle fit, for few spots."""

from __future__ import annotations

import numpy as np

from credo.kernels.lattice import near_nodes
from credo.model import Cell
from credo.physics.ewald import miller_indices
from credo.reduce.lattice import likelihood
from credo.reduce.points import Points

__all__ = ["orientations_of_cell"]


def orientations_of_cell(
    points: Points, cell: Cell, most: int = 8, length_tolerance: float = 0.03, angle_tolerance_deg: float = 2.0
) -> list[np.ndarray]:
    """The likeliest placements of a primitive ``cell``: direct bases (3, 3), rows [Å], best first.

    Pairs of low-resolution points are matched with pairs of nodes of equal lengths (within ``length_tolerance``,
    camera length included) and angle; each match gives a rotation, ranked by likelihood over all points.
    """
    q = points.q
    length = np.linalg.norm(q, axis=1)
    low = np.argsort(length, kind="stable")
    # where some 3000 nodes lie: beyond, any length and angle occurs
    dense = (3 * 3000 / (4 * np.pi * cell.volume)) ** (1 / 3)
    low = low[(length[low] > 1.5 * points.sigma[low]) & (length[low] < dense)][:24]
    if len(low) < 2:
        return []
    nodes = miller_indices(cell.B, 1 / (1.04 * length[low].max())) @ cell.B.T
    node_length = np.linalg.norm(nodes, axis=1)
    trials: list[np.ndarray] = []
    # lowest first: of both spots of a pair
    for a, b in [(low[i], low[j]) for i in range(len(low)) for j in range(i)]:
        trials += _matches(q[a], q[b], nodes, node_length, length_tolerance, angle_tolerance_deg)
        if len(trials) > 6000:
            break
    if not trials:
        return []
    rotations = np.array(trials)
    score = _quick_scores(points, rotations, cell)
    best = np.argsort(-score, kind="stable")[: 4 * most]
    fits = sorted((likelihood(points, rotations[i] @ cell.B) for i in best), key=lambda f: -f.score)
    kept: list[np.ndarray] = []
    for fit in fits:
        basis = np.linalg.inv(fit.ub)
        if all(not np.allclose(basis, k, atol=0.02 * np.abs(basis).max()) for k in kept):
            kept.append(basis)
        if len(kept) == most:
            break
    return kept


def _matches(qa, qb, nodes, node_length, tolerance, angle_tolerance_deg) -> list[np.ndarray]:
    """Rotations (3, 3) that bring a pair of nodes onto the pair of points."""
    la, lb = np.linalg.norm(qa), np.linalg.norm(qb)
    cosine = qa @ qb / (la * lb)
    if abs(cosine) > 0.97:
        return []
    ia = np.flatnonzero(np.abs(node_length / la - 1) < tolerance)
    ib = np.flatnonzero(np.abs(node_length / lb - 1) < tolerance)
    if not len(ia) or not len(ib):
        return []
    cosines = (nodes[ia] @ nodes[ib].T) / np.outer(node_length[ia], node_length[ib])
    angle = np.degrees(np.arccos(np.clip(cosines, -1, 1)) - np.arccos(cosine))
    i, j = np.nonzero(np.abs(angle) < angle_tolerance_deg)
    i, j = i[:40], j[:40]
    return list(_frames(qa, qb) @ np.swapaxes(_frames(nodes[ia[i]], nodes[ib[j]]), 1, 2))


def _frames(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Right-handed orthonormal columns (..., 3, 3) with the first two in the plane of a and b (..., 3), symmetric about
    their bisector."""
    a, b = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
    x, z = a + b, np.cross(a, b)
    x, z = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (x, z))
    return np.stack([x, np.cross(z, x), z], axis=-1)


def _quick_scores(points: Points, rotations: np.ndarray, cell: Cell) -> np.ndarray:
    """How many points lie within three σ of a node, for each rotation (n,)."""
    reach2 = (3 * points.sigma + 0.01 * np.linalg.norm(points.q, axis=1)) ** 2
    return near_nodes(points.q, reach2, rotations @ cell.B, np.linalg.inv(rotations @ cell.B))
