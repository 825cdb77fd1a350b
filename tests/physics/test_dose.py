"""Stopping powers against NIST's ESTAR, doses against the literature."""

from __future__ import annotations

import numpy as np
import pytest

from credo.physics.dose import gray_per_fluence, mean_excitation_ev, stopping_power

WATER = {"H": 2, "O": 1}


@pytest.mark.parametrize(("kilovolts", "estar"), [(100, 4.115), (200, 2.793), (300, 2.355)])
def test_water_as_estar_has_it(kilovolts, estar):
    assert stopping_power(WATER, kilovolts) == pytest.approx(estar, rel=2e-3)


def test_the_mean_excitation_of_water_is_75_ev():
    log = (2 * np.log(mean_excitation_ev("H")) + 8 * np.log(mean_excitation_ev("O"))) / 10
    assert np.exp(log) == pytest.approx(75, abs=0.5)


def test_a_fluence_of_one_electron_is_3_7_mgy_at_300_kv():
    assert gray_per_fluence(WATER, 300) == pytest.approx(3.7, rel=0.03)


def test_slower_electrons_and_lighter_elements_leave_more():
    assert gray_per_fluence(WATER, 100) > gray_per_fluence(WATER, 200) > gray_per_fluence(WATER, 300)
    assert gray_per_fluence({"C": 1, "H": 2}, 200) > gray_per_fluence({"Si": 1, "O": 2}, 200)
    assert gray_per_fluence({"Si": 1, "O": 2}, 200) > gray_per_fluence({"Au": 1}, 200)


def test_the_formula_counts_by_its_ratio():
    assert stopping_power({"Si": 24, "O": 48}, 200) == pytest.approx(stopping_power({"Si": 1, "O": 2}, 200))
