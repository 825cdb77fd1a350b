"""The goniometer's errors, measured from outside as a calibration would, are those that were put in."""

import numpy as np
import pytest
from tests.instrument.sim.conftest import make

from credo.instrument.errors import HardwareFault
from credo.instrument.protocols import StageState
from credo.instrument.sim.axis import Axis
from credo.instrument.sim.settings import Imperfections

NONE = Imperfections.none()


def test_a_move_takes_the_time_of_its_speed_and_acceleration():
    axis = Axis(0.0, speed=2.0, acceleration=4.0, slack=0.0)
    axis.start(10.0, 6.0)
    # 0.5 s of ramp at each end, 1 + 4 ramps' worth of way between
    assert axis.ended == pytest.approx(10.0 + 3.0 + 0.5)
    t = np.linspace(9, 15, 601)
    x = np.array([axis.motor(s) for s in t])
    v = np.gradient(x, t)
    assert x[0] == 0 and x[-1] == 6 and np.all(np.diff(x) >= 0)
    assert v.max() == pytest.approx(2.0, rel=1e-3)
    assert np.abs(np.gradient(v, t)).max() == pytest.approx(4.0, rel=0.05)
    axis.start(20.0, 5.9)
    assert axis.ended - 20 == pytest.approx(2 * np.sqrt(0.1 / 4))


def test_a_stopped_move_stays_where_it_was():
    axis = Axis(0.0, 1.0, 10.0, 0.0)
    axis.start(0.0, 10.0)
    axis.stop(3.0)
    assert not axis.moving(3.0)
    assert axis.motor(100.0) == axis.motor(3.0) == pytest.approx(2.95)
    # the past does not change
    assert axis.motor(1.0) == pytest.approx(0.95)


def test_slack_is_lost_at_every_reversal_and_only_there():
    axis = Axis(0.0, 5.0, 50.0, slack=1.0)
    places = []
    for k, target in enumerate((10.0, 20.0, 15.0, 10.0, 20.0)):
        axis.start(10.0 * k, target)
        places.append(axis.driven(10.0 * k + 9.9))
    np.testing.assert_allclose(places, [9.5, 19.5, 15.5, 10.5, 19.5])


def test_backlash_is_seen_in_images():
    """A grid bar stands elsewhere when the stage comes from the other side."""
    scope = make(
        {"density": 0.0, "texture": 3.0, "film_nm": 40.0},
        NONE.model_copy(update={"backlash_um": (1.2, 0.0, 0.0)}),
    )
    scope.blanker.blank(False)
    camera = scope.cameras["timepix"]
    seen = []
    for start in (-10e3, 10e3):
        scope.stage.start({"x": start})
        scope.clock.sleep(5)
        scope.stage.start({"x": 0.0})
        scope.clock.sleep(5)
        seen.append(camera.acquire(2.0).data.astype(float))
    px = np.linalg.norm(_shift(*seen))
    nm = 55e-3 / 2500 * 1e6
    assert px * nm / 1e3 == pytest.approx(1.2, abs=0.05)


def _shift(a, b):
    """Translation [px] by the peak of the cross correlation."""
    f = np.fft.fft2(a - a.mean()) * np.conj(np.fft.fft2(b - b.mean()))
    c = np.fft.ifft2(f).real
    i, j = np.unravel_index(np.argmax(c), c.shape)
    return np.array(
        [(j + c.shape[1] / 2) % c.shape[1] - c.shape[1] / 2, (i + c.shape[0] / 2) % c.shape[0] - c.shape[0] / 2]
    )


def test_the_read_out_of_the_tilt_has_its_sine():
    scope = make(imperfections=NONE.model_copy(update={"readout_wave_deg": 0.05, "readout_period_deg": 12.0}))
    asked = np.arange(-30.0, 30.0, 1.0)
    read = []
    for a in asked:
        scope.stage.start({"a": float(a)})
        scope.clock.sleep(10)
        read.append(scope.stage.position().a)
    w = 2 * np.pi * asked / 12.0
    design = np.stack([np.sin(w), np.cos(w), np.ones(len(w))], axis=1)
    fit, *_ = np.linalg.lstsq(design, np.array(read) - asked, rcond=None)
    assert np.hypot(*fit[:2]) == pytest.approx(0.05, rel=1e-3)


def test_a_limit_switch_ends_a_move():
    scope = make(tilt_limit_deg=60.0)
    scope.stage.start({"a": 75.0})
    assert scope.stage.state() == StageState.MOVING
    scope.clock.sleep(30)
    assert scope.stage.state() == StageState.LIMITER
    assert scope.stage.position().a == pytest.approx(60.0)
    scope.stage.start({"a": 50.0})
    scope.clock.sleep(30)
    assert scope.stage.state() == StageState.READY
    for bad in ({"c": 1.0}, {"x": float("nan")}):
        with pytest.raises(HardwareFault):
            scope.stage.start(bad)


def test_a_point_at_its_eucentric_height_stays_and_another_swings():
    scope = make(imperfections=NONE.model_copy(update={"height_um": 8.0}), seed=3)
    z = scope.stage.eucentric_height(100.0, 50.0)
    for off in (0.0, 3.0):
        scope.stage.start({"x": 100e3, "y": 50e3, "z": 1e3 * (z + off), "a": 0.0})
        scope.clock.sleep(60)
        places = []
        for a in (-40.0, 0.0, 40.0):
            scope.stage.start({"a": a})
            scope.clock.sleep(20)
            places.append(scope.stage.pose(scope.clock.now()).place(np.array([[100.0, 50.0, 0.0]]))[0, :2])
        swing = np.array(places) - places[1]
        expected = np.sin(np.radians(40)) * off
        np.testing.assert_allclose(np.abs(swing[[0, 2], 1]), expected, atol=1e-6)
        assert np.abs(swing[:, 0]).max() < 1e-9


def test_rotation_is_uneven_by_its_jitter():
    scope = make(imperfections=NONE.model_copy(update={"rotation_jitter_deg": 0.03}))
    scope.stage.set_rotation_speed(1.0)
    scope.stage.start({"a": 60.0})
    t = np.arange(2.0, 58.0, 0.15)
    true = np.array([scope.stage.pose(s).alpha for s in t])
    rest = true - np.polyval(np.polyfit(t, true, 1), t)
    assert 0.015 < rest.std() < 0.04
    assert scope.stage.rotation_speed() == 1.0


def test_creep_comes_to_rest():
    scope = make(imperfections=NONE.model_copy(update={"creep": 0.03, "creep_s": 5.0}))
    scope.stage.start({"x": 8e3})
    scope.clock.sleep(5)
    now = scope.clock.now()
    off = [8.0 - scope.stage.pose(now + t).centre[0] for t in (0.0, 5.0, 60.0)]
    assert 0.05 < off[0] < 0.3
    assert off[1] == pytest.approx(off[0] / np.e, rel=1e-6)
    assert off[2] < 1e-4


def test_the_swing_is_smooth_and_differs_on_the_way_back():
    scope = make(imperfections=NONE.model_copy(update={"swing_um": 1.5, "unsteady_um": 0.2}), seed=1)
    point = np.zeros((1, 3))
    paths = []
    for start, end in ((-50.0, 50.0), (50.0, -50.0)):
        scope.stage.start({"a": start})
        scope.clock.sleep(60)
        scope.stage.set_rotation_speed(1.0)
        began = scope.clock.now()
        scope.stage.start({"a": end})
        paths.append(np.array([scope.stage.pose(began + t).place(point)[0, :2] for t in np.arange(2.0, 98.0, 0.1)]))
        scope.clock.sleep(120)
    there, back = paths[0], paths[1][::-1]
    assert 0.5 < np.ptp(there, axis=0).max() < 15
    assert np.abs(np.diff(there, axis=0)).max() < 0.05
    assert 0.05 < np.abs(there - back).max() < 1.5
