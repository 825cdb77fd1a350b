"""What plans may know: nominal values against a perfect instrument, interpolation, and what is refused."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from credo.collect.rig import Rig
from credo.instrument.config import Calibration, Measured
from credo.instrument.sim.optics import image_geometry, pattern_geometry
from credo.model.errors import CannotDo


@pytest.fixture
def rig(simulated) -> Rig:
    return Rig.of(simulated(perfect_one=True))


def test_the_instrument_is_described(rig):
    assert rig.limits["a"] == (-70.0, 70.0)
    assert rig.limits["x"] == (-990.0, 990.0)
    assert rig.wavelength == pytest.approx(0.025079, abs=1e-6)
    assert 600.0 in rig.magnifications["diff"]
    assert rig.uncalibrated and rig.is_nominal(rig.q_per_pixel(600))


def test_nominal_values_are_those_of_a_perfect_instrument(simulated):
    ctrl = simulated(perfect_one=True)
    rig, scope = Rig.of(ctrl), ctrl.link.guard.microscope
    pixel_mm = 0.055
    state = replace(scope._column.state, brightness=28680.0)
    matrix = image_geometry(state, scope.truth).matrix
    np.testing.assert_allclose(rig.stage_matrix("mag1", 2500).value, 1e3 * pixel_mm * np.linalg.inv(matrix), rtol=1e-9)
    moved = replace(state, mode="diff", deflector={"imageshift1": (32868.0, 32768.0)})
    for defocus in (0.0, 1500.0):
        shift = [
            pattern_geometry(
                s.focused_at(scope.truth.focus + defocus, 0.0), scope.truth, scope.settings.imperfections, 200
            )
            for s in (replace(state, mode="diff"), moved)
        ]
        seen = (shift[1].shift - shift[0].shift) / pixel_mm
        told = 100 * np.array(rig.deflector_matrix("diff", "imageshift1", 600, defocus).value)[:, 0]
        np.testing.assert_allclose(told, seen, rtol=2e-3, atol=1e-9)
    assert rig.q_per_pixel(600).value == pytest.approx(0.055 / (rig.wavelength * 600))


def test_scales_are_interpolated_between_two(rig):
    table = {"500": Measured(value=0.0044, esd=1e-5), "800": Measured(value=0.00275, esd=1e-5)}
    own = replace(rig, calibration=Calibration(diffraction=table))
    between = own.q_per_pixel(600)
    assert between.value == pytest.approx(0.0044 * 500 / 600, rel=1e-6)  # both have the same scale times length
    assert 1e-5 < between.esd < 0.02 * between.value  # nominal lengths are off by a per cent themselves
    over = own.q_per_pixel(1000)  # carried over
    assert over.esd / over.value > 2 * between.esd / between.value


def test_a_defocused_deflector_is_interpolated(rig):
    def table(x: float) -> dict:
        return {"beamshift": {"value": ((x, 0.0), (0.0, x)), "esd": 0.01}}

    own = replace(rig, calibration=Calibration(deflectors={"diff@600": table(0.1), "diff@600+1000": table(2.1)}))
    assert own.deflector_matrix("diff", "beamshift", 600, 1500).value[0][0] == pytest.approx(3.1)


def test_stale_or_missing_calibrations_name_the_remedy(rig):
    old = Measured(value=0.004, date=dt.date(2020, 1, 1))
    with pytest.raises(CannotDo, match="days old") as told:
        replace(rig, calibration=Calibration(diffraction={"600": old})).q_per_pixel(600)
    assert "credo calibrate" in told.value.remedy
    with pytest.raises(CannotDo, match="never calibrated"):
        replace(rig, uncalibrated=False).stage_matrix("mag1", 2500)
