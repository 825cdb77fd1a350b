"""Data sets compared by the intensities they share (thesis eq. 7); what was not measured together is unknown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from credo.kernels.linkage import average_linkage
from credo.merge.cells import by_size
from credo.model import Reflections
from credo.reduce.equivalents import merge_equivalents

__all__ = ["correlations", "intensity_clusters", "intensity_distances", "intensity_table"]


def intensity_table(sets: Sequence[Reflections], laue_group: str) -> np.ndarray:
    """Mean intensities (n, m) of n sets over all unique reflections of the Laue group; NaN where not measured."""
    merged = [merge_equivalents(r, laue_group) for r in sets]
    hkl = np.concatenate([m.hkl for m in merged]).astype(np.int64).reshape(-1, 3)
    unique, of = np.unique(hkl, axis=0, return_inverse=True)
    table = np.full((len(sets), len(unique)), np.nan)
    owner = np.repeat(np.arange(len(sets)), [len(m) for m in merged])
    table[owner, of.reshape(-1)] = np.concatenate([m["intensity"] for m in merged])
    return table


def correlations(table: np.ndarray, min_common: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """CC_I (n, n) and the number of common reflections (n, n) of a table (n, m) with NaN for what is missing.

    Pairs with fewer than ``min_common`` reflections in common, or whose common intensities are all alike, are NaN.
    """
    known = np.isfinite(table)
    mask = known.astype(float)
    count = mask.sum(axis=1, keepdims=True)
    x = np.where(known, table, 0.0)
    x = np.where(known, x - x.sum(axis=1, keepdims=True) / np.maximum(count, 1), 0.0)
    x /= np.maximum(np.sqrt((x**2).sum(axis=1, keepdims=True) / np.maximum(count, 1)), 1e-300)
    n = mask @ mask.T
    first, second, product = x @ mask.T, (x**2) @ mask.T, x @ x.T
    size = np.maximum(n, 1)
    variance = second / size - (first / size) ** 2
    norm = variance * variance.T
    fair = (n >= max(min_common, 2)) & (np.minimum(variance, variance.T) > 1e-12)
    cc = (product / size - first * first.T / size**2) / np.sqrt(np.where(fair, norm, 1.0))
    return np.where(fair, np.clip(cc, -1, 1), np.nan), n.astype(int)


def intensity_distances(cc: np.ndarray, signed: bool = True) -> np.ndarray:
    """d = (1 − CC²)^½ (thesis eq. 7); NaN stays NaN.

    signed: sets that correlate negatively are as unlike as can be, d = 1; eq. 7 as printed calls them alike.
    """
    return np.sqrt(1 - (np.maximum(cc, 0) if signed else cc) ** 2)


def intensity_clusters(distance: np.ndarray, cut: float = 0.4) -> np.ndarray:
    """Labels (n,) from 1, the largest first, of average linkage over the pairs that are known, cut at ``cut``.

    The thesis cuts at 0.4, CC 0.917. Sets that share too little with all others stay by themselves.
    """
    joins, heights = average_linkage(np.asarray(distance, dtype=float))
    labels = np.arange(len(distance))
    for (a, b), height in zip(joins, heights):
        if height <= cut:
            labels[labels == labels[b]] = labels[a]
    return by_size(labels)
