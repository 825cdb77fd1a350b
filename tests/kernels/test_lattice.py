"""Difference vectors: pairs within reach, coincidences, histogram, and the climb to lattice vectors."""

import numpy as np
import pytest

from credo.kernels.lattice import climb, coincidences, difference_histogram, differences, near_nodes, over_chance


def test_differences_are_all_pairs_within_reach():
    rng = np.random.default_rng(0)
    q, phi = rng.normal(size=(50, 3)), np.sort(rng.uniform(0, 1, 50))
    out = np.empty((2000, 3))
    n = differences(q, phi, 0.3, 1.5, out)
    expected = [
        q[j] - q[i] for i in range(50) for j in range(i + 1, 50)
        if phi[j] - phi[i] <= 0.3 and np.sum((q[j] - q[i]) ** 2) <= 1.5**2
    ]  # fmt: skip
    assert n == len(expected) > 50
    assert out[:n] == pytest.approx(np.array(expected))
    # a full list ends early, never beyond its end
    assert differences(q, phi, 0.3, 1.5, np.empty((10, 3))) == 10


def test_coincidences_tell_a_lattice_from_chance():
    rng = np.random.default_rng(1)
    table = np.zeros(1 << 16, dtype=np.int32)
    same = np.tile([[0.3, 0.1, 0.2], [-0.3, -0.1, -0.2]], (50, 1))
    assert coincidences(same, 0.05, table) == pytest.approx(1.0)
    lattice = rng.integers(-2, 3, (400, 3)) * 0.1 + 0.025
    scattered = rng.uniform(-0.25, 0.25, (400, 3))
    assert coincidences(lattice, 0.05, table) > 4 * coincidences(scattered, 0.05, table)
    assert coincidences(np.empty((0, 3)), 0.05, table) == 0.0


def test_histogram_counts_both_signs_and_leaves_out_what_is_beyond():
    out = np.zeros((8, 8, 8), dtype=np.float32)
    difference_histogram(np.array([[0.1, 0.6, -0.4], [3.0, 0, 0]]), 1.0, out)
    assert out.sum() == 2
    assert out[0, 2, -2] == 1
    assert out[0, -2, 2] == 1


def test_likelihood_over_chance_is_that_of_its_formula():
    rng = np.random.default_rng(5)
    delta2, var, volume = rng.exponential(2e-4, 50), np.full(50, 1e-4), 0.02
    somewhere, member = np.arange(50) > 2, np.empty(50)
    score, f = over_chance(delta2, var, somewhere, volume, member)
    ratio = somewhere * volume * (2 * np.pi * var) ** -1.5 * np.exp(-0.5 * delta2 / var)
    assert score == pytest.approx(np.log(f * ratio + 1 - f).sum(), rel=1e-9)
    assert f == pytest.approx(member.mean(), rel=1e-9)
    # the fraction is where the likelihood is largest
    assert all(np.log(g * ratio + 1 - g).sum() < score + 1e-3 for g in (0.9 * f, 0.9 * f + 0.1))


def test_climb_reaches_the_lattice_vector():
    rng = np.random.default_rng(2)
    direct = np.array([[7.0, 0, 0], [1.0, 9.0, 0], [0.5, -1.0, 11.0]])
    d = rng.integers(-3, 4, (500, 3)) @ np.linalg.inv(direct).T
    d += rng.normal(0, 0.002, d.shape)
    found = climb(d, direct + rng.normal(0, 0.4, (3, 3)), 30)
    assert found[:, :3] == pytest.approx(direct, abs=0.02)
    assert np.all(found[:, 3] > 0.95)
    # away from any lattice vector S stays low
    assert climb(d, np.array([[3.5, 4.5, 5.5]]), 0)[0, 3] < 0.3


def test_points_near_nodes_are_counted_for_every_lattice():
    rng = np.random.default_rng(6)
    ub = rng.normal(size=(5, 3, 3))
    q, reach2 = rng.normal(size=(40, 3)), rng.uniform(0.01, 0.3, 40)
    counts = near_nodes(q, reach2, ub, np.linalg.inv(ub))
    for b, n in zip(ub, counts, strict=True):
        h = q @ np.linalg.inv(b).T
        assert n == np.count_nonzero(np.sum(((h - np.rint(h)) @ b.T) ** 2, axis=1) < reach2)
    assert 0 < counts.sum() < 200
