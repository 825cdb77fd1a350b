"""Data sets of two phases at once: intensities w I_A + (1 − w) I_B, judged against either phase alone."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from credo.kernels.phases import mixed_score
from credo.merge.phases import OUTLIERS, Phases

__all__ = ["Mixture", "mixtures"]

_SHARES = np.linspace(0.15, 0.85, 8)
#: Of the largest phases only, pairs are tried.
_PHASES = 6
_ENOUGH = 400


@dataclass(frozen=True)
class Mixture:
    """The likeliest pair of ``phases`` of a set, the ``share`` of the first, and how much likelier (log) the mixture is
    than the likelier of the two alone, over the ``common`` reflections that both have."""

    phases: tuple[int, int]
    share: float
    gain: float
    common: int


def mixtures(found: Phases) -> list[Mixture | None]:
    """For each set the best mixture of two phases, or None where no two phases share reflections with it.

    The profiles are those of the other sets. Shares from 0.15 to 0.85 are taken as equally likely.
    """
    pairs = list(itertools.combinations(range(min(len(found), _PHASES)), 2))
    return [max((m for p in pairs if (m := _mixed(found, d, p))), key=lambda m: m.gain, default=None)
            for d in range(len(found.labels))]  # fmt: skip


def _mixed(found: Phases, d: int, pair: tuple[int, int]) -> Mixture | None:
    data, r = found.data, found.data.rows(d)
    weight, total = (x[list(pair)] for x in found.without(d))
    ids = data.images[found.settings[d], data.ids[r]]
    both = np.all(weight[:, ids] > 0, axis=0)
    if both.sum() < 5:
        return None
    # more reflections of a set need more time and tell no more
    both[np.flatnonzero(both)[_ENOUGH:]] = False
    known = np.where(weight > 0, weight, np.nan) + 1 / found.tau2
    ids, y, v = ids[both], data.y[r][both], data.v[r][both]
    scores = {}
    for share in (0.0, 1.0, *_SHARES):
        grades = [
            mixed_score(ids, y, v, data.t, total / known, 1 / known, share, found.tau2, grade * found.sigma2, OUTLIERS,
                        len(ids) / (2 * found.tau2), np.zeros(2))
            for grade in (1.0, 2.0, 4.0)
        ]  # fmt: skip
        scores[share] = float(np.logaddexp.reduce(grades))
    mixed = np.array([scores[w] for w in _SHARES])
    gain = np.logaddexp.reduce(mixed) - np.log(len(mixed)) - max(scores[0.0], scores[1.0])
    return Mixture(pair, float(_SHARES[np.argmax(mixed)]), float(gain), int(both.sum()))
