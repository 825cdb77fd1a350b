"""Plans as values: read, refused, printed as they were typed, forecast."""

from __future__ import annotations

import pytest

from credo.collect.atlas import Atlas
from credo.collect.cred import Cred
from credo.collect.plans import KINDS, parse_plan, plan_class, read_plan, template
from credo.collect.red import Red
from credo.collect.rehearsal import rehearse
from credo.collect.rig import Rig
from credo.collect.rotation import Sweep
from credo.collect.screen import Screen
from credo.collect.serial_ed import SerialED
from credo.collect.serial_red import SerialRED
from credo.model.errors import UnreadableInput

TYPED = """# my crystal
kind = "cred"
start_deg = -30   # careful
range_deg = 60
optics = { spotsize = 5 }
"""


def test_a_plan_prints_as_it_was_typed_and_compares_by_value(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(TYPED)
    plan = read_plan(path)
    assert str(plan) == TYPED
    same = Cred(kind="cred", start_deg=-30, range_deg=60, optics={"spotsize": 5})
    assert plan == same and hash(plan) == hash(same)
    path.write_text(str(same))
    assert read_plan(path) == plan
    assert plan != Cred(kind="cred", start_deg=-30, range_deg=61, optics={"spotsize": 5})
    with pytest.raises(Exception, match="frozen"):
        plan.range_deg = 3


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("kind = 'cred'\nspeed = 3\nrange_deg = 1", "speed"),
        ("kind = 'cred'", "one of stop_deg and range_deg"),
        ("kind = 'crd'", "no plan is of the kind"),
        ("range_deg = 3", "says no kind"),
        ("kind = 'red'\nstep_deg = 1.0\nbeam_tilt_deg = 0.3", "no whole part"),
        ("kind = 'cred'\nrange_deg = nan", "finite"),
        ("kind = [", "not TOML"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path, text, what):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(UnreadableInput, match=what) as told:
        read_plan(path)
    assert "plan.toml" in told.value.reason or what == "no plan is of the kind"


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "serial-red"])
def test_templates_are_plans_where_nothing_is_missing(kind):
    import tomllib

    table = tomllib.loads(template(kind))
    if kind == "cred":
        table["range_deg"] = 10
    plan = parse_plan(table, "template")
    assert type(plan) is plan_class(kind)
    assert "description" not in template(kind)


def test_forecasts(simulated):
    rig = Rig.of(simulated(perfect_one=True))
    cred = Cred(kind="cred", start_deg=-30, stop_deg=30, speed_deg_s=1.0, exposure_s=0.492)
    assert cred.swept(rig) == pytest.approx(1 / 3)
    assert cred.forecast(rig).frames == pytest.approx(121, abs=2)
    assert cred.duration(rig) > 62
    assert cred.dose(rig) == pytest.approx(rig.dose_rate() * 62.492, rel=1e-6)
    red = Red(kind="red", range_deg=-10, step_deg=1.0, beam_tilt_deg=0.25, exposure_s=1.0)
    assert red.forecast(rig).frames == 44
    assert red.angles(5.0)[[0, -1]].tolist() == [5.0, -5.0]


def test_a_sweep_stays_within_the_limits(simulated):
    rig = Rig.of(simulated(perfect_one=True))
    assert Sweep(-69.8, 69.9, 1.0, 0.5).ends(rig) == (-70.0, 70.0)
    assert Sweep(10, -10, 1.0, 0.5).ends(rig) == (11.0, -11.0)


@pytest.mark.parametrize("plan", [SerialED(radius_um=10), Screen(radius_um=10), SerialRED(radius_um=10), Atlas()])
def test_plans_of_the_grid_are_rehearsed_although_nothing_is_seen(simulated, plan):
    seen = rehearse(plan, simulated(1))
    assert not seen.refused and seen.waypoints > 3 and (seen.frames > 0) == isinstance(plan, Atlas)
    low, high = seen.box["x"]
    assert high - low > 10
