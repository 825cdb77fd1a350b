"""The error model finds what was put in, without a cap, whatever the outliers."""

import numpy as np
import pytest

from credo.merge.error_model import ErrorModel, chi_squares, fit_error_model, trimmed_chi2


@pytest.mark.parametrize(("b", "c"), [(0.05, 0.0), (0.28, 0.0), (0.8, 0.0), (0.28, 0.3)])
def test_what_was_put_in_is_found(b, c):
    rng = np.random.default_rng(1)
    mean = 1000 * rng.exponential(size=20_000)
    sigma = np.sqrt(mean + 50)
    true = ErrorModel(1.3, b, c, float(mean.mean()))
    residual = np.sqrt(true.variance(sigma, mean, mean)) * rng.normal(size=len(mean))
    residual = np.where(rng.random(len(mean)) < 0.03, 20 * residual, residual)
    start = ErrorModel(1.0, 0.2)
    for exact in (False, True):
        start = fit_error_model(residual, sigma, mean, mean, 0 * mean, start, exact)
    assert start.a * start.b == pytest.approx(true.a * true.b, rel=0.12)
    assert start.c == pytest.approx(c, abs=0.1)
    z2 = residual**2 / start.variance(sigma, mean, mean)
    assert all(0.85 < chi < 1.2 for _, chi in chi_squares(z2, mean))


def test_an_observations_share_in_its_own_mean_is_allowed_for():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(20_000, 2))
    residual = (x - x.mean(axis=1, keepdims=True)).ravel()
    one = np.ones(len(residual))
    found = fit_error_model(residual, one, 0 * one, one, 0.5 * one, ErrorModel(1.0, 0.0), exact=True)
    assert found.a == pytest.approx(1.0, abs=0.05)


def test_trimming_is_right_for_a_gaussian_and_ignores_outliers():
    z = np.random.default_rng(3).normal(size=50_000)
    assert trimmed_chi2(z**2) == pytest.approx(1.0, abs=0.02)
    assert trimmed_chi2(np.append(z, np.full(1000, 100.0)) ** 2) == pytest.approx(1.0, abs=0.03)
    assert trimmed_chi2(np.empty(0)) == 1.0
