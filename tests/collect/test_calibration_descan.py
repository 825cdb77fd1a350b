"""Descan by the calibrated matrices: nothing moves in focus or out of it."""

from dataclasses import replace

import numpy as np
import pytest

from credo.collect.calibration.descan import descan
from credo.collect.rig import Rig
from credo.instrument.config import Calibration, MeasuredMatrix
from credo.model.errors import CannotDo


def matrices(rng, degenerate=False):
    names = ("beamshift", "imageshift1", "imageshift2")
    tables = {key: {n: rng.normal(size=(2, 2)) for n in names} for key in ("diff@600", "diff@600+1500")}
    if degenerate:
        for table in tables.values():
            table["imageshift2"] = 2 * table["imageshift1"]
    return tables


def of(rig: Rig, tables) -> Rig:
    stored = {k: {n: MeasuredMatrix(value=m.tolist(), esd=1e-3) for n, m in t.items()} for k, t in tables.items()}
    return replace(rig, calibration=Calibration(deflectors=stored))


def test_nothing_is_left_in_either_pattern(simulated):
    rig = Rig.of(simulated())
    tables = matrices(np.random.default_rng(0))
    shifts, left = descan(of(rig, tables), 600, 1500)
    for table in tables.values():
        moved = table["beamshift"] + table["imageshift1"] @ shifts[:2] + table["imageshift2"] @ shifts[2:]
        assert np.abs(moved).max() < 1e-9
    assert left.shape == (2,) and (left >= 1e-3).all()


def test_two_shifts_that_do_the_same_are_refused(simulated):
    rig = Rig.of(simulated())
    with pytest.raises(CannotDo, match="do the same"):
        descan(of(rig, matrices(np.random.default_rng(1), degenerate=True)), 600, 1500)
