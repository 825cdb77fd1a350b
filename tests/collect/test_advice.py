"""What collection asks and is answered: from any wire, and what serial-red does of it."""

import json

import pytest

from credo.collect.advice import CrystalNow, Decision
from credo.collect.engine import Engine
from credo.collect.rig import Rig
from credo.collect.serial_red import SerialRED
from credo.collect.steps import Ask
from credo.instrument.config import validated
from credo.instrument.controller import TEMController
from credo.instrument.opening import open_guard
from credo.instrument.service import LocalLink
from credo.model import UnreadableInput

SAMPLE = {"phases": ["grossular"], "clustered": 0.0, "debris": 0.0, "film_waviness_um": 0.2}
QUIET = {"unsteady_um": 0.05, "swing_um": 0.3, "height_um": 1.0}


def opened(**options):
    configuration = validated({"microscope": {"options": {"seed": 3, **options}}}, "test")
    return TEMController(LocalLink(open_guard(configuration)), configuration)


def test_there_and_back():
    one = Decision("continue", "why", (-10.0, 40.0), ("A", "ZSM-5"))
    assert Decision.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert Decision.from_dict({"verdict": "stop"}) == Decision("stop")


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"verdict": "explode"},
        {"verdict": "continue", "range_deg": [0.0]},
        {"verdict": "continue", "range_deg": [0.0, float("nan")]},
        {"verdict": "continue", "range_deg": [0.0, 4000.0]},
        {"verdict": "continue", "phases": "A"},
    ],
)
def test_no_decision(told):
    with pytest.raises(UnreadableInput, match="no decision"):
        Decision.from_dict(told)


def test_nobody_is_asked():
    ctrl = opened(sample=SAMPLE)

    def steps():
        return (yield Ask(CrystalNow("x", 1, 0.0, 60.0)))

    assert Engine(ctrl).run(steps()) == Decision()


def test_abandoned_then_narrower_then_over():
    """The first crystal is given up while it turns, the second turns within the range advised, a third is not begun."""
    ctrl, events, asked = opened(sample=SAMPLE, imperfections=QUIET), [], []

    def ask(crystal: CrystalNow) -> Decision:
        asked.append(crystal)
        if crystal.ended:
            return Decision(range_deg=(-20.0, -6.0)) if crystal.name == "0001" else Decision("stop", "all there")
        return Decision("abandon", "poor") if crystal.name == "0001" and crystal.frames >= 8 else Decision()

    plan = SerialRED(max_crystals=3, x_um=3.0, y_um=2.0, radius_um=30.0, range_deg=(-20.0, 20.0), speed_deg_s=1.5)
    taken = Engine(ctrl, [events.append], ask=ask).run(plan.steps(Rig.of(ctrl)))
    ends = [e.facts["reason"] for e in events if e.kind == "end"]
    told = [c for c in asked if c.ended]
    assert taken == 2 and ends[0] == "abandon: poor" and [c.name for c in told] == ["0001", "0002"]
    assert told[0].frames == 8 and abs(told[0].tilt_deg) > 10
    turns = [e.facts["to"] for e in events if e.kind == "turn"]
    assert ends[1] == "target angle" and max(turns[-2:]) < 0
    said = [e.facts["verdict"] for e in events if e.kind == "advice"]
    assert said == ["abandon", "continue", "stop"]
