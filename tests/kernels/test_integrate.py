"""One frame's share of reflections: ownership, unbiased counts with right variances, shape by moments."""

import numpy as np
import pytest

from credo.kernels.integrate import claim, gaussian_shape, measure, moments, release


def _owned(shape, x, y, half):
    owner, near = np.full(shape, -1, np.int32), np.zeros(shape, np.float32)
    claim(x, y, half, owner, near)
    return owner


def test_pixels_go_to_the_nearest_spot_and_come_back():
    x, y = np.array([10.5, 16.5]), np.array([12.5, 12.5])
    owner = _owned((30, 30), x, y, 5)
    assert owner[12, 10] == 0
    assert owner[12, 12] == 0
    assert owner[12, 14] == 1
    assert owner[12, 21] == 1
    assert owner[12, 22] == -1
    assert owner[18, 10] == -1
    release(x, y, 5, owner)
    assert np.all(owner == -1)


def test_spots_over_the_edge_are_claimed_within_the_frame():
    x, y = np.array([0.2, 29.9]), np.array([29.8, -0.4])
    owner = _owned((30, 30), x, y, 4)
    assert owner[29, 0] == 0
    assert owner[0, 29] == 1
    release(x, y, 4, owner)
    assert np.all(owner == -1)


def _gaussian(shape, x, y, cov):
    """A unit Gaussian at pixel centres."""
    yy, xx = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    d = np.stack([xx - x, yy - y], axis=-1)
    inv = np.linalg.inv(cov)
    return np.exp(-0.5 * np.einsum("...i,ij,...j", d, inv, d)) / (2 * np.pi * np.sqrt(np.linalg.det(cov)))


COV = np.array([[1.6, 0.5], [0.5, 1.1]])


def _measured(frame, x, y, expected, bad=None, top=np.inf, mean=None, half=6):
    bad = np.zeros(frame.shape, bool) if bad is None else bad
    mean = np.full(frame.shape, 2.0, np.float32) if mean is None else mean
    out = np.zeros((len(x), 10))
    owner = _owned(frame.shape, x, y, half)
    cov = np.tile([COV[0, 0], COV[0, 1], COV[1, 1]], (len(x), 1))
    shape = gaussian_shape()
    measure(frame, mean, bad, owner, x, y, cov, shape, expected, half, half + 6, 1.0, 1.0, 0.0, top, out)
    return out


def _scene(counts, rng, level=2.0, n=400):
    """Many spots far apart on one frame, at random sub-pixel positions."""
    side = int(np.sqrt(n))
    gx, gy = np.meshgrid(np.arange(side) * 30 + 15, np.arange(side) * 30 + 15)
    x, y = gx.ravel() + rng.uniform(0, 1, n), gy.ravel() + rng.uniform(0, 1, n)
    truth = np.full((side * 30, side * 30), level)
    for k in range(n):
        a, b = gy.ravel()[k] - 15, gx.ravel()[k] - 15
        truth[a : a + 30, b : b + 30] += counts * _gaussian((30, 30), x[k] - b, y[k] - a, COV)
    return rng.poisson(truth).astype(np.uint16), x, y


@pytest.mark.parametrize("counts", [0.0, 15.0, 800.0])
def test_sums_and_fits_are_unbiased_and_as_uncertain_as_stated(counts):
    frame, x, y = _scene(counts, np.random.default_rng(int(counts)))
    out = _measured(frame, x, y, np.full(len(x), counts))
    fit, fit_sigma = out[:, 2] / out[:, 3], 1 / np.sqrt(out[:, 3])
    for value, sigma in ((out[:, 0], np.sqrt(out[:, 1])), (fit, fit_sigma)):
        off = (value.mean() - counts) / (sigma.mean() / np.sqrt(len(x)))
        assert abs(off) < 4
        assert value.std() / sigma.mean() == pytest.approx(1.0, abs=0.15)
    # the fit is the sharper of the two, and much so for weak spots
    assert fit.std() < (0.8 if counts < 50 else 1.02) * out[:, 0].std()
    assert out[:, 4] == pytest.approx(np.ones(len(x)), abs=0.02)


@pytest.mark.parametrize("counts", [10.0, 300.0])
def test_without_noise_the_fit_is_exact(counts):
    frame = 2.0 + counts * _gaussian((40, 40), 20.3, 19.6, COV)
    out = _measured(frame, np.array([20.3]), np.array([19.6]), np.array([counts]))
    assert out[0, 2] / out[0, 3] == pytest.approx(counts, rel=0.005)
    assert out[0, 0] == pytest.approx(counts, rel=0.005)


def test_the_background_is_scaled_to_the_frame():
    rng = np.random.default_rng(5)
    frame, x, y = _scene(0.0, rng, level=5.0)
    out = _measured(frame, x, y, np.zeros(len(x)))
    # the mean frame has 2 counts; clipping free pixels costs a little
    assert out[:, 5].mean() == pytest.approx(5.0, rel=0.05)


def test_masked_pixels_lower_the_coverage_not_the_intensity():
    rng = np.random.default_rng(6)
    frame, x, y = _scene(800.0, rng)
    bad = np.zeros(frame.shape, bool)
    bad[np.floor(y).astype(int), np.floor(x).astype(int) - 1] = True
    frame[bad] = 60000
    out = _measured(frame, x, y, np.full(len(x), 800.0), bad)
    assert np.all((out[:, 4] > 0.8) & (out[:, 4] < 0.97))
    assert (out[:, 2] / out[:, 3]).mean() == pytest.approx(800, rel=0.01)
    assert out[:, 0].mean() == pytest.approx(800, rel=0.03)


def test_wholly_masked_and_saturated_spots_are_told():
    frame, x, y = _scene(800.0, np.random.default_rng(7))
    bad = np.zeros(frame.shape, bool)
    bad[:30, :30] = True
    out = _measured(frame, x, y, np.full(len(x), 800.0), bad, top=60.0)
    assert np.all(out[0] == 0)
    assert np.all(out[1:, 4] == -1)


def test_a_neighbour_does_not_leak():
    yy = 20.5
    truth = 2.0 + 5000 * _gaussian((40, 40), 27.0, yy, COV)
    frame = np.random.default_rng(8).poisson(truth).astype(np.uint16)
    out = _measured(frame, np.array([18.0, 27.0]), np.array([yy, yy]), np.array([0.0, 5000.0]))
    fit = out[:, 2] / out[:, 3]
    assert abs(fit[0]) < 4 / np.sqrt(out[0, 3]) + 5
    assert fit[1] == pytest.approx(5000, rel=0.05)


def test_first_moments_point_to_where_the_spot_really_is():
    frame = np.random.default_rng(9).poisson(2 + 5000 * _gaussian((40, 40), 20.6, 19.8, COV)).astype(np.uint16)
    out = _measured(frame, np.array([20.2]), np.array([20.2]), np.array([5000.0]))
    assert out[0, 6] / out[0, 0] > 0.15
    assert out[0, 7] / out[0, 0] < -0.15


def test_moments_find_centre_and_covariance():
    part = 1000 * _gaussian((17, 17), 8.9, 8.2, COV)
    x, y, xx, xy, yy = moments(part, 8.5, 8.5, 30, 1.5)
    assert (x, y) == pytest.approx((8.9, 8.2), abs=0.01)
    assert (xx, xy, yy) == pytest.approx((1.6, 0.5, 1.1), abs=0.03)
    assert moments(-part, 8.5, 8.5, 5, 1.5)[2] == -1
