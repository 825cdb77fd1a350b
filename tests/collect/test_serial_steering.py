"""Steering: the beam goes where it is sent and the pattern stays."""

import numpy as np
import pytest

from credo.collect.serial_setup import SHIFTS, Bench, SerialOptics
from credo.collect.serial_steering import Steering
from credo.collect.steps import Set
from credo.model.errors import CannotDo


def turned(size: float, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return size * np.array([[c, -s], [s, c]])


def bench() -> Bench:
    sharp = {"beamshift": turned(0.027, 60), "imageshift1": turned(0.0098, 152), "imageshift2": turned(0.015, -64)}
    blurred = {"beamshift": turned(2.2, -40), "imageshift1": turned(0.03, 10), "imageshift2": turned(0.02, 100)}
    return Bench(
        SerialOptics(), 0.022, 40000, 12.0, 28700, 30000, np.full(2, 258.0), turned(45, 100), turned(0.025, -38),
        turned(87, 0), sharp, blurred, -1.0, dict.fromkeys((*SHIFTS, "diffshift"), (32768.0, 32768.0)),
        np.ones((516, 516), bool), np.full(2, 290.0),
    )  # fmt: skip


def done(steps) -> list:
    found = list(steps)
    assert all(isinstance(s, Set) for s in found)
    return found


def shift(b: Bench, s: Steering, which: str) -> np.ndarray:
    return sum(getattr(b, which)[n] @ s.value[n] for n in SHIFTS)


@pytest.mark.parametrize("um", [(0.4, -0.5), (2.5, 1.5)])
def test_the_focused_pattern_stays_and_the_defocused_one_within_reach(um):
    b = bench()
    s = Steering(b, 0.5)
    done(s.aim(np.array(um)))
    assert np.hypot(*(s.place - um)) < 0.03  # whole units
    assert np.hypot(*shift(b, s, "sharp")) < 0.03
    assert np.hypot(*shift(b, s, "blurred")) < 72
    assert done(s.aim(np.array(um))) == []  # nothing changes, nothing is set


def test_the_thesis_descan_brings_both_patterns_back():
    b = bench()
    s = Steering(b, 0.5)
    moved = b.blurred["beamshift"] @ b.units(np.array([0.5, 0.2]))
    done(s.nudge(np.array([0.5, 0.2]), moved))
    assert np.hypot(*shift(b, s, "sharp")) < 0.05
    assert np.hypot(*shift(b, s, "blurred")) < 2.0


def test_the_end_of_a_deflector_is_told():
    with pytest.raises(CannotDo, match="range"):
        done(Steering(bench(), 0.5).aim(np.array([800.0, 0.0])))
