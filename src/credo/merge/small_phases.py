"""Phases of so few data sets that no two of them agree beyond doubt, but all of them together do."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from credo.kernels.phases import join, join_gains

__all__ = ["small_phases"]

#: Sets that a phase found here has at least; pairs are tried one by one elsewhere.
_FEWEST = 3
#: Pairs of sets that a phase is grown from.
_SEEDS = 40
#: Log of the chance that all groups by chance together are to have.
_DOUBT = 3.0


def small_phases(weight, total, t, images, tau2: float) -> list[list[tuple[int, int]]]:
    """Groups of sets [(set, its setting by row of ``images``), ...] among sets in no phase; W and S (n, m) of each.

    A group of k grows from a pair, by the set that gains most at each step. It is believed when its evidence over k
    sets on their own exceeds the log of the number of ways to choose k of n, and 3 for doubt.
    """
    free, found = np.arange(len(weight)), []
    while len(free) >= _FEWEST:
        margin, group = _best(weight[free], total[free], t, images, tau2)
        if margin <= 0:
            break
        found.append([(int(free[d]), q) for d, q in group])
        free = np.delete(free, [d for d, _ in group])
    return found


def _best(weight, total, t, images, tau2: float) -> tuple[float, list[tuple[int, int]]]:
    """The grown group that exceeds its threshold by most."""
    n = len(weight)
    size, alive = np.count_nonzero(weight, axis=1), np.ones(n, dtype=bool)
    gain, how = np.full((n, n), -np.inf), np.zeros((n, n), dtype=int)
    for a in range(n):
        join_gains(a, weight, total, size, alive, t, images, tau2, gain[a], how[a])
    pairs = np.column_stack(np.triu_indices(n, 1))
    pairs = pairs[np.argsort(-gain[pairs[:, 0], pairs[:, 1]], kind="stable")][:_SEEDS]
    grown = [_grown(int(a), int(b), weight, total, t, images, tau2) for a, b in pairs if gain[a, b] > 0]
    return max(grown, key=lambda g: g[0], default=(-np.inf, []))


def _grown(a: int, b: int, weight, total, t, images, tau2: float) -> tuple[float, list[tuple[int, int]]]:
    """Set a and then b with those that follow, up to where the margin over the threshold is widest."""
    weight, total = weight.copy(), total.copy()
    n = len(weight)
    size, alive = np.count_nonzero(weight, axis=1), np.ones(n, dtype=bool)
    gain, how = np.empty(n), np.empty(n, dtype=int)
    members, evidence, best = [(a, 0)], 0.0, (-np.inf, [])
    while True:
        join_gains(a, weight, total, size, alive, t, images, tau2, gain, how)
        into = b if len(members) == 1 else int(np.argmax(gain))
        if gain[into] <= 0:
            return best
        evidence += float(gain[into])
        members.append((into, int(how[into])))
        join(a, into, weight, total, size, t, images[how[into]], tau2)
        alive[into] = False
        margin = evidence - _ways(n, len(members)) - _DOUBT
        if len(members) >= _FEWEST and margin > best[0]:
            best = margin, list(members)


def _ways(n: int, k: int) -> float:
    """ln of the ways to choose k of n."""
    return float(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
