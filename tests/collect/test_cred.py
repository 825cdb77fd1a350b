"""A rotation on the simulated instrument: angles against the truth, gaps, every fault, and how it goes on after it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.collect.scenes import PLAIN, Throws, bring, collected, interrupted, optics, scope_of

from credo.collect.cred import Cred
from credo.collect.engine import Engine
from credo.collect.rehearsal import rehearse
from credo.collect.rig import Rig
from credo.collect.rotation import LookEvery, Sweep, rotate
from credo.collect.session import Session
from credo.instrument.errors import HardwareFault, Stopped
from credo.instrument.protocols import StageState
from credo.io.nxmx_stream import read_columns
from credo.io.open import open_experiment
from credo.model.errors import CannotDo, CredoError

ANDRADITE = {**PLAIN, "phases": ("andradite",)}


@pytest.fixture
def on_crystal(simulated):
    def build(seed: int = 1, **options):
        ctrl = simulated(seed, **{"sample": ANDRADITE, **options})
        bring(ctrl)
        return ctrl

    return build


def plan_of(ctrl, **settings) -> Cred:
    given = {"start_deg": -5.0, "stop_deg": 5.0, "speed_deg_s": 2.0, "exposure_s": 0.2}
    return Cred(**{"kind": "cred", "optics": optics(ctrl), **given, **settings})


def true_angles(ctrl, columns) -> np.ndarray:
    """(n, 2): tilt of the specimen at the start and the end of each frame [deg]."""
    diary, clock = list(scope_of(ctrl).diary), ctrl.link.clock
    offset = clock.time() - clock.now()
    began = np.array([e.began + offset for e in diary])
    nearest = [diary[int(np.argmin(abs(began - t)))] for t in columns["timestamp"]]
    return np.array([(e.first.alpha, e.last.alpha) for e in nearest])


@pytest.mark.parametrize("direction", [1, -1])
def test_angles_are_the_true_ones_but_for_the_slack(on_crystal, tmp_path, direction):
    ctrl = on_crystal()
    plan = plan_of(ctrl, start_deg=-15.0 * direction, stop_deg=15.0 * direction, look_every=8)
    session = collected(ctrl, plan, tmp_path)
    (told,) = session.datasets
    columns = read_columns(tmp_path / "crystals/0001/frames.h5")
    off = np.stack([columns["omega"], columns["omega_end"]], axis=1) - true_angles(ctrl, columns)
    assert abs(off.mean()) < 0.2  # half the goniometer's slack, which nobody can see
    assert off.std() < 0.05
    assert told["reason_ended"] == "target angle"
    assert told["start_deg"] == pytest.approx(-15 * direction, abs=0.5)
    assert told["end_deg"] == pytest.approx(15 * direction, abs=0.7)
    assert told["rotation"]["even"]
    assert np.diff(columns["dose"]).min() > 0


def test_looks_are_gaps_and_the_file_needs_no_help(on_crystal, tmp_path):
    ctrl = on_crystal()
    session = collected(ctrl, plan_of(ctrl, look_every=5), tmp_path)
    (told,) = session.datasets
    looks = told["facts"]["looks"]
    assert looks >= 3
    assert told["frames_missing"] == looks
    opened = open_experiment(tmp_path / "crystals/0001")
    scan = opened.experiment.scan
    assert len(scan.missing) == looks
    np.testing.assert_allclose(np.diff(scan.start_deg) / np.diff(scan.numbers), 2.0 * 0.208, rtol=8e-3)
    np.testing.assert_allclose(scan.width_deg, 0.4, rtol=8e-3)
    assert set(opened.experiment.known) >= {"wavelength", "q_per_pixel", "origin", "axis", "angles", "pixel_size"}
    assert opened.experiment.acquisition.mode == "rotation"
    assert opened.experiment.acquisition.fluence == pytest.approx(told["dose_e_per_A2"], rel=0.05)


def test_a_person_can_steer_the_beam_by_the_views(on_crystal, tmp_path):
    ctrl = on_crystal()
    shifts = iter([(3.0, -2.0), None, (1.0, 1.0)] + [None] * 50)
    before = np.array(ctrl.beamshift.get())
    tracker = LookEvery(6, correct=lambda view: next(shifts))
    rig = Rig.of(ctrl)
    session = Session(tmp_path, rig)

    def steps():
        yield from plan_of(ctrl).optics.set_up()
        yield from rotate(rig, Sweep(-5, 5, 2.0, 0.2), "0001", {"camera_length_mm": 600.0}, tracker)

    Engine(ctrl, [session]).run(steps())
    np.testing.assert_allclose(np.array(ctrl.beamshift.get()) - before, [4.0, -1.0])
    assert session.datasets[0]["acquisition"]["tracking"]


def test_a_rehearsal_walks_the_waypoints_and_moves_nothing(on_crystal):
    ctrl = on_crystal()
    before = ctrl.stage.get()
    seen = rehearse(plan_of(ctrl, start_deg=-40.0, stop_deg=40.0), ctrl)
    assert not seen.refused
    assert seen.box["a"] == [-41.0, 41.0]
    assert seen.seconds == pytest.approx(41 + 4.5, abs=3)
    assert seen.frames == pytest.approx(80 / 2 / 0.208, abs=3)
    np.testing.assert_allclose(ctrl.stage.get(), before, atol=100)
    assert "beyond" in rehearse(plan_of(ctrl, stop_deg=75.0), ctrl).refused


# --- faults ----------------------------------------------------------------------------------------------------------


def test_dropped_frames_are_gaps(on_crystal, tmp_path):
    ctrl = on_crystal(cameras=({"dropped": 0.2},))
    (told,) = collected(ctrl, plan_of(ctrl), tmp_path).datasets
    columns = read_columns(tmp_path / "crystals/0001/frames.h5")
    assert told["frames_missing"] > 0
    np.testing.assert_allclose(np.diff(columns["timestamp"]) / np.diff(columns["number"]), 0.208, rtol=1e-6)
    off = columns["omega"] - true_angles(ctrl, columns)[:, 0]
    assert off.std() < 0.05


def test_a_camera_that_stops_and_the_rest_after_it(on_crystal, tmp_path):
    ctrl = on_crystal()
    scope, plan = scope_of(ctrl), plan_of(ctrl)
    session = interrupted(
        ctrl, plan, tmp_path, lambda: setattr(scope.faults, "camera_fails", True), error=HardwareFault
    )
    assert session.datasets[0]["n_frames"] == 8
    assert "does not answer" in session.datasets[0]["reason_ended"]
    scope.faults.camera_fails = False
    again = collected(ctrl, plan, tmp_path, again=True)
    first, rest = again.datasets
    assert rest["directory"] == "crystals/0001-2"
    assert rest["start_deg"] == pytest.approx(first["end_deg"], abs=0.4)
    assert rest["end_deg"] == pytest.approx(5.0, abs=0.5)
    assert collected(ctrl, plan, tmp_path, again=True).datasets[1:] == [rest]  # nothing is left to do


def test_a_lost_beam_ends_the_run_and_loses_no_frame(on_crystal, tmp_path):
    ctrl = on_crystal()
    scope, plan = scope_of(ctrl), plan_of(ctrl)
    session = interrupted(ctrl, plan, tmp_path, lambda: setattr(scope.faults, "beam_lost", True), error=CannotDo)
    (told,) = session.datasets
    assert told["reason_ended"] == "the beam is lost"
    assert told["n_frames"] == 11  # three dark ones tell it
    with pytest.raises(CredoError, match="emission"):  # the guard does not expose while emission is off
        ctrl.link.clock.sleep(20)
        collected(ctrl, plan, tmp_path, again=True)
    scope.faults.beam_lost = False
    ctrl.link.clock.sleep(20)
    assert collected(ctrl, plan, tmp_path, again=True).datasets[-1]["end_deg"] == pytest.approx(5.0, abs=0.5)


def test_a_crystal_that_falls_off_ends_the_rotation_by_itself(on_crystal, tmp_path):
    ctrl = on_crystal()
    scope = scope_of(ctrl)
    rig = Rig.of(ctrl)
    session = Session(tmp_path, rig)
    gone = Throws(10, lambda: scope.specimen.fallen.update(scope.specimen.sample.near(np.zeros(2), 60).ident.tolist()))
    Engine(ctrl, [session, gone]).run(plan_of(ctrl, stop_deg=30.0).steps(rig))
    (told,) = session.datasets
    assert told["reason_ended"] == "the crystal is lost"
    assert told["end_deg"] == pytest.approx(-5 + 10 * 0.416 + 3, abs=1.5)  # within a few degrees of the fall
    assert scope.blanker.is_blanked()


def test_the_limit_switch_raises_the_alarm(on_crystal, tmp_path):
    ctrl = on_crystal()
    scope = scope_of(ctrl)

    def switch():
        scope.stage.stop()
        scope.stage.state = lambda: StageState.LIMITER

    session = interrupted(ctrl, plan_of(ctrl, stop_deg=30.0), tmp_path, switch, error=Stopped)
    assert "limiter" in ctrl.status["alarm"]
    assert session.datasets[0]["n_frames"] >= 8
    with pytest.raises(Stopped):  # until somebody has looked
        collected(ctrl, plan_of(ctrl), tmp_path, again=True)
    del scope.stage.state
    ctrl.reset()
    assert collected(ctrl, plan_of(ctrl, stop_deg=30.0), tmp_path, again=True).datasets[-1]["end_deg"] > 29


def test_a_jammed_goniometer_is_a_pole_touch(on_crystal, tmp_path):
    ctrl = on_crystal()
    scope = scope_of(ctrl)

    def jam():
        scope.stage.stop()

    session = interrupted(ctrl, plan_of(ctrl, stop_deg=30.0), tmp_path, jam, error=Stopped)
    assert "stalled" in ctrl.status["alarm"]
    assert session.datasets[0]["n_frames"] >= 8


def test_a_listener_that_cannot_write_ends_the_run(on_crystal, tmp_path):
    ctrl = on_crystal()

    def full():
        raise CannotDo("the disk is full", "free space")

    session = interrupted(ctrl, plan_of(ctrl), tmp_path, full, error=CannotDo)
    assert session.datasets[0]["n_frames"] == 8
    assert session.datasets[0]["reason_ended"] == "the disk is full"


def test_stop_closes_the_data_set_and_puts_the_optics_back(on_crystal, tmp_path):
    ctrl = on_crystal()
    before = ctrl.brightness.value
    plan, rig = plan_of(ctrl), Rig.of(ctrl)
    session = Session(tmp_path, rig)
    engine = Engine(ctrl, [session])
    engine.listeners += (Throws(5, lambda: engine.stop("stopped by the user")),)
    with pytest.raises(CannotDo, match="stopped by the user"):
        engine.run(plan.steps(rig))
    assert session.datasets[0]["n_frames"] == 5
    assert json.loads((tmp_path / "crystals/0001/collect.json").read_text())["reason_ended"] == "stopped by the user"
    assert ctrl.brightness.value == before
    assert not ctrl.status["moving"] and scope_of(ctrl).blanker.is_blanked()


def test_a_stale_calibration_is_refused_before_anything_moves(on_crystal, tmp_path):
    old = {"diffraction": {"600": {"value": 0.00365, "esd": 1e-5, "date": "2020-01-01"}}}
    ctrl = on_crystal(calibration=old)
    with pytest.raises(CannotDo, match="days old") as told:
        collected(ctrl, plan_of(ctrl), tmp_path)
    assert "credo calibrate" in told.value.remedy
    assert scope_of(ctrl).blanker.is_blanked()
    assert not (tmp_path / "crystals").exists()
