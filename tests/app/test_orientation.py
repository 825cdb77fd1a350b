"""``credo orient`` through the command line: a plain table with its truth, and what is wrong with bad ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from credo.app.cli import run


@pytest.fixture(scope="module")
def series(andradite_series):
    return andradite_series.simulate(andradite_series.andradite(), 1.0, 0.2, 1, True, 1e5, span=16.0)


@pytest.fixture
def table(series, tmp_path) -> Path:
    path = tmp_path / "series.csv"
    rows = np.column_stack([series.frame, series.hkl, series.intensity, series.sigma])
    path.write_text("frame,h,k,l,intensity,sigma\n" + "".join(",".join(f"{v:g}" for v in r) + "\n" for r in rows))
    return path


GIVEN = ["--cell", "12.048,12.048,12.048,90,90,90", "--wavelength", "0.02508", "--step-deg", "0.2"]


def test_a_plain_table(table, series, tmp_path, capsys):
    assert run(["orient", str(table), *GIVEN, "--out", str(tmp_path / "o")]) == 0
    assert "80 frames" in capsys.readouterr().out
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert report["mean_step_deg"] == pytest.approx(0.2, abs=0.002)
    assert report["half_set_error_deg"] < 0.02
    with (tmp_path / "o" / "orientations.csv").open() as file:
        rows = list(csv.DictReader(file))
    zone = np.array([[float(r[f"zone_{x}"]) for x in "xyz"] for r in rows])
    error = np.degrees(np.arccos(np.clip(np.einsum("fi,fi->f", zone, series.zone), -1, 1)))
    assert error.mean() < 0.01
    assert all(float(r["esd_along_deg"]) > 0 for r in rows)
    page = (tmp_path / "o" / "report.html").read_text(encoding="utf-8")
    assert "Rocking curve" in page and "<svg" in page


def test_the_thesis_method(table, series, tmp_path):
    assert run(["orient", str(table), *GIVEN, "--method", "thesis", "--out", str(tmp_path / "o")]) == 0
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert report["method"] == "thesis"
    assert report["half_set_error_deg"] is None


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (("frame,h,k,l,intensity,sigma", "a,b,c,d,e,f"), GIVEN, "names no column frame"),
        (("0,", "zero,"), GIVEN, "line 2"),
        (("", ""), GIVEN[:4], "no angles"),
        (("", ""), GIVEN[2:], "no cell"),
        (("", ""), ["--cell", "12,12,12,10,10,90", *GIVEN[2:]], "spans no volume"),
    ],
)
def test_bad_tables_are_named(table, tmp_path, capsys, change, words, said):
    text = table.read_text()
    head, first, rest = text.split("\n", 2)
    new = head.replace(*change) if change[0].startswith("frame") else head
    first = change[1] + first[len(change[0]) :] if change[0] and not change[0].startswith("frame") else first
    table.write_text("\n".join([new, first, rest]))
    assert run(["orient", str(table), *words, "--out", str(tmp_path / "o")]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_without_what_frames_recorded(tmp_path, capsys):
    (tmp_path / "old").mkdir()
    assert run(["orient", str(tmp_path / "old"), "--out", str(tmp_path / "o")]) == 2
    assert "credo process" in capsys.readouterr().err


def test_what_is_wrong_is_said_on_stderr(series, tmp_path, capsys):
    """Positions that are mirrored; and a structure of another cell ends the work."""
    path = tmp_path / "mirrored.csv"
    rows = np.column_stack([series.frame, series.hkl, series.intensity, series.sigma, series.xy * [1, -1]])
    path.write_text("frame,h,k,l,intensity,sigma,x,y\n" + "".join(",".join(f"{v:g}" for v in r) + "\n" for r in rows))
    assert run(["orient", str(path), *GIVEN, "--out", str(tmp_path / "o")]) == 0
    assert "credo orient: wrong hand: " in capsys.readouterr().err
    report = json.loads((tmp_path / "o" / "report.json").read_text())
    assert "wrong hand" in {p["kind"] for p in report["problems"]}
    assert report["in_plane"]["mirrored_misfit"] < 0.1
    assert report["cell"] == pytest.approx([12.048] * 3 + [90] * 3)
    assert (tmp_path / "o" / "orientations.cif_pets").is_file()
    cif = Path(__file__).parents[2] / "src" / "credo" / "io" / "samples" / "paracetamol.cif"
    assert run(["orient", str(path), *GIVEN, "--dynamical", str(cif), "--out", str(tmp_path / "d")]) == 1
    assert "is not that of the data" in capsys.readouterr().err
