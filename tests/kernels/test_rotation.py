"""Rotations: proper, right-handed, and the same from axis, vector and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from credo.kernels.rotation import misorientation_deg, rotation_from_vector, rotation_matrix, rotation_vector, tilted

vectors = st.tuples(*[st.floats(-1.7, 1.7)] * 3).map(np.array)


@given(vectors)
def test_rotation_from_vector_is_the_matrix_exponential(v):
    k = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    r = rotation_from_vector(v)
    assert r == pytest.approx(expm(k), abs=1e-12)
    assert r @ r.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(r) == pytest.approx(1)


@given(vectors.filter(lambda v: 1e-6 < np.linalg.norm(v) < 3))
def test_vector_matrix_and_axis_angle_agree(v):
    angle = float(np.linalg.norm(v))
    r = rotation_matrix(v / angle, angle)
    assert r == pytest.approx(rotation_from_vector(v), abs=1e-12)
    assert rotation_vector(r) == pytest.approx(v, abs=1e-7)


def test_right_handed_about_z():
    assert rotation_matrix(np.array([0, 0, 1.0]), np.pi / 2) @ [1, 0, 0] == pytest.approx([0, 1, 0])


def test_many_at_once():
    axis = np.array([0.6, 0.0, 0.8])
    phi = np.linspace(-3, 3, 7)
    stack = rotation_matrix(axis, phi)
    assert stack.shape == (7, 3, 3)
    assert stack[4] == pytest.approx(rotation_matrix(axis, phi[4]))
    assert stack @ axis == pytest.approx(np.tile(axis, (7, 1)))
    assert rotation_from_vector(np.zeros((2, 5, 3))) == pytest.approx(np.broadcast_to(np.eye(3), (2, 5, 3, 3)))


def test_misorientation():
    a = Rotation.random(20, random_state=1).as_matrix()
    b = Rotation.from_rotvec(np.radians(12.5) * np.array([0, 0.6, 0.8])).as_matrix() @ a
    assert misorientation_deg(b, a) == pytest.approx(np.full(20, 12.5))
    assert misorientation_deg(a, a) == pytest.approx(np.zeros(20), abs=1e-5)


def test_a_tilted_pose_is_the_product_of_its_rotations():
    axis = np.array([np.cos(0.02), 0.0, np.sin(0.02)])
    for alpha, beta, y, z in ((0.7, -0.2, 0.01, 0.02), (-1.1, 0.1, 0.0, 0.0), (0.0, 0.0, 1e-12, 0.0)):
        made = tilted(axis, alpha, beta, y, z)
        holder = rotation_matrix(np.array([0, 1.0, 0]), beta)
        expected = rotation_from_vector(np.array([0.0, y, z])) @ rotation_matrix(axis, alpha) @ holder
        np.testing.assert_allclose(made, expected, atol=1e-14)
