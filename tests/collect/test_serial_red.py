"""SerialRED on the simulated microscope: the setting up finds the truth, and both strategies collect data."""

from dataclasses import replace

import numpy as np
import pytest

from credo.collect.engine import Engine
from credo.collect.rig import Rig
from credo.collect.serial_red import SerialRED
from credo.collect.serial_setup import SerialOptics, set_up
from credo.instrument.config import validated
from credo.instrument.controller import TEMController
from credo.instrument.opening import open_guard
from credo.instrument.service import LocalLink
from credo.instrument.sim.optics import image_geometry

QUIET = {"unsteady_um": 0.05, "swing_um": 0.3, "height_um": 1.0}
SAMPLE = {"phases": ["grossular"], "clustered": 0.0, "debris": 0.0, "film_waviness_um": 0.2}


def opened(seed: int, **options):
    configuration = validated({"microscope": {"options": {"seed": seed, **options}}}, "test")
    guard = open_guard(configuration)
    return TEMController(LocalLink(guard), configuration), guard.microscope


def test_setting_up_finds_the_simulators_truth():
    ctrl, scope = opened(3, sample=SAMPLE)
    bench = Engine(ctrl).run(set_up(SerialOptics(), Rig.of(ctrl)))
    truth, column = scope.truth, scope._column.state
    image = image_geometry(replace(column, mode="mag1"), truth).matrix / 0.055
    assert np.allclose(np.linalg.solve(image, bench.image), np.eye(2), atol=0.03)
    assert np.allclose(np.linalg.solve(truth.deflectors["beamshift"].position, bench.beam), np.eye(2), atol=0.04)
    # come to from below, as it was found, half of the lens's slack of 12 above where the pattern is sharp
    assert abs(bench.focus - truth.focus - 6) < 3
    assert abs(np.hypot(0.12, 1.1e-3 * (bench.narrow - truth.crossover)) - 0.75) < 0.04
    assert bench.lift == -1.0
    assert np.allclose(bench.centre, 290, atol=5)


@pytest.mark.parametrize("strategy", ["thesis", "default"])
def test_a_crystal_is_rotated_and_kept(strategy):
    ctrl, scope = opened(3, sample=SAMPLE, imperfections=QUIET)
    events = []
    plan = SerialRED(
        strategy=strategy, max_crystals=1, x_um=3.0, y_um=2.0, radius_um=30.0, range_deg=(-12.0, 12.0), speed_deg_s=1.5
    )
    shares = []

    def listen(event):
        events.append(event)
        if event.kind == "frame" and event.facts["role"] == "data":
            shares.append(max(scope.diary[-1].share.values(), default=0.0))

    taken = Engine(ctrl, [listen]).run(plan.steps(Rig.of(ctrl)))
    ends = [e for e in events if e.kind == "end"]
    assert taken == 1 and len(ends) == 1 and ends[0].facts["reason"]
    assert all(e.facts["reason"] for e in events if e.kind == "rejected")
    if strategy == "default":
        assert ends[0].facts["reason"] == "target angle"
        assert len(shares) > 20 and np.mean(np.array(shares) > 0.5) > 0.9
    assert scope.blanker.is_blanked()
