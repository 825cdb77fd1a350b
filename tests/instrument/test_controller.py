"""The controller: the field's names, the thesis' spellings, and nothing left displaced after an exception."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from credo.instrument import TEMController
from credo.instrument.clock import RealClock
from credo.instrument.errors import Refused, Stopped
from credo.instrument.safety import Guard
from credo.instrument.safety_settings import Safety
from credo.instrument.server import Server
from credo.instrument.service import LocalLink


@pytest.fixture
def ctrl(make):
    with TEMController(LocalLink(Guard(make()))) as controller:
        yield controller


def test_the_thesis_table_5(ctrl):
    assert ctrl.HTValue.get() == 200_000.0
    ctrl.brightness.value = 41000
    assert ctrl.brightness.value == 41000
    ctrl.magnification.value = 400
    assert ctrl.magnification.value == 400
    ctrl.difffocus.value = 30100
    assert ctrl.difffocus.value == 30100
    ctrl.spotsize(4)
    assert ctrl.spotsize == 4
    ctrl.mode("mag1")
    assert ctrl.mode == "mag1"
    assert str(ctrl.mode) == "mag1"
    ctrl.beamblank(False)
    assert not ctrl.beamblank
    ctrl.beamblank = True
    assert ctrl.beamblank
    ctrl.stageposition.set(x=100, a=5)
    assert ctrl.stageposition.get() == (100, 0, 0, 5, 0)
    for name in ("gunshift", "beamshift", "beamtilt", "imageshift1", "imageshift2", "diffshift"):
        getattr(ctrl, name).set(33000, 32000)
        assert getattr(ctrl, name).get() == (33000.0, 32000.0)
    image, header = ctrl.getImage(exposure=0.2)
    assert image.shape == (16, 16)
    assert ctrl.getRawImage(0.2).shape == (16, 16)
    assert (header["ImageExposureTime"], header["BeamShift"]) == (0.2, (33000.0, 32000.0))


def test_deflectors_lenses_and_their_metadata(ctrl):
    ctrl.beamshift.x = 100
    ctrl.beamshift.set(y=7)
    assert ctrl.beamshift.xy == (100.0, 7.0)
    ctrl.beamshift.neutral()
    assert ctrl.beamshift.get().x == 32768.0
    assert (ctrl.brightness.min(), ctrl.brightness.max(), ctrl.brightness.unit) == (0, 65535, "raw")
    with pytest.raises(Refused, match="65536"):
        ctrl.brightness.value = 65536
    with pytest.raises(AttributeError, match="beamshift"):
        _ = ctrl.beamshfit
    assert "beamshift" in dir(ctrl)


def test_magnification_steps_through_the_table_of_the_mode(ctrl):
    assert (ctrl.magnification.value, ctrl.magnification.index) == (300.0, 1)
    ctrl.magnification.increase()
    assert ctrl.magnification.value == 400.0
    ctrl.magnification.index = 3
    with pytest.raises(Refused, match="outside 0 to 3"):
        ctrl.magnification.increase()
    assert ctrl.magnification.absolute_index == 9
    assert ctrl.magnification.get_ranges()["lowmag"] == [50.0, 100.0, 250.0]


def test_defocus_comes_back_also_after_an_exception(ctrl):
    ctrl.difffocus.value = 30000
    with pytest.raises(ZeroDivisionError), ctrl.difffocus.defocused(1500):
        assert ctrl.difffocus.value == 31500
        with pytest.raises(Refused, match="already"):
            ctrl.difffocus.defocus(1)
        raise ZeroDivisionError
    assert ctrl.difffocus.value == 30000
    assert not ctrl.difffocus.is_defocused


def test_stage_speed_and_waiting(ctrl):
    clock = ctrl.link.clock
    with ctrl.stage.rotation_speed(1.0):
        began = clock.now()
        ctrl.stage.a = 10
        assert clock.now() - began == pytest.approx(10.0, abs=0.3)
    assert ctrl.stage.get_rotation_speed() == 10.0
    with pytest.raises(ZeroDivisionError), ctrl.stage.rotation_speed(0.5):
        ctrl.stage.set(a=60, wait=False)
        raise ZeroDivisionError
    assert ctrl.stage.get_rotation_speed() == 10.0
    assert not ctrl.stage.is_moving()
    with ctrl.stage.no_wait():
        ctrl.stage.a = 0
        assert ctrl.stage.is_moving()
    ctrl.stage.wait()
    ctrl.stage.set_a_with_speed(5, 0.5)
    ctrl.stage.eliminate_backlash_a(3)
    ctrl.stage.set_xy_with_backlash_correction(1000, 2000)
    ctrl.stage.move_xy_with_backlash_correction(shift_x=500)
    assert ctrl.stage.get() == (1500, 2000, 0, 3, 0)
    assert ctrl.stage.limits["a"] == (-70, 70)
    assert ctrl.stage.holder == "tomography"
    ctrl.stage.neutral()
    assert ctrl.stage.get() == (0, 0, 0, 0, 0)


def test_beam_and_screen(ctrl):
    with ctrl.beam.unblanked():
        assert ctrl.beam.state == "unblanked"
        with ctrl.beam.blanked():
            assert ctrl.beam.is_blanked
        assert not ctrl.beam.is_blanked
    assert ctrl.beam.get() == "blanked"
    with pytest.raises(ZeroDivisionError), ctrl.beam.unblanked():
        raise ZeroDivisionError
    assert ctrl.beam.is_blanked
    ctrl.screen.down()
    assert ctrl.screen.state == "down"
    ctrl.screen.set("up")
    assert ctrl.screen.is_up
    with pytest.raises(Refused):
        ctrl.beam.set("half")


def test_a_movie_while_the_stage_turns_with_the_beam_on_throughout(ctrl):
    ctrl.stage.set_rotation_speed(1.0)
    ctrl.stage.set(a=30, wait=False)
    camera = ctrl.link.guard.microscope.cameras["timepix"]
    times = [h["ImageGetTimeStart"] for _, h in ctrl.get_movie(5, exposure=0.5)]
    assert np.diff(times) == pytest.approx(0.5)
    assert camera.seconds == 2.5
    assert ctrl.beam.is_blanked
    assert ctrl.stage.a == pytest.approx(2.5, abs=0.1)


def test_states_store_restore_and_instamatics_names(ctrl):
    before = ctrl.to_dict()
    assert before["FunctionMode"] == "diff"
    assert before["StagePosition"] == (0, 0, 0, 0, 0)
    ctrl.store("focused")
    ctrl.store("beam", ("BeamShift",))
    ctrl.difffocus.value = 1
    ctrl.beamshift.set(1, 1)
    ctrl.mode.set("lowmag")
    ctrl.restore("focused")
    assert ctrl.to_dict() == before
    ctrl.beamshift.set(1, 1)
    ctrl.restore("beam")
    assert ctrl.beamshift.x == 32768
    ctrl.from_dict(before | {"StagePosition": (100, 0, 0, 2, 0)})
    assert ctrl.stage.get() == (100, 0, 0, 2, 0)
    with pytest.raises(Refused, match="nothing is stored"):
        ctrl.restore("other")
    with pytest.raises(Refused, match="no state"):
        ctrl.to_dict("Lens")


def test_an_exception_in_a_script_puts_everything_back(make):
    microscope = make()
    with pytest.raises(ZeroDivisionError), TEMController(LocalLink(Guard(microscope))) as ctrl:
        ctrl.difffocus.value = 31500
        ctrl.stage.set_rotation_speed(0.5)
        ctrl.beam.unblank()
        ctrl.stage.set(a=50, wait=False)
        raise ZeroDivisionError
    assert microscope.lenses.values["difffocus"] == 30000
    assert microscope.stage.rotation_speed() == 10.0
    assert microscope.blanker.on


def test_restored_goes_on_afterwards(ctrl):
    with ctrl.restored():
        ctrl.mode.set("mag1")
        ctrl.brightness.value = 3
    assert (ctrl.mode.state, ctrl.brightness.value) == ("diff", 40000)


def test_stop_latches_until_reset(ctrl):
    ctrl.stop("test")
    with pytest.raises(Stopped):
        ctrl.stage.a = 1
    assert ctrl.status["alarm"] == "test"
    ctrl.reset()
    ctrl.stage.a = 1


def test_an_image_is_written_with_its_header(ctrl, tmp_path):
    path = tmp_path / "images" / "a.tiff"
    image, _ = ctrl.get_image(exposure=0.1, out=path, comment="hello")
    with tifffile.TiffFile(path) as file:
        assert np.array_equal(file.asarray(), image)
        assert json.loads(file.pages[0].description)["ImageComment"] == "hello"


def test_the_same_script_over_a_server(make, tmp_path):
    server = Server(lambda: Guard(make(RealClock()), Safety(poll_s=0.01)), port=0)
    server.start()
    path = tmp_path / "instrument.toml"
    path.write_text(f"[global.server]\nport = {server.address[1]}\nconnect = true\n[camera]\nexposure_s = 0.01\n")
    with TEMController.initialize(path) as ctrl, TEMController.initialize(path, read_only=True) as reader:
        ctrl.stage.a = 1.0
        ctrl.beamshift.set(1, 2)
        assert reader.beamshift.get() == (1.0, 2.0)
        with ctrl.restored():
            ctrl.difffocus.value = 1
        assert ctrl.difffocus.value == 30000
        image, header = ctrl.get_image()
        assert (image.shape, header["ImageExposureTime"]) == ((16, 16), 0.01)
        assert [h["ImageNumber"] for _, h in ctrl.get_movie(3)] == [0, 1, 2]
        plan = ctrl.rehearse()
        plan.stage.a = 50
        assert ctrl.stage.a == 1.0
        assert ctrl.store() == reader.store()
        ctrl.restore()
    server.close()


def test_initialize_needs_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("CREDO_CONFIG", str(tmp_path / "instrument.toml"))
    (tmp_path / "instrument.toml").write_text("[microscope]\nname = 'ours'\n")
    with TEMController.initialize() as ctrl:
        assert ctrl.name == "simulated"
        ctrl.stage.set(x=2000, a=3)
        assert ctrl.stage.a == pytest.approx(3.0, abs=0.2)
        image, _ = ctrl.get_image(exposure=0.05)
        assert image.shape == ctrl.camera.shape
