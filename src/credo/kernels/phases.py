"""Evidence that sets of log intensities have one profile in common: y_di = μ_i + a_d + b_d t_i + noise, μ ~ N(0, τ²).

A profile is kept as W = Σ 1/v and S = Σ y/v over the observations of each reflection; with μ integrated out the log
evidence of a reflection is f(W, S) = ½ S²/(W + 1/τ²) − ½ ln(1 + τ²W), apart from what no sorting of the sets changes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["add_set", "alone", "evidence", "join", "join_gains", "mixed_score", "remove_set", "score"]

_TWO_PI = 2 * np.pi


@njit(cache=True)
def evidence(weight: np.ndarray, total: np.ndarray, tau2: float) -> np.ndarray:
    """f(W, S) of each reflection, for arrays of any one shape (m,)."""
    return 0.5 * total**2 / (weight + 1 / tau2) - 0.5 * np.log1p(tau2 * weight)


@njit(cache=True)
def _solve(h00, h01, h11, g0, g1):
    """The two numbers c with H c = g, and det H."""
    det = h00 * h11 - h01 * h01
    return (h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det, det


@njit(cache=True)
def _gain(wa, sa, mine, wb, sb, stiff, t, image, tau2):
    """Gain of joining profile b, moved by ``image``, with a: (log evidence, c0, c1).

    A shift and slope c ~ N(0, 1/stiff) of b's y are integrated out over what both have: exactly, as
    L(c) = Σ f(W, S − W_b F c) + S_b F c − ½ W_b (F c)² is quadratic. mine: f of a.
    """
    g0 = g1 = h01 = found = 0.0
    h00 = h11 = stiff
    product = 1.0
    for i in range(len(wb)):
        if wb[i] == 0.0:
            continue
        j = image[i]
        if wa[j] == 0.0:
            continue
        s, w = sa[j] + sb[i], wa[j] + wb[i] + 1 / tau2
        found += 0.5 * s * s / w - 0.5 * sb[i] ** 2 / (wb[i] + 1 / tau2) - mine[j]
        # one logarithm for many factors
        product *= (1 + tau2 * wb[i]) / (w * tau2)
        if product < 1e-200:
            found += 0.5 * np.log(product)
            product = 1.0
        g, h = sb[i] - wb[i] * s / w, wb[i] - wb[i] ** 2 / w
        g0 += g
        g1 += g * t[i]
        h00 += h
        h01 += h * t[i]
        h11 += h * t[i] ** 2
    c0, c1, det = _solve(h00, h01, h11, g0, g1)
    found += 0.5 * (np.log(product) + g0 * c0 + g1 * c1 - np.log(det / stiff**2))
    return found, c0, c1


@njit(cache=True)
def join_gains(a, weight, total, size, alive, t, images, tau2, gain, how) -> None:
    """Gain in log evidence when cluster ``a`` is joined with each living cluster, under each change of setting.

    weight, total: W, S (k, m); size: reflections in each (k,); t: (m,), of unit variance; images: (q, m), where
    reflection i of the other cluster lies among those of ``a``. Written to gain (k,) and how (k,), row of ``images``.
    """
    mine = evidence(weight[a], total[a], tau2)
    for b in range(len(weight)):
        gain[b], how[b] = -np.inf, 0
        if b == a or not alive[b]:
            continue
        stiff = 1 / (tau2 * (1 / max(size[a], 1) + 1 / max(size[b], 1)))
        for q in range(len(images)):
            found = _gain(weight[a], total[a], mine, weight[b], total[b], stiff, t, images[q], tau2)[0]
            if found > gain[b]:
                gain[b], how[b] = found, q


@njit(cache=True)
def join(a, b, weight, total, size, t, image, tau2) -> None:
    """Put cluster ``b`` into ``a``: its y shifted to those of ``a``, its reflections moved by ``image`` (m,)."""
    mine = evidence(weight[a], total[a], tau2)
    stiff = 1 / (tau2 * (1 / max(size[a], 1) + 1 / max(size[b], 1)))
    _, c0, c1 = _gain(weight[a], total[a], mine, weight[b], total[b], stiff, t, image, tau2)
    for i in range(weight.shape[1]):
        w = weight[b, i]
        if w > 0.0:
            if weight[a, image[i]] == 0.0:
                size[a] += 1
            weight[a, image[i]] += w
            total[a, image[i]] += total[b, i] - w * (c0 + c1 * t[i])


@njit(cache=True)
def alone(y, v, tau2, sigma2, outliers, grades) -> np.ndarray:
    """Log likelihood (g, n) of observations in no phase, for each grade of noise."""
    out = np.empty((len(grades), len(y)))
    for g in range(len(grades)):
        for k in range(len(y)):
            out[g, k] = _log_robust(y[k], tau2 + v[k] + grades[g] * sigma2, tau2, outliers)
    return out


@njit(cache=True)
def score(ids, y, v, t, weight, total, image, tau2, sigma2, outliers, grades, stiff, base, c, found) -> None:
    """How much likelier observations are as members of a profile than in none, log, under robust errors.

    ids, y, v: (n,) of the set, v: variance by counting; weight, total: (m,) of the profile without the set; image:
    (m,); grades (g,): σ² is taken so many times; base: what :func:`alone` gives. Each residual is N(0, V) or, with
    probability ``outliers``, N(0, V + 2τ²). Written: c (2,), the shift and slope; found (g,).
    """
    c[:] = 0.0
    for _ in range(2):
        g0 = g1 = h01 = 0.0
        h00 = h11 = stiff
        for k in range(len(ids)):
            j = image[ids[k]]
            w = weight[j]
            if w > 0.0:
                p, place = 1 / (w + 1 / tau2), t[ids[k]]
                big = p + v[k] + 2 * sigma2
                r = y[k] - total[j] * p
                trust = _trust(r - c[0] - c[1] * place, big, tau2, outliers) / big
                g0 += trust * r
                g1 += trust * r * place
                h00 += trust
                h01 += trust * place
                h11 += trust * place**2
        c[0], c[1], det = _solve(h00, h01, h11, g0, g1)
    found[:] = -0.5 * (np.log(det / stiff**2) + stiff * (c[0] ** 2 + c[1] ** 2))
    for k in range(len(ids)):
        j = image[ids[k]]
        w = weight[j]
        if w > 0.0:
            p = 1 / (w + 1 / tau2)
            e = y[k] - total[j] * p - c[0] - c[1] * t[ids[k]]
            for g in range(len(grades)):
                found[g] += _log_robust(e, p + v[k] + grades[g] * sigma2, tau2, outliers) - base[g, k]


@njit(cache=True)
def _normal(e, variance):
    return np.exp(-0.5 * e * e / variance) / np.sqrt(_TWO_PI * variance)


@njit(cache=True)
def _trust(e, variance, tau2, outliers):
    """Probability that a residual is no outlier."""
    good = (1 - outliers) * _normal(e, variance)
    return good / (good + outliers * _normal(e, variance + 2 * tau2) + 1e-300)


@njit(cache=True)
def _log_robust(e, variance, tau2, outliers):
    good = (1 - outliers) * _normal(e, variance)
    return np.log(good + outliers * _normal(e, variance + 2 * tau2) + 1e-300)


@njit(cache=True)
def add_set(ids, y, v, t, weight, total, image, tau2, sigma2, outliers, c, share) -> None:
    """Add a set to a profile that is without it, outliers counting less; share: (n,), the W of each, written here."""
    for k in range(len(ids)):
        j = image[ids[k]]
        e = y[k] - c[0] - c[1] * t[ids[k]]
        trust = 1.0
        if weight[j] > 0:
            p = 1 / (weight[j] + 1 / tau2)
            trust = _trust(e - total[j] * p, p + v[k] + sigma2, tau2, outliers)
        share[k] = trust / (v[k] + sigma2)
        weight[j] += share[k]
        total[j] += share[k] * e


@njit(cache=True)
def remove_set(ids, y, t, weight, total, image, c, share) -> None:
    """Take a set that was added with ``c`` and ``share`` out of its profile."""
    for k in range(len(ids)):
        j = image[ids[k]]
        weight[j] -= share[k]
        total[j] -= share[k] * (y[k] - c[0] - c[1] * t[ids[k]])
        # what rounding leaves of an empty place
        if weight[j] < 1e-7:
            weight[j] = total[j] = 0.0


@njit(cache=True)
def mixed_score(ids, y, v, t, profiles, variances, share, tau2, sigma2, outliers, stiff, c) -> float:
    """Log likelihood of a set as ln(w e^A + (1 − w) e^B) of two profiles, over the reflections that both have.

    profiles, variances: (2, m), of A and B, variance NaN where unknown; share: w, 1 for A alone.
    """
    c[:] = 0.0
    found = 0.0
    for turn in range(4):
        g0 = g1 = h01 = found = 0.0
        h00 = h11 = stiff
        for k in range(len(ids)):
            j = ids[k]
            if np.isnan(variances[0, j]) or np.isnan(variances[1, j]):
                continue
            top = max(profiles[0, j], profiles[1, j])
            a, b = share * np.exp(profiles[0, j] - top), (1 - share) * np.exp(profiles[1, j] - top)
            part = a / (a + b)
            big = part**2 * variances[0, j] + (1 - part) ** 2 * variances[1, j] + v[k] + sigma2
            r = y[k] - top - np.log(a + b)
            e = r - c[0] - c[1] * t[j]
            found += _log_robust(e, big, tau2, outliers)
            trust = _trust(e, big, tau2, outliers) / big
            g0 += trust * r
            g1 += trust * r * t[j]
            h00 += trust
            h01 += trust * t[j]
            h11 += trust * t[j] ** 2
        found -= 0.5 * np.log((h00 * h11 - h01 * h01) / stiff**2) + 0.5 * stiff * (c[0] ** 2 + c[1] ** 2)
        if turn < 3:
            c[0], c[1], _ = _solve(h00, h01, h11, g0, g1)
    return found
