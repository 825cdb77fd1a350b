"""The normal matrix without the means is the Schur complement of the dense one; robust means and medians by hand."""

import numpy as np
import pytest

from credo.kernels.scaling import apply_normal, gradient, group_medians, own_blocks, robust_means, scale_factors

KNOTS = 4


@pytest.fixture
def state():
    """start, k, w, mean, knot, part, s2 of 6 reflections seen by two sets of two knots each."""
    rng = np.random.default_rng(0)
    count = np.array([2, 3, 1, 4, 2, 5])
    start = np.concatenate([[0], np.cumsum(count)])
    n = int(start[-1])
    dataset = rng.integers(0, 2, n)
    part = rng.random(n)
    part[:3] = 0
    mean = rng.exponential(size=6) + 0.5
    return (start, rng.random(n) + 0.5, rng.random(n), mean, 2 * dataset, part, rng.random(n)), dataset


def dense(rows):
    """J (n, 2P) of k Ī by (ln K, B), and (n, m) by the means."""
    start, k, _, mean, knot, part, s2 = rows
    of = np.repeat(np.arange(len(mean)), np.diff(start))
    base = np.zeros((len(k), KNOTS))
    base[np.arange(len(k)), knot] = 1 - part
    base[np.arange(len(k)), np.minimum(knot + 1, KNOTS - 1)] += np.where(part > 0, part, 0)
    by_scale = (k * mean[of])[:, None] * np.hstack([base, -2 * s2[:, None] * base])
    by_mean = k[:, None] * (of[:, None] == np.arange(len(mean)))
    return by_scale, by_mean


def test_the_product_is_that_of_the_schur_complement(state):
    rows, _ = state
    j, m = dense(rows)
    w = np.diag(rows[2])
    schur = j.T @ w @ j - j.T @ w @ m @ np.linalg.inv(m.T @ w @ m) @ m.T @ w @ j
    v, out = np.random.default_rng(1).normal(size=(2, KNOTS)), np.empty((2, KNOTS))
    apply_normal(*rows, v, out)
    assert out.ravel() == pytest.approx(schur @ v.ravel())


def test_the_gradient_and_the_blocks_are_those_of_the_dense_jacobian(state):
    rows, dataset = state
    start, k, w, mean, knot, part, s2 = rows
    j, _ = dense(rows)
    intensity = np.random.default_rng(2).random(len(k))
    out = np.empty((2, KNOTS))
    gradient(start, k, intensity, w, mean, knot, part, s2, out)
    of = np.repeat(np.arange(len(mean)), np.diff(start))
    assert out.ravel() == pytest.approx(j.T @ (w * (intensity - k * mean[of])))
    blocks = np.empty((2, 4, 4))
    own_blocks(*rows, dataset, np.array([0, 2, 4]), blocks)
    whole = j.T @ np.diag(w) @ j
    for d in (0, 1):
        mine = [2 * d, 2 * d + 1, KNOTS + 2 * d, KNOTS + 2 * d + 1]
        assert blocks[d] == pytest.approx(whole[np.ix_(mine, mine)])


def test_scale_factors_are_linear_between_knots_in_the_logarithm():
    p = np.array([[0.0, 1.0], [0.0, 2.0]])
    k = scale_factors(p, np.zeros(3, dtype=int), np.array([0.0, 0.5, 1.0]), np.array([0.1, 0.1, 0.1]))
    assert np.log(k) == pytest.approx([0.0, 0.5 - 0.2, 1.0 - 0.4])


def test_one_wild_observation_hardly_moves_a_mean():
    intensity = np.array([10.0, 11, 9, 10, 200])
    mean = np.array([np.median(intensity)])
    args = np.array([0, 5]), np.ones(5), intensity, np.ones(5), np.ones(5), np.zeros(1), 5.0
    _, u = robust_means(*args, mean, 50)
    assert mean[0] == pytest.approx(10, abs=0.2)
    assert u[4] < 1e-3 and u[:4].min() > 0.7


def test_weights_do_not_depend_on_the_observation():
    """With σ in proportion to what is expected the mean of symmetric errors is not drawn to the weak ones."""
    mean = np.array([8.0])
    robust_means(np.array([0, 2]), np.ones(2), np.array([8.0, 12.0]), np.full(2, 1e-6), np.ones(2), np.array([0.3]),
                 1e6, mean, 50)  # fmt: skip
    assert mean[0] == pytest.approx(10.0, rel=1e-3)


def test_medians_of_groups():
    values, of = np.array([3.0, 1, 2, 10, 20]), np.array([0, 0, 0, 2, 2])
    assert group_medians(values, of, 4) == pytest.approx([2, 0, 15, 0])
