"""The centre of symmetry: right to a pixel with the beam behind a stop, and no likeness where there is no symmetry."""

import numpy as np
import pytest

from credo.model import ArrayFrames, Beam, Detector, Experiment, Goniometer, Scan
from credo.reduce.beam import find_beam
from credo.reduce.symmetry_centre import symmetry_centre

SHAPE = (240, 260)


def glow(centre, counts=40.0, floor=2.0):
    """Inelastic background about ``centre`` (x, y), falling over a fifth of the detector."""
    yy, xx = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]] + 0.5
    return floor + counts * np.exp(-np.hypot(xx - centre[0], yy - centre[1]) / 45)


def stop(centre, radius=14, half=7):
    """A round beam stop on its arm, which comes from the right."""
    yy, xx = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]] + 0.5
    x, y = xx - centre[0], yy - centre[1]
    return (np.hypot(x, y) < radius) | ((np.abs(y) < half) & (x > 0))


@pytest.mark.parametrize("centre", [(131.0, 118.0), (97.3, 141.8), (160.4, 96.1)])
def test_a_hidden_centre_is_found(centre):
    hidden = stop(centre)
    image = np.random.default_rng(0).poisson(np.where(hidden, 0.3, 30 * glow(centre))) / 30
    found, likeness = symmetry_centre(image, hidden)
    assert found == pytest.approx(centre, abs=1.0)
    assert likeness > 0.95


def test_friedel_pairs_on_a_flat_background_are_enough():
    rng = np.random.default_rng(1)
    centre = np.array([118.0, 128.0])
    image = np.full(SHAPE, 1.0)
    for dx, dy in rng.uniform(-95, 95, (60, 2)):
        for sign in (1, -1):
            x, y = (centre + sign * np.array([dx, dy])).astype(int)
            image[y - 1 : y + 2, x - 1 : x + 2] += 40
    found, likeness = symmetry_centre(image, np.zeros(SHAPE, bool))
    assert found == pytest.approx(tuple(centre + 0.5), abs=2.0)
    assert likeness > 0.5


def test_noise_has_no_centre():
    noise = np.random.default_rng(2).poisson(3.0, SHAPE).astype(float)
    assert symmetry_centre(noise, np.zeros(SHAPE, bool))[1] < 0.3


def test_the_rim_of_a_beam_stop_is_not_taken_for_the_beam():
    centre = (121.5, 109.0)
    hidden = stop(centre)
    rng = np.random.default_rng(3)
    frames = rng.poisson(np.where(hidden, 0.2, glow(centre)), (30, *SHAPE)).astype(np.uint16)
    said = Experiment(
        Beam(0.02508), Detector(SHAPE, 0.004, (140.0, 125.0)), Goniometer.in_plane(0), Scan.regular(30, 0, 0.5),
        known=("origin",),
    )  # fmt: skip
    found, report = find_beam(said, ArrayFrames(frames), hidden)
    assert found.detector.origin == pytest.approx(centre, abs=1.5)
    assert not report.numbers["beam_seen"]
    assert "hidden" in report.warnings[0] and "(140.0, 125.0)" in report.warnings[0]
