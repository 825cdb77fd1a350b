"""Data sets as points, near each other where their intensities agree, and as a tree: pictures of the sorting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage

from credo.merge.intensities import correlations

__all__ = ["IntensityPicture", "embedding", "intensity_picture"]


@dataclass(frozen=True)
class IntensityPicture:
    """``coordinates`` (n, 2): length 1 where a set is explained wholly, short for junk, phases in different directions;
    ``joins`` (n − 1, 4): scipy's linkage, heights 1 − cosine of the angle between sets, damped for short vectors;
    ``order`` (n,): the leaves from left to right; ``cc``, ``common`` (n, n): of the log intensities, after the changes
    of setting, NaN where there are too few."""

    coordinates: np.ndarray
    joins: np.ndarray
    order: np.ndarray
    cc: np.ndarray
    common: np.ndarray


def embedding(cc: np.ndarray, common: np.ndarray, rank: int, turns: int = 60) -> np.ndarray:
    """Vectors x_i (n, rank) with x_i·x_j ≈ CC_ij, each pair weighted by its number of common reflections.

    Alternating least squares; pairs whose CC is NaN take no part, nor does the diagonal, so that the length of x_i
    tells how much of a set the others explain (as in Brehm & Diederichs 2014 and Diederichs 2017).
    """
    n = len(cc)
    w = np.where(np.isfinite(cc), common, 0).astype(float)
    np.fill_diagonal(w, 0.0)
    c = np.where(w > 0, np.nan_to_num(cc), 0.0)
    start = c * w / (w + 10)
    values, vectors = np.linalg.eigh(start)
    top = np.argsort(-values)[:rank]
    x = vectors[:, top] * np.sqrt(np.maximum(values[top], 1e-3))
    x = np.pad(x, ((0, 0), (0, rank - x.shape[1])))
    for _ in range(turns):
        outer = (w @ (x[:, :, None] * x[:, None, :]).reshape(n, -1)).reshape(n, rank, rank)
        right = (w * c) @ x
        x = 0.5 * x + 0.5 * np.linalg.solve(outer + 3.0 * np.eye(rank), right[..., None])[..., 0]
    return x


def intensity_picture(table: np.ndarray, phases: int = 1, min_common: int = 4) -> IntensityPicture:
    """Picture of a table (n, m) of log intensities, NaN where not measured, in which there are so many phases."""
    cc, common = correlations(table, min_common)
    n = len(table)
    if n < 2:
        return IntensityPicture(np.zeros((n, 2)), np.empty((0, 4)), np.arange(n), cc, common)
    x = embedding(cc, common, min(max(phases + 1, 2), 8, n))
    axes = np.linalg.svd(x, full_matrices=False)[2]
    flat = x @ axes[: min(2, len(axes))].T
    flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    # the picture keeps its hands from run to run
    signs = np.sign(flat[np.argmax(np.abs(flat), axis=0), [0, 1]])
    size = np.linalg.norm(x, axis=1)
    cosine = (x @ x.T) / np.maximum(np.outer(size, size), 0.05)
    distance = np.clip(1 - cosine, 0, 2)
    joins = linkage(distance[np.triu_indices(n, 1)], "average")
    return IntensityPicture(flat * np.where(signs == 0, 1, signs), joins, leaves_list(joins), cc, common)
