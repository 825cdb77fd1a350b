"""Plates that lie flat: after a few, others are worth more; and what a collection is told then."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from credo.collect.advice import CrystalNow
from credo.model import Beam, Cell, Crystal, Detector, Experiment, Goniometer, Scan
from credo.physics.ewald import predict
from credo.pipeline.watch_company import Company, Outlook
from credo.pipeline.watch_decide import after, while_turning
from credo.pipeline.watch_next import Goal, PhaseNow
from credo.pipeline.watch_set import LiveState

CELL = Cell(7.1, 9.3, 12.4, 90, 90, 90)
GOAL, TILT = Goal(completeness=0.99, cc_half=0.99), (-60.0, 60.0)
FLAT = Rotation.from_euler("z", [[10.0], [75.0], [140.0], [200.0]], degrees=True)
ANYHOW = Rotation.from_quat([0.6, 0.5, -0.1, 0.6])


def experiment(u: Rotation, start=-60.0, end=-52.0):
    crystal = Crystal(CELL, u.as_matrix(), laue_group="mmm")
    detector = Detector((400, 400), 0.006, (200, 200))
    scan = Scan.regular(20, start, (end - start) / 20)
    return Experiment(Beam(0.0251), detector, Goniometer.in_plane(30.0), scan, (crystal,))


def state(u: Rotation, name="x"):
    e = experiment(u)
    return LiveState(name, 20, 8.0, (4,) * 20, 80, 80, 1.0, e.crystal, e, 1.0)


@pytest.fixture(scope="module")
def merged():
    """Three plates, turned from end to end."""
    whole = [predict(experiment(u, *TILT), experiment(u).crystal, 1.0) for u in FLAT[:3]]
    hkl = np.concatenate([w.select(w["lorentz"] < 10).hkl for w in whole])
    phase = PhaseNow("A", CELL, "P", "mmm", tuple(map(tuple, hkl.tolist())), 3, 0.8, 0.9, 1.0)
    _, times = phase.measured(1.0)
    return replace(phase, completeness=float(np.mean(times > 0)))


@pytest.fixture(scope="module")
def outlook(merged):
    return Company(TILT).outlook([state(u, f"{k}") for k, u in enumerate(FLAT[:3])], [merged], GOAL)


def now(**more):
    return replace(CrystalNow("0004", 20, -52.0, 60.0), **more)


def test_a_fourth_plate_is_left_and_another_crystal_kept(merged, outlook):
    assert merged.completeness < 0.93
    fourth = while_turning(now(), state(FLAT[3]), [merged], GOAL, TILT, outlook)
    assert fourth.verdict == "abandon" and fourth.reason and fourth.phases == ("A",)
    other = while_turning(now(), state(ANYHOW), [merged], GOAL, TILT, outlook)
    assert other.verdict == "continue" and other.range_deg[0] == -52.0 and other.range_deg[1] > -30.0
    # so it is where nothing is known of others, since it shows nothing new
    alone = while_turning(now(), state(FLAT[3]), [merged], GOAL, TILT, Outlook(0.0, TILT))
    assert alone.verdict == "abandon" and "nothing new" in alone.reason


def test_within_what_the_rotation_is_to_reach(merged, outlook):
    short = while_turning(now(to_deg=-20.0), state(ANYHOW), [merged], GOAL, TILT, outlook)
    assert short.range_deg is None or short.range_deg[1] <= -20.0


def test_an_outlook_needs_phases_that_lack_something(merged):
    states = [state(u, f"{k}") for k, u in enumerate(FLAT[:3])]
    whole = replace(merged, completeness=1.0, cc_half=1.0)
    assert Company(TILT).outlook(states, [whole], GOAL) == Outlook(0.0, TILT)
    assert Company(TILT).outlook([], [merged], GOAL) == Outlook(0.0, TILT)


def test_crystals_of_no_use_slow_the_pace(merged, outlook):
    """Those of a phase that nobody wants cost a look, and give nothing."""
    other = replace(state(ANYHOW, "y"), crystal=state(ANYHOW).crystal.replace(cell=Cell(5, 5, 5, 90, 90, 90)))
    states = [*(state(u, f"{k}") for k, u in enumerate(FLAT[:3])), *[other] * 6]
    assert Company(TILT).outlook(states, [merged], GOAL).pace < outlook.pace


def test_after_a_set_the_nearer_end_first(merged):
    between = Outlook(0.01, (10.0, 60.0))
    assert after(now(tilt_deg=58.0, ended="target angle"), [merged], GOAL, between).range_deg == (60.0, 10.0)
    said = after(now(tilt_deg=-52.0, ended="target angle"), [merged], GOAL, between)
    assert said.range_deg == (10.0, 60.0) and said.phases == ("A",) and "A: " in said.reason


def test_stop_when_every_phase_of_interest_is_complete(merged):
    whole, plain = replace(merged, completeness=1.0, cc_half=0.999), Outlook(0.0, TILT)
    ended = now(ended="target angle")
    assert after(ended, [whole], GOAL, plain).verdict == "stop"
    assert after(ended, [whole, replace(merged, name="B")], GOAL, plain).phases == ("B",)
    assert after(ended, [whole, replace(merged, name="B")], replace(GOAL, phases=("A",)), plain).verdict == "stop"
    absent = after(ended, [whole], replace(GOAL, phases=("A", "MOR")), plain)
    assert absent.verdict == "continue" and absent.phases == ("MOR",) and "not there yet" in absent.reason
    assert after(ended, [], GOAL, plain).verdict == "continue"
