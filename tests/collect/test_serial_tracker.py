"""The share of a crystal in the beam, by prediction, against what is counted; and when a view is due."""

import json

import numpy as np
import pytest
from tests.collect.test_serial_steering import bench

from credo.collect.rotation import Sweep
from credo.collect.serial_stage import StageModel
from credo.collect.serial_survey import Candidate
from credo.collect.serial_tracker import PredictiveTracker, Stay, lit_share


@pytest.mark.parametrize(
    ("off", "sd", "radius"),
    [
        ((0.0, 0.0), 0.01, 0.4),
        ((0.9, 0.3), 0.01, 0.4),
        ((-0.5, 1.0), 0.3, 0.3),
        ((0.2, 0.1), 0.1, 1.6),
        ((2.5, 0), 0.2, 0.4),
    ],
)
def test_lit_share_is_what_is_counted(off, sd, radius):
    rng, beam = np.random.default_rng(0), 1.1
    middle = np.array(off) + sd * rng.normal(size=(200_000, 2))
    angle, out = rng.uniform(0, 2 * np.pi, 200_000), radius * np.sqrt(rng.uniform(size=200_000))
    point = middle + out[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    counted = float((np.hypot(*point.T) < beam).mean())
    assert lit_share(np.array(off), np.full(2, sd), radius, beam) == pytest.approx(counted, abs=0.02)


def test_a_view_is_due_when_the_prediction_is_unsure_and_not_too_often():
    b = bench()
    tracker = PredictiveTracker(b, StageModel(-1.0), Stay(1, 1, 0, 0.0, 0.3))
    tracker._sweep = Sweep(-60.0, 60.0, 0.86, 0.5)
    beam = b.optics.beam_um
    assert not tracker._in_doubt(0.25 * beam, -50.0)
    assert tracker._in_doubt(0.5 * beam, -50.0)
    tracker._seen_at = -51.0
    assert not tracker._in_doubt(0.5 * beam, -50.0)  # it was seen a degree ago
    assert tracker._in_doubt(0.5 * beam, -47.0)
    tracker.looks = 3
    assert not tracker._in_doubt(0.5 * beam, -40.0)  # views have had their share
    tracker.frames = 100
    assert tracker._in_doubt(0.5 * beam, -40.0)


def test_a_candidate_comes_back_from_the_log():
    one = Candidate(3, (1.5, -20.25), 0.31, 0.4, 2.0)
    assert Candidate.of(json.loads(json.dumps(vars(one)))) == one
    assert one.radius_um == pytest.approx(np.sqrt(0.31 / np.pi))
