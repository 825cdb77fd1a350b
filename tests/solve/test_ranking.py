"""The balance of agreement and parameters, and what errors alone make of R1."""

import numpy as np
import pytest

from credo.solve.ranking import corrected_r1, expected_r1, preference


def test_equal_agreement_prefers_fewer_parameters():
    assert preference(0.1, 1000, 50) < preference(0.1, 1000, 100)


def test_a_subgroup_must_earn_its_parameters():
    n, p = 1000, 50
    needed = 0.2 * np.exp(-p * np.log(n) / (2 * n))
    assert preference(0.98 * needed, n, 2 * p) < preference(0.2, n, p) < preference(1.02 * needed, n, 2 * p)


def test_not_refined_is_last():
    assert preference(float("nan"), 100, 10) == float("inf")
    assert preference(0.5, 0, 0) == float("inf")


def test_corrected_r1_grows_as_freedom_shrinks():
    assert corrected_r1(0.1, 100, 0) == pytest.approx(0.1)
    assert corrected_r1(0.1, 100, 75) == pytest.approx(0.2)
    assert corrected_r1(0.1, 100, 100) == float("inf")


def test_expected_r1_is_what_normal_errors_give():
    rng = np.random.default_rng(0)
    true = rng.exponential(100.0, 20_000) + 20
    sigma = 0.1 * true
    seen = rng.normal(true, sigma)
    r1 = np.abs(np.sqrt(np.maximum(seen, 0)) - np.sqrt(true)).sum() / np.sqrt(true).sum()
    assert expected_r1(seen, sigma) == pytest.approx(r1, rel=0.05)


def test_expected_r1_without_strong_reflections():
    assert expected_r1(np.array([1.0, -1.0]), np.array([5.0, 5.0])) == 0.5
