"""CC½ by crystals: whole data sets are dealt into halves, so that errors common to a crystal do not pass for truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from credo.merge.scale import Pool, Scaled

__all__ = ["cc_half_by_crystals"]


def cc_half_by_crystals(data: Pool, scaled: Scaled, bins: Sequence[np.ndarray], splits: int = 20) -> list[float]:
    """Mean Pearson CC over random splits of the sets, for each of some lists of unique reflections; NaN if undefined.

    Means in both halves have the weights of the merge, so that it is the merge that is judged.
    """
    sets = np.unique(data.dataset)
    if len(sets) < 2:
        return [float("nan")] * len(bins)
    m, rng = len(scaled.hkl), np.random.default_rng(0)
    w = scaled.u / scaled.sigma_scaled**2
    wi = w * data.intensity / scaled.scale
    found = np.full((splits, len(bins)), np.nan)
    for k in range(splits):
        side = np.zeros(data.count, dtype=bool)
        side[rng.permutation(sets)[: len(sets) // 2]] = True
        mine = side[data.dataset]
        low = [np.bincount(scaled.of[x], w[x], m) for x in (mine, ~mine)]
        top = [np.bincount(scaled.of[x], wi[x], m) for x in (mine, ~mine)]
        both = (low[0] > 0) & (low[1] > 0)
        means = [t / np.where(both, x, 1.0) for t, x in zip(top, low)]
        for j, rows in enumerate(bins):
            rows = rows[both[rows]]
            if len(rows) > 5 and means[0][rows].std() > 0 and means[1][rows].std() > 0:
                found[k, j] = np.corrcoef(means[0][rows], means[1][rows])[0, 1]
    known = np.isfinite(found)
    total = np.where(known, found, 0).sum(axis=0)
    return [float(t / n) if n else float("nan") for t, n in zip(total, known.sum(axis=0))]
