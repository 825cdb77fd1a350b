"""The quick fit of a lattice with the geometry it was seen in takes up beam, axis and ellipse errors."""

import numpy as np
import pytest

from credo.kernels.rotation import rotation_from_vector
from credo.model import Ellipse, Goniometer
from credo.reduce.lattice import likelihood
from credo.reduce.local_fit import Priors, fit_in_place
from credo.reduce.points import reciprocal_points

CELL = (8.1, 11.3, 14.2, 90, 98, 90)


def test_errors_of_the_geometry_are_taken_up(spot_scene):
    scene = spot_scene(CELL, seed=6, ellipse=1.0, spurious=0.1, n=240)
    truth = scene.truth
    angle = truth.goniometer.angle_deg
    start = truth.replace(
        detector=truth.detector.replace(origin=(260.3, 257.1), ellipse=Ellipse()),
        goniometer=Goniometer.in_plane(angle + 1.0),
    )
    rows = np.arange(len(scene.spots))
    ub = rotation_from_vector(np.radians([0.4, -0.3, 0.2])) @ truth.crystal.UB * 1.004
    before = likelihood(reciprocal_points(start, scene.spots, rows, start.goniometer.axis), ub)
    placed = fit_in_place(start, scene.spots, rows, ub)
    after = placed.experiment
    assert placed.fit.score > before.score + 200
    assert after.detector.origin == pytest.approx((257.3, 259.1), abs=0.4)
    assert after.goniometer.angle_deg == pytest.approx(angle, abs=0.2)
    # a stretch along the axis is as well one of the lattice: only the shear against it can be known
    across = np.array([-np.sin(2 * np.radians(angle)), np.cos(2 * np.radians(angle))])
    shear = across @ np.array(truth.detector.ellipse.components)
    assert across @ np.array(after.detector.ellipse.components) == pytest.approx(shear, abs=0.0007)
    assert abs(shear) > 0.002
    assert placed.fit.ub == pytest.approx(truth.crystal.UB, abs=0.015 * np.abs(truth.crystal.UB).max())
    # the points returned are those of the geometry returned
    again = reciprocal_points(after, scene.spots, rows, after.goniometer.axis)
    assert placed.points.q == pytest.approx(again.q)


def test_tight_priors_hold_the_geometry(spot_scene):
    scene = spot_scene(CELL, seed=7)
    start = scene.truth.replace(detector=scene.truth.detector.replace(origin=(259.3, 259.1)))
    rows = np.arange(len(scene.spots))
    held = fit_in_place(start, scene.spots, rows, scene.truth.crystal.UB, priors=Priors(beam_px=1e-4))
    assert held.experiment.detector.origin == pytest.approx((259.3, 259.1), abs=0.01)
    free = fit_in_place(start, scene.spots, rows, scene.truth.crystal.UB)
    assert free.experiment.detector.origin == pytest.approx((257.3, 259.1), abs=0.3)
    assert free.fit.score > held.fit.score


def test_a_drifting_beam_is_taken_up(spot_scene):
    scene = spot_scene(CELL, seed=8)
    drift = np.array([9.0, -5.0])
    time = scene.spots["frame"] / len(scene.truth.scan) - 0.5
    spots = scene.spots.with_columns(x=scene.spots["x"] + drift[0] * time, y=scene.spots["y"] + drift[1] * time)
    rows = np.arange(len(spots))
    start = scene.truth
    placed = fit_in_place(start, spots, rows, start.crystal.UB)
    shift = placed.experiment.scan.beam_shift
    assert shift[-1] - shift[0] == pytest.approx(drift, abs=0.7)
    steady = fit_in_place(start, spots, rows, start.crystal.UB, priors=Priors(drift_px=1e-4))
    assert placed.fit.score > steady.fit.score + 300
