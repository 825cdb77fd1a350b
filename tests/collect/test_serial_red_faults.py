"""Faults during serial-red: the run ends or goes on, the beam is off, nothing is lost, and it can be resumed.

The optics are measured once, on an instrument with the same hidden truth, and given to every run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.collect.scenes import scope_of

from credo.collect import serial_red
from credo.collect.engine import Engine
from credo.collect.rig import Rig
from credo.collect.serial_red import SerialRED
from credo.collect.serial_setup import Bench, SerialOptics, set_up
from credo.collect.serial_tracker import LEFT
from credo.collect.session import Session, read_log, resume
from credo.instrument.config import validated
from credo.instrument.controller import TEMController
from credo.instrument.errors import HardwareFault, Stopped, WireError
from credo.instrument.opening import open_guard
from credo.instrument.protocols import StageState
from credo.instrument.service import LocalLink
from credo.io.nxmx_stream import read_columns
from credo.model.errors import CannotDo, CredoError

OPTIONS = {
    "seed": 3,
    "sample": {"phases": ["grossular"], "clustered": 0.0, "debris": 0.0, "film_waviness_um": 0.2},
    "imperfections": {"unsteady_um": 0.05, "swing_um": 0.3, "height_um": 1.0},
}
BEAM_UM = 1.1


def opened(**options: Any) -> TEMController:
    configuration = validated({"microscope": {"options": {**OPTIONS, **options}}}, "test")
    return TEMController(LocalLink(open_guard(configuration)), configuration)


def plan(**settings: Any) -> SerialRED:
    given = {"max_crystals": 2, "x_um": 3.0, "y_um": 2.0, "radius_um": 20.0, "range_deg": (-5.0, 5.0)}
    return SerialRED.model_validate({**given, "speed_deg_s": 2.0, "exposure_s": 0.3, **settings})


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    ctrl = opened()
    optics = SerialOptics(beam_um=BEAM_UM, defocus=1023.0)
    yield Engine(ctrl).run(set_up(optics, Rig.of(ctrl)))
    ctrl.close()


@pytest.fixture
def ready(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., TEMController]]:
    """``ready(**options)``: an instrument that need not be measured any more."""

    def known(*_: Any, **__: Any):
        yield from ()
        return bench

    monkeypatch.setattr(serial_red, "set_up", known)
    made: list[TEMController] = []

    def build(**options: Any) -> TEMController:
        made.append(opened(**options))
        return made[-1]

    yield build
    for ctrl in made:
        ctrl.close()


class Throws:
    """A listener that does something at the n-th frame of data."""

    def __init__(self, n: int, what: Callable[[], Any]):
        self.left, self.what = n, what

    def __call__(self, event) -> None:
        if event.kind == "frame" and event.facts.get("role") == "data":
            self.left -= 1
            if self.left == 0:
                self.what()


def run(ctrl: TEMController, folder: Path, *others: Any, again: bool = False, **settings: Any) -> Session:
    rig = Rig.of(ctrl)
    session = Session(folder, rig)
    done = resume(session) if again else {}
    Engine(ctrl, [session, *others], done).run(plan(**settings).steps(rig))
    return session


def interrupted(ctrl, folder: Path, what: Callable[[], Any], error: type, n: int = 6) -> list[dict[str, Any]]:
    """Run with a fault at frame ``n``; the run must end with ``error`` and the beam off. Returns the data sets."""
    rig = Rig.of(ctrl)
    session = Session(folder, rig)
    with pytest.raises(error):
        Engine(ctrl, [session, Throws(n, what)]).run(plan().steps(rig))
    assert scope_of(ctrl).blanker.is_blanked()
    assert read_log(folder)[-1]["kind"] == "end run"
    for told in session.datasets:  # every frame that was told of is on the disk
        assert len(read_columns(folder / told["directory"] / "frames.h5")["number"]) == told["n_frames"]
    return session.datasets


def goes_on(ctrl: TEMController, folder: Path, partial: dict[str, Any]) -> None:
    """Resume: no second survey, the crystal that was interrupted again, then the others, in new data sets."""
    before = len([line for line in read_log(folder) if line["kind"] == "field"])
    session = run(ctrl, folder, again=True)
    whole = [told for told in session.datasets if told["reason_ended"] == "target angle"]
    assert len(whole) == 2 and partial["directory"] not in [told["directory"] for told in whole]
    assert (folder / partial["directory"] / "frames.h5").exists()
    log = read_log(folder)
    assert len([line for line in log if line["kind"] == "field"]) == before
    assert all(line["reason"] for line in log if line["kind"] == "rejected")
    assert len(run(ctrl, folder, again=True).datasets) == len(session.datasets)  # nothing is left to do


def test_a_camera_that_fails_ends_the_run_and_resume_goes_on(ready, tmp_path):
    ctrl = ready()
    scope = scope_of(ctrl)
    (told,) = interrupted(ctrl, tmp_path, lambda: setattr(scope.faults, "camera_fails", True), HardwareFault)
    assert told["n_frames"] == 6 and "does not answer" in told["reason_ended"]
    scope.faults.camera_fails = False
    goes_on(ctrl, tmp_path, told)


def test_a_lost_beam_ends_the_run(ready, tmp_path):
    ctrl = ready()
    scope = scope_of(ctrl)
    (told,) = interrupted(ctrl, tmp_path, lambda: setattr(scope.faults, "beam_lost", True), CannotDo)
    assert told["reason_ended"] == "the beam is lost" and told["n_frames"] >= 6
    ctrl.link.clock.sleep(20)
    with pytest.raises(CredoError, match="emission"):
        run(ctrl, tmp_path, again=True)
    assert not [line for line in read_log(tmp_path) if line["kind"] == "rejected" and "emission" in line["reason"]]


def test_the_limit_switch_raises_the_alarm(ready, tmp_path):
    ctrl = ready()
    scope = scope_of(ctrl)

    def switch():
        scope.stage.stop()
        scope.stage.state = lambda: StageState.LIMITER

    (told,) = interrupted(ctrl, tmp_path, switch, Stopped)
    assert "limiter" in ctrl.status["alarm"] and told["n_frames"] >= 6
    with pytest.raises(Stopped):  # until somebody has looked
        run(ctrl, tmp_path, again=True)
    del scope.stage.state


def test_a_disk_that_is_full_ends_the_run(ready, tmp_path):
    ctrl = ready()

    def full():
        raise CannotDo("the disk is full", "free space")

    (told,) = interrupted(ctrl, tmp_path, full, CannotDo)
    assert told["n_frames"] == 6 and told["reason_ended"] == "the disk is full"


def test_a_lost_connection_ends_the_run(ready, tmp_path):
    """As when the server is killed: from then on every call fails, also those that would turn the beam off."""
    ctrl = ready()
    rig = Rig.of(ctrl)
    session = Session(tmp_path, rig)

    def lose():
        def gone(*_: Any, **__: Any):
            raise WireError("the connection to the instrument server is closed", "connect again")

        ctrl.link.call = ctrl.link.stream = gone

    with pytest.raises(WireError):
        Engine(ctrl, [session, Throws(6, lose)]).run(plan().steps(rig))
    (told,) = session.datasets
    assert told["n_frames"] == 6 and np.isfinite([told["start_deg"], told["end_deg"]]).all()
    assert read_log(tmp_path)[-1]["kind"] == "end run"
    # the other crystals are still to do
    assert not [one for one in session.rejected if "connection" in one["reason"]]
    assert not [line for line in read_log(tmp_path) if line["kind"] == "done" and line["name"].startswith("crystal")]
    del ctrl.link.call, ctrl.link.stream


def test_a_crystal_that_falls_off_is_given_up_and_the_next_is_taken(ready, tmp_path):
    ctrl = ready(cameras=({"dropped": 0.1},))  # and frames that are lost are gaps
    scope = scope_of(ctrl)
    share = {}

    def lit(event):
        if event.kind == "frame" and event.facts["role"] == "data":
            share.update(scope.diary[-1].share)

    fall = Throws(9, lambda: scope.specimen.fallen.update(share))
    session = run(ctrl, tmp_path, lit, fall, range_deg=(-10.0, 10.0))
    first, second = session.datasets
    assert first["reason_ended"] in (LEFT, "no reflections") and first["n_frames"] < 25
    assert second["reason_ended"] == "target angle"
    assert sum(told["frames_missing"] for told in session.datasets) > sum(
        told["facts"]["looks"] for told in session.datasets
    )
    for told in session.datasets:
        assert len(told["facts"]["lit"]) == told["n_frames"]
    assert np.mean(second["facts"]["lit"]) > 0.9
    assert scope.blanker.is_blanked()
