"""The JEOL driver over a fake TEM3, with the faults that users of the real one have seen, below the guard."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from credo.instrument.controller import TEMController
from credo.instrument.drivers import open_driver
from credo.instrument.drivers.jeol import JeolMicroscope, JeolSettings
from credo.instrument.errors import HardwareFault, InstrumentError, NotReady, Refused, Stopped
from credo.instrument.protocols import Deflectors, Lenses, Microscope, Stage
from credo.instrument.replica import StepClock
from credo.instrument.safety import Guard
from credo.instrument.safety_settings import Safety
from credo.instrument.service import LocalLink

_spec = importlib.util.spec_from_file_location("fake_tem3", Path(__file__).with_name("fake_tem3.py"))
fake_tem3 = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fake_tem3)
TABLES = {"mag1": (2500.0, 5000.0, 10000.0), "lowmag": (50.0, 100.0, 250.0), "diff": (150.0, 200.0, 300.0, 400.0)}


@pytest.fixture
def jeol():
    """``jeol(**options) -> (controller, fake)``"""

    def build(safety=None, **options):
        clock = StepClock(1.7e9)
        tem = fake_tem3.FakeTem3(clock)
        microscope = JeolMicroscope(JeolSettings(magnifications=TABLES, **options), lambda: tem, clock)
        return TEMController(LocalLink(Guard(microscope, safety or Safety()))), tem

    return build


def test_it_is_a_microscope(jeol):
    controller, _ = jeol()
    microscope = controller.link.guard.microscope
    for part, kind in ((microscope, Microscope), (microscope.stage, Stage), (microscope.lenses, Lenses)):
        assert isinstance(part, kind)
    assert isinstance(microscope.deflectors, Deflectors)


def test_settings_go_to_their_calls(jeol):
    ctrl, tem = jeol()
    ctrl.beamshift.set(30000, 31000.4)
    ctrl.imageshift2.x = 7
    ctrl.brightness.value = 123
    ctrl.mode.set("diff")
    ctrl.magnification.value = 300
    ctrl.difffocus.value = 31500
    ctrl.spotsize = 5
    assert tem.pairs == {"CLA1": (30000, 31000), "IS2": (7, 32768)}
    assert tem.numbers["CL3"] == 123
    assert (tem.numbers["Mode"], tem.numbers["Selector"], tem.numbers["IL1"], tem.numbers["SpotSize"]) == (
        4,
        2,
        31500,
        4,
    )
    assert ctrl.magnification.value == 300.0  # the instrument says 30 cm
    assert ctrl.spotsize == 5
    assert ctrl.current_density == 2.5
    assert ctrl.high_tension == 200000.0
    ctrl.mode.set("mag1")
    with pytest.raises(Refused, match="mode mag1"):
        ctrl.difffocus.value = 1
    with pytest.raises(Refused):
        ctrl.HTValue.set(1) if hasattr(ctrl.HTValue, "set") else ctrl.link.call("set", name="high_tension", value=1)


def test_gun_coils_are_named_as_the_site_does(jeol):
    for tilt, coil in (("GunA2", "GunA2"), ("GunA1", "GunA1")):
        ctrl, tem = jeol(gun_tilt=tilt)
        ctrl.guntilt.set(1, 2)
        assert tem.pairs == {coil: (1, 2)}


def test_stage_moves_in_nanometres_and_degrees(jeol):
    ctrl, tem = jeol()
    ctrl.stage.set(x=5000, y=-2000, a=30)
    assert ctrl.stage.get() == (5000, -2000, 0, 30, 0)
    assert [c for c in tem.calls if c[0].startswith(("SetX", "SetY", "SetTilt"))] == [
        ("SetX", 5000.0),
        ("SetY", -2000.0),
        ("SetTiltXAngle", 30.0),
    ]
    with pytest.raises(NotReady, match="axis b"):
        ctrl.stage.b = 1.0
    tem.numbers["Holder"] = 0
    with pytest.raises(NotReady, match="not inserted"):
        ctrl.stage.a = 0.0


def test_a_result_that_is_not_0_is_an_error(jeol):
    ctrl, tem = jeol()
    tem.results["SetCLA1"] = 3
    with pytest.raises(HardwareFault, match="SetCLA1 ended with result 3"):
        ctrl.beamshift.set(1, 1)
    tem.results["GetPos"] = 1
    with pytest.raises(HardwareFault, match="GetPos"):
        ctrl.stage.get()


@pytest.mark.parametrize("fault", [{"lag": 0.5}, {"always_rest": True}, {"short": {3: 0.03}}])
def test_a_tilt_arrives_in_spite_of_status_lag_constant_rest_and_small_errors(jeol, fault):
    ctrl, tem = jeol()
    for name, value in fault.items():
        setattr(tem, name, value)
    ctrl.stage.a = 40.0
    assert ctrl.stage.a == pytest.approx(40.0, abs=0.06)


def test_silent_non_arrival_is_found(jeol):
    ctrl, tem = jeol()
    tem.ignored.add("SetX")
    with pytest.raises(HardwareFault, match="did not arrive"):
        ctrl.stage.x = 3000
    assert sum(c[0] == "SetX" for c in tem.calls) == 3


def test_a_tilt_that_ends_short_is_a_pole_touch_and_a_limiter_stops(jeol):
    ctrl, tem = jeol()
    tem.short[3] = 5.0
    with pytest.raises(Stopped):
        ctrl.stage.a = 40.0
    assert tem.numbers["BeamBlank"] == 1
    assert ("Stop",) in tem.calls
    ctrl, tem = jeol()
    ctrl.stage.set(x=500_000, wait=False)
    tem.limiter = True
    with pytest.raises(Stopped, match="limiter"):
        ctrl.stage.wait()


def test_rotation_speed_where_the_instrument_has_it(jeol):
    ctrl, tem = jeol(rotation="f1_overrate")
    with ctrl.stage.rotation_speed(0.5) as got:
        assert got == 0.5
        before = ctrl.link.clock.now()
        ctrl.stage.a = 5.0
        assert ctrl.link.clock.now() - before == pytest.approx(10.0, abs=0.4)
    assert tem.numbers["Rate"] == 0
    fixed, _ = jeol()
    with pytest.raises(Refused, match="rotation speed"):
        fixed.stage.set_rotation_speed(1.0)


def test_emergency_blanks_even_where_the_stage_does_not_stop(jeol):
    ctrl, tem = jeol()
    ctrl.beam.unblank()
    tem.results["Stop"] = 9
    with pytest.raises(HardwareFault):
        ctrl.stop("fire")
    assert tem.numbers["BeamBlank"] == 1
    assert ctrl.status["alarm"] == "fire"


def test_an_instrument_that_wakes_late_and_one_that_does_not(jeol):
    clock = StepClock()
    tem = fake_tem3.FakeTem3(clock)
    tem.results["GetHTValue"] = 1
    with pytest.raises(HardwareFault, match="GetHTValue"):
        JeolMicroscope(JeolSettings(magnifications=TABLES), lambda: tem, clock)
    assert 30 < clock.now() < 40


def test_elsewhere_than_windows_it_says_what_is_missing():
    with pytest.raises(InstrumentError, match="Windows"):
        open_driver("jeol", {"magnifications": TABLES})
    with pytest.raises(InstrumentError, match="no driver"):
        open_driver("zeiss", {})
