"""Analytic derivatives of the refinement kernels against finite differences."""

import numpy as np

from credo.kernels.refine import axis_tangents, rotate_about, rotation_derivative, spot_jacobian, spot_positions
from credo.kernels.rotation import rotation_matrix

RNG = np.random.default_rng(1)
Q = RNG.normal(size=(7, 3)) * [0.4, 0.4, 0.02]


def test_rotate_about_is_the_rotation_matrix():
    axis, phi = axis_tangents(np.array([0.6, 0.8, 0.0]))[0], RNG.normal(size=7)
    expected = np.einsum("nij,nj->ni", rotation_matrix(axis, phi), Q)
    assert np.allclose(rotate_about(axis, phi, Q), expected)


def test_axis_tangents_are_orthonormal():
    for m in (np.array([0.6, 0.8, 0.0]), np.array([0.0, 0.0, 1.0]), np.array([0.36, 0.48, 0.8])):
        basis = np.vstack([m, axis_tangents(m)])
        assert np.allclose(basis @ basis.T, np.eye(3))


def test_derivative_by_the_axis():
    m, phi, h = np.array([0.6, 0.8, 0.0]), RNG.normal(size=7), 1e-6
    for dm in axis_tangents(m):
        ends = [rotate_about(m + s * dm, phi, Q) for s in (h, -h)]
        assert np.allclose(rotation_derivative(m, phi, Q, dm), (ends[0] - ends[1]) / (2 * h), atol=1e-8)


def test_jacobian_of_positions_and_excitation():
    wavelength, scale, ellipse, centre, barrel = 0.025, 0.0025, np.array([0.01, -0.02]), np.zeros((7, 2)), 0.05
    dq = RNG.normal(size=(4, 7, 3))
    coma = np.array([0.02, -0.03])
    jx, jy, je = spot_jacobian(Q, dq, wavelength, scale, ellipse, barrel, coma)
    h = 1e-6
    for k in range(10):

        def at(sign, k=k):
            q = Q + sign * h * dq[k] if k < 4 else Q
            e = ellipse + sign * h * np.array([k == 4, k == 5])
            s = scale * np.exp(sign * h * (k == 6))
            return spot_positions(
                q, wavelength, s, e, centre, barrel + sign * h * (k == 7), coma + sign * h * np.array([k == 8, k == 9])
            )

        (up, eps_up), (down, eps_down) = at(1), at(-1)
        numeric = (up - down) / (2 * h)
        assert np.allclose(jx[:, k], numeric[:, 0], rtol=1e-5, atol=1e-4)
        assert np.allclose(jy[:, k], numeric[:, 1], rtol=1e-5, atol=1e-4)
        assert np.allclose(je[:, k], (eps_up - eps_down) / (2 * h), atol=1e-7)
