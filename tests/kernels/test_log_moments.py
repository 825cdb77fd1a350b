"""Logarithms of noisy intensities: exact where they are strong, harmless where they are weak."""

import numpy as np
import pytest
from scipy.integrate import quad

from credo.kernels.log_moments import log_observations


def test_strong_intensities_are_logarithms():
    e = np.array([0.5, 1.0, 4.0])
    y, v = log_observations(e, 0.01 * e, 0.05)
    assert y == pytest.approx(np.arcsinh(e / 0.1), abs=1e-9)
    assert v == pytest.approx((0.01 * e) ** 2 / (e**2 + 0.01), rel=1e-9)


def test_moments_are_those_of_bayes():
    e, de, knee = 0.4, 0.2, 0.05

    def moments(likelihood):
        values = [
            quad(lambda u, k=k: np.exp(-u * u / 2) * likelihood(u * u) * np.arcsinh(u * u / (2 * knee)) ** k, 0, 8,
                 limit=200)[0]
            for k in (0, 1, 2)
        ]  # fmt: skip
        mean = values[1] / values[0]
        return mean, values[2] / values[0] - mean**2

    m, s = moments(lambda i: np.exp(-0.5 * ((e - i) / de) ** 2))
    m0, s0 = moments(lambda i: 1.0)
    y, v = log_observations(np.array([e]), np.array([de]), knee)
    w = 1 / s - 1 / s0
    assert y[0] == pytest.approx((m / s - m0 / s0) / w, abs=0.05)
    assert v[0] == pytest.approx(1 / w, rel=0.1)


def test_the_switch_from_weak_to_strong_is_smooth():
    e = np.array([0.799, 0.801])
    y, v = log_observations(e, np.array([0.1, 0.1]), 0.05)
    assert abs(y[1] - y[0]) < 0.05 and v[0] == pytest.approx(v[1], rel=0.3)


def test_negative_and_hopeless_ones_stay_finite():
    y, v = log_observations(np.array([-5.0, -0.1, 0.0, 0.3]), np.array([1.0, 0.1, 1e-6, 50.0]), 0.05)
    assert np.all(np.isfinite(y)) and np.all(v > 0)
    assert v[3] == 1e3, "a measurement that says nothing must weigh nothing"
