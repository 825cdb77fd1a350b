"""Difference vectors: pairs within reach, coincidences, histogram, and the climb to lattice vectors."""

import numpy as np
import pytest

from credo.kernels.lattice import climb, coincidences, difference_histogram, differences


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
    assert out[4, 6, 2] == 1
    assert out[3, 1, 5] == 1


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
