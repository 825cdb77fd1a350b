"""Foreign laboratory frames: rays land on the same pixels whatever frame the file used."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credo.io.lab_frame import lab_frame
from credo.kernels.rotation import rotation_from_vector

WAVE = 0.0251
VECTOR = st.tuples(*[st.floats(-3, 3)] * 3).map(np.array)


def trace(q: np.ndarray, s0: np.ndarray, corner, fast, slow, pixel) -> np.ndarray:
    """Where the rays s0 + q meet a panel, by the plane's equation: the slow equivalent."""
    s1 = q + s0
    normal = np.cross(fast, slow)
    p = s1 * ((corner @ normal) / (s1 @ normal))[:, None] - corner
    gram = np.array([[1.0, fast @ slow], [fast @ slow, 1.0]])
    return np.linalg.solve(gram, np.stack([p @ fast, p @ slow])).T / pixel


def sphere(n: int = 40) -> np.ndarray:
    """Scattering vectors on the Ewald sphere of a beam along z, up to 1 Å."""
    rng = np.random.default_rng(0)
    d = rng.uniform(-0.7, 0.7, (n, 2))
    return np.column_stack([d, np.sqrt(WAVE**-2 - np.einsum("ij,ij->i", d, d)) - 1 / WAVE])


@given(VECTOR, st.floats(0.5, 2.0), st.tuples(st.floats(-10, 10), st.floats(-10, 10)), st.floats(100, 3000))
def test_any_rotated_frame_with_oblong_pixels_is_exact(v, oblong, corner, distance):
    turn = rotation_from_vector(v)
    fast, slow, b = turn.T
    pixel = (0.05, 0.05 * oblong)
    at = turn @ np.array([*corner, distance])
    frame = lab_frame(b, fast, slow, at, pixel, (512, 512), WAVE)
    q = sphere()
    file_q = q @ frame.rotation
    expected = trace(file_q, b / WAVE, at, fast, slow, np.array(pixel))
    assert np.allclose(frame.detector.pixels(q, WAVE), expected, atol=1e-6)
    assert np.linalg.det(frame.rotation) == pytest.approx(1)
    assert frame.problems == ()


@given(st.floats(-2, 2), st.floats(-2, 2))
def test_a_tilted_detector_is_right_up_to_the_keystone_that_is_reported(tilt_x, tilt_y):
    turn = rotation_from_vector(np.radians([tilt_x, tilt_y, 0.0]))
    fast, slow = turn[:, 0], turn[:, 1]
    at = np.array([-14.0, -14.0, 0.0]) + 800 * np.array([0, 0, 1.0])
    frame = lab_frame(np.array([0, 0, 1.0]), fast, slow, at, (0.055, 0.055), (512, 512), WAVE)
    d = np.clip(sphere()[:, :2], -0.5, 0.5)
    q = np.column_stack([d, np.sqrt(WAVE**-2 - np.einsum("ij,ij->i", d, d)) - 1 / WAVE])
    expected = trace(q @ frame.rotation, np.array([0, 0, 1 / WAVE]), at, fast, slow, 0.055)
    assert np.abs(frame.detector.pixels(q, WAVE) - expected).max() <= 1.1 * frame.keystone_px + 1e-6


def test_a_detector_seen_from_behind_is_refused():
    with pytest.raises(ValueError, match="mirrored"):
        lab_frame(np.array([0, 0, 1.0]), np.array([1.0, 0, 0]), np.array([0, -1.0, 0]), np.array([0, 0, 300.0]),
                  (0.05, 0.05), (512, 512), WAVE)  # fmt: skip


@pytest.mark.parametrize("corner", [[0, 0, -300.0], [0, 0, 0.0]])
def test_a_detector_that_the_beam_misses_is_refused(corner):
    with pytest.raises(ValueError, match="beam"):
        lab_frame(np.array([0, 0, 1.0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), np.array(corner),
                  (0.05, 0.05), (512, 512), WAVE)  # fmt: skip
