"""``credo cluster`` on cells.yaml and on processed data sets."""

import json

import numpy as np
import pytest

from credo.app.cli import run
from credo.io.edtools import CellRecord, write_cells_yaml
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
