"""The linear fit of calibrations: outliers, missing points, esds, drift and curvature."""

import numpy as np
import pytest

from credo.collect.calibration.linear import fit_response, sunflower
from credo.model.errors import CannotDo

M = np.array([[0.6, -1.1], [1.0, 0.5]])


def measured(rng, n=16, noise=0.1, drift=0.0):
    u = 80 * sunflower(n)
    t = np.arange(n) * 3.0
    return u, u @ M.T + [250, 260] + noise * rng.normal(size=(n, 2)) + drift * t[:, None], t


def test_pulls_have_unit_spread():
    rng = np.random.default_rng(1)
    pulls = []
    for _ in range(200):
        u, y, _ = measured(rng)
        found = fit_response(u, y)
        pulls.append((found.matrix - M) / np.sqrt(np.diag(found.covariance)))
    assert np.sqrt(np.mean(np.square(pulls))) == pytest.approx(1.0, abs=0.12)


def test_failed_and_wrong_images_are_left_out():
    u, y, _ = measured(np.random.default_rng(2))
    y[3] = np.nan
    y[7] += [40, -25]
    found = fit_response(u, y)
    assert not found.used[3] and not found.used[7] and found.used.sum() == 14
    assert np.abs(found.matrix - M).max() < 5 * found.esd


def test_a_drift_is_told_apart():
    u, y, t = measured(np.random.default_rng(3), noise=0.02, drift=0.05)
    assert np.abs(fit_response(u, y, t).matrix - M).max() < 5 * fit_response(u, y, t).esd
    assert fit_response(u, y, t).rms < 0.04 < fit_response(u, y).rms


def test_a_curved_response_is_seen_and_widens_the_esd():
    rng = np.random.default_rng(4)
    u, y, _ = measured(rng, noise=0.02)
    straight = fit_response(u, y)
    bent = fit_response(u, y + 3e-4 * u * np.abs(u))
    assert not straight.curved and bent.curved
    assert bent.esd > 5 * straight.esd and bent.bend > 0.1


def test_too_few_points_are_refused():
    u, y, _ = measured(np.random.default_rng(5))
    y[4:] = np.nan
    with pytest.raises(CannotDo, match="too few"):
        fit_response(u, y)
