"""The rocking-curve kernels against plain numpy."""

import numpy as np
from scipy.special import ndtr

from credo.kernels.missets import banded_factor, banded_inverse, banded_solve, frame_shares


def test_shares_of_touching_frames_add_up_to_one():
    edges = np.linspace(-0.01, 0.01, 21)
    width = np.full(20, 0.001)
    forwards = frame_shares(edges[:-1], edges[1:], width)
    assert np.allclose(forwards, np.diff(ndtr(edges / 0.001)), atol=1e-12)
    assert np.allclose(frame_shares(edges[1:], edges[:-1], width), forwards)
    assert abs(forwards.sum() - 1) < 1e-12


def test_banded_algebra_equals_the_dense_one():
    rng = np.random.default_rng(0)
    n, b = 30, 5
    columns = rng.normal(size=(n, b)) * 0.3
    columns[:, 0] = 6.0
    a = np.zeros((n, n))
    for j in range(n):
        for k in range(min(b, n - j)):
            a[j + k, j] = a[j, j + k] = columns[j, k]
    factor = banded_factor(columns)
    rhs = rng.normal(size=n)
    assert np.allclose(banded_solve(factor, rhs), np.linalg.solve(a, rhs))
    z, inverse = banded_inverse(factor), np.linalg.inv(a)
    for j in range(n):
        for k in range(min(b, n - j)):
            assert abs(z[j, k] - inverse[j + k, j]) < 1e-12
