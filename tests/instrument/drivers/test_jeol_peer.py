"""Instamatic's own JEOL driver and ours do the same to the same fake TEM3, so the fake is not only our idea of it.

Runs where ``CREDO_INSTAMATIC`` names the Python of an environment with ``pip install instamatic`` (any system).
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pytest

from credo.instrument.drivers.jeol import JeolMicroscope, JeolSettings
from credo.instrument.replica import StepClock

FAKE = Path(__file__).with_name("fake_tem3.py")
PEER = os.environ.get("CREDO_INSTAMATIC")
THEIRS = """
import importlib.util, json, os, shutil, sys, types
from pathlib import Path
home = Path(sys.argv[2])
package = Path(importlib.util.find_spec("instamatic").origin).parent
shutil.copytree(package / "config", home / "config")
os.environ["instamatic"] = str(home)
spec = importlib.util.spec_from_file_location("fake_tem3", sys.argv[1])
fake = importlib.util.module_from_spec(spec); spec.loader.exec_module(fake)
class Jump:
    now = staticmethod(lambda t=[0.0]: t.__setitem__(0, t[0] + 100.0) or t[0])
tem = fake.FakeTem3(Jump)
com = types.ModuleType("comtypes"); com.client = types.ModuleType("comtypes.client")
com.COINIT_MULTITHREADED = com.CLSCTX_ALL = 0
com.CoInitializeEx = com.CoInitialize = com.CoUninitialize = lambda *a: None
com.client.GetModule = lambda *a: types.SimpleNamespace(TEM3=None)
com.client.CreateObject = lambda *a: tem
sys.modules["comtypes"], sys.modules["comtypes.client"] = com, com.client
from instamatic.microscope.interface.jeol_microscope import JeolMicroscope
theirs = JeolMicroscope("jeol")
theirs.setFunctionMode("diff")
theirs.setBeamShift(30000, 31000)
theirs.setBeamTilt(30001, 31001)
theirs.setGunTilt(30002, 31002)
theirs.setGunShift(30003, 31003)
theirs.setImageShift1(30004, 31004)
theirs.setImageShift2(30005, 31005)
theirs.setDiffShift(30006, 31006)
theirs.setCondensorLensStigmator(30007, 31007)
theirs.setObjectiveLensStigmator(30008, 31008)
theirs.setIntermediateLensStigmator(30009, 31009)
theirs.setDiffFocus(31500)
theirs.setBrightness(123)
theirs.setSpotSize(5)
theirs.setBeamBlank(True)
theirs.setScreenPosition("down")
theirs.setStagePosition(x=1000, y=2000, z=3000, a=10)
seen = {"spot": theirs.getSpotSize(), "blanked": theirs.isBeamBlanked(), "stage": list(theirs.getStagePosition()),
        "mode": theirs.getFunctionMode(), "screen": theirs.getScreenPosition(), "ht": theirs.getHTValue(),
        "focus": theirs.getDiffFocus(), "current": theirs.getCurrentDensity()}
print("RESULT" + json.dumps([tem.numbers, tem.pairs, tem.target, seen]))
"""


@pytest.mark.peer
@pytest.mark.skipif(
    PEER is None, reason="CREDO_INSTAMATIC names no Python with Instamatic: its driver was not compared"
)
def test_instamatics_driver_does_the_same(tmp_path):
    command = [str(PEER), "-c", THEIRS, str(FAKE), str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    line = next((x for x in told.stdout.splitlines() if x.startswith("RESULT")), None)
    assert line is not None, told.stderr[-2000:]
    numbers, pairs, target, seen = json.loads(line.removeprefix("RESULT"))

    spec = importlib.util.spec_from_file_location("fake_tem3", FAKE)
    fake = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fake)
    clock = StepClock()
    tem = fake.FakeTem3(clock)
    ours = JeolMicroscope(JeolSettings(magnifications={"diff": (150, 200, 300, 400)}), lambda: tem, clock)
    ours.lenses.set("mode", "diff")
    names = ("beamshift", "beamtilt", "guntilt", "gunshift", "imageshift1", "imageshift2", "diffshift")
    for k, name in enumerate((*names, "condenserstig", "objectivestig", "intermediatestig")):
        ours.deflectors.set(name, (30000 + k, 31000 + k))
    for name, value in (("difffocus", 31500), ("brightness", 123), ("spotsize", 5)):
        ours.lenses.set(name, value)
    ours.blanker.blank(True)
    ours.screen.set_up(False)
    ours.stage.start({"x": 1000, "y": 2000, "z": 3000, "a": 10})
    clock.sleep(100)
    assert json.loads(json.dumps([tem.numbers, tem.pairs, tem.target])) == [numbers, pairs, target]
    assert seen == {
        "spot": ours.lenses.get("spotsize"),
        "blanked": ours.blanker.is_blanked(),
        "stage": list(ours.stage.position()),
        "mode": ours.lenses.get("mode"),
        "screen": "up" if ours.screen.is_up() else "down",
        "ht": ours.lenses.get("high_tension"),
        "focus": ours.lenses.get("difffocus"),
        "current": ours.lenses.get("current_density"),
    }
