"""A guard here over the old PC's server there: their rules add up."""

from __future__ import annotations

import pytest

from credo.instrument.controller import TEMController
from credo.instrument.drivers import open_driver
from credo.instrument.errors import Refused, Stopped
from credo.instrument.legacy_server import LegacyServer
from credo.instrument.safety import Guard
from credo.instrument.safety_settings import Safety
from credo.instrument.service import LocalLink


@pytest.fixture
def pair():
    server = LegacyServer({"port": 0, "limits": {"a": [-60, 60]}})
    server.start()
    microscope = open_driver("remote", {"host": "127.0.0.1", "port": server.address[1]})
    controller = TEMController(LocalLink(Guard(microscope, Safety(a_deg=(-50, 50), poll_s=0.01))))
    yield controller, server
    controller.close()
    server.close()


def test_settings_moves_and_the_narrower_limits(pair):
    ctrl, server = pair
    ctrl.beamshift.set(100, 200)
    ctrl.stage.set(x=3000, a=40)
    assert server.device.values["beamshift"] == [100.0, 200.0]
    assert server.device.where["a"] == 40.0
    assert ctrl.stage.limits["a"] == (-50.0, 50.0)
    assert ctrl.stage.limits["x"] == (-9e5, 9e5)  # the far side's
    with pytest.raises(Refused, match="50"):
        ctrl.stage.a = 55
    with ctrl.stage.rotation_speed(0.5):
        assert server.device.speed == 0.5
    assert server.device.speed == 10.0


def test_stop_reaches_the_far_side_and_latches_there(pair):
    ctrl, server = pair
    ctrl.beam.unblank()
    assert not server.device.blanked
    ctrl.stop("fire")
    assert server.device.blanked
    assert server.alarm.startswith("halt")
    with pytest.raises(Stopped):
        ctrl.brightness.value = 1


def test_the_far_side_blanks_when_this_one_is_gone(pair):
    ctrl, server = pair
    ctrl.beam.unblank()
    client = ctrl.link.guard.microscope._client
    ctrl._closed = True
    client._ended.set()
    client._calls.close()
    client._urgent.close()
    for _ in range(200):
        if server.device.blanked:
            break
        server.closing.wait(0.02)
    assert server.device.blanked
