"""Blackman's factor against its limits and a direct integral."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import j0

from credo.physics.structure_factors import electron_factor
from credo.physics.two_beam import blackman, phase_per_amplitude


@pytest.mark.parametrize("a", [0.03, 0.7, 2.405, 9.0, 39.0])
def test_is_the_mean_of_the_bessel_function(a):
    direct = quad(lambda x: j0(2 * x), 0, a, limit=400)[0] / a
    assert blackman(np.array([a]))[0] == pytest.approx(direct, abs=2e-5)


def test_limits_of_thin_and_thick_crystals():
    thin, thick = np.array([0.0, 0.01, 0.1]), np.array([45.0, 100.0, 1e6])
    assert np.allclose(blackman(thin), 1 - thin**2 / 3, atol=1e-5)
    # where the intensity goes with |F|
    assert np.allclose(thick * blackman(thick), 0.5, rtol=0.07)


def test_phase_is_that_of_the_extinction_distance():
    """Silicon 220 at 100 keV, 757 Å in the table of Hirsch et al. (Electron Microscopy of Thin Crystals, 1965)."""
    f = 8 * electron_factor("Si", np.array([0.25 / 1.92**2]))[0] * np.exp(-0.46 * 0.25 / 1.92**2)
    assert np.pi / (phase_per_amplitude(0.03701, 160.2) * f) == pytest.approx(757, rel=0.05)
