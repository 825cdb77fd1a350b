"""``credo process`` end to end on a simulated series: the contract of its report, reuse, and respect for files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from credo.app.cli import run
from credo.io.project import read_experiment, read_reflections
from credo.physics.truth import read_truth
from credo.pipeline.compare import compare

KEYS = {
    "n_frames", "n_spots", "n_indexed", "indexed_fraction", "cell", "cell_esd", "centring", "laue_group",
    "rotation_axis_deg", "beam_center", "pixel_size_inv_angstrom", "n_integrated", "n_unique", "r_int", "r_meas",
    "cc_half", "completeness", "resolution", "orientation_rms_deg", "lattices", "command", "version", "ok", "reason",
    "seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def done(credo, series, tmp_path_factory):
    cwd = tmp_path_factory.mktemp("work")
    return credo("process", series, "--out", "result", "--json", cwd=cwd), cwd / "result"


def test_exit_code_and_report(done):
    process, folder = done
    assert process.returncode == 0, process.stderr
    assert process.stderr == "", "progress is quiet where stderr is not a terminal"
    shown = json.loads(process.stdout)
    stored = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert shown == stored
    assert set(stored) >= KEYS
    assert stored["ok"] is True and stored["reason"] == "" and stored["command"] == "process"


def test_right_by_the_truth(done, series):
    _, folder = done
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["centring"] == "I" and report["laue_group"] == "m-3m" and report["lattices"] == 1
    found = read_experiment(folder / "experiment.json")
    errors = compare(found, read_reflections(folder / "reflections.h5"), read_truth(series / "truth.json"))
    assert errors["lattice_right"]
    assert errors["cell_length_percent"] < 0.1
    assert errors["orientation_deg"] < 0.05
    assert errors["axis_deg"] < 0.1
    assert errors["beam_px"] < 0.3
    assert errors["n_compared"] > 1000 and errors["intensity_cc"] > 0.99


def test_files_are_there_and_named(done):
    _, folder = done
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    there = {p.name for p in folder.iterdir()}
    assert there == {*report["files"], "report.json"}
    assert {"experiment.json", "reflections.h5", "XDS_ASCII.HKL", "shelx.hkl", "shelx.ins", "report.html"} <= there


def _state(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}


def test_reuse_force_and_change(done, series, capsys, monkeypatch):
    """Unchanged work is not done again; --force and other settings do it again."""
    import credo.pipeline.process as module

    _, folder = done
    before = _state(folder)
    calls = []
    work = module.reduce_frames
    monkeypatch.setattr(module, "reduce_frames", lambda *a: calls.append(1) or work(*a))
    assert run(["process", str(series), "--out", str(folder)]) == 0
    assert not calls and _state(folder) == before
    assert "nothing has changed" in capsys.readouterr().out
    assert run(["process", str(series), "--out", str(folder), "--force"]) == 0
    assert len(calls) == 1 and _state(folder)["reflections.h5"] > before["reflections.h5"]
    out = capsys.readouterr().out
    for word in ("cell", "Laue group m-3m", "R_int", "CC½", "report.html"):
        assert word in out


def test_other_settings_are_other_work(series, tmp_path, monkeypatch):
    import credo.pipeline.process as module
    from credo.model import CannotDo

    seen = []

    def stop(opened, settings, say):
        seen.append(settings.d_min)
        raise CannotDo("stopped by the test")

    monkeypatch.setattr(module, "reduce_frames", stop)
    for d_min in (1.0, 1.2):
        assert run(["process", str(series), "--out", str(tmp_path / "r"), "--d-min", str(d_min)]) == 1
    assert seen == [1.0, 1.2]


@pytest.mark.parametrize("kind", ["foreign files", "another command", "a file", "the input"])
def test_refuses_what_is_not_its_own(kind, series, tmp_path, capsys):
    out = tmp_path / "mine"
    if kind == "foreign files":
        out.mkdir()
        (out / "thesis.txt").write_text("precious")
    elif kind == "another command":
        out.mkdir()
        (out / "report.json").write_text('{"command": "merge", "ok": true}')
    elif kind == "a file":
        out.write_text("precious")
    else:
        out = series
    before = {p: p.read_bytes() for p in sorted(out.iterdir())} if out.is_dir() else {out: out.read_bytes()}
    assert run(["process", str(series), "--out", str(out)]) == 2
    assert "--out" in capsys.readouterr().err
    after = {p: p.read_bytes() for p in sorted(out.iterdir())} if out.is_dir() else {out: out.read_bytes()}
    assert after == before


def test_default_folders_do_not_meet(series, tmp_path, monkeypatch):
    """Two data sets of the same name get two folders; the same one its own again."""
    from credo.pipeline.output import default_folder

    monkeypatch.chdir(tmp_path)
    assert default_folder("process", [series]) == Path("garnet-process")
    (tmp_path / "garnet-process").mkdir()
    (tmp_path / "garnet-process" / "report.json").write_text(json.dumps({"command": "process", "input": ["/else"]}))
    assert default_folder("process", [series]) == Path("garnet-process-2")
    mine = json.dumps({"command": "process", "input": [str(series.resolve())]})
    (tmp_path / "garnet-process" / "report.json").write_text(mine)
    assert default_folder("process", [series]) == Path("garnet-process")


def test_spot_lists(done, series, tmp_path, capsys):
    """From a list of spots alone: SPOT.XDS with its XDS.INP."""
    from credo.io.reflection_files import write_any

    _, folder = done
    experiment = read_experiment(folder / "experiment.json")
    spots = read_reflections(folder / "spots.h5")
    bare = experiment.replace(crystals=())
    write_any(tmp_path / "spots" / "SPOT.XDS", bare, spots.with_columns(lattice=spots["lattice"] * 0 - 1))
    write_any(tmp_path / "spots" / "XDS.INP", bare, spots)
    code = run(["process", str(tmp_path / "spots" / "SPOT.XDS"), "--out", str(tmp_path / "r"), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert code == 0 and report["centring"] == "I" and report["n_integrated"] == 0
    assert report["cell"][0] == pytest.approx(11.864, rel=0.005)
