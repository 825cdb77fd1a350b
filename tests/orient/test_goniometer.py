"""The goniometer study gives back what was put into a path made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from credo.orient.goniometer import goniometer_study
from credo.orient.path import Path, along_path, from_path, path_of, same_axes
from credo.orient.smooth import smoothed


def path(turn: np.ndarray, height: np.ndarray, nominal: np.ndarray) -> Path:
    return Path(np.array([0, 0, 1.0]), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), turn, height, nominal)


def test_steps_wobble_and_readout():
    rng = np.random.default_rng(0)
    n = 300
    nominal = np.arange(n) * 0.1
    turn = np.cumsum(rng.normal(0.102, 0.004, n))
    height = 0.05 * np.sin(2 * np.pi * np.arange(n) / 40 + 1)
    noise = rng.normal(0, 0.001, (2, n))
    readout = turn + 0.03 * np.sin(2 * np.pi * np.arange(n) / 75)
    found = goniometer_study(path(turn + noise[0], height + noise[1], nominal), np.full((n, 2), 1e-6), None, readout)
    assert found.step == pytest.approx(0.102, abs=0.001)
    assert found.step_esd == pytest.approx(0.004, rel=0.15)
    assert found.wobble_amplitude == pytest.approx(0.05, rel=0.03)
    assert found.wobble_period_frames == pytest.approx(40, rel=0.02)
    assert found.wobble_explains > 0.98
    assert found.readout_amplitude == pytest.approx(0.03, rel=0.05)
    assert found.readout_period_frames == pytest.approx(75, rel=0.05)


def test_stepwise_data_tell_goniometer_and_beam_tilt_apart():
    """53 moves of 2.035(30)° with 21 tilts of 0.1022° each, whose direction is 1.5° off (thesis 6.3.2)."""
    rng = np.random.default_rng(1)
    blocks, period = 53, 21
    position = np.cumsum(rng.normal(2.035, 0.030, blocks))
    tilt = (np.arange(period) - period // 2) * 0.1022
    turn = (position[:, None] + tilt * np.cos(np.radians(1.5))).ravel()
    height = np.tile(tilt * np.sin(np.radians(1.5)), blocks)
    nominal = (2.0 * np.arange(blocks)[:, None] + (np.arange(period) - period // 2) * 0.1).ravel()
    noise = rng.normal(0, 0.001, (2, blocks * period))
    study = goniometer_study(
        path(turn + noise[0], height + noise[1], nominal), np.full((blocks * period, 2), 1e-6), period
    )
    steps = np.diff(position)
    assert study.goniometer_step == pytest.approx(steps.mean(), abs=0.001)
    assert study.goniometer_step_esd == pytest.approx(steps.std(ddof=1), rel=0.05)
    assert study.beam_tilt_step == pytest.approx(0.1022 * np.cos(np.radians(1.5)), abs=2e-4)
    assert study.misalignment == pytest.approx(1.5, abs=0.05)


def test_a_path_and_back():
    rng = np.random.default_rng(2)
    angle = np.arange(50) * 0.5
    start = path(angle + rng.normal(0, 0.1, 50), rng.normal(0, 0.1, 50), angle)
    zone = from_path(start, *along_path(start))
    np.testing.assert_allclose(same_axes(start, zone).turn_deg, start.turn_deg, atol=1e-9)
    np.testing.assert_allclose(same_axes(start, zone).height_deg, start.height_deg, atol=1e-9)
    again = path_of(zone, angle)
    np.testing.assert_allclose(from_path(again, *along_path(again)), zone, atol=1e-12)


@pytest.mark.parametrize("jitter", [0.0, 0.02])
def test_smoothing_takes_noise_and_leaves_jitter(jitter):
    rng = np.random.default_rng(3)
    n = 400
    angle = np.arange(n) * 0.1
    slow = 0.3 * np.sin(np.arange(n) / 60)
    true = np.stack([slow + rng.normal(0, jitter, n), 0.5 * slow + rng.normal(0, jitter, n)])
    noise = 0.01 * rng.normal(size=(2, n))
    seen = path(angle + true[0] + noise[0], true[1] + noise[1], angle)
    out = smoothed(seen, np.full((n, 2), 1e-4), np.array([], dtype=int))
    got = np.stack(along_path(same_axes(seen, out.zone)))
    rms = np.sqrt(np.mean((got - true) ** 2))
    if jitter:
        assert rms < 0.01
        assert out.jitter_deg == pytest.approx((jitter, jitter), rel=0.2)
    else:
        assert rms < 0.004
        assert max(out.jitter_deg) < 0.005


def test_nothing_is_smoothed_over_a_move_of_the_stage():
    n = 60
    angle = np.arange(n) * 0.1
    jump = np.where(np.arange(n) >= 30, 1.0, 0.0)
    noise = np.random.default_rng(4).normal(0, 0.01, n)
    seen = path(angle + jump + noise, np.zeros(n), angle)
    out = smoothed(seen, np.full((n, 2), 1e-4), np.array([30]))
    got = along_path(same_axes(seen, out.zone))[0]
    assert np.abs(got - jump).max() < 0.015
