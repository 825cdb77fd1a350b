"""``credo collect`` from its plan to processed data; killed, stopped, resumed; and in the formats of others."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from credo.app.cli import run
from credo.collect.session import read_log
from credo.instrument.config import Configuration
from credo.io.instamatic import read_ed3d_hints, read_pts_hints
from credo.io.open import open_experiment
from credo.pipeline.collect import collect

PLAN = """kind = "cred"
start_deg = -20
stop_deg = 20
speed_deg_s = 2.0
exposure_s = 0.2
look_every = 10
stop_when_lost = false
optics = { camera_length_mm = 600, spotsize = 5, brightness = 29500 }
"""
WHERE = ["--sample", "andradite", "--seed", "3"]


@pytest.fixture
def plan(tmp_path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return path


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def begun(folder: Path, plan: Path, frames: int) -> subprocess.Popen:
    """A collection in a process of its own that has taken some frames."""
    code = f"from credo.app.cli import main; main(['collect', {str(plan)!r}, '--out', {str(folder)!r}, *{WHERE!r}])"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(1200):
        if sum(e.get("role") == "data" for e in read_log(folder)) >= frames:
            return process
        assert process.poll() is None
        time.sleep(0.05)
    raise AssertionError("no frames")


def test_a_dry_run_tells_and_takes_nothing(plan, tmp_path):
    out = tmp_path / "dry"
    assert run(["collect", str(plan), "--dry-run", *WHERE, "--out", str(out)]) == 0
    told = report(out)
    assert told["ok"] and told["datasets"] == [] and told["dry_run"]
    assert told["stage_box"]["a"] == [-21.0, 21.0]
    assert told["duration_s"] > 21 and told["frames"] == pytest.approx(88, abs=4)
    assert not (out / "crystals").exists()
    plan.write_text(PLAN.replace("stop_deg = 20", "stop_deg = 85"))
    assert run(["collect", str(plan), "--dry-run", *WHERE, "--out", str(out)]) == 1
    assert "beyond" in report(out)["reason"]


def test_killed_and_resumed_every_frame_is_there(plan, tmp_path):
    out = tmp_path / "session"
    process = begun(out, plan, 25)
    process.kill()
    process.wait()
    logged = sum(e.get("role") == "data" for e in read_log(out))
    assert not report(out)["ok"]
    assert len(open_experiment(out / "crystals/0001").frames or ()) >= logged  # as the crash left it
    assert run(["collect", str(plan), "--out", str(out), *WHERE]) == 1  # not without being asked
    assert run(["collect", str(plan), "--resume", "--out", str(out)]) == 0  # on the instrument of then
    first, rest = report(out)["datasets"]
    assert first["reason_ended"] == "the run was killed" and first["n_frames"] >= logged
    assert rest["directory"] == "crystals/0001-2" and rest["reason_ended"] == "target angle"
    assert rest["start_deg"] == pytest.approx(first["end_deg"], abs=0.6)
    assert rest["end_deg"] == pytest.approx(20.0, abs=0.7)
    scan = open_experiment(out / "crystals/0001").experiment.scan
    np.testing.assert_allclose(np.diff(scan.start_deg) / np.diff(scan.numbers), 0.416, rtol=0.02)
    assert run(["collect", str(plan), "--resume", "--out", str(out)]) == 0
    assert report(out)["ok"] and len(report(out)["datasets"]) == 2


def test_an_interrupt_stops_it_cleanly(plan, tmp_path):
    out = tmp_path / "session"
    process = begun(out, plan, 10)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 1
    told = report(out)
    assert told["reason"] == "stopped by the user" and not told["ok"]
    assert told["datasets"][0]["n_frames"] >= 10
    assert read_log(out)[-1] == {**read_log(out)[-1], "kind": "end run", "reason": "stopped by the user"}
    commands = [json.loads(line) for line in (out / "instrument.jsonl").read_text().splitlines()]
    assert "end" in json.dumps(commands[-1])


def test_another_plan_is_not_mixed_in(plan, tmp_path, capsys):
    out = tmp_path / "session"
    process = begun(out, plan, 5)
    process.kill()
    process.wait()
    plan.write_text(PLAN.replace("2.0", "1.0"))
    assert run(["collect", str(plan), "--resume", *WHERE, "--out", str(out)]) == 1
    assert "another plan" in capsys.readouterr().err
    assert "killed" in report(out)["reason"]  # what it said before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    assert run(["collect", str(plan), *WHERE, "--out", str(tmp_path / "mine")]) == 2


def test_other_programs_files_need_no_editing(plan, tmp_path):
    plan.write_text(
        PLAN.replace("kind", 'formats = ["smv", "xds", "dials", "tiff", "pets", "mrc", "redp", "cbf"]\nkind')
    )
    plan.write_text(plan.read_text().replace("-20", "-5").replace("= 20", "= 5"))
    out = tmp_path / "session"
    told = collect(plan, out, sample="andradite", seed=3)
    folder = out / told["datasets"][0]["directory"]
    truth = open_experiment(folder / "frames.h5")
    n = told["datasets"][0]["n_frames"]
    for place, tolerance in (("SMV/data", 2e-4), ("CBF", 2e-4), ("SMV/XDS.INP", 0.02)):
        opened = open_experiment(folder / place)
        assert opened.frames is not None and len(opened.frames) == n
        np.testing.assert_array_equal(opened.frames[3], truth.frames[3])  # type: ignore[index]
        np.testing.assert_allclose(opened.experiment.scan.start_deg, truth.experiment.scan.start_deg, atol=tolerance)
        np.testing.assert_array_equal(opened.experiment.scan.numbers, truth.experiment.scan.numbers)
        assert opened.experiment.detector.q_per_pixel == pytest.approx(truth.experiment.detector.q_per_pixel, rel=1e-4)
    pets, redp = read_pts_hints(folder / "pets.pts"), read_ed3d_hints(folder / "RED/1.ed3d")
    middle = dict(zip(truth.experiment.scan.numbers.tolist(), truth.experiment.scan.mid_deg.tolist(), strict=True))
    for hints in (pets, redp):
        assert hints.angles == pytest.approx(middle, abs=1e-4)
        assert hints.wavelength == pytest.approx(0.02508, abs=1e-5)
    for name in middle:
        assert (folder / f"tiff/{name:05d}.tiff").is_file() and (folder / f"RED/{name:05d}.mrc").is_file()
    assert json.loads((folder / "SMV/imported.expt").read_text())["__id__"] == "ExperimentList"


def test_a_full_disk_is_foreseen(plan, tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1_000_000))
    assert run(["collect", str(plan), *WHERE, "--out", str(tmp_path / "session")]) == 1
    assert "free" in report(tmp_path / "session")["reason"]


def test_a_sample_is_for_the_simulated_instrument_only(plan, tmp_path):
    configuration = Configuration.model_validate({"microscope": {"driver": "jeol", "name": "JEM-2100"}})
    with pytest.raises(Exception, match="takes no --sample"):
        collect(plan, tmp_path / "session", sample="andradite", config=configuration)


def test_a_new_plan_is_printed(capsys):
    assert run(["collect", "--new", "serial-ed"]) == 0
    assert 'kind = "serial-ed"' in capsys.readouterr().out
    assert run(["collect", "--new", "nonsense"]) == 2
