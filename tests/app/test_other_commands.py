"""``credo check``, ``convert``, ``simulate frames`` and ``demo`` through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from credo.app.cli import run
from credo.io.open import open_experiment
from credo.physics.truth import read_truth


def _report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_check(series, tmp_path, capsys):
    assert run(["check", str(series), "--out", str(tmp_path / "c")]) == 0
    shown, report = capsys.readouterr().out, _report(tmp_path / "c")
    assert {"kind", "frames", "shape", "wavelength", "rotation_axis_deg", "hand_score", "problems"} <= set(report)
    assert report["frames"] == 60 and report["shape"] == [256, 256]
    assert report["rotation_axis_found_deg"] == pytest.approx(141.0, abs=0.5)
    assert report["hand_score"]["this"] > report["hand_score"]["opposite"]
    assert "60 of 256 x 256 pixels" in shown and "the opposite hand" in shown


def test_check_of_a_single_frame(tmp_path, images, write_series, capsys):
    """What cannot be tried is a problem, not a failure."""
    write_series(tmp_path / "one", images[:1])
    assert run(["check", str(tmp_path / "one"), "--out", str(tmp_path / "c")]) == 0
    report = _report(tmp_path / "c")
    assert report["hand_score"] is None and any("single frame" in p for p in report["problems"])


def test_a_wrong_axis_is_told(tmp_path, capsys):
    words = ["simulate", "frames", "--sample", "grossular", "--frames", "60", "--step-deg", "1.5", "--start-deg", "-45"]
    words += ["--shape", "256,256", "--q-per-pixel", "0.008", "--faults.header-axis-deg", "50"]
    assert run([*words, "--out", str(tmp_path / "s")]) == 0
    assert run(["check", str(tmp_path / "s"), "--out", str(tmp_path / "c")]) == 0
    assert any("the data say 141" in p for p in _report(tmp_path / "c")["problems"])


def test_convert_to_a_folder_and_again(tmp_path, images, write_series, capsys):
    source, target = write_series(tmp_path / "a", images), tmp_path / "b"
    assert run(["convert", str(source), str(target), "--to", "cbf"]) == 0
    assert "6 frames" in capsys.readouterr().out
    assert _report(target)["n_frames"] == 6 and len(list(target.glob("*.cbf"))) == 6
    opened = open_experiment(target)
    assert np.array_equal(opened.frames[3], images[3])
    assert not [p for p in target.iterdir() if p.name.startswith(".")]
    assert run(["convert", str(source), str(target), "--to", "cbf"]) == 0
    assert "nothing has changed" in capsys.readouterr().out
    # another, shorter series takes the place of the first, all of it
    other = write_series(tmp_path / "c", images[:4])
    assert run(["convert", str(other), str(target), "--to", "cbf"]) == 0
    assert len(list(target.glob("*.cbf"))) == 4


def test_convert_to_a_file(tmp_path, images, write_series, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = write_series(tmp_path / "a", images)
    assert run(["convert", "a", "b.nxs"]) == 0
    assert np.array_equal(open_experiment(tmp_path / "b.nxs").frames[5], images[5])
    assert _report(tmp_path / "a-convert")["n_frames"] == 6
    # somebody's file is not overwritten
    (tmp_path / "precious.nxs").write_text("precious")
    assert run(["convert", str(source), "precious.nxs"]) == 2
    assert (tmp_path / "precious.nxs").read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


@pytest.mark.parametrize("form", ["smv", "tiff", "nxmx"])
def test_simulate_frames(form, tmp_path, capsys):
    words = ["simulate", "frames", "--sample", "gypsum", "--frames", "8", "--shape", "96,96", "--q-per-pixel", "0.02"]
    words += ["--faults.missing-every", "4", "--format", form, "--out", str(tmp_path / form)]
    assert run(words) == 0
    report, truth = _report(tmp_path / form), read_truth(tmp_path / form / "truth.json")
    assert report["n_frames"] == 6 and report["truth"] == "truth.json"
    opened = open_experiment(tmp_path / form)
    assert opened.frames.shape == (6, 96, 96)
    assert opened.experiment.beam.wavelength == pytest.approx(truth.experiment.beam.wavelength, rel=1e-4)
    assert np.allclose(opened.experiment.scan.start_deg, truth.experiment.scan.start_deg, atol=1e-4)
    assert truth.sample["space_group"] == "I 1 2/c 1"


def test_simulate_from_a_cif(tmp_path, capsys):
    from credo.io import samples

    cif = Path(samples.__file__).with_name("gypsum.cif")
    small = ["--frames", "3", "--shape", "64,64", "--q-per-pixel", "0.03"]
    for name, source in (("a", ["--cif", str(cif)]), ("b", ["--sample", "gypsum"])):
        assert run(["simulate", "frames", *source, *small, "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "a/00002.img").read_bytes() == (tmp_path / "b/00002.img").read_bytes()
    assert run(["simulate", "frames", "--cif", str(tmp_path / "no.cif"), "--out", str(tmp_path / "c")]) == 2
    assert "no.cif" in capsys.readouterr().err and _report(tmp_path / "c")["ok"] is False


def test_demo_is_right(tmp_path, capsys):
    assert run(["demo", "--sample", "grossular", "--out", str(tmp_path / "demo")]) == 0
    report = _report(tmp_path / "demo")
    assert {"sample", "crystals_found", "crystals_collected", "datasets_indexed", "phases", "truth"} <= set(report)
    assert report["errors_vs_truth"]["lattice_right"] and report["errors_vs_truth"]["intensity_cc"] > 0.98
    assert any("141.0°, not at 181.0°" in w for w in report["warnings"])
    assert (tmp_path / "demo" / report["page"]).is_file()
    shown = capsys.readouterr().out
    assert "true 11.864" in shown and "correlate with the true ones" in shown


def test_demo_fails_when_the_result_is_wrong(tmp_path, capsys, monkeypatch):
    """The demonstration can fail: a result beyond its limits ends with 1 and keeps the numbers."""
    import credo.pipeline.demo as module

    keys = ["cell", "cell_esd", "centring", "laue_group", "completeness", "r_int", "cc_half"]
    found = dict.fromkeys([*keys, "rotation_axis_deg", "beam_center", "ellipse_percent", "warnings"])
    wrong = {"lattice_right": True, "cell_length_percent": 5.0, "cell_angle_deg": 0, "orientation_deg": 0,
             "axis_deg": 0, "beam_px": 0, "intensity_cc": 0.5, "n_compared": 9}  # fmt: skip
    monkeypatch.setattr(module, "process", lambda *_, **__: found)
    monkeypatch.setattr(module, "read_experiment", lambda _: None)
    monkeypatch.setattr(module, "read_reflections", lambda _: None)
    monkeypatch.setattr(module, "compare", lambda *_: wrong)
    assert run(["demo", "--sample", "grossular", "--out", str(tmp_path / "demo")]) == 1
    error = capsys.readouterr().err
    assert "cell_length_percent is off by 5" in error and "0.5" in error
    assert _report(tmp_path / "demo")["errors_vs_truth"] == wrong and _report(tmp_path / "demo")["ok"] is False
