"""The direct beam: found without a prior, tracked frame by frame, and missed honestly where there is none."""

import numpy as np
import pytest

from credo.model import ArrayFrames, Beam, Detector, Experiment, Goniometer, Scan
from credo.reduce.beam import beam_radius, find_beam

N, SIZE = 40, 160


def experiment(known=()):
    return Experiment(
        Beam(0.02508), Detector((SIZE, SIZE), 0.005, (80.0, 80.0)), Goniometer.in_plane(0), Scan.regular(N, 0, 0.5),
        known=known,
    )  # fmt: skip


def discs(path, level=1.0, top=400.0, radius=3.0, seed=0, flat_top=None):
    """Frames with a disc at ``path`` (N, 2) x y, optionally saturated."""
    yy, xx = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    mean = np.full((N, SIZE, SIZE), level)
    for f, (x, y) in enumerate(path):
        mean[f] += top / (1 + np.exp(3 * (np.hypot(xx - x, yy - y) - radius)))
    frames = np.random.default_rng(seed).poisson(mean)
    return ArrayFrames(np.minimum(frames, flat_top or 65535).astype(np.uint16))


BAD = np.zeros((SIZE, SIZE), bool)


def test_a_beam_far_from_the_files_centre_is_found_and_told():
    path = np.tile([62.3, 95.8], (N, 1))
    found, report = find_beam(experiment(("origin",)), discs(path), BAD)
    assert found.detector.origin == pytest.approx((62.3, 95.8), abs=0.15)
    assert np.abs(found.scan.beam_shift).max() < 0.3
    assert report.numbers["beam_frames_seen"] == N
    assert "not at (80.0, 80.0) px" in report.warnings[0]
    assert find_beam(experiment(), discs(path), BAD)[1].warnings == ()


@pytest.mark.parametrize("flat_top", [None, 150])
def test_drift_is_followed_even_when_saturated(flat_top):
    path = np.array([80.2, 79.4]) + np.linspace(-4, 4, N)[:, None] * [1.0, -0.5]
    found, report = find_beam(experiment(), discs(path, flat_top=flat_top), BAD)
    seen = np.array(found.detector.origin) + found.scan.beam_shift
    assert np.abs(seen - path).max() < 0.4
    assert np.median(found.scan.beam_shift, axis=0) == pytest.approx([0, 0], abs=1e-9)
    assert report.numbers["beam_drift_px"] == pytest.approx(np.hypot(8, 4), abs=1.5)


def test_frames_without_beam_get_their_neighbours_position():
    path = np.array([80.2, 79.4]) + np.linspace(-3, 3, N)[:, None] * [1.0, 0.0]
    frames = np.stack(list(discs(path)))
    frames[10:13] = np.random.default_rng(1).poisson(1.0, (3, SIZE, SIZE))
    found, report = find_beam(experiment(), ArrayFrames(frames), BAD)
    assert report.numbers["beam_frames_seen"] == N - 3
    seen = np.array(found.detector.origin) + found.scan.beam_shift
    assert np.abs(seen[10:13] - path[10:13]).max() < 0.4


def test_without_a_beam_the_files_centre_stays_and_a_warning_says_so():
    frames = ArrayFrames(np.random.default_rng(2).poisson(5.0, (N, SIZE, SIZE)).astype(np.uint16))
    found, report = find_beam(experiment(), frames, BAD)
    assert found == experiment()
    assert report.numbers["beam_seen"] is False
    assert "not visible" in report.warnings[0]


def test_hot_pixels_known_as_bad_are_not_the_beam():
    frames = np.stack(list(discs(np.tile([80.2, 79.4], (N, 1)))))
    frames[:, 20:23, 30:33] = 60000
    bad = BAD.copy()
    bad[20:23, 30:33] = True
    found, _ = find_beam(experiment(), ArrayFrames(frames), bad)
    assert found.detector.origin == pytest.approx((80.2, 79.4), abs=0.15)


def test_the_radius_covers_the_beam_and_its_halo():
    yy, xx = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    r = np.hypot(xx - 80, yy - 80)
    narrow = 1 + 1000 * np.exp(-0.5 * (r / 1.5) ** 2)
    wide = narrow + 400 * np.exp(-r / 5)
    assert beam_radius(narrow, np.array([80.0, 80.0])) == 5
    assert 10 < beam_radius(wide, np.array([80.0, 80.0])) <= 25
