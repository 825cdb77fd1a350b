"""The spot's shape is learned from the strong spots: its width, and how it grows away from the beam."""

import numpy as np
import pytest

from credo.model import ArrayFrames
from credo.reduce.background import mean_background
from credo.reduce.profiles import SpotProfile, learn_profile

BAD = np.zeros((160, 160), bool)


def strong(scene, counts=300):
    """The true reflections as spots, strong and well within the scan."""
    p = scene.predicted
    keep = (scene.counts > counts) & (np.abs(p["phi"]) < 18)
    n = int(keep.sum())
    return p.select(keep).with_columns(
        intensity=scene.counts[keep], sigma=np.sqrt(scene.counts[keep]), overloaded=np.zeros(n)
    )


@pytest.mark.parametrize("sigma", [0.9, 1.4])
def test_the_width_of_the_spots_is_learned(make_frame_scene, sigma):
    scene = make_frame_scene(seed=3, sigma=sigma)
    profile = learn_profile(scene.truth, scene.frames, BAD, strong(scene), mean_background(scene.frames))
    cov = profile.covariance(np.array([[40.0, 0.0], [0.0, -30.0]]))
    assert cov[:, [0, 2]] == pytest.approx(np.full((2, 2), sigma**2), rel=0.12)
    assert cov[:, 1] == pytest.approx([0, 0], abs=0.1)


def test_too_few_spots_give_the_default(frame_scene):
    few = strong(frame_scene).select(np.arange(5))
    profile = learn_profile(frame_scene.truth, frame_scene.frames, BAD, few, mean_background(frame_scene.frames))
    assert profile == SpotProfile()
    all_over = strong(frame_scene)
    all_over = all_over.with_columns(overloaded=np.ones(len(all_over)))
    assert learn_profile(
        frame_scene.truth, frame_scene.frames, BAD, all_over, mean_background(frame_scene.frames)
    ) == SpotProfile()  # fmt: skip


def test_wild_pixels_under_some_spots_do_not_matter(frame_scene):
    spots = strong(frame_scene)
    data = np.stack(list(frame_scene.frames))
    rng = np.random.default_rng(0)
    for r in rng.choice(len(spots), len(spots) // 8, replace=False):
        f, i, j = int(spots["frame"][r]), int(spots["y"][r]), int(spots["x"][r])
        data[f, i : i + 4, max(0, j - 4) : j] += 200
    background = mean_background(frame_scene.frames)
    profile = learn_profile(frame_scene.truth, ArrayFrames(data), BAD, spots, background)
    assert profile.a == pytest.approx(1.1**2, rel=0.2)


def test_covariance_lies_along_the_radius():
    profile = SpotProfile(a=1.0, b=0.001, c=1.5, d=0.0)
    cov = profile.covariance(np.array([[100.0, 0.0], [0.0, 50.0], [30.0, 30.0], [0.0, 0.0]]))
    assert cov[0] == pytest.approx([11.0, 0, 1.5])
    assert cov[1] == pytest.approx([1.5, 0, 3.5])
    radial, across = 1 + 0.001 * 1800, 1.5
    assert cov[2] == pytest.approx([(radial + across) / 2, (radial - across) / 2, (radial + across) / 2])
    assert np.all(np.isfinite(cov))


def test_the_window_holds_three_and_a_half_sigma_within_bounds():
    assert SpotProfile(a=4.0, c=1.0).half(100) == 7
    assert SpotProfile(a=0.2, c=0.2).half(100) == 3
    assert SpotProfile(a=1.0, b=1.0).half(100) == 14
