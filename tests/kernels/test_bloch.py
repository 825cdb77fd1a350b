"""The Krylov propagation equals the matrix exponential; the Bessel functions equal scipy's."""

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.special import jv

from credo.kernels.bloch import bessel, couple, near_sphere, propagate


@pytest.mark.parametrize("x", [0.0, 1e-5, 0.3, 5.0, 60.0, 900.0])
def test_bessel(x):
    np.testing.assert_allclose(bessel(x, 300), jv(np.arange(300), x), atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 7, 120])
@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("coupling", [1e-12, 0.01, 0.2])
def test_propagation_is_the_exponential(n, real, coupling):
    rng = np.random.default_rng(n)
    upper = np.triu(rng.normal(size=(n, n)), 1) * coupling
    a = np.diag(rng.uniform(-0.4, 0.4, n)) + upper + upper.T
    upper = np.triu(rng.normal(size=(n, n)), 1) * coupling * (not real)
    b = upper - upper.T
    tau = np.array([0.0, 8.0, 47.0, 120.0])
    exact = np.stack([expm(1j * t * (a + 1j * b))[:, 0] for t in tau])
    np.testing.assert_allclose(propagate(a, b, n, real, tau, 0.8, 1e-7), exact, atol=1e-6)


def test_a_space_guessed_too_small_grows():
    rng = np.random.default_rng(0)
    upper = np.triu(rng.normal(size=(150, 150)), 1) * 0.05
    a = np.diag(rng.uniform(-1, 1, 150)) + upper + upper.T
    exact = expm(100j * a)[:, 0]
    np.testing.assert_allclose(propagate(a, a, 150, True, np.array([100.0]), 1e-3, 1e-7)[0], exact, atol=1e-6)


def test_coupling_is_hermitian_and_by_differences_of_indices():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(9, 9, 9)) + 1j * rng.normal(size=(9, 9, 9))
    table = 0.5 * (table + table[::-1, ::-1, ::-1].conj())
    hkl, s = np.array([[0, 0, 0], [1, -1, 2], [-2, 1, 0], [2, 2, -1]]), np.array([0, 0.01, -0.02, 0.03])
    a, b = np.empty((4, 4)), np.empty((4, 4))
    couple(hkl, s, 40.0, np.ascontiguousarray(table.real), np.ascontiguousarray(table.imag), a, b)
    matrix = a + 1j * b
    np.testing.assert_allclose(matrix, matrix.conj().T)
    np.testing.assert_allclose(np.diag(matrix), 80 * s)
    assert matrix[1, 2] == table[4 + 3, 4 - 2, 4 + 2]


def test_beams_near_the_sphere():
    rng = np.random.default_rng(2)
    hkl = np.concatenate([np.zeros((1, 3), dtype=np.int64), rng.integers(-9, 10, size=(3000, 3))])
    ub = np.linalg.qr(rng.normal(size=(3, 3)))[0] * 0.1
    rows, s = np.empty(len(hkl), dtype=np.int64), np.empty(len(hkl))
    n = near_sphere(hkl, ub, 40.0, 0.02, rows, s)
    waves = np.linalg.norm(hkl @ ub.T + [0, 0, 40.0], axis=1)
    expected = (40.0**2 - waves**2) / 80.0
    near = np.abs(expected) <= 0.02
    assert n == near.sum() > 30
    np.testing.assert_array_equal(rows[:n], np.flatnonzero(near))
    np.testing.assert_allclose(s[:n], expected[near], atol=1e-12)
