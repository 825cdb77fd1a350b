"""CC between data sets against numpy, missing pairs, and the clusters of eq. 7."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from credo.kernels.linkage import average_linkage
from credo.merge.intensities import correlations, intensity_clusters, intensity_distances, intensity_table
from credo.model import Reflections


def _families(n: int, share: float, seed: int = 0) -> np.ndarray:
    """Two kinds of n sets each over 400 reflections, with 10 % noise, each measured by ``share``."""
    rng = np.random.default_rng(seed)
    true = np.repeat(rng.exponential(size=(2, 400)), n, axis=0)
    table = true * rng.lognormal(0, 0.1, true.shape)
    return np.where(rng.random(true.shape) < share, table, np.nan)


def test_cc_is_that_of_the_common_reflections():
    table = _families(2, 0.3)
    cc, n = correlations(table)
    both = np.isfinite(table[0]) & np.isfinite(table[1])
    assert n[0, 1] == both.sum()
    assert cc[0, 1] == pytest.approx(np.corrcoef(table[0, both], table[1, both])[0, 1], abs=1e-12)


def test_scales_do_not_matter():
    table = _families(2, 0.5)
    assert np.allclose(correlations(table * np.array([[1e-6], [1e6], [1], [3]]))[0], correlations(table)[0], atol=1e-9)


def test_too_few_common_reflections_are_unknown():
    table = np.full((2, 10), np.nan)
    table[0, :7] = table[1, 3:] = np.arange(7.0)
    assert np.isnan(correlations(table, min_common=5)[0][0, 1])
    assert correlations(table, min_common=4)[0][0, 1] == pytest.approx(1)
    assert np.isnan(correlations(np.ones((2, 10)))[0][0, 1])


def test_eq_7_and_its_sign():
    cc = np.array([0.6, -0.6, np.nan])
    assert np.allclose(intensity_distances(cc, signed=False), [0.8, 0.8, np.nan], equal_nan=True)
    assert intensity_distances(cc)[1] == 1


def test_two_structures_are_sorted():
    labels = intensity_clusters(intensity_distances(correlations(_families(6, 0.4))[0]))
    assert labels.tolist() == [1] * 6 + [2] * 6


def test_a_pair_without_overlap_is_joined_by_what_both_share():
    d = np.array([[0, np.nan, 0.1], [np.nan, 0, 0.1], [0.1, 0.1, 0]])
    assert intensity_clusters(d).tolist() == [1, 1, 1]
    alone = np.array([[0, 0.1, np.nan], [0.1, 0, np.nan], [np.nan, np.nan, 0]])
    assert intensity_clusters(alone).tolist() == [1, 1, 2]


def test_linkage_is_scipys_where_all_is_known():
    x = np.random.default_rng(4).random((30, 3))
    d = np.linalg.norm(x[:, None] - x, axis=2)
    assert np.allclose(average_linkage(d)[1], linkage(squareform(d), "average")[:, 2])


def test_table_merges_equivalents():
    one = Reflections(h=[1, -1, 2], k=[2, 2, 0], l=[3, 3, 0], intensity=[4.0, 6.0, 1.0], sigma=[1.0, 1.0, 1.0])
    two = Reflections(h=[2], k=[0], l=[0], intensity=[7.0], sigma=[1.0])
    empty = Reflections({k: np.empty(0) for k in ("h", "k", "l", "intensity", "sigma")})
    table = intensity_table([one, two, empty], "mmm")
    assert table.shape == (3, 2) and np.isnan(table[2]).all()
    assert sorted(table[0]) == [1.0, 5.0] and np.nansum(table[1]) == 7.0
