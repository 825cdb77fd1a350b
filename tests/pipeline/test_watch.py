"""The whole of it: frames copied in one by one, the lattice told while they come, then processed and merged."""

import json
import shutil
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from credo.collect.advice import CrystalNow
from credo.model import Cell, Crystal, UnreadableInput
from credo.physics.rotation_series import SeriesSettings
from credo.pipeline.simulate import simulate_frames
from credo.pipeline.watch import Seen, Watcher, WatchSettings, _Open, watch
from credo.pipeline.watch_next import Advice
from credo.pipeline.watch_set import LiveState


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames") / "g"
    settings = SeriesSettings(frames=50, step_deg=1.2, start_deg=-30, shape=(192, 192), q_per_pixel=0.009, seed=11)
    simulate_frames(folder, sample_name="grossular", settings=settings)
    return folder


def test_from_the_first_frame_to_the_merged_phase(frames, tmp_path):
    root, out, states, started = tmp_path / "in", tmp_path / "out", [], time.monotonic()
    (root / "x1").mkdir(parents=True)

    def feed():
        shutil.copy(frames / "XDS.INP", root / "x1")
        for f in sorted(frames.glob("*.img")):
            shutil.copy(f, root / "x1")
            time.sleep(0.005)

    def stop():
        # the phases come by the other thread
        live = out / "live.json"
        merged = live.is_file() and bool(json.loads(live.read_text())["phases"])
        return merged or time.monotonic() - started > 500

    threading.Thread(target=feed, daemon=True).start()
    settings = WatchSettings(quiet=1.0, solve=False, workers=0, known=("garnet=11.86,11.86,11.86,90,90,90,I",))
    watchers = []

    def told(watcher, changed):
        watchers.append(watcher)
        states.extend(changed)

    report = watch(root, out, settings, told, stop=stop)
    last = [s for s in states if s.state.frames == 50][-1]
    assert last.state.crystal.cell.parameters[:3] == pytest.approx([11.86] * 3, rel=5e-3)
    assert last.phase == "garnet" and last.probability > 0.8
    assert last.advice.verdict in ("continue", "enough")
    assert str((root / "x1").resolve()) in watchers[-1].merged
    assert report["phases"][0]["datasets"] == ["x1"] and report["phases"][0]["known"] == "garnet"
    live = json.loads((out / "live.json").read_text())
    assert live["datasets"][0]["dataset"] == "x1" and live["phases"][0]["name"] == "A"
    assert live["next"][0]["name"] == "A"


def test_named_from_outside(frames, tmp_path):
    """A data set that is not below the root, as a message of Instamatic names it, with its rotation per frame."""
    (tmp_path / "in").mkdir()
    watcher = Watcher(tmp_path / "in", tmp_path / "out", WatchSettings())
    assert watcher.step() == [] and watcher.next_plan("g").verdict == "continue"
    watcher.take(frames, {"path": str(frames), "osc": 1.2})
    assert watcher.more == (frames.resolve(),)
    seen = []
    for _ in range(200):
        seen += watcher.step()
        if seen and seen[-1].state.frames == 50 and not watcher._open["g"].waiting:
            break
    assert seen[-1].state.indexed and watcher.next_plan("g").verdict in ("continue", "enough")
    assert json.dumps(watcher.to_dict()["datasets"][0]["advice"])
    now = CrystalNow("0001", 50, 30.0, 45.0, folder=str(frames))
    said = watcher.decide(now, wait_s=5.0)
    assert said.verdict in ("continue", "enough") and (said.range_deg is None or said.range_deg[1] <= 45.0)
    after = watcher.decide(replace(now, ended="target angle"))
    assert after.goes_on and after.range_deg == (60.0, -60.0) and "no phase" in after.reason
    assert watcher.decide(replace(now, folder=str(tmp_path / "other"))).reason == "nothing is known of it yet"


def test_alike_before_anything_is_merged(tmp_path):
    """Of three crystals at rest two have the lattice of the one that turns."""
    watcher = Watcher(tmp_path, tmp_path / "out", WatchSettings())
    empty = LiveState("none", 20, 10.0, (), 0)
    for k, a in enumerate((11.90, 11.93, 8.0)):
        crystal = Crystal(Cell(a, a, 14.2, 90, 90, 90), np.eye(3))
        source: Any = SimpleNamespace(folder=tmp_path / f"{k}")
        watcher._open[f"{k}"] = _Open(source, cast(Any, None), newest=float(k))
        watcher.seen[f"{k}"] = Seen(replace(empty, name=f"{k}", crystal=crystal), None, 0.0, Advice("continue", ""))
    watcher._open["now"] = _Open(source, cast(Any, None), newest=9.0)
    watcher._look_ahead()
    assert watcher._like(replace(empty, crystal=Crystal(Cell(11.91, 11.91, 14.2, 90, 90, 90), np.eye(3)))) == 2
    assert watcher._like(replace(empty, crystal=Crystal(Cell(20, 21, 22, 90, 90, 90), np.eye(3)))) == 0
    assert watcher._like(empty) == 0


def test_no_folder(tmp_path):
    with pytest.raises(UnreadableInput, match="no such folder"):
        watch(tmp_path / "gone", tmp_path / "out")
