"""Angles of frames against a simulated stage's own motion, and against turnings made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from credo.collect.angles import fit_turning
from credo.model.errors import CannotDo


def readouts(t, a, rng, wave=0.05, noise=0.01):
    return a + wave * np.sin(2 * np.pi * a / 12.0 + 1.0) + noise * rng.normal(size=len(t))


@pytest.mark.parametrize("speed", [0.5, -1.0, 5.0])
def test_an_even_turning_is_found_to_a_hundredth_of_a_degree(speed):
    rng = np.random.default_rng(3)
    t = 1.8e9 + np.sort(rng.uniform(0, 60 / abs(speed), 120))
    true = -30 * np.sign(speed) + speed * (t - 1.8e9)
    found = fit_turning(t, readouts(t, true, rng))
    assert found.even
    assert found.speed == pytest.approx(speed, rel=1e-3)
    assert np.abs(found.angle(t) - true).max() < 0.04  # the wave is 0.05, a read-out errs by up to 0.08
    assert np.sqrt(np.mean((found.angle(t) - true) ** 2)) < 0.02


def test_over_a_short_way_the_speed_that_the_drive_was_told_helps_unless_it_is_wrong():
    rng = np.random.default_rng(8)
    t = np.linspace(0, 5, 50)
    true = -5 + 2.0 * t
    a = readouts(t, true, rng)
    alone, helped, misled = (fit_turning(t, a, told) for told in (None, 2.0, 2.4))
    assert abs(helped.speed / 2 - 1) < 0.3 * abs(alone.speed / 2 - 1)
    assert np.ptp(helped.angle(t) - true) < 0.03
    assert misled.speed == pytest.approx(alone.speed, rel=1e-3)


def test_outliers_and_rest_at_either_end():
    rng = np.random.default_rng(4)
    t = np.linspace(0, 40, 161)
    true = np.clip(-10 + 1.0 * (t - 5), -10, 20)  # rests 5 s, turns 30 s, rests 5 s
    a = readouts(t, true, rng, wave=0.0)
    a[[30, 77, 120]] += [3.0, -8.0, 1.0]
    found = fit_turning(t, a)
    assert found.even
    assert np.abs(found.angle(t) - true).max() < 0.03


def test_a_stage_that_stands_still():
    rng = np.random.default_rng(5)
    t = np.linspace(0, 10, 30)
    found = fit_turning(t, 12.0 + 0.01 * rng.normal(size=30))
    assert np.abs(found.angle(t) - 12.0).max() < 0.02


def test_a_turning_by_hand_is_followed():
    rng = np.random.default_rng(6)
    t = np.linspace(0, 60, 240)
    true = 20 * np.sin(2 * np.pi * t / 80)
    found = fit_turning(t, true + 0.01 * rng.normal(size=240))
    assert not found.even
    assert np.abs(found.angle(t) - true)[8:-8].max() < 0.1


def test_one_readout_is_no_turning():
    with pytest.raises(CannotDo):
        fit_turning(np.array([1.0]), np.array([2.0]))
