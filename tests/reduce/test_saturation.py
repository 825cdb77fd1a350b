"""The value at which pixels pile up is found; bright pixels that merely are bright are left alone."""

import numpy as np
import pytest

from credo.model import ArrayFrames
from credo.reduce.saturation import find_saturation


def frames(limit=None):
    counts = np.random.default_rng(0).poisson(2.0, (20, 40, 40)).astype(np.int64)
    counts[:, 18:22, 18:22] += np.random.default_rng(1).integers(2000, 9000, (20, 4, 4))
    return ArrayFrames(np.minimum(counts, limit or 60000).astype(np.uint16))


def test_a_pile_of_pixels_is_the_limit(frame_scene):
    found, report = find_saturation(frame_scene.truth, frames(limit=4095))
    assert found.detector.saturation == 4095
    assert report.numbers["saturation"] == 4095
    assert report.numbers["pixels_at_largest"] > 100


def test_a_lower_limit_of_the_file_stands(frame_scene):
    truth = frame_scene.truth
    for stated, expected in ((3000.0, 3000.0), (60000.0, 4095.0)):
        started = truth.replace(detector=truth.detector.replace(saturation=stated))
        assert find_saturation(started, frames(limit=4095))[0].detector.saturation == expected


@pytest.mark.parametrize("level", [0.0, 0.3, 3.0])
def test_bright_and_faint_frames_without_a_limit_have_none(frame_scene, level):
    assert find_saturation(frame_scene.truth, frames())[0].detector.saturation is None
    faint = np.random.default_rng(2).poisson(level, (20, 40, 40)).astype(np.uint16)
    assert find_saturation(frame_scene.truth, ArrayFrames(faint))[0].detector.saturation is None
