"""The steps of charge flipping against numpy, element by element."""

import numpy as np
import pytest

from credo.kernels.flip import FLOATING, MISSING, OBSERVED, OUTSIDE, WEAK, add_at, eliminate_low_density, flip
from credo.kernels.flip import impose_moduli as impose
from credo.kernels.peaks import map_peaks


def test_flip_turns_what_is_low():
    rho = np.random.default_rng(0).normal(0, 2, 1000).astype(np.float32)
    before = rho.copy()
    sigma = flip(rho, 1.1)
    assert sigma == pytest.approx(before.std(), rel=1e-4)
    assert np.array_equal(rho, np.where(before >= np.float32(1.1 * sigma), before, -before))


def test_low_density_elimination():
    rho = np.random.default_rng(1).normal(0, 2, 1000).astype(np.float32)
    c = 0.4 * np.sqrt((rho.astype(float) ** 2).mean())
    expected = np.where(rho > 0, rho * (1 - np.exp(-0.5 * (rho / c) ** 2)), 0)
    eliminate_low_density(rho, 0.4)
    assert rho == pytest.approx(expected, abs=1e-4)


def test_moduli_by_status():
    g = np.array([3 + 4j, 3 + 4j, 3 + 4j, 3 + 4j, 3 + 4j], dtype=np.complex64)
    status = np.array([OUTSIDE, OBSERVED, WEAK, MISSING, FLOATING], dtype=np.int8)
    impose(g, np.full(5, 10, np.float32), status, 0.9, True)
    assert g == pytest.approx([0, 6 + 8j, -4 + 3j, 2.7 + 3.6j, 3 + 4j])


def test_sums_at_wrapped_indices():
    series = np.zeros(24, dtype=np.complex64)
    add_at(series, np.array([[-1, 0, 0], [1, 0, 0], [1, 4, -2]]), np.array([1, 2, 3], dtype=np.complex64), (2, 3, 4))
    cube = series.reshape(2, 3, 4)
    assert cube[1, 0, 0] == 3 and cube[1, 1, 2] == 3 and cube.sum() == 6


def test_peaks_between_the_points():
    n = 24
    x = np.stack(np.meshgrid(*[np.arange(n) / n] * 3, indexing="ij"), -1)
    rho = np.zeros((n, n, n))
    places = np.array([[0.51, 0.27, 0.98], [0.113, 0.8, 0.4]])
    for k, place in enumerate(places):
        d = x - place
        d -= np.rint(d)
        rho += (2 - k) * np.exp(-0.5 * (d**2).sum(-1) / 0.06**2)
    found = map_peaks(rho, 0.1)
    assert found[:2, :3] == pytest.approx(places, abs=0.004)
    assert found[:2, 3] == pytest.approx([2, 1], rel=0.04)
