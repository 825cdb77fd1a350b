"""The thesis's method reaches the thesis's accuracy, and its equations are those printed."""

from __future__ import annotations

import numpy as np
import pytest

from credo.orient.observations import Observations, Passages
from credo.orient.thesis import corrected_points, passage_centres, plane_axis, rotation_sense, thesis_method


@pytest.mark.parametrize(("continuous", "worst"), [(False, 0.03), (True, 0.03)])
def test_table_6(series, continuous, worst, observations, error_deg):
    """0.8 Å, 0.2°: 0.014 (sRED) and 0.020 (cRED) in the thesis."""
    s = series(continuous=continuous, span=30.0)
    found = thesis_method(observations(s))
    assert error_deg(found.zone, s.zone).mean() < worst
    assert np.sqrt(found.fom.mean()) < 1e-3


def test_positional_correction_is_what_makes_it_good(series, observations, error_deg):
    """Table 7: without it errors are several times larger."""
    s = series(span=30.0)
    with_it, without = (thesis_method(observations(s), correct) for correct in (True, False))
    assert error_deg(without.zone, s.zone).mean() > 3 * error_deg(with_it.zone, s.zone).mean()


def test_the_axis_is_right_handed_with_rising_angles(series, observations):
    s = series(span=30.0)
    found = thesis_method(observations(s))
    turn = np.cross(s.zone[0], s.zone[-1])
    turn /= np.linalg.norm(turn)
    assert found.axis @ turn > np.cos(np.radians(2))


def test_a_corrected_point_lies_on_the_sphere_of_its_frame():
    """Eq. 15: Bragg position on frame 0, turned with the zone axis to frame 5."""
    axis = np.array([0.0, 0.0, 1.0])
    cell = observations_cell()
    obs = Observations(
        cell, 0.025, np.array([0, 5]), np.array([[1, 2, 0], [1, 2, 0]]), np.array([2.0, 1.0]), np.zeros(2),
        np.arange(6.0),
    )  # fmt: skip
    centre = passage_centres(obs, Passages.within(obs), "maximum")
    points = corrected_points(obs, centre, axis)
    np.testing.assert_allclose(points[0], obs.points[0])
    angle = np.degrees(np.arctan2(*points[1, 1::-1]) - np.arctan2(*points[0, 1::-1]))
    # two passages: five frames apart are more than a gap
    assert angle == pytest.approx(0.0)
    near = Observations(
        cell, 0.025, np.array([0, 1]), np.array([[1, 2, 0], [1, 2, 0]]), np.array([2.0, 1.0]), np.zeros(2),
        np.arange(6.0),
    )  # fmt: skip
    points = corrected_points(near, passage_centres(near, Passages.within(near), "maximum"), axis)
    angle = np.degrees(np.arctan2(*points[1, 1::-1]) - np.arctan2(*points[0, 1::-1]))
    assert angle == pytest.approx(1.0)


def test_centroids_lie_between_maxima():
    obs = Observations(
        observations_cell(), 0.025, np.array([0, 1]), np.array([[1, 2, 0], [1, 2, 0]]), np.array([3.0, 1.0]),
        np.zeros(2), np.array([10.0, 11.0]),
    )  # fmt: skip
    passages = Passages.within(obs)
    assert passage_centres(obs, passages, "maximum").tolist() == [10.0, 10.0]
    assert passage_centres(obs, passages, "centroid").tolist() == [10.25, 10.25]


def test_plane_and_sense():
    a = np.radians(np.arange(0, 40, 2.0))
    zone = np.stack([np.cos(a), np.sin(a), np.zeros_like(a)], axis=1)
    axis = plane_axis(zone)
    assert abs(axis[2]) == pytest.approx(1.0)
    assert rotation_sense(zone, np.array([0, 0, 1.0]), np.degrees(a)) == 1.0
    assert rotation_sense(zone, np.array([0, 0, 1.0]), -np.degrees(a)) == -1.0


def observations_cell():
    from credo.model import Cell

    return Cell(12, 12, 12, 90, 90, 90)
