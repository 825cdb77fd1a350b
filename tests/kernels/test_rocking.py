"""The spline profile, its slope and mean over a frame against plain sums; the eliminated matrix against a full one."""

from __future__ import annotations

import numpy as np

from credo.kernels.rocking import passage_intensities, profile_equations, schur_blocks, schur_solve, shares, tilts


def spline(x: np.ndarray) -> np.ndarray:
    """Cubic B-spline as a four-fold convolution of a box, by its textbook pieces."""
    x = np.abs(x)
    return np.where(x < 1, (4 - 6 * x**2 + 3 * x**3) / 6, np.where(x < 2, (2 - x) ** 3 / 6, 0))


def profile(s: np.ndarray, c: np.ndarray, h: float) -> np.ndarray:
    n = len(c) - 1
    return sum(c[abs(k)] * spline(s / h - k) for k in range(-n, n + 1))


def test_profile_slope_and_mean():
    c, h = np.random.default_rng(0).random(8), 0.1
    s = np.linspace(-1.2, 1.2, 997)
    value, slope = shares(s, np.zeros_like(s), c, h)
    np.testing.assert_allclose(value, profile(s, c, h), atol=1e-12)
    e = 1e-6
    np.testing.assert_allclose(slope, (profile(s + e, c, h) - profile(s - e, c, h)) / (2 * e), atol=1e-5)
    span = np.full_like(s, 0.31)
    value, slope = shares(s, span, c, h)
    inner = (np.arange(2000) + 0.5) / 2000 - 0.5
    np.testing.assert_allclose(value, profile(s[:, None] + 0.31 * inner, c, h).mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(slope, (profile(s + 0.155, c, h) - profile(s - 0.155, c, h)) / 0.31, atol=1e-12)


def test_profile_equations_give_the_profile_back():
    rng = np.random.default_rng(1)
    c, h = rng.random(7), 0.1
    s, span, gain = rng.uniform(-0.9, 0.9, 400), rng.uniform(0, 0.2, 400), rng.random(400) + 0.5
    value, _ = shares(s, span, c, h)
    a, rhs = profile_equations(s, span, gain, gain * value, np.ones(400), 7, h)
    np.testing.assert_allclose(np.linalg.solve(a, rhs), c, atol=1e-9)


def test_excitation_errors_and_slopes():
    rng = np.random.default_rng(2)
    zone = rng.normal(size=(5, 3))
    zone /= np.linalg.norm(zone, axis=1, keepdims=True)
    first = np.cross(zone, [0.3, 0.2, 0.9])
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(zone, first)
    frame, point, axis = rng.integers(0, 5, 40), rng.normal(size=(40, 3)), np.array([0.0, 0.6, 0.8])
    s, jac, rate = tilts(frame, point, zone, first, second, axis, 40.0)

    def direct(z):
        return 40.0 - np.linalg.norm(point - 40.0 * z[frame], axis=1)

    np.testing.assert_allclose(s, direct(zone), atol=1e-12)
    e = 1e-6
    for k, t in enumerate((first, second)):
        np.testing.assert_allclose(jac[:, k], (direct(zone + e * t) - direct(zone - e * t)) / (2 * e), atol=1e-6)
    spin = np.cross(axis, zone)
    np.testing.assert_allclose(rate, (direct(zone + e * spin) - direct(zone - e * spin)) / (2 * e), atol=1e-6)


def test_intensities_are_eliminated_exactly():
    """Solving with the passages' intensities as unknowns gives the same frames."""
    rng = np.random.default_rng(3)
    start, frame = np.array([0, 3, 6, 10]), np.array([0, 1, 2, 1, 2, 3, 0, 1, 2, 3])
    jac, inner, weight = rng.normal(size=(10, 3)), rng.random(10) + 0.2, rng.random(10) + 0.5
    residual = rng.normal(size=10)
    full = np.zeros((10, 12 + 3))
    for i in range(10):
        full[i, 3 * frame[i] : 3 * frame[i] + 3] = jac[i]
        full[i, 12 + np.searchsorted(start, i, side="right") - 1] = inner[i]
    normal = full.T @ (weight[:, None] * full)
    schur = normal[:12, :12] - normal[:12, 12:] @ np.linalg.inv(normal[12:, 12:]) @ normal[12:, :12]
    blocks, rhs, bottom = schur_blocks(start, frame, jac, inner, weight, residual, 4)
    for f in range(4):
        np.testing.assert_allclose(blocks[f], schur[3 * f : 3 * f + 3, 3 * f : 3 * f + 3], atol=1e-12)
    np.testing.assert_allclose(rhs.ravel(), full[:, :12].T @ (weight * residual), atol=1e-12)
    prior = np.full((4, 3), 0.1)
    inverse = np.linalg.inv(blocks + 0.1 * np.eye(3))
    x = schur_solve(start, frame, jac, inner, weight, bottom, prior, rhs, inverse, 50, 1e-24)
    np.testing.assert_allclose((schur + 0.1 * np.eye(12)) @ x.ravel(), rhs.ravel(), atol=1e-9)


def test_passage_intensities_are_least_squares():
    share, gain, weight = np.array([0.5, 1.0, 0.2]), np.array([1.0, 2.0, 1.0]), np.array([1.0, 3.0, 2.0])
    value = np.array([4.0, 17.0, 1.0])
    g = gain * share
    expected = np.sum(weight * g * value) / np.sum(weight * g * g)
    assert passage_intensities(np.array([0, 3]), share, gain, value, weight)[0] == expected
    assert passage_intensities(np.array([0, 3]), share, gain, -value, weight)[0] == 0
