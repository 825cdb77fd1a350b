"""``credo cluster`` on cells.yaml and on processed data sets."""

import json
from pathlib import Path

import numpy as np
import pytest

from credo.app.cli import run
from credo.io.cell_tables import read_cells_xlsx
from credo.io.edtools import CellRecord, read_cells_yaml, write_cells_yaml
from credo.io.merged import without_geometry
from credo.io.project import write_experiment, write_reflections
from credo.model import Cell, Reflections

MFI, MOR = Cell(20.09, 19.738, 13.142, 90, 90, 90), Cell(18.256, 20.534, 7.542, 90, 90, 90)


@pytest.fixture
def cells(tmp_path):
    scale = [1.0, 1.01, 0.99, 1.02, 1.0]
    made = [Cell(*np.hstack([s * np.array(c.lengths), c.angles])) for c, s in zip([MFI, MFI, MOR, MFI, MOR], scale)]
    groups = [1, 1, 21, 1, 21]
    records = [CellRecord(f"set {i}", c, c, str(g)) for i, (c, g) in enumerate(zip(made, groups))]
    write_cells_yaml(tmp_path / "cells.yaml", records)
    return tmp_path / "cells.yaml"


def test_cells_of_edtools(cells, tmp_path, capsys):
    assert run(["cluster", str(cells), "--out", str(tmp_path / "out")]) == 0
    assert "5 cells in 2 clusters" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["k"], report["labels"]) == (2, [1, 1, 2, 1, 2])
    assert report["clusters"][0]["members"] == [0, 1, 3] and len(report["clusters"][0]["reindex"]) == 3
    assert report["clusters"][0]["cell"][2] == pytest.approx(1.01 * 13.142, rel=5e-3)
    assert report["datasets"][2] == "set 2" and np.shape(report["distance"]) == (5, 5)


def test_the_thesis_metric_needs_a_cut(cells, tmp_path, capsys):
    words = ["cluster", str(cells), "--metric", "euclid", "--out", str(tmp_path / "out")]
    assert run(words) == 2
    assert "--cut" in capsys.readouterr().err
    assert run([*words, "--cut", "3"]) == 0


def test_intensities_tell_structures_of_one_cell_apart(tmp_path):
    rng = np.random.default_rng(1)
    hkl = np.array(list(np.ndindex(6, 6, 6)))[1:]
    true = rng.exponential(size=(2, len(hkl)))
    for i in range(4):
        folder = tmp_path / "data" / f"set {i}"
        folder.mkdir(parents=True)
        write_experiment(folder / "experiment.json", without_geometry(MFI, 47))
        intensity = true[i % 2] * rng.lognormal(0, 0.1, len(hkl))
        table = Reflections(h=hkl[:, 0], k=hkl[:, 1], l=hkl[:, 2], intensity=intensity, sigma=np.ones(len(hkl)))
        write_reflections(folder / "reflections.h5", table)
    assert run(["cluster", str(tmp_path / "data"), "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["k"] == 1 and report["clusters"][0]["intensity_labels"] == [1, 2, 1, 2]


def test_nothing_to_sort(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(["cluster", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 1
    assert "no cell was found" in capsys.readouterr().err


def test_pages_and_tables_for_users_of_edtools(cells, tmp_path):
    out = tmp_path / "out"
    words = ["--known", "MFI=20.09,19.738,13.142,90,90,90", "LTA=11.92,11.92,11.92,90,90,90,P"]
    assert run(["cluster", str(cells), *words, "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert [e["phase"] for e in report["identity"]] == ["MFI", "MFI", "unknown", "MFI", "unknown"]
    assert report["camera_scale"] == pytest.approx(1.01, abs=0.01)
    assert len(read_cells_yaml(out / "cells_cluster_1_3-items.yaml")) == 3
    back = read_cells_xlsx(out / "cells.xlsx")
    assert [r.directory for r in back] == [f"set {i}" for i in range(5)] and back[2].cell.a == pytest.approx(18.0734)
    page = (out / "report.html").read_text()
    assert page.count('class="line join') == 4 and "http" not in page.replace("http://www.w3.org", "")
    assert "strained by" in page and "set 4" in page


def test_a_tree_with_everything_that_goes_wrong(tmp_path, capsys):
    """Blanks in paths, a broken file, a cell that is none, XDS that stopped, XSCALE that failed, one set twice."""
    root = tmp_path / "my data"
    for i in range(3):
        folder = root / f"crystal {i}"
        folder.mkdir(parents=True)
        write_experiment(folder / "experiment.json", without_geometry(MFI, 62))
    (root / "crystal 2" / "experiment.json").write_text("{")
    stopped = root / "stopped"
    stopped.mkdir()
    (stopped / "INIT.LP").write_text(" ***** INIT *****\n")
    (stopped / "IDXREF.LP").write_text(" !!! ERROR !!! INSUFFICIENT PERCENTAGE (< 50%) OF INDEXED REFLECTIONS\n")
    scaled = root / "scaled"
    scaled.mkdir()
    text = " ***** XSCALE *****\n !!! ERROR !!! INSUFFICIENT NUMBER OF COMMON STRONG REFLECTIONS\n"
    (scaled / "XSCALE.LP").write_text(text)
    lines = ("CrystFEL stream format 2.3", "----- Begin chunk -----", "Image filename: a b.h5", "--- Begin crystal",
             "Cell parameters 0 1 1 nm, 90 90 90 deg", "--- End crystal", "")  # fmt: skip
    (root / "odd.stream").write_text("\n".join(lines))
    assert run(["cluster", str(root), str(root / "crystal 0" / "experiment.json"), "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(report["datasets"]) == 2 and report["k"] == 1
    reasons = {Path(r["dataset"]).name: r["reason"] for r in report["rejected"]}
    assert set(reasons) == {"experiment.json", "stopped", "XSCALE.LP", "odd.stream"}
    assert "INSUFFICIENT PERCENTAGE" in reasons["stopped"] and "COMMON STRONG" in reasons["XSCALE.LP"]
    assert "4 could not be read" in capsys.readouterr().out


def test_all_junk_is_told(tmp_path, capsys):
    root = tmp_path / "junk"
    root.mkdir()
    (root / "experiment.json").write_text("no")
    assert run(["cluster", str(root), "--out", str(tmp_path / "out")]) == 1
    assert "experiment.json" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "out" / "report.json").read_text())["rejected"]) == 1


def test_one_set(cells, tmp_path):
    write_cells_yaml(tmp_path / "one.yaml", [CellRecord("alone", MFI, MFI, "62")])
    assert run(["cluster", str(tmp_path / "one.yaml"), "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["k"] == 1 and report["clusters"][0]["reasons"] == ["alone: no other cell is near"]


@pytest.mark.parametrize("word", ["nothing.cif", "A=1,2,3", "A=1,2,3,90,90,x", "A=1,2,3,1,1,179"])
def test_a_known_phase_that_is_none(cells, word, capsys):
    assert run(["cluster", str(cells), "--known", word, "--out", str(cells.parent / "out")]) == 2
    assert "NAME=" in capsys.readouterr().err


def test_what_credo_writes_for_dials_beside_its_own_is_no_second_set(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    write_experiment(folder / "experiment.json", without_geometry(MFI, 62))
    (folder / "integrated.expt").write_text("{}")
    assert run(["cluster", str(folder), "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(report["datasets"]) == 1 and report["rejected"] == []
