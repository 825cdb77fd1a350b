"""One more data set among many that are sorted already, in a time that grows with their number, not its square."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from credo.kernels.correlate import correlate_row
from credo.kernels.phases import add_set, alone, score
from credo.merge.phases import GRADES, OUTLIERS, Phases
from credo.model import Reflections

__all__ = ["Placed", "add_to_phases", "correlations_with"]

#: Log odds against none from which a set is taken in.
_SURE = np.log(9.0)


@dataclass(frozen=True)
class Placed:
    """Where a set belongs: ``label`` from 0, −1 none; ``setting``: place among the changes; ``odds`` (k + 1,) log, the
    last of none; ``phases``: with the set in them."""

    label: int
    setting: int
    odds: np.ndarray
    phases: Phases


def add_to_phases(found: Phases, r: Reflections) -> Placed:
    """Place one set among phases found before, and add it to its phase; the sets that are there stay where they are.

    Its indices lie on the common axes. A set that fits nowhere has label −1; when such sets have come together, only a
    new run of :func:`credo.merge.phases.find_phases` can find that they are a phase of their own.
    """
    one = found.data.observe(r)
    k, q = len(found), len(one.images)
    base = alone(one.y, one.v, found.tau2, found.sigma2, OUTLIERS, GRADES)
    stiff = max(len(one.y), 1) / (2 * found.tau2)
    size = np.bincount(found.labels[found.labels >= 0], minlength=k)
    log, shift, grade = np.full((k, q), -np.inf), np.zeros((k, q, 2)), np.zeros((k, q), dtype=int)
    scores = np.empty(len(GRADES))
    for a in range(k):
        for b in range(q):
            score(one.ids, one.y, one.v, one.t, found.weight[a], found.total[a], one.images[b], found.tau2,
                  found.sigma2, OUTLIERS, GRADES, stiff, base, shift[a, b], scores)  # fmt: skip
            log[a, b] = np.log(size[a] / q) + np.logaddexp.reduce(scores) - np.log(len(scores))
            grade[a, b] = np.argmax(scores)
    none = np.log(max(len(found.labels) - size.sum(), 1))
    odds = np.append(np.logaddexp.reduce(log, axis=1), none)
    if not k or log.max() < none + _SURE:
        return Placed(-1, 0, odds, _grown(found, one, -1, 0, odds, np.zeros(2), 1.0))
    a, b = (int(x) for x in np.unravel_index(np.argmax(log), log.shape))
    return Placed(a, b, odds, _grown(found, one, a, b, odds, shift[a, b], float(GRADES[grade[a, b]])))


def _grown(found: Phases, one, a: int, b: int, odds: np.ndarray, shift: np.ndarray, grade: float) -> Phases:
    weight, total, share = found.weight.copy(), found.total.copy(), np.zeros(len(one.y))
    if a >= 0:
        add_set(one.ids, one.y, one.v, one.t, weight[a], total[a], one.images[b], found.tau2, grade * found.sigma2,
                OUTLIERS, shift, share)  # fmt: skip
    return replace(
        found, data=found.data.with_sets(one), labels=np.append(found.labels, a),
        settings=np.append(found.settings, b), clear=np.append(found.clear, np.inf), odds=np.vstack([found.odds, odds]),
        weight=weight, total=total, share=np.concatenate([found.share, share]), shift=np.vstack([found.shift, shift]),
        grade=np.append(found.grade, grade),
    )  # fmt: skip


def correlations_with(table: np.ndarray, row: np.ndarray, min_common: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """CC (n,) of one set (m,) with each of a table (n, m), and the common reflections (n,): the last row of
    :func:`credo.merge.intensities.correlations` of all together, in O(n m)."""
    cc, n = np.empty(len(table)), np.zeros(len(table), dtype=int)
    correlate_row(table, row, min_common, cc, n)
    return cc, n
