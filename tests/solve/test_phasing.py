"""Trials end when they have found something, and not before."""

from dataclasses import replace

import numpy as np

from credo.kernels.flip import FLOATING, OBSERVED, impose_moduli
from credo.solve.normalise import normalise
from credo.solve.phasing import PhasingSettings, Recipe, has_settled, operator_agreement, pose, run_trial, transform_at


def test_settled_is_what_dropped_and_stays():
    flat, fallen = [0.5] * 60, [0.3] * 40
    assert not has_settled(flat)
    assert has_settled(flat + fallen)
    assert not has_settled((flat + fallen)[:-1])  # looked at every twentieth
    assert not has_settled(flat + list(np.linspace(0.45, 0.2, 40)))
    assert not has_settled([0.3] * 100)


def test_misfit_of_moduli_is_free_of_their_scale():
    status = np.array([FLOATING, OBSERVED, OBSERVED], np.int8)
    modulus = np.array([0, 3, 4], np.float32)
    assert impose_moduli(np.array([5, 6j, -8], np.complex64), modulus, status, 0.9, True) < 1e-3
    # (4, 3) against (3, 4): cos = 24/25
    misfit = impose_moduli(np.array([5, 4j, -3], np.complex64), modulus, status, 0.9, True)
    assert abs(misfit - 7 / 25) < 1e-6
    assert impose_moduli(np.zeros(3, np.complex64), modulus, status, 0.9, True) == 1


def test_a_trial_that_ends_early_has_phases_as_good(chain, intensities):
    s = chain("P 1 21/c 1")
    data = normalise(s.cell, "P", "2/m", *intensities(s, 0.9))
    problem = pose(data, Recipe(), PhasingSettings())
    assert problem.fine
    ended = []
    for seed in range(6):
        early, late = (
            operator_agreement(data, transform_at(data.hkl, run_trial(p, PhasingSettings(), rng)[0], p.shape))
            for p, rng in ((q, np.random.default_rng(seed)) for q in (problem, replace(problem, fine=False)))
        )
        ended.append(early != late)
        assert early > late - 0.1
    assert any(ended)


def test_beyond_atomic_resolution_trials_run_to_their_end(chain, intensities):
    s = chain("P 1 21/c 1")
    data = normalise(s.cell, "P", "2/m", *intensities(s, 1.2))
    assert not pose(data, Recipe(), PhasingSettings()).fine
