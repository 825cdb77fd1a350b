"""Merging as SHELXL does it, and weights that make the goodness of fit even."""

import gemmi
import numpy as np
import pytest

from credo.model import CannotDo, Cell, UnreadableInput
from credo.solve.refine.data import merge_equivalents
from credo.solve.refine.model import Weights
from credo.solve.refine.weights import bins_of_goodness, optimised_weights, weights_of

CELL, P21 = Cell(6.1, 7.3, 8.2, 90, 103, 90), gemmi.SpaceGroup("P 1 21 1")


def test_mean_and_sigma_of_equivalents():
    hkl = np.array([[1, 2, 3], [-1, 2, -3], [-1, -2, -3], [0, 3, 0], [2, 0, 1]])
    i, s = np.array([100.0, 120, 80, 500, 5]), np.array([10.0, 10, 10, 10, 3])
    merged = merge_equivalents(hkl, i, s, P21, CELL)
    assert (merged.read, merged.absent, len(merged.observed)) == (5, 1, 2)
    k = int(np.flatnonzero(np.abs(merged.observed.hkl[:, 1]) == 2)[0])
    w = i[:3] / s[:3] ** 2
    mean = (w @ i[:3]) / w.sum()
    assert merged.observed.f2[k] == pytest.approx(mean)
    spread = np.abs(i[:3] - mean).sum() / (3 * np.sqrt(2))
    assert merged.observed.sigma[k] == pytest.approx(max(spread, 10 / np.sqrt(3)))
    assert merged.r_int == pytest.approx(np.abs(i[:3] - mean).sum() / 300)


def test_friedel_mates_stay_apart_in_the_point_group():
    hkl = np.array([[1, 2, 3], [-1, 2, -3], [-1, -2, -3]])
    found = merge_equivalents(hkl, np.array([1.0, 2, 3]), np.ones(3), P21, CELL, "point group")
    assert len(found.observed) == 2
    assert len(merge_equivalents(hkl, np.ones(3), np.ones(3), P21, CELL, "none").observed) == 3


def test_resolution_limits_and_bad_numbers():
    hkl = np.array([[1, 0, 0], [4, 0, 0]])
    found = merge_equivalents(hkl, np.ones(2), np.ones(2), P21, CELL, d_min=2.0)
    assert len(found.observed) == 1 and found.outside == 1
    with pytest.raises(CannotDo, match="none of"):
        merge_equivalents(hkl, np.ones(2), np.ones(2), P21, CELL, d_min=50.0)
    with pytest.raises(UnreadableInput, match="1 of 2"):
        merge_equivalents(hkl, np.array([1.0, np.nan]), np.ones(2), P21, CELL)
    with pytest.raises(UnreadableInput, match="2 of 2"):
        merge_equivalents(hkl, np.ones(2), np.zeros(2), P21, CELL)


def test_weights_by_the_formula():
    w = weights_of(np.array([200.0, -4]), np.array([6.0, 4]), np.array([90.0, 3]), 2.0, np.zeros(2), Weights(0.1, 0.5))
    p = np.array([(100 + 180) / 3, 6 / 3])
    assert np.allclose(w, 1 / (np.array([9.0, 4]) + (0.1 * p) ** 2 + 0.5 * p) / 4)


def test_the_search_finds_weights_that_explain_the_errors():
    """Errors made of σ and of 20 % of Fc²: a near 0.2 makes all classes fit equally well."""
    rng = np.random.default_rng(5)
    fc2 = rng.exponential(100.0, 4000)
    sigma = np.full(4000, 3.0)
    f2 = 1.7 * (fc2 + rng.normal(0, 1, 4000) * np.sqrt(9 + (0.2 * fc2) ** 2))
    found = optimised_weights(f2, 1.7 * sigma, fc2, 1.7, np.zeros(4000), 50, Weights())
    assert found.a == pytest.approx(0.2, abs=0.03)
    w = weights_of(f2, 1.7 * sigma, fc2, 1.7, np.zeros(4000), found)
    even = bins_of_goodness(w * (f2 - 1.7 * fc2) ** 2, fc2, 50)
    assert np.all(np.abs(even - 1) < 0.12)
    flat = weights_of(f2, 1.7 * sigma, fc2, 1.7, np.zeros(4000), Weights(0, 0))
    assert bins_of_goodness(flat * (f2 - 1.7 * fc2) ** 2, fc2, 50)[-1] > 10
