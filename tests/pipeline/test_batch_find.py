"""Data sets in trees as people leave them: nested, mixed, twice over, with results and pictures in between."""

import json
import tarfile

import numpy as np
import pytest

from credo.io.convert import write_frames
from credo.io.project import write_experiment, write_reflections
from credo.model import ArrayFrames, Beam, Crystal, Detector, Experiment, Goniometer, Reflections, Scan, UnreadableInput
from credo.model.crystal import Cell
from credo.pipeline.batch_find import find_data_sets, natural


def series(folder, n=5, form="smv"):
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(1).poisson(3, (n, 32, 32)).astype(np.uint16)
    experiment = Experiment(
        Beam(0.0251), Detector((32, 32), 0.01, (16, 16)), Goniometer.in_plane(0), Scan.regular(n, 0, 1)
    )
    write_frames(folder, form, experiment, ArrayFrames(images))
    return folder


def names(tree):
    return [s.name for s in tree.sets]


def reasons(tree):
    return {x.path.name: x.reason for x in tree.left}


def test_nested_and_mixed(tmp_path):
    series(tmp_path / "monday" / "x10" / "SMV" / "data")
    series(tmp_path / "monday" / "x10" / "tiff", form="tiff")
    series(tmp_path / "monday" / "x2", form="mrc")
    series(tmp_path / "tuesday" / "deep" / "er" / "x1", form="cbf")
    tree = find_data_sets(tmp_path)
    assert names(tree) == ["monday/x2", "monday/x10", "tuesday/deep/er/x1"]
    assert "again" in reasons(tree)["tiff"]
    assert {s.kind for s in tree.sets} == {"frames"}
    assert tree.sets[1].paths == (tmp_path / "monday" / "x10" / "SMV" / "data",)


def test_two_series_in_one_folder(tmp_path):
    series(tmp_path)
    for p in sorted(tmp_path.iterdir()):
        p.rename(tmp_path / f"a_{p.name}")
    series(tmp_path / "other")
    for p in sorted((tmp_path / "other").iterdir()):
        p.rename(tmp_path / f"b_{p.name}")
    tree = find_data_sets(tmp_path)
    assert len(tree.sets) == 2
    assert all(len(s.paths) == 5 for s in tree.sets)


def test_integrated_counts_only_without_frames(tmp_path):
    series(tmp_path / "x1")
    for place in ("x1", "x2"):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "XDS_ASCII.HKL").write_text("!FORMAT=XDS_ASCII\n")
    tree = find_data_sets(tmp_path)
    assert [(s.name, s.kind) for s in tree.sets] == [("x1", "frames"), ("x2", "intensities")]
    assert "processed instead" in reasons(tree)["XDS_ASCII.HKL"]


def test_results_of_ours(tmp_path):
    frames = series(tmp_path / "shots")
    (frames / "report.json").write_text(json.dumps({"command": "simulate frames", "ok": True}))
    for name, command, given in (("a", "process", [str(frames)]), ("b", "process", ["/gone"]), ("c", "merge", [])):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps({"command": command, "ok": True, "input": given}))
        crystal = Crystal(Cell(5, 6, 7, 90, 90, 90), np.eye(3))
        experiment = Experiment(
            Beam(0.025), Detector((8, 8), 0.01, (4, 4)), Goniometer.in_plane(0), Scan.regular(1, 0, 1)
        )
        write_experiment(folder / "experiment.json", experiment.replace(crystals=(crystal,)))
        write_reflections(folder / "reflections.h5", Reflections(h=[1], k=[0], l=[0], intensity=[1.0], sigma=[1.0]))
    tree = find_data_sets(tmp_path)
    assert [(s.name, s.kind) for s in tree.sets] == [("b", "intensities"), ("shots", "frames")]
    assert "processed here" in reasons(tree)["a"]
    assert reasons(tree)["c"] == "a result of `credo merge`"


def test_too_few_archives_and_the_folder_to_write(tmp_path):
    series(tmp_path / "snapshots", n=2)
    series(tmp_path / "packed")
    with tarfile.open(tmp_path / "x7.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "packed", "packed")
    series(tmp_path / "out" / "crystals")
    tree = find_data_sets(tmp_path, [tmp_path / "out"])
    assert names(tree) == ["packed", "x7"]
    assert any("too few" in x.reason for x in tree.left)


def test_the_root_itself_is_one_data_set(tmp_path):
    root = series(tmp_path / "data")
    tree = find_data_sets(root)
    assert names(tree) == ["data"] and tree.sets[0].paths == (root,)


def test_nothing_there(tmp_path):
    assert find_data_sets(tmp_path).sets == ()
    with pytest.raises(UnreadableInput, match="no such"):
        find_data_sets(tmp_path / "missing")


def test_names_sort_as_people_count():
    assert sorted(["x10", "x9", "a/2", "a/11"], key=natural) == ["a/2", "a/11", "x9", "x10"]
