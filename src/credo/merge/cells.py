"""Distances between cells as the thesis (eq. 6) and edtools have them, and the tree of average linkage."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from credo.model import Cell, UnreadableInput

__all__ = ["METRICS", "by_size", "cell_distances", "cut_tree", "tree"]


def _euclid(cells: np.ndarray) -> np.ndarray:
    """Thesis eq. 6: d = (Δa² + Δb² + Δc² + Δα² + Δβ² + Δγ²)^½, Å and degrees added as they are."""
    return np.linalg.norm(cells[:, None] - cells[None], axis=2)


def _volume(cells: np.ndarray) -> np.ndarray:
    """|V_i − V_j| [Å³]."""
    v = np.array([Cell(*c).volume for c in cells])
    return np.abs(v[:, None] - v[None])


def _lcv(cells: np.ndarray) -> np.ndarray:
    """Linear cell variation of BLEND (Foadi et al. 2013): the largest relative change of a face diagonal."""
    a, angles = cells[:, :3], np.radians(cells[:, 3:])
    one, two, between = [0, 1, 2], [1, 2, 0], [2, 0, 1]
    d = np.sqrt(a[:, one] ** 2 + a[:, two] ** 2 - 2 * a[:, one] * a[:, two] * np.cos(np.pi - angles[:, between]))
    return np.max(np.abs(d[:, None] - d[None]) / np.minimum(d[:, None], d[None]), axis=2)


METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"euclid": _euclid, "volume": _volume, "lcv": _lcv}


def cell_distances(cells: Sequence[Cell], metric: str = "euclid", ordered: bool = False) -> np.ndarray:
    """Distances (n, n) by one of :data:`METRICS`, of the cells as given.

    ordered: sort each cell's axes by length first, each angle staying opposite its axis, as edtools does.
    """
    if metric not in METRICS:
        raise UnreadableInput(f"metric {metric!r} is none of {', '.join(METRICS)}", "give one of these")
    table = np.array([c.parameters for c in cells], dtype=float).reshape(-1, 6)
    if ordered:
        order = np.argsort(table[:, :3], axis=1, kind="stable")
        table = np.hstack([np.take_along_axis(part, order, axis=1) for part in (table[:, :3], table[:, 3:])])
    return METRICS[metric](table)


def tree(distance: np.ndarray) -> np.ndarray:
    """scipy's linkage (n − 1, 4) of average linkage; ``distance``: (n, n), symmetric."""
    if len(distance) < 2:
        return np.empty((0, 4))
    return linkage(squareform(distance, checks=False), "average")


def cut_tree(joins: np.ndarray, height: float) -> np.ndarray:
    """Labels (n,) from 1, the largest cluster first, of a tree cut at ``height``."""
    if not len(joins):
        return np.ones(1, dtype=int)
    return by_size(fcluster(joins, height, "distance"))


def by_size(labels: np.ndarray) -> np.ndarray:
    """The same labels renamed 1, 2, ... by falling size, ties by the first member."""
    names, first, of, size = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(names), dtype=int)
    rank[np.lexsort((first, -size))] = np.arange(1, len(names) + 1)
    return rank[of.reshape(-1)]
