"""The rotation axis is found from spots alone over the full circle, and says how clearly."""

import numpy as np
import pytest

from credo.reduce.axis import AxisSettings, axis_peaks, find_axis, score_axes

CELL = (8.1, 11.3, 14.2, 90, 98, 90)


def apart(a, b):
    """Difference of axis directions modulo the hand [deg]."""
    return abs((a - b + 90) % 180 - 90)


@pytest.mark.parametrize("angle", [5.0, 127.0, 251.5])
def test_axis_is_found_without_any_prior(spot_scene, angle):
    scene = spot_scene(CELL, seed=1, axis_deg=angle)
    found, report = find_axis(scene.guess, scene.spots)
    assert apart(found.goniometer.angle_deg, angle) < 1.0
    assert report.numbers["rotation_axis_deg"] == pytest.approx(found.goniometer.angle_deg)
    assert report.numbers["axis_contrast"] > 1.5
    assert len(report.figures["axis_score"]["score"]) == 180


def test_a_wrong_beam_centre_does_not_matter(spot_scene):
    scene = spot_scene(CELL, seed=2, axis_deg=70.0, beam_off=(9.0, -7.0))
    found, _ = find_axis(scene.guess, scene.spots)
    assert apart(found.goniometer.angle_deg, 70.0) < 1.5


def test_scattered_spots_have_no_axis(spot_scene):
    scene = spot_scene(CELL, seed=4)
    rng = np.random.default_rng(0)
    n = len(scene.spots)
    noise = scene.spots.with_columns(x=rng.uniform(0, 516, n), y=rng.uniform(0, 516, n))
    _, report = find_axis(scene.guess, noise, AxisSettings(step_deg=5))
    assert report.numbers["axis_contrast"] < 1.5


def test_scores_peak_at_the_true_axis(spot_scene):
    scene = spot_scene(CELL, seed=5, axis_deg=33.0)
    scores = score_axes(scene.guess, scene.spots, np.array([33.0, 43.0, 78.0, 123.0]))
    assert scores.argmax() == 0
    assert scores[0] > 1.5 * scores[1:].max()


def test_peaks_are_distinct_modulo_the_hand():
    angles = np.arange(0, 360, 2.0)
    scores = np.exp(-0.5 * ((angles - 40) / 4) ** 2) + 0.9 * np.exp(-0.5 * ((angles - 220) / 4) ** 2)
    scores += 0.5 * np.exp(-0.5 * ((angles - 100) / 4) ** 2)
    assert axis_peaks(angles, scores, 2) == [40.0, 100.0]
    assert len(axis_peaks(angles, scores, 1)) == 1
