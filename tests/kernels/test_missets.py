"""The rocking-curve kernels against plain numpy."""

import numpy as np
from scipy.linalg import cholesky_banded
from scipy.special import ndtr

from credo.kernels.missets import banded_inverse, frame_shares


def test_shares_of_touching_frames_add_up_to_one():
    edges = np.linspace(-0.01, 0.01, 21)
    width = np.full(20, 0.001)
    forwards = frame_shares(edges[:-1], edges[1:], width)
    assert np.allclose(forwards, np.diff(ndtr(edges / 0.001)), atol=1e-12)
    assert np.allclose(frame_shares(edges[1:], edges[:-1], width), forwards)
    assert abs(forwards.sum() - 1) < 1e-12


def test_banded_inverse_equals_the_dense_one():
    rng = np.random.default_rng(0)
    n, b = 30, 5
    band = rng.normal(size=(b, n)) * 0.3
    band[0] = 6.0
    a = np.zeros((n, n))
    for k in range(b):
        for j in range(n - k):
            a[j + k, j] = a[j, j + k] = band[k, j]
    z, inverse = banded_inverse(cholesky_banded(band, lower=True)), np.linalg.inv(a)
    for k in range(b):
        for j in range(n - k):
            assert abs(z[k, j] - inverse[j + k, j]) < 1e-12
