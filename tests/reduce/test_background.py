"""The spot-free background and the gain, measured from the frames."""

import numpy as np
import pytest

from credo.model import ArrayFrames
from credo.reduce.background import mean_background


def flat(level, gain=1.0, n=60, shape=(240, 252), seed=0):
    rng = np.random.default_rng(seed)
    return (gain * rng.poisson(level / gain, (n, *shape))).astype(np.float32)


@pytest.mark.parametrize(("level", "gain"), [(1.0, 1.0), (50.0, 1.0), (40.0, 8.0)])
def test_level_and_gain(level, gain):
    b = mean_background(ArrayFrames(flat(level, gain)))
    assert b.level == pytest.approx(level, rel=0.03)
    assert b.gain == pytest.approx(gain, rel=0.08)
    assert b.mean.shape == b.noise.shape == b.raw_mean.shape == (240, 252)


def test_slow_changes_do_not_pass_for_gain():
    frames = flat(50.0) * np.linspace(0.7, 1.3, 60)[:, None, None]
    assert mean_background(ArrayFrames(frames)).gain == pytest.approx(1.0, rel=0.2)


def test_spots_lift_the_raw_mean_only():
    frames = flat(5.0)
    frames[20:23, 30:33, 40:43] += 400
    b = mean_background(ArrayFrames(frames))
    assert b.raw_mean[31, 41] > 20
    assert b.mean[31, 41] < 6


def test_structure_of_the_background_is_kept():
    shape = np.where(np.arange(70) < 35, 10.0, 60.0)
    frames = np.random.default_rng(1).poisson(np.broadcast_to(shape, (80, 60, 70))).astype(np.uint16)
    b = mean_background(ArrayFrames(frames))
    assert b.mean[:, :34].mean() == pytest.approx(10, rel=0.03)
    assert b.mean[:, 36:].mean() == pytest.approx(60, rel=0.03)


def test_long_scans_are_sampled_and_single_frames_survive():
    asked = []

    class Counting(ArrayFrames):
        def __getitem__(self, i):
            asked.append(i)
            return super().__getitem__(i)

    frames = Counting(flat(3.0, n=400, shape=(20, 20)))
    assert mean_background(frames, most=40).level == pytest.approx(3.0, rel=0.1)
    assert len(set(asked)) <= 2 * 41
    one = mean_background(ArrayFrames(flat(3.0, n=1)))
    assert one.gain == 1.0
    assert np.isfinite(one.mean).all()
    dark = mean_background(ArrayFrames(np.zeros((10, 20, 20), np.uint16)))
    assert (dark.level, dark.gain) == (0.0, 1.0)
