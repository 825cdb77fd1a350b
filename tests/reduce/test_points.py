"""Spots become reciprocal points: back to φ = 0, with uncertainties, fairly chosen over the scan."""

import numpy as np
import pytest

from credo.kernels.rotation import rotation_matrix
from credo.model import Reflections
from credo.physics.ewald import predict
from credo.reduce.points import reciprocal_points, strongest

CELL = (8.1, 11.3, 14.2, 90, 98, 90)


@pytest.fixture(scope="module")
def scene(spot_scene):
    return spot_scene(CELL, seed=3, noise_px=0.0)


def test_points_of_the_true_geometry_lie_on_the_lattice(scene):
    rows = np.arange(len(scene.spots))
    spots = scene.spots
    exact = predict(scene.truth, scene.truth.crystal, 1.0)
    points = reciprocal_points(scene.truth, exact, np.arange(len(exact)), scene.truth.goniometer.axis)
    h = points.q @ np.linalg.inv(scene.truth.crystal.UB).T
    assert np.abs(h - exact.hkl[points.row]).max() < 1e-6
    noisy = reciprocal_points(scene.truth, spots, rows, scene.truth.goniometer.axis)
    h = noisy.q @ np.linalg.inv(scene.truth.crystal.UB).T
    off = np.linalg.norm((h - np.rint(h)) @ scene.truth.crystal.UB.T, axis=1)
    # the stated uncertainty is neither much too small nor much too large
    assert 0.1 < np.median(off / noisy.sigma) < 1.5


def test_points_are_sorted_by_angle_and_remember_their_spot(scene):
    rows = np.array([40, 2, 17, 90])
    points = reciprocal_points(scene.guess, scene.spots, rows, np.array([1.0, 0, 0]))
    assert len(points) == 4
    assert np.all(np.diff(points.phi) >= 0)
    assert sorted(points.row) == sorted(rows)
    assert np.degrees(points.phi) == pytest.approx(scene.spots["phi"][points.row])
    turned = np.einsum("nij,nj->ni", rotation_matrix(np.array([1.0, 0, 0]), points.phi), points.q)
    assert turned == pytest.approx(points.lab)


def test_uncertainty_grows_with_the_doubt_in_angle(scene):
    spots = scene.spots
    rows, axis = np.arange(len(spots)), scene.truth.goniometer.axis
    sure = reciprocal_points(scene.truth, spots.with_columns(var_phi=np.zeros(len(spots))), rows, axis)
    doubtful = reciprocal_points(scene.truth, spots.with_columns(var_phi=np.full(len(spots), 4.0)), rows, axis)
    assert np.all(doubtful.sigma >= sure.sigma)
    across = np.linalg.norm(np.cross(axis, doubtful.lab), axis=1)
    expected = np.hypot(0.0025, across * np.radians(np.hypot(2.0, 0.05)))
    assert doubtful.sigma == pytest.approx(expected)


def test_the_strongest_are_shared_over_the_scan_and_keep_off_the_beam(scene):
    n = 4000
    rng = np.random.default_rng(0)
    frame = rng.uniform(0, 120, n)
    # one bright zone axis
    intensity = np.where(frame < 6, 1e5, 100) * rng.uniform(0.5, 1, n)
    spots = Reflections(x=rng.uniform(0, 516, n), y=rng.uniform(0, 516, n), frame=frame, intensity=intensity)
    rows = strongest(spots, 400, scene.truth, q_min=0.1)
    assert len(set(rows)) == 400
    per_part = np.bincount((frame[rows] / 6).astype(int), minlength=20)
    assert per_part.min() >= 15
    assert per_part.max() <= 25
    radius = np.hypot(*(spots.xy[rows] - scene.truth.detector.origin).T)
    assert radius.min() > 38
    third = np.flatnonzero((frame >= 60) & (frame < 66) & (np.hypot(*(spots.xy - (257.3, 259.1)).T) > 41))
    kept = np.isin(third, rows)
    assert intensity[third][kept].min() > intensity[third][~kept].max()


def test_few_spots_are_all_used(scene):
    assert len(strongest(scene.spots, 10_000, scene.truth)) == len(scene.spots)
