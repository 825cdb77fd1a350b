"""Correlation of one row with each row of a table over the columns that both have."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["correlate_row"]


@njit(cache=True)
def correlate_row(table: np.ndarray, row: np.ndarray, min_common: int, cc: np.ndarray, count: np.ndarray) -> None:
    """Fill cc (n,) and count (n,) for a table (n, m) and a row (m,), NaN where there is no value.

    cc is NaN below ``min_common`` values, and where either's common values are all alike.
    """
    columns = np.flatnonzero(~np.isnan(row))
    for i in range(len(table)):
        n, sx, sy = 0, 0.0, 0.0
        for j in columns:
            x = table[i, j]
            if not np.isnan(x):
                n, sx, sy = n + 1, sx + x, sy + row[j]
        count[i], cc[i] = n, np.nan
        if n < max(min_common, 2):
            continue
        mx, my = sx / n, sy / n
        xx = yy = xy = 0.0
        for j in columns:
            x = table[i, j]
            if not np.isnan(x):
                dx, dy = x - mx, row[j] - my
                xx, yy, xy = xx + dx * dx, yy + dy * dy, xy + dx * dy
        if xx > 1e-12 * n * mx * mx and yy > 1e-12 * n * my * my:
            cc[i] = min(max(xy / np.sqrt(xx * yy), -1.0), 1.0)
