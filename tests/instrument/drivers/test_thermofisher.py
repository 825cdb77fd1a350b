"""The Thermo Fisher driver over a fake TEMScripting, below the guard."""

from __future__ import annotations

import math
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from credo.instrument.clock import RealClock
from credo.instrument.controller import TEMController
from credo.instrument.drivers.thermofisher import ThermoFisherMicroscope, ThermoFisherSettings
from credo.instrument.errors import HardwareFault, NotReady, Refused
from credo.instrument.protocols import Microscope
from credo.instrument.safety import Guard
from credo.instrument.safety_settings import Safety
from credo.instrument.service import LocalLink

TABLES = {"lowmag": (50.0, 200.0), "mag1": (2500.0, 5000.0), "diff": (300.0, 600.0, 1200.0)}


class Copying:
    """Structures come as copies, as COM gives them: a change counts only when written back."""

    def __init__(self, **values):
        self.__dict__.update(values)

    def __getattribute__(self, name):
        value = object.__getattribute__(self, name)
        return SimpleNamespace(**vars(value)) if isinstance(value, SimpleNamespace) else value


class Projection(Copying):
    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)
        if name == "Mode":
            object.__setattr__(self, "SubMode", 6 if value == 2 else 3)
        if name == "MagnificationIndex":
            object.__setattr__(self, "SubMode", 1 if value <= 2 else 3)
            object.__setattr__(self, "Magnification", (50.0, 200.0, 2510.0, 5000.0)[value - 1])
        if name == "CameraLengthIndex":
            object.__setattr__(self, "CameraLength", (0.3, 0.6, 1.2)[value - 1])


class StageFake(Copying):
    def AxisData(self, axis):
        return (-1e-3, 1e-3, 1) if axis < 8 else (math.radians(-80), math.radians(80), 2)

    def GoTo(self, place, mask):
        self.moves.append(("GoTo", mask))
        self.hold.wait(5)
        if self.refuse:
            raise OSError(-2147155971, "out of range")
        self.Position = place

    def GoToWithSpeed(self, place, mask, speed):
        if mask not in (1, 2, 4, 8, 16):
            raise OSError(-2147155969, "one axis per call")
        self.moves.append(("GoToWithSpeed", mask, speed))
        self.Position = place


class CameraFake:
    def __init__(self):
        self.Info = SimpleNamespace(Name="CCD")
        self.AcqParams = SimpleNamespace(ImageSize=1, Binning=1, ExposureTime=0.1)


def fake_tem():
    pair = SimpleNamespace(X=0.0, Y=0.0)
    hold = threading.Event()
    hold.set()
    camera = CameraFake()
    image = SimpleNamespace(AsSafeArray=((1, 2), (3, 4)))
    return SimpleNamespace(
        Gun=Copying(HTState=3, HTValue=300e3, Shift=pair, Tilt=pair),
        Illumination=Copying(
            Shift=pair, RotationCenter=pair, CondenserStigmator=pair, SpotsizeIndex=3, Intensity=0.5, BeamBlanked=False
        ),
        Projection=Projection(
            Mode=1, SubMode=3, Magnification=2510.0, CameraLength=0.6, MagnificationIndex=3, CameraLengthIndex=2,
            Defocus=0.0, Focus=0.0, ImageShift=pair,
            DiffractionShift=pair, ObjectiveStigmator=pair, DiffractionStigmator=pair,
        ),
        Stage=StageFake(
            Position=SimpleNamespace(X=0.0, Y=0.0, Z=0.0, A=0.0, B=0.0), Status=0, Holder=1, moves=[], hold=hold,
            refuse=False,
        ),
        Camera=Copying(MainScreen=2, ScreenCurrent=1e-9),
        Vacuum=Copying(Status=5, ColumnValvesOpen=True, PVPRunning=False),
        Acquisition=SimpleNamespace(
            Cameras=[camera], RemoveAllAcqDevices=lambda: None, AddAcqDeviceByName=lambda name: None,
            AcquireImages=lambda: [image],
        ),
    )  # fmt: skip


@pytest.fixture
def fei():
    def build(**options):
        tem = fake_tem()
        settings = ThermoFisherSettings(magnifications=TABLES, camera="CCD", **options)
        microscope = ThermoFisherMicroscope(settings, lambda: tem, RealClock())
        safety = Safety(poll_s=0.01, start_grace_s=0.05, blank_retry_s=0.01)
        return TEMController(LocalLink(Guard(microscope, safety))), tem

    return build


def test_units_and_written_back_pairs(fei):
    ctrl, tem = fei()
    assert isinstance(ctrl.link.guard.microscope, Microscope)
    ctrl.beamshift.set(1e-6, -2e-6)
    assert (tem.Illumination.Shift.X, tem.Illumination.Shift.Y) == (1e-6, -2e-6)
    assert ctrl.beamshift.unit == "m"
    with pytest.raises(Refused, match="outside"):
        ctrl.objectivestig.set(1.5, 0)
    ctrl.stage.set(x=5000, a=30)
    x, a = tem.Stage.Position.X, tem.Stage.Position.A
    assert (x, a) == pytest.approx((5e-6, math.radians(30)))
    assert ctrl.stage.a == pytest.approx(30.0)
    assert ctrl.high_tension == 300e3
    with pytest.raises(Refused):
        ctrl.link.call("set", name="high_tension", value=200e3)


def test_modes_by_submode_and_the_way_through_sa(fei):
    ctrl, tem = fei()
    assert (ctrl.mode.state, ctrl.magnification.value) == ("mag1", 2500.0)  # it says 2510
    ctrl.mode.set("lowmag")
    assert ctrl.magnification.value == 50.0
    ctrl.magnification.value = 200.0
    seen = []
    write = type(tem.Projection).__setattr__
    type(tem.Projection).__setattr__ = lambda self, n, v: (seen.append((n, v)), write(self, n, v))[1]
    try:
        ctrl.mode.set("diff")
    finally:
        type(tem.Projection).__setattr__ = write
    assert seen == [("MagnificationIndex", 3), ("Mode", 2)]
    ctrl.magnification.value = 1200.0
    assert (tem.Projection.CameraLengthIndex, ctrl.magnification.value) == (3, 1200.0)
    assert ctrl.difffocus.value == 0.0


def test_a_speed_takes_one_axis_per_call(fei):
    ctrl, tem = fei()
    tem.Stage.Holder = 2
    assert ctrl.stage.set_rotation_speed(2.91) == pytest.approx(2.91)
    ctrl.stage.set(a=10, b=5)
    assert tem.Stage.moves == [("GoToWithSpeed", 8, 0.1), ("GoToWithSpeed", 16, 0.1)]


def test_the_move_runs_beside_and_cannot_be_stopped(fei):
    ctrl, tem = fei()
    tem.Stage.hold.clear()
    ctrl.beam.unblank()
    ctrl.stage.set(x=1000, wait=False)
    assert ctrl.stage.is_moving()
    assert ctrl.beamshift.get() == (0.0, 0.0)  # the interface still answers
    with pytest.raises(Refused, match="cannot be stopped"):
        ctrl.stage.stop()
    assert tem.Illumination.BeamBlanked
    tem.Stage.hold.set()
    until = time.monotonic() + 5
    while ctrl.stage.is_moving() and time.monotonic() < until:
        time.sleep(0.01)
    ctrl.confirm()
    ctrl.stop("fire")
    assert ctrl.status["alarm"] == "fire"


def test_a_com_error_of_a_move_is_told(fei):
    ctrl, tem = fei()
    tem.Stage.refuse = True
    with pytest.raises(HardwareFault, match="out of range"):
        ctrl.stage.x = 1000


def test_holder_vacuum_and_camera(fei):
    ctrl, tem = fei()
    image, header = ctrl.get_image(exposure=0.5, binning=2)
    assert np.array_equal(image, [[1, 2], [3, 4]])
    assert tem.Acquisition.Cameras[0].AcqParams.ExposureTime == 0.5
    assert header["ImageBinsize"] == 2
    tem.Stage.Holder = 0
    with pytest.raises(NotReady):
        ctrl.stage.a = 1.0
    ctrl, tem = fei()
    tem.Vacuum.Status = 3
    with pytest.raises(NotReady, match="vacuum"):
        ctrl.get_image(exposure=0.5)
