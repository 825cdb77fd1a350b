"""Each of the fifteen rules of safety, kept against an instrument that misbehaves (facts/instruments.md, section 6)."""

from __future__ import annotations

import json
import math

import pytest

from credo.instrument.audit import AuditLog
from credo.instrument.controller import TEMController
from credo.instrument.errors import HardwareFault, NotReady, Refused, Stopped
from credo.instrument.journal import Journal
from credo.instrument.limits import plan_move
from credo.instrument.protocols import Holder, Property, StagePosition, StageState
from credo.instrument.safety import Guard
from credo.instrument.safety_settings import DiffractionPreset, HolderLimits, Safety
from credo.instrument.service import LocalLink

# --- 1. limits are refused, not clipped, also of way-points ---------------------------------------------------------


@pytest.mark.parametrize(
    "target", [{"x": 990_001}, {"y": -1e9}, {"z": 221_000}, {"a": 70.1}, {"a": math.nan}, {"x": math.inf}, {"q": 1.0}]
)
def test_a_target_outside_the_limits_moves_nothing(make, guarded, target):
    microscope = make()
    guard = guarded(microscope)
    with pytest.raises(Refused):
        guard.move({"y": 100.0} | target)
    assert microscope.stage.position() == StagePosition(0, 0, 0, 0, 0)
    assert not guard.is_moving


def test_the_overshoot_of_a_backlash_move_is_checked_too(make, guarded, settle):
    guard = guarded(make())
    edge = {"x": -985_000.0}
    with pytest.raises(Refused, match="overshoot against backlash"):
        guard.move(edge, backlash="x")
    guard.move(edge)
    assert settle(guard).x == -985_000


def test_a_backlash_move_comes_from_below(make, guarded, settle):
    guard = guarded(make())
    seen = []
    start = guard.microscope.stage.start
    guard.microscope.stage.start = lambda target: (seen.append(dict(target)), start(target))
    guard.move({"x": 5000.0, "y": -3000.0}, backlash=("x", "y"))
    settle(guard)
    assert seen == [{"x": -5000.0, "y": -13000.0}, {"x": 5000.0, "y": -3000.0}]


def test_the_hardware_range_narrows_the_site(make, guarded):
    microscope = make()
    microscope.stage.axes["x"] = Property("x", "nm", low=-100_000, high=100_000)
    with pytest.raises(Refused, match="100000"):
        guarded(microscope).move({"x": 100_001})


@pytest.mark.parametrize(
    ("name", "value"),
    [("brightness", 65536), ("brightness", -1), ("brightness", 1.5), ("brightness", math.nan), ("brightness", "1")]
    + [("beamshift", (0, 70000)), ("beamshift", 5), ("spotsize", 9), ("magnification", 301), ("mode", "mag9")]
    + [("difffocus", True), ("nothing", 1)],
)
def test_a_setting_outside_its_range_is_not_written(make, guarded, name, value):
    guard = guarded(make())
    before = guard.settings.snapshot()
    with pytest.raises(Refused):
        guard.set(name, value)
    assert guard.settings.snapshot() == before


# --- 2. the holder decides the tilt ---------------------------------------------------------------------------------


def test_no_holder_no_tilt(make, guarded):
    microscope = make()
    guard = guarded(microscope)
    microscope.stage.held = Holder("none", inserted=False)
    with pytest.raises(NotReady, match="not inserted"):
        guard.move({"a": 1.0})


def test_second_tilt_only_with_a_double_tilt_holder_and_its_own_limits(make, guarded, settle):
    microscope = make()
    guard = guarded(microscope, holders={"double": HolderLimits(a_deg=(-40, 40), b_deg=(-25, 25))})
    with pytest.raises(NotReady, match="axis b"):
        guard.move({"b": 1.0})
    microscope.stage.held = Holder("double", True, ("a", "b"))
    for target in ({"a": 41.0}, {"b": 26.0}):
        with pytest.raises(Refused, match="outside"):
            guard.move(target)
    guard.move({"a": 40.0, "b": -25.0})
    assert settle(guard)[3:] == (40.0, -25.0)


# --- 3. safe order --------------------------------------------------------------------------------------------------


def test_a_large_move_at_steep_tilt_is_made_level():
    here = StagePosition(0, 0, 0, 50.0, 10.0)
    legs = plan_move(here, {"x": 300_000.0, "z": 5000.0, "a": -40.0}, Safety())
    assert [dict(leg.target) for leg in legs] == [
        {"b": 0.0},
        {"a": 0.0},
        {"z": 5000.0},
        {"x": 300_000.0},
        {"a": -40.0},
        {"b": 10.0},
    ]
    assert [dict(leg.target) for leg in plan_move(here, {"x": 3000.0}, Safety())] == [{"x": 3000.0}]


def test_nothing_else_moves_during_a_rotation(make, guarded, settle):
    guard = guarded(make())
    guard.move({"a": 40.0})
    with pytest.raises(Refused, match="moving"):
        guard.move({"x": 100.0})
    settle(guard)


# --- 4. arrival is verified, pole touch and limiter raise the alarm -------------------------------------------------


def test_a_missed_arrival_is_tried_again_from_the_same_side(make, guarded, settle):
    microscope = make()
    guard = guarded(microscope)
    calls, start = [], microscope.stage.start

    def astray(target):
        calls.append(dict(target))
        start({"x": target["x"] + 400.0} if len(calls) == 2 else target)  # the first arrival misses, from above

    microscope.stage.start = astray
    guard.move({"x": 2000.0}, backlash=["x"])
    settle(guard)
    assert [c["x"] for c in calls] == [-8000.0, 2000.0, -8000.0, 2000.0]
    assert abs(guard.position().x - 2000.0) < 1e3 * guard.safety.arrival_um


def test_a_move_that_silently_does_not_happen_is_tried_again_then_reported(make, guarded, settle):
    microscope = make()
    guard = guarded(microscope)
    calls = []
    microscope.stage.start = calls.append
    guard.move({"x": 2000.0})
    with pytest.raises(HardwareFault, match="did not arrive"):
        settle(guard)
    assert len(calls) == 3


def test_a_move_that_arrives_at_the_second_try_is_fine(make, guarded, settle):
    microscope = make()
    guard = guarded(microscope)
    start, calls = microscope.stage.start, []

    def lazy(target):
        calls.append(target)
        start(target if len(calls) > 1 else {"x": 1000.0})

    microscope.stage.start = lazy
    guard.move({"x": 2000.0})
    assert settle(guard).x == 2000.0
    assert len(calls) == 2


def test_a_stage_that_always_says_that_it_rests_is_believed_by_its_position(make, guarded, settle):
    microscope = make()
    guard = guarded(microscope)
    microscope.stage.state = lambda: StageState.READY
    guard.move({"a": 30.0})
    assert settle(guard).a == 30.0


def test_a_status_that_lags_does_not_end_the_move(make, guarded, settle):
    microscope = make()
    guard = guarded(microscope)
    stage, begun = microscope.stage, []
    start, position, state = stage.start, stage.position, stage.state
    stage.start = lambda target: (begun.append(microscope.clock.now() + 0.5), start(target))
    stage.state = lambda: state() if begun and microscope.clock.now() > begun[-1] else StageState.READY
    guard.move({"a": 20.0})
    assert settle(guard).a == position().a == 20.0


def test_a_tilt_that_stalls_on_its_way_is_a_pole_touch(make, guarded, settle):
    microscope = make()
    guard = guarded(microscope)
    start = microscope.stage.start
    microscope.stage.start = lambda target: start({"a": 23.0})
    guard.move({"a": 60.0})
    with pytest.raises(Stopped, match="stalled"):
        settle(guard)
    assert guard.alarm is not None
    assert microscope.blanker.on
    with pytest.raises(Stopped):
        guard.move({"x": 1.0})


def test_a_tilt_that_stands_while_the_drive_says_it_moves_is_a_pole_touch(make, guarded, settle):
    microscope = make()
    guard = guarded(microscope)
    position = microscope.stage.position
    microscope.stage.position = lambda: position()._replace(a=min(position().a, 12.0))
    guard.move({"a": 60.0})
    microscope.stage.state = lambda: StageState.MOVING
    with pytest.raises(Stopped, match="stood at 12"):
        settle(guard)
    assert microscope.clock.now() < 20


def test_a_tilt_that_turns_back_is_a_pole_touch(make, guarded, settle):
    microscope = make()
    guard = guarded(microscope)
    position = microscope.stage.position

    def bounced():
        here = position()
        return here._replace(a=here.a if here.a < 20 else 40 - here.a)

    microscope.stage.position = bounced
    guard.move({"a": 60.0})
    with pytest.raises(Stopped, match="turned back"):
        settle(guard)


def test_a_limit_switch_stops_at_once(make, guarded, settle):
    microscope = make()
    guard = guarded(microscope)
    stopped = []
    stop = microscope.stage.stop
    microscope.stage.stop = lambda: (stopped.append(microscope.clock.now()), stop())
    guard.move({"x": 900_000.0})
    microscope.clock.sleep(0.2)
    microscope.stage.state = lambda: StageState.LIMITER
    with pytest.raises(Stopped, match="limiter"):
        settle(guard)
    assert stopped[0] < 0.4


# --- 5. every wait is bounded ---------------------------------------------------------------------------------------


def test_a_stage_that_moves_for_ever_ends_the_wait(make, guarded, settle):
    microscope = make()
    guard = guarded(microscope, move_timeout_s=5)
    microscope.stage.state = lambda: StageState.READY
    guard.move({"x": 1000.0})
    position = microscope.stage.position
    microscope.stage.position = lambda: position()._replace(x=1e4 * microscope.clock.now())
    with pytest.raises(HardwareFault, match="still at"):
        settle(guard)
    assert microscope.clock.now() < 6


def test_a_move_that_is_not_ours_ends_the_wait(make, guarded, settle):
    microscope = make()
    guard = guarded(microscope, move_timeout_s=3)
    microscope.stage.state = lambda: StageState.MOVING
    with pytest.raises(HardwareFault, match="not by our command"):
        settle(guard)


def test_the_caller_may_wait_shorter(make, guarded, settle):
    guard = guarded(make())
    guard.move({"a": 60.0})
    with pytest.raises(HardwareFault, match="still moves"):
        settle(guard, timeout=1.0)
    assert settle(guard).a == 60.0


# --- 6. emergency stop ----------------------------------------------------------------------------------------------


def test_emergency_stops_blanks_and_latches_until_reset(make, guarded):
    microscope = make()
    guard = guarded(microscope)
    guard.unblank()
    guard.move({"a": 60.0})
    microscope.clock.sleep(1.0)
    guard.emergency("key")
    assert microscope.blanker.on
    assert microscope.stage.state() is StageState.READY
    for command in (lambda: guard.move({"a": 0.0}), lambda: guard.set("brightness", 1), guard.unblank):
        with pytest.raises(Stopped, match="key"):
            command()
    guard.reset()
    guard.set("brightness", 1)


def test_a_goniometer_that_cannot_stop_is_blanked_and_said(make, guarded):
    microscope = make()
    guard = guarded(microscope)
    guard.unblank()
    microscope.stage.can_stop = False
    guard.move({"a": 60.0})
    with pytest.raises(Refused, match="cannot be stopped"):
        guard.halt_stage()
    assert microscope.blanker.on


# --- 7. the beam is off unless needed -------------------------------------------------------------------------------


def test_control_begins_with_the_beam_off(make, guarded):
    microscope = make()
    assert not microscope.blanker.on
    guarded(microscope)
    assert microscope.blanker.on


def test_the_beam_is_on_only_during_an_exposure(make, guarded):
    microscope = make()
    guard = guarded(microscope)
    camera = microscope.cameras["timepix"]
    guard.acquire(None, 0.5)
    assert camera.seconds == 0.5
    assert microscope.blanker.on
    guard.acquire(None, 0.5, dark=True)
    assert camera.seconds == 0.5


def test_the_beam_is_off_after_a_camera_fails_and_after_a_stream_is_left(make, guarded):
    microscope = make()
    guard = guarded(microscope)
    frames = guard.stream(None, 0.1, frames=10)
    assert next(frames).number == 0
    assert not microscope.blanker.on
    frames.close()
    assert microscope.blanker.on

    def fail(exposure, binning):
        raise HardwareFault("no frame came")

    microscope.cameras["timepix"].acquire = fail
    guard.unblank()
    with pytest.raises(HardwareFault, match="no frame"):
        guard.acquire(None, 0.5)
    assert microscope.blanker.on


def test_an_open_beam_is_closed_when_its_time_is_over(make, guarded):
    microscope = make()
    guard = guarded(microscope)
    guard.unblank(20)
    microscope.clock.sleep(19)
    guard.tick()
    assert not microscope.blanker.on
    microscope.clock.sleep(2)
    guard.tick()
    assert microscope.blanker.on
    with pytest.raises(Refused):
        guard.unblank(1e9)


def test_a_sticky_blanker_is_tried_again_and_a_broken_one_raises_the_alarm(make, guarded):
    microscope = make()
    guard = guarded(microscope)
    guard.unblank()
    blank, calls = microscope.blanker.blank, []
    microscope.blanker.blank = lambda on: (calls.append(on), len(calls) >= 4 and blank(on))
    guard.blank()
    assert calls == [True] * 4
    guard.unblank()
    microscope.blanker.blank = lambda on: None
    with pytest.raises(HardwareFault, match="does not blank"):
        guard.blank()
    assert guard.alarm is not None


def test_the_beam_is_off_while_the_optics_jump(make, guarded):
    microscope = make()
    guard = guarded(microscope)
    seen = {}
    write = microscope.lenses.set
    microscope.lenses.set = lambda name, value: (seen.update({name: microscope.blanker.on}), write(name, value))
    guard.unblank()
    for name, value in (("mode", "mag1"), ("magnification", 5000.0), ("spotsize", 4), ("brightness", 3)):
        guard.set(name, value)
    assert seen == {"mode": True, "magnification": True, "spotsize": True, "brightness": False}
    assert not microscope.blanker.on


# --- 8. the detector is protected -----------------------------------------------------------------------------------


def test_a_fragile_camera_sees_diffraction_only_at_approved_settings(make, guarded):
    preset = DiffractionPreset(spotsize=(4, 5), brightness=(30000, 65535), camera_length_mm=(250, 900))
    microscope = make(fragile=True)
    guard = guarded(microscope, diffraction=[preset])
    for expose in (lambda: guard.acquire(None, 0.1), lambda: next(guard.stream(None, 0.1)), guard.unblank):
        with pytest.raises(NotReady, match="fragile"):
            expose()
    assert microscope.blanker.on
    guard.set("spotsize", 4)
    guard.acquire(None, 0.1)
    guard.set("magnification", 200.0)
    with pytest.raises(NotReady):
        guard.acquire(None, 0.1)
    guard.set("mode", "mag1")
    guard.acquire(None, 0.1)


@pytest.mark.parametrize(("name", "value"), [("mode", "diff"), ("spotsize", 3), ("brightness", 20000)])
def test_a_change_with_the_beam_open_closes_it_where_it_is_not_approved(make, guarded, name, value):
    preset = DiffractionPreset(spotsize=(4, 5), brightness=(30000, 65535))
    microscope = make(fragile=True)
    guard = guarded(microscope, diffraction=[preset])
    if name == "mode":
        guard.set("mode", "mag1")
    else:
        guard.set("spotsize", 4)
    guard.unblank()
    assert not microscope.blanker.on
    with pytest.raises(NotReady, match="fragile"):
        guard.set(name, value)
    assert microscope.blanker.on


def test_a_dose_check_on_the_screen_approves_until_the_optics_change(make, guarded):
    microscope = make(fragile=True)
    guard = guarded(microscope, max_current_density=10.0)
    with pytest.raises(NotReady, match="lower it"):
        guard.check_dose()
    guard.set_screen(up=False)
    assert guard.check_dose() == 5.0
    guard.set_screen(up=True)
    guard.acquire(None, 0.1)
    guard.set("brightness", 39000)
    with pytest.raises(NotReady):
        guard.acquire(None, 0.1)
    guard.set_screen(up=False)
    microscope.lenses.values["current_density"] = 11.0
    guard.check_dose()
    guard.set_screen(up=True)
    with pytest.raises(NotReady):
        guard.acquire(None, 0.1)


def test_an_alarm_retracts_fragile_cameras(make, guarded):
    microscope = make(fragile=True, retractable=True)
    guarded(microscope).retract_cameras()
    assert not microscope.cameras["timepix"].is_inserted()


# --- 9. what was changed is put back --------------------------------------------------------------------------------


def test_an_exception_puts_optics_and_speed_back(make, guarded):
    microscope = make()
    guard = guarded(microscope)
    before = guard.settings.snapshot()
    with pytest.raises(ZeroDivisionError), guard.restoring():
        guard.set_rotation_speed(0.5)
        guard.set("difffocus", 31500)
        guard.set("beamshift", (1000, 2000))
        guard.unblank()
        guard.set("mode", "mag1")
        raise ZeroDivisionError
    assert guard.settings.snapshot() == before
    assert microscope.stage.rotation_speed() == 10.0
    assert microscope.blanker.on


def test_a_lost_session_is_put_back_and_a_good_one_is_left_but_for_the_speed(make, guarded):
    microscope = make()
    guard = guarded(microscope)
    guard.set("brightness", 7)
    guard.set_rotation_speed(0.5)
    guard.end()
    assert (guard.get("brightness"), microscope.stage.rotation_speed()) == (7, 10.0)
    guard.begin("again")
    guard.set("brightness", 9)
    guard.move({"a": 50.0})
    microscope.clock.sleep(1)
    guard.end(restore=True, reason="lease lost")
    assert guard.get("brightness") == 7
    assert microscope.stage.state() is StageState.READY


def test_a_setting_that_cannot_be_put_back_is_told_and_the_others_are_put_back(make, guarded):
    microscope = make()
    guard = guarded(microscope)
    guard.set("difffocus", 1)
    guard.set("beamshift", (1, 1))
    write = microscope.lenses.set

    def refuse(name, value):
        if name == "difffocus":
            raise HardwareFault("result 1")
        write(name, value)

    microscope.lenses.set = refuse
    with pytest.raises(HardwareFault, match="difffocus"):
        guard.end(restore=True)
    assert guard.get("beamshift") == (32768.0, 32768.0)


def test_the_journal_lives_as_long_as_the_session(make, tmp_path):
    journal = Journal(tmp_path / "journal.json")
    guard = Guard(make(), journal=journal)
    guard.begin("test")
    kept = journal.read()
    assert kept is not None
    assert kept["settings"]["difffocus"] == 30000
    assert kept["rotation_speed"] == 10.0
    guard.end()
    assert journal.read() is None


# --- 10. high tension, valves and vacuum are never touched ----------------------------------------------------------


@pytest.mark.parametrize("name", ["high_tension", "HTValue", "column_valves", "beamvalve", "vacuum_cycle", "emission"])
def test_what_must_never_be_automated_is_read_only_whatever_the_driver_offers(make, guarded, name):
    microscope = make()
    microscope.lenses.properties[name] = Property("offered by a careless driver", writable=True)
    microscope.lenses.values[name] = 1.0
    guard = guarded(microscope)
    with pytest.raises(Refused, match="never set"):
        guard.set(name, 2.0)
    assert name not in guard.settings.snapshot()
    assert microscope.lenses.values[name] == 1.0


# --- 11. preconditions ----------------------------------------------------------------------------------------------


def test_no_exposure_without_vacuum_emission_screen_stage_and_disk(make, guarded, tmp_path):
    microscope = make()
    guard = guarded(microscope, ready_s=0)
    microscope.ready["vacuum"] = microscope.ready["emission"] = False
    with pytest.raises(NotReady, match="vacuum, emission"):
        guard.acquire(None, 0.1)
    microscope.ready = {}
    microscope.screen.up = False
    with pytest.raises(NotReady, match="screen"):
        guard.acquire(None, 0.1)
    microscope.screen.up = True
    microscope.stage.state = lambda: StageState.UNAVAILABLE
    with pytest.raises(NotReady, match="stage"):
        guard.acquire(None, 0.1)
    assert microscope.cameras["timepix"].seconds == 0
    full = Guard(make(), Safety(min_disk_gb=1e9), AuditLog(microscope.clock, tmp_path / "audit.jsonl"))
    with pytest.raises(NotReady, match="free disk"):
        full.acquire(None, 0.1)


@pytest.mark.parametrize(("exposure", "binning"), [(1e-9, 1), (1e9, 1), (math.nan, 1), (0.1, 3)])
def test_an_exposure_that_the_camera_cannot_make_is_refused(make, guarded, exposure, binning):
    with pytest.raises(Refused):
        guarded(make()).acquire(None, exposure, binning)


# --- 12. one writer, and the operator's hand ------------------------------------------------------------------------


def test_a_stage_moved_by_hand_pauses_until_confirmed(make, guarded, settle):
    microscope = make()
    guard = guarded(microscope)
    guard.move({"x": 1000.0})
    settle(guard)
    microscope.stage.start({"y": 50_000.0})
    microscope.clock.sleep(10)
    with pytest.raises(NotReady, match="moved by hand"):
        guard.move({"a": 5.0})
    guard.confirm()
    guard.move({"a": 5.0})
    assert settle(guard).a == 5.0


# --- 13. dry run, and small first moves -----------------------------------------------------------------------------


def test_a_plan_is_rehearsed_on_a_replica_with_the_same_limits(make):
    microscope = make()
    controller = TEMController(LocalLink(Guard(microscope)))
    controller.brightness.value = 123
    plan = controller.rehearse()
    plan.stage.a = 60.0
    assert plan.stage.a == 60.0
    assert len(list(plan.get_movie(4, exposure=0.5))) == 4
    assert plan.link.guard.microscope.cameras["timepix"].seconds == 2.0
    assert plan.brightness.value == 123
    with pytest.raises(Refused):
        plan.stage.a = 75.0
    assert controller.stage.a == 0.0
    assert microscope.clock.now() == 0.0


def test_first_moves_are_small_until_confirmed(make, guarded, settle):
    guard = guarded(make(), first_move_um=5, first_move_deg=5)
    for target in ({"a": 5.1}, {"x": 5100.0}):
        with pytest.raises(NotReady, match="first moves"):
            guard.move(target)
    guard.move({"a": 4.0})
    settle(guard)
    with pytest.raises(NotReady):
        guard.move({"a": 8.0})
    guard.confirm()
    guard.move({"a": 50.0})
    assert settle(guard).a == 50.0


# --- 14. the audit log ----------------------------------------------------------------------------------------------


def test_every_command_is_in_the_log_with_caller_values_outcome_and_latency(make, tmp_path):
    path = tmp_path / "logs" / "audit.jsonl"
    microscope = make()
    guard = Guard(microscope, audit=AuditLog(microscope.clock, path))
    guard.begin("wang@teal")
    guard.set("brightness", 5)
    with pytest.raises(Refused):
        guard.set_rotation_speed(99)
    microscope.lenses.set = lambda name, value: (_ for _ in ()).throw(HardwareFault("result 3"))
    with pytest.raises(HardwareFault):
        guard.set("brightness", 6)
    guard.end()
    guard.audit.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["begin", "set", "set", "end"]
    first, second = lines[1:3]
    assert (first["caller"], first["before"], first["after"], "ms" in first) == ("wang@teal", 40000, 5, True)
    assert second["error"] == "HardwareFault: result 3"
    assert all(line["time"] >= 1.7e9 for line in lines)


def test_a_full_log_is_renamed_and_never_rewritten(make, tmp_path):
    path = tmp_path / "audit.jsonl"
    log = AuditLog(make().clock, path, max_bytes=200)
    for k in range(20):
        log.write("set", k=k)
    log.close()
    files = sorted(tmp_path.iterdir(), key=lambda p: p.stat().st_mtime_ns)
    assert len(files) > 2
    kept = [json.loads(line)["k"] for f in files for line in f.read_text().splitlines()]
    assert sorted(kept) == list(range(20))


# --- 15. the misbehaviour of the fakes above is itself the point: the rest of the list is in test_drivers_* ---------
