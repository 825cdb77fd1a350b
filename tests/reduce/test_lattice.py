"""Lattices from reciprocal points: vectors, bases, likelihood over chance, sub-lattices and the beam's error."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credo.reduce.lattice import (
    beam_offset,
    candidate_bases,
    direct_vectors,
    distinct,
    likelihood,
    reduced,
    without_empty_nodes,
)
from credo.reduce.points import Points, reciprocal_points

CELL = (8.1, 11.3, 14.2, 90, 98, 90)


@pytest.fixture(scope="module")
def scene(spot_scene):
    return spot_scene(CELL, seed=3, spurious=0.1)


@pytest.fixture(scope="module")
def points(scene):
    return reciprocal_points(scene.truth, scene.spots, np.arange(len(scene.spots)), scene.truth.goniometer.axis)


@pytest.fixture(scope="module")
def direct(scene):
    """True direct vectors as rows."""
    return np.linalg.inv(scene.truth.crystal.UB)


def same(a, b, percent=1.5):
    m = np.linalg.solve(b.T, a.T)
    return abs(abs(np.linalg.det(np.rint(m))) - 1) < 1e-6 and np.abs(m - np.rint(m)).max() < percent / 100 * 3


@given(st.integers(0, 100_000))
@settings(deadline=None)
def test_reduced_bases_are_shortest_and_span_the_same_lattice(seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(3, 3)) * 10 + np.diag([3, 3, 3])
    if abs(np.linalg.det(a)) < 1:
        return
    mix = np.eye(3, dtype=int)
    for i, j in itertools.permutations(range(3), 2):
        mix[i] += rng.integers(-2, 3) * mix[j]
    r = reduced(mix @ a)
    assert np.linalg.det(r) == pytest.approx(abs(np.linalg.det(a)), rel=1e-6)
    m = np.linalg.solve(a.T, r.T)
    assert m == pytest.approx(np.rint(m), abs=1e-6)
    lengths = np.linalg.norm(r, axis=1)
    combos = np.array([v for v in itertools.product(range(-2, 3), repeat=3) if any(v)])
    every = np.linalg.norm(combos @ r, axis=1)
    assert every.min() == pytest.approx(lengths.min())
    # the longest basis vector cannot be replaced by anything shorter
    for k in range(3):
        assert every[np.abs(combos[:, k]) == 1].min() >= lengths[k] - 1e-6


def test_direct_vectors_hold_the_lattice(points, direct):
    found = direct_vectors(points, 12.0, 0.25)
    assert np.all(np.diff(found[:, 3]) <= 1e-12)
    ind = found[:5, :3] @ np.linalg.inv(direct)
    assert np.abs(ind - np.rint(ind)).max() < 0.06
    bases = [
        b for reach, q in ((12.0, 0.25), (25.0, 0.12), (25.0, 0.5))
        for b in candidate_bases(direct_vectors(points, reach, q))
    ]  # fmt: skip
    assert any(same(b, direct) for b in bases)


def test_too_few_points_give_no_vectors(points):
    few = Points(*(getattr(points, k)[:3] for k in ("q", "lab", "phi", "rotation", "sigma", "row")))
    assert direct_vectors(few, 12.0, 0.25).shape == (0, 4)
    assert candidate_bases(np.empty((0, 4))) == []


def test_distinct_joins_u_and_minus_u():
    v = np.array([[1, 2, 3, 0.9], [-1, -2, -3.1, 0.8], [1, 2, 5, 0.7]], dtype=float)
    assert distinct(v, 0.3).tolist() == [v[0].tolist(), v[2].tolist()]


def test_the_true_lattice_is_likelier_than_coarser_finer_and_turned_ones(points, direct):
    true = likelihood(points, np.linalg.inv(direct))
    assert true.score > 300
    assert true.fraction == pytest.approx(1 / 1.1, abs=0.07)
    for k in range(3):
        wrong = direct.copy()
        wrong[k] *= 2
        assert likelihood(points, np.linalg.inv(wrong)).score < true.score
        wrong[k] /= 4
        assert likelihood(points, np.linalg.inv(wrong)).score < true.score
    turn = np.array([[np.cos(0.1), -np.sin(0.1), 0], [np.sin(0.1), np.cos(0.1), 0], [0, 0, 1]])
    assert likelihood(points, turn @ np.linalg.inv(direct)).score < 0.3 * true.score
    # the strays, at the end of the table, are not members
    stray = points.row >= round(len(points) / 1.1)
    assert np.median(true.member[stray]) < 0.1 < 0.9 < np.median(true.member[~stray])


def test_chance_scores_nothing():
    rng = np.random.default_rng(0)
    n = 300
    q = rng.uniform(-0.8, 0.8, (n, 3))
    none = np.zeros((n, 3, 3))
    points = Points(q, q, np.zeros(n), none, np.full(n, 0.005), np.arange(n))
    assert likelihood(points, np.diag([1 / 9, 1 / 11, 1 / 13])).score < 10


@pytest.mark.parametrize(("p", "v"), [(2, (1, 0, 0)), (2, (1, 1, 1)), (3, (0, 1, 0))])
def test_a_needlessly_large_cell_is_made_smaller(points, direct, p, v):
    # direct superlattice: keep the vectors u with v·u ≡ 0 mod p, an index-p sublattice
    combos = np.array(sorted(itertools.product(range(-p, p + 1), repeat=3), key=lambda u: np.sum(np.square(u))))
    inside = [u for u in combos if (np.array(v) @ u) % p == 0 and any(u)]
    big = next(
        np.array(t) for t in itertools.combinations(inside[:40], 3) if abs(round(np.linalg.det(np.array(t)))) == p
    )
    large = reduced(big @ direct)
    fit = likelihood(points, np.linalg.inv(large))
    better = without_empty_nodes(points, fit)
    assert abs(np.linalg.det(np.linalg.inv(better.ub))) == pytest.approx(np.linalg.det(direct), rel=0.02)
    assert better.score > fit.score


def test_the_true_cell_is_left_alone(points, direct):
    fit = likelihood(points, np.linalg.inv(direct))
    assert without_empty_nodes(points, fit) is fit


def test_beam_offset_is_measured_from_the_lattice(scene, direct):
    off = np.array([5.0, -3.0])
    moved = scene.truth.replace(detector=scene.truth.detector.replace(origin=tuple((257.3, 259.1) + off)))
    rows = np.arange(len(scene.spots))
    wrong = reciprocal_points(moved, scene.spots, rows, scene.truth.goniometer.axis)
    found = beam_offset(wrong, direct, 0.0025, 16.0, 6.0)
    # its grid is a fifth of a reciprocal lattice row, near enough for the fit that follows
    assert np.abs(found + off).max() < 0.6 * 0.2 / (14.2 * 0.0025)
    better = moved.replace(detector=moved.detector.replace(origin=tuple(moved.detector.origin + found)))
    right = reciprocal_points(better, scene.spots, rows, scene.truth.goniometer.axis)
    ub = np.linalg.inv(direct)
    assert likelihood(right, ub).score > likelihood(wrong, ub).score + 50
