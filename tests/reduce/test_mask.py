"""Bad pixels are found from the frames; spots and the direct beam are not taken for them."""

import numpy as np
import pytest

from credo.model import ArrayFrames
from credo.reduce.mask import MaskSettings, find_mask


def data(frame_scene):
    return np.stack(list(frame_scene.frames))


def test_a_good_detector_is_left_alone(frame_scene):
    bad, report = find_mask(frame_scene.truth, frame_scene.frames)
    assert bad.shape == (160, 160)
    assert bad.dtype == bool
    assert bad.sum() == report.numbers["n_bad_pixels"] <= 2
    assert report.warnings == ()


def test_hot_and_dead_pixels_and_gaps_are_found(frame_scene):
    frames = data(frame_scene)
    rng = np.random.default_rng(0)
    hot = [(20, 30), (100, 120)]
    dead = [(40, 50), (130, 33)]
    for i, j in hot:
        frames[:, i, j] = rng.poisson(60, len(frames))
    for i, j in dead:
        frames[:, i, j] = 0
    frames[:, 60:62, :] = rng.poisson(4 * frames[:, 60:62, :])
    frames[:, :, 140] = 0
    bad, report = find_mask(frame_scene.truth, ArrayFrames(frames))
    assert all(bad[p] for p in hot + dead)
    assert report.numbers["gap_rows"] == [60, 61]
    assert report.numbers["gap_columns"] == [140]
    assert bad[60:62].all()
    assert bad[:, 140].all()
    # little else
    assert bad.sum() <= 2 * 160 + 160 + 4 + 30
    beam = tuple(int(v) for v in frame_scene.truth.detector.origin[::-1])
    assert not bad[beam]


def test_a_large_shadow_without_counts_is_masked(frame_scene):
    frames = data(frame_scene)
    frames[:, 100:130, :40] = 0
    bad, _ = find_mask(frame_scene.truth, ArrayFrames(frames))
    assert bad[102:128, 2:38].all()
    # four pixels of penumbra at most
    assert bad[:94].sum() <= 5


def test_a_stationary_spot_in_few_frames_is_no_hot_pixel(frame_scene):
    frames = data(frame_scene)
    frames[30:34, 20, 30] += 500
    bad, _ = find_mask(frame_scene.truth, ArrayFrames(frames))
    assert not bad[20, 30]


def test_settings_are_checked_and_a_wholly_masked_detector_warns(frame_scene):
    with pytest.raises(ValueError, match="greater than 1"):
        MaskSettings(hot=0.5)
    frames = data(frame_scene)
    frames[:, :, :70] = 0
    bad, report = find_mask(frame_scene.truth, ArrayFrames(frames))
    assert bad.mean() > 0.3
    assert "masked" in report.warnings[0]


def test_the_shadow_of_an_aperture_is_masked_a_fading_pattern_is_not(frame_scene):
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[0:160, 0:160] + 0.5
    r = np.hypot(xx - 84, yy - 77)
    light = 300 * np.exp(-r / 12) + 8 * np.exp(-r / 60)
    fading, _ = find_mask(frame_scene.truth, ArrayFrames(rng.poisson(light, (64, 160, 160)).astype(np.uint16)))
    assert fading.mean() < 0.01
    inside = np.hypot(xx - 80, yy - 80) < 70
    seen = rng.poisson(np.where(inside, light, 0.03), (64, 160, 160)).astype(np.uint16)
    bad, report = find_mask(frame_scene.truth, ArrayFrames(seen))
    assert bad[~inside].mean() > 0.999
    assert bad[np.hypot(xx - 80, yy - 80) < 60].mean() < 0.01
    assert report.numbers["n_shadow"] == pytest.approx((~inside).sum(), rel=0.2)
