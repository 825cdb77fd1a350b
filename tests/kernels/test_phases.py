"""Evidence for a common profile against dense normal densities, and profiles taken apart again."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from credo.kernels.phases import add_set, alone, evidence, join, join_gains, mixed_score, remove_set, score

TAU2, SIGMA2 = 1.3, 0.1


def _profile(rng: np.random.Generator, m: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """W and S of one observation for some of m reflections."""
    known = rng.random(m) < share
    w = np.where(known, 1 / (SIGMA2 + rng.random(m)), 0.0)
    return w, np.where(known, w * rng.normal(size=m), 0.0)


def test_evidence_is_that_of_the_normal_density():
    y, v = np.array([0.7, -0.3]), np.array([0.2, 0.5])
    joint = multivariate_normal(cov=TAU2 * np.ones((2, 2)) + np.diag(v)).logpdf(y)
    noise = norm.logpdf(y, 0, np.sqrt(v)).sum()
    found = evidence(np.array([(1 / v).sum()]), np.array([(y / v).sum()]), TAU2)[0]
    assert found == pytest.approx(joint - noise, abs=1e-12)


def _dense(y_a, v_a, y_b, v_b, t, stiff) -> float:
    """The same gain from full covariance matrices: μ common to both sets, a shift and slope of the second."""
    n = len(t)
    f = np.vstack([np.zeros((n, 2)), np.stack([np.ones(n), t], axis=1)])
    common = np.kron(np.ones((2, 2)), TAU2 * np.eye(n))
    together = common + np.diag(np.concatenate([v_a, v_b])) + f @ f.T / stiff
    apart = TAU2 * np.eye(2 * n) + np.diag(np.concatenate([v_a, v_b]))
    y = np.concatenate([y_a, y_b])
    return multivariate_normal(cov=together).logpdf(y) - multivariate_normal(cov=apart).logpdf(y)


def test_gain_of_a_join_is_exact():
    rng = np.random.default_rng(1)
    n = 7
    y_a, y_b, v_a, v_b, t = (
        rng.normal(size=n),
        rng.normal(size=n),
        rng.random(n) + 0.1,
        rng.random(n) + 0.1,
        rng.normal(size=n),
    )
    weight, total = np.stack([1 / v_a, 1 / v_b]), np.stack([y_a / v_a, y_b / v_b])
    gain, how = np.empty(2), np.zeros(2, dtype=int)
    join_gains(0, weight, total, np.array([n, n]), np.ones(2, bool), t, np.arange(n)[None], TAU2, gain, how)
    assert gain[1] == pytest.approx(_dense(y_a, v_a, y_b, v_b, t, 1 / (TAU2 * 2 / n)), abs=1e-9)
    assert gain[0] == -np.inf


def test_reflections_of_one_set_only_add_nothing():
    rng = np.random.default_rng(2)
    m, t = 40, np.zeros(40)
    (w0, s0), (w1, s1) = _profile(rng, m, 0.5), _profile(rng, m, 0.5)
    both = (w0 > 0) & (w1 > 0)
    gains = []
    for keep in (np.ones(m, bool), both):
        gain, how = np.empty(2), np.zeros(2, dtype=int)
        join_gains(0, np.stack([w0 * keep, w1 * keep]), np.stack([s0 * keep, s1 * keep]), np.array([20, 20]),
                   np.ones(2, bool), t, np.arange(m)[None], TAU2, gain, how)  # fmt: skip
        gains.append(gain[1])
    assert gains[0] == pytest.approx(gains[1], abs=1e-12)


def test_the_setting_that_fits_is_found():
    rng = np.random.default_rng(3)
    m = 60
    images = np.stack([np.arange(m), np.roll(np.arange(m), 1), rng.permutation(m)])
    mean, w = rng.normal(size=m) * 1.2, np.full(m, 1 / SIGMA2)
    weight, total = np.stack([w, w]), np.stack([w * mean, w * mean[images[2]]])
    gain, how = np.empty(2), np.zeros(2, dtype=int)
    join_gains(0, weight, total, np.array([m, m]), np.ones(2, bool), np.zeros(m), images, TAU2, gain, how)
    assert how[1] == 2 and gain[1] > 10
    join(0, 1, weight, total, np.array([m, m]), np.zeros(m), images[2], TAU2)
    assert np.allclose(weight[0], 2 / SIGMA2) and np.allclose(total[0] / weight[0], mean, atol=0.05)


def test_a_shifted_set_is_put_on_the_others_scale():
    rng = np.random.default_rng(4)
    m, w = 200, np.full(200, 1 / SIGMA2)
    mean, t = rng.normal(size=m), rng.normal(size=m)
    weight, total = np.stack([w, w]), np.stack([w * mean, w * (mean + 0.2 - 0.1 * t)])
    join(0, 1, weight, total, np.array([m, m]), t, np.arange(m), TAU2)
    assert np.allclose(total[0] / weight[0], mean, atol=0.02)


def _scored(y, mean, w, grades=(1.0,)):
    m, grades = len(y), np.array(grades)
    ids, v, t, c, found = np.arange(m), np.full(m, 0.05), np.zeros(m), np.zeros(2), np.empty(len(grades))
    base = alone(y, v, TAU2, SIGMA2, 0.05, grades)
    score(ids, y, v, t, w, w * mean, ids, TAU2, SIGMA2, 0.05, grades, 1e6, base, c, found)
    return found


def test_score_without_outliers_is_a_ratio_of_normal_densities():
    rng = np.random.default_rng(5)
    m = 30
    mean, w = rng.normal(size=m), np.full(m, 20.0)
    y = mean + 0.3 * rng.normal(size=m)
    ids, v, c, found, grades = np.arange(m), np.full(m, 0.05), np.zeros(2), np.empty(1), np.array([1.0])
    base = alone(y, v, TAU2, SIGMA2, 0.0, grades)
    score(ids, y, v, np.zeros(m), w, w * mean, ids, TAU2, SIGMA2, 0.0, grades, 1e12, base, c, found)
    p = 1 / (w + 1 / TAU2)
    right = norm.logpdf(y, w * mean * p, np.sqrt(p + v + SIGMA2)) - norm.logpdf(y, 0, np.sqrt(TAU2 + v + SIGMA2))
    assert found[0] == pytest.approx(right.sum(), abs=1e-5)


def test_one_wild_value_does_not_throw_a_set_out():
    rng = np.random.default_rng(6)
    m = 40
    mean, w = rng.normal(size=m), np.full(m, 20.0)
    y = mean + 0.2 * rng.normal(size=m)
    before = _scored(y, mean, w)[0]
    y[3] += 8.0
    assert before > 10 and _scored(y, mean, w)[0] > before - 12


def test_noisier_sets_fit_a_higher_grade():
    rng = np.random.default_rng(7)
    mean, w = rng.normal(size=300), np.full(300, 50.0)
    scores = _scored(mean + 0.65 * rng.normal(size=300), mean, w, (1.0, 4.0))
    assert scores[1] > scores[0] + 5


def test_add_and_remove_are_inverse():
    rng = np.random.default_rng(9)
    m = 50
    w, s = _profile(rng, m, 0.5)
    before = w.copy(), s.copy()
    image = rng.permutation(m)
    ids, y, v, t = np.arange(0, m, 2), rng.normal(size=25), rng.random(25), rng.normal(size=m)
    c, share = np.array([0.1, -0.2]), np.empty(25)
    add_set(ids, y, v, t, w, s, image, TAU2, SIGMA2, 0.05, c, share)
    assert share.min() >= 0 and (w - before[0])[image[ids]] == pytest.approx(share)
    remove_set(ids, y, t, w, s, image, c, share)
    assert np.allclose(w, before[0], atol=1e-6) and np.allclose(s, before[1], atol=1e-6)


def test_a_mixture_is_likelier_than_either_alone():
    rng = np.random.default_rng(10)
    m = 150
    a, b = rng.normal(size=(2, m)) * 1.2
    profiles, variances = np.stack([a, b]), np.full((2, m), 0.01)

    def value(y, share):
        return mixed_score(np.arange(m), y, np.full(m, 0.02), np.zeros(m), profiles, variances, share, TAU2, SIGMA2,
                           0.05, m / TAU2, np.zeros(2))  # fmt: skip

    both = np.log(0.5 * np.exp(a) + 0.5 * np.exp(b)) + 0.2 * rng.normal(size=m)
    assert value(both, 0.5) > max(value(both, 0.0), value(both, 1.0)) + 20
    alone_ = a + 0.2 * rng.normal(size=m)
    assert value(alone_, 1.0) > value(alone_, 0.5) + 20
