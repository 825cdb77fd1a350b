"""The joint fit: errors far below the thesis's, jitter kept, foreign reflections told, uncertainties that are true."""

from __future__ import annotations

import numpy as np
import pytest

from credo.model import CannotDo, UnreadableInput
from credo.orient.observations import Observations
from credo.orient.orientations import OrientSettings, orient
from credo.orient.start import start_directions


@pytest.mark.parametrize("continuous", [False, True])
def test_without_noise_it_is_exact(series, continuous, observations, error_deg):
    s = series(continuous=continuous)
    found = orient(observations(s))
    assert error_deg(found.zone, s.zone).mean() < 5e-4
    assert found.method == "rocking"


def test_with_counting_noise_errors_are_foretold(series, observations, error_deg):
    s = series(counts=1e5, span=20.0)
    found = orient(observations(s))
    error = error_deg(found.zone, s.zone)
    assert error.mean() < 0.004
    assert found.error_deg == pytest.approx(error.mean(), rel=0.5)
    assert error_deg(found.smooth.zone, s.zone).mean() < 0.4 * error.mean()


def test_jitter_is_not_smoothed_away(series, observations, error_deg):
    """0.02° of white jitter: nearly all of it comes through, smoothed or not."""
    s, calm = (series(counts=1e5, span=20.0, jitter_deg=j) for j in (0.02, 0.0))
    found = orient(observations(s))
    true = s.zone - calm.zone
    for zone in (found.zone, found.smooth.zone):
        assert error_deg(zone, s.zone).mean() < 0.005
        assert np.sum(true * (zone - calm.zone)) / np.sum(true**2) == pytest.approx(1.0, abs=0.1)
    assert found.smooth.jitter_deg == pytest.approx((0.02, 0.02), rel=0.35)


def test_misindexed_reflections_do_little_harm(series, observations, error_deg):
    s = series(counts=1e5, d_min=0.7, span=30.0)
    rng = np.random.default_rng(3)
    unique, which = np.unique(s.hkl, axis=0, return_inverse=True)
    shift = rng.integers(1, 3, unique.shape) * (rng.random(len(unique)) < 0.1)[:, None]
    found = orient(observations(s, s.hkl + shift[which.reshape(-1)]))
    clean = orient(observations(s))
    assert error_deg(found.zone, s.zone).mean() < 1.5 * error_deg(clean.zone, s.zone).mean()
    assert 0.05 < found.fit.foreign < 0.2
    assert any("do not cross the sphere" in w for w in found.warnings)


def test_the_hemisphere_is_found_from_the_series(series, observations, error_deg):
    for seed in (1, 2, 3):
        s = series(d_min=1.0, seed=seed)
        start = start_directions(observations(s))
        assert error_deg(start.zone, s.zone).max() < 1.0
        assert start.hemisphere > 1.3


def test_frames_of_another_brightness(series, observations, error_deg):
    """20 % of white noise on every frame's scale."""
    s = series(counts=1e5, span=20.0)
    factor = np.random.default_rng(0).normal(1, 0.2, len(s.nominal_deg)).clip(0.3)[s.frame]
    obs = observations(s)
    rows = np.lexsort((*s.hkl.T, s.frame))
    dimmed = Observations(
        obs.cell, obs.wavelength, obs.frame, obs.hkl, obs.intensity * factor[rows], obs.sigma * factor[rows],
        obs.angle_deg, obs.width_deg,
    )  # fmt: skip
    assert error_deg(orient(dimmed).zone, s.zone).mean() < 1.8 * error_deg(orient(obs).zone, s.zone).mean()


def test_thesis_method_by_name(series, observations, error_deg):
    s = series()
    found = orient(observations(s), OrientSettings(method="thesis"))
    assert found.method == "thesis"
    assert np.isnan(found.error_deg)
    assert error_deg(found.zone, s.zone).mean() < 0.03


def test_bad_input_is_named(series, observations):
    s = series()
    obs = observations(s)
    with pytest.raises(CannotDo, match="no reflection"):
        obs.select(np.zeros(len(obs.frame), dtype=bool))
    with pytest.raises(UnreadableInput, match="angles"):
        Observations(obs.cell, 0.025, obs.frame, obs.hkl, obs.intensity, obs.sigma, obs.angle_deg[:5])
    with pytest.raises(UnreadableInput, match="not a number"):
        Observations(
            obs.cell, 0.025, obs.frame, obs.hkl, obs.intensity * np.nan, obs.sigma, obs.angle_deg
        )  # fmt: skip
    few = obs.select(np.unique(obs.frame, return_index=True)[1])
    with pytest.raises(CannotDo, match="four reflections"):
        orient(few)
