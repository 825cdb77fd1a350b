"""Sets within one phase whose deviations from it agree: crystals of like thickness, or of like defects."""

from __future__ import annotations

import numpy as np

from credo.merge.phases import Phases, joined

__all__ = ["subgroups"]

#: Shares of noise in the variance of the deviations that are tried.
_NOISE = (0.2, 0.4, 0.6, 0.8)
#: Sets of a phase that are looked at, those with most reflections.
_MOST = 80


def subgroups(found: Phases) -> np.ndarray:
    """Labels (n,) from 0 of the subgroups within each phase, −1 for sets that are in none.

    The deviations y − μ of the sets of a phase are sorted as the sets themselves were, by the evidence for profiles in
    common; of many sets, those with most reflections. As μ is the mean of the sets, deviations are correlated
    negatively by themselves, which holds groups apart; two sets alone cannot be told from each other.
    """
    labels = np.full(len(found.labels), -1)
    for k in range(len(found)):
        members = np.flatnonzero(found.labels == k)
        members = members[np.argsort(-found.data.counts[members], kind="stable")[:_MOST]]
        if len(members) > 2:
            inner = _sorted(found, members)
            labels[members] = np.where(inner >= 0, inner + labels.max() + 1, -1)
    return labels


def _deviations(found: Phases, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y − μ (s, m), NaN where not measured, and their variances by counting (s, m)."""
    data = found.data
    y, v = np.full((2, len(members), len(data.hkl)), np.nan)
    for i, d in enumerate(members):
        r = data.rows(d)
        j = data.images[found.settings[d], data.ids[r]]
        y[i, j] = data.y[r] - found.shift[d, 0] - found.shift[d, 1] * data.t[data.ids[r]]
        v[i, j] = data.v[r]
    # where only one set was, there is no deviation; every set counts alike, as the profile would follow the first kind
    several = np.isfinite(y).sum(axis=0) > 1
    mean = np.nansum(y, axis=0) / np.maximum(np.isfinite(y).sum(axis=0), 1)
    return np.where(several, y - mean, np.nan), v


def _sorted(found: Phases, members: np.ndarray) -> np.ndarray:
    y, v = _deviations(found, members)
    known = np.isfinite(y)
    if not known.any():
        return np.full(len(members), -1)
    # a few large deviations are outliers rather than a kind of crystal
    limit = 4 * np.sqrt(found.sigma2 + np.where(known, v, 1.0))
    y = np.clip(y, -limit, limit)
    w = 1 / (1 + v[known] / found.sigma2) ** 2
    spread = max(float(np.sum(w * (y[known] ** 2 - v[known])) / np.sum(w)), 0.05 * found.sigma2)
    best: tuple[float, np.ndarray] = (0.0, np.full(len(members), -1))
    for share in _NOISE:
        gain, labels = _joined(y, v, known, (1 - share) * spread, share * spread, found)
        variance = spread + v[known]
        noise_alone = float(-0.5 * np.sum(y[known] ** 2 / variance + np.log(variance)))
        if gain + noise_alone > best[0] + noise_alone:
            best = gain, labels
    return best[1]


def _joined(y, v, known, tau2: float, sigma2: float, found: Phases) -> tuple[float, np.ndarray]:
    """Log evidence gained, and labels (s,), −1 for single sets."""
    n = len(y)
    weight = np.where(known, 1 / (np.where(known, v, 1.0) + sigma2), 0.0)
    total = np.where(known, weight * np.where(known, y, 0.0), 0.0)
    threshold = float(np.log(n * (n - 1) / 2) + 3)
    groups, gain = [[i] for i in range(n)], 0.0
    for a, b, _, more in joined(weight, total, found.data.t, found.data.images[:1], tau2, threshold):
        groups[a], groups[b], gain = groups[a] + groups[b], [], gain + more
    labels = np.full(n, -1)
    for i, g in enumerate(sorted((g for g in groups if len(g) > 1), key=lambda g: (-len(g), g))):
        labels[g] = i
    return gain, labels
