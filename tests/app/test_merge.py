"""``credo merge`` on files of several kinds, on results of ``credo cluster``, and on what may be wrong with them."""

import json

import gemmi
import numpy as np
import openpyxl
import pytest

from credo.app.cli import run
from credo.io.project import write_experiment, write_json, write_reflections
from credo.io.reflection_files import read_any, write_any
from credo.model import Beam, Cell, Reflections


@pytest.fixture(scope="module")
def scene(wedges):
    return wedges(31, n=8, widths=(15, 30), cell=Cell(7.1, 8.7, 10.3, 90, 90, 90))


def write_sets(root, scene, kind="xds", first=0):
    for k, (e, t) in enumerate(zip(scene.experiments, scene.tables), start=first):
        folder = root / f"set {k}"
        folder.mkdir(parents=True)
        if kind == "xds":
            write_any(folder / "XDS_ASCII.HKL", e, t)
        elif kind == "dials":
            one = np.ones(len(t))
            write_any(folder / "integrated.refl", e, t.with_columns(partiality=one, d=e.crystal.cell.d_spacing(t.hkl)))
        elif kind == "credo":
            write_experiment(folder / "experiment.json", e)
            write_reflections(folder / "reflections.h5", t)
    return root


@pytest.fixture(scope="module")
def merged(scene, tmp_path_factory):
    root = tmp_path_factory.mktemp("many")
    data, out = write_sets(root / "data", scene), root / "out"
    assert run(["merge", str(data), "--out", str(out), "--xscale", "--dials"]) == 0
    return out


def report_of(out):
    return json.loads((out / "report.json").read_text())


def test_the_report_has_the_keys_of_the_contract(merged):
    report = report_of(merged)
    keys = ("space_group", "candidates", "completeness", "r_int", "r_meas", "r_pim", "cc_half", "resolution", "members",
            "rejected", "command", "version", "ok", "reason", "seconds")  # fmt: skip
    assert all(k in report for k in keys)
    assert report["ok"] and len(report["members"]) == 8 and report["rejected"] == []
    assert report["laue_group"] == "mmm" and report["cell"] == pytest.approx([7.1, 8.7, 10.3, 90, 90, 90])
    assert 0.15 < report["r_meas"] < 0.35 and report["cc_half"] > 0.9 and report["cc_half_by_crystals"] > 0.85
    assert all(0.5 < chi < 1.6 for part in report["chi_square"].values() for _, chi in part)
    assert all(d["reason"] for d in report["datasets"])


def test_other_programs_read_what_was_written(merged):
    _, hkl = read_any(merged / "merged.hkl")
    mtz = gemmi.read_mtz_file(str(merged / "merged.mtz"))
    _, cif = read_any(merged / "merged.cif")
    assert len(hkl) == mtz.nreflections == len(cif) > 300
    assert hkl["intensity"].max() == pytest.approx(cif["intensity"].max(), rel=1e-3)
    assert "CELL 0.025080 7.1" in (merged / "merged.ins").read_text()
    sheet = openpyxl.load_workbook(merged / "datasets.xlsx").active
    assert sheet is not None
    head = [c.value for c in sheet[1]]
    assert head[1:12] == ["spgr", "a", "b", "c", "al", "be", "ga", "volume", "rotation_angle", "total_completeness",
                          "file"]  # fmt: skip
    assert sheet.max_row == 9
    assert (
        len(gemmi.read_xds_ascii(str(merged / "scaled.HKL")).iobs_array)
        == report_of(merged)["n_observations"] + (report_of(merged)["n_outliers"])
    )
    assert (merged / "xscale" / "XSCALE.INP").read_text().count("INPUT_FILE=") == 8
    assert (merged / "xscale" / "8_XDS_ASCII.HKL").is_file() and (merged / "dials" / "8.refl").is_file()
    page = (merged / "report.html").read_text()
    assert all(word in page for word in ("Completeness", "by crystals", "Space groups", "agrees with the others", "χ²"))


@pytest.mark.parametrize("kind", ["dials", "credo"])
def test_the_kind_of_file_does_not_matter(scene, merged, tmp_path, kind):
    data = write_sets(tmp_path / "data", scene, kind)
    assert run(["merge", str(data), "--out", str(tmp_path / "out")]) == 0
    mine, other = report_of(tmp_path / "out"), report_of(merged)
    assert len(mine["members"]) == 8
    assert mine["r_meas"] == pytest.approx(other["r_meas"], abs=0.005)


def test_shelx_lists_need_a_cell_and_take_one(scene, tmp_path, capsys):
    for k, t in enumerate(scene.tables[:3]):
        write_any(tmp_path / f"{k}.hkl", None, t)
    files = [str(tmp_path / f"{k}.hkl") for k in range(3)]
    assert run(["merge", *files, "--out", str(tmp_path / "out")]) == 2
    assert "--cell" in capsys.readouterr().err
    words = ["--cell", "7.1,8.7,10.3,90,90,90", "--laue-group", "mmm", "--out", str(tmp_path / "out2")]
    assert run(["merge", *files, *words]) == 0
    assert len(report_of(tmp_path / "out2")["members"]) == 3


def test_every_set_is_accounted_for(scene, wedges, tmp_path):
    """Good sets among one without reflections, the same one twice, another cell, another structure, a broken file."""
    data = write_sets(tmp_path / "data", scene)
    extra = write_sets(tmp_path / "data", wedges(77, n=2, junk=2, widths=(20, 30), cell=scene.cell), first=8)
    e, t = scene.experiments[0], scene.tables[0]
    (extra / "set again").mkdir()
    write_any(extra / "set again" / "XDS_ASCII.HKL", e, t)
    (extra / "other").mkdir()
    wrong = e.crystal.replace(cell=Cell(5.0, 9.5, 12.1, 90, 99, 90))
    write_any(extra / "other" / "XDS_ASCII.HKL", e.replace(crystals=(wrong,)), t)
    (extra / "empty").mkdir()
    write_any(extra / "empty" / "XDS_ASCII.HKL", e, t.select(np.zeros(len(t), dtype=bool)))
    (extra / "failed").mkdir()
    (extra / "failed" / "XDS_ASCII.HKL").write_text("!FORMAT=XDS_ASCII    MERGE=FALSE\n! XSCALE was stopped")
    assert run(["merge", str(data), "--out", str(tmp_path / "out")]) == 0
    report = report_of(tmp_path / "out")
    why = {r["dataset"].split("/")[-2]: r["reason"] for r in report["rejected"]}
    assert len(report["members"]) == 8 and len(why) == 6
    assert "same observations" in why["set again"] and "strained" in why["other"]
    assert "no reflections" in why["empty"] or "holds no" in why["empty"]
    assert "END_OF_HEADER" in why["failed"]
    assert all("not those of the others" in why[f"set {k}"] for k in (8, 9))


def test_mixed_wavelengths_are_told(scene, tmp_path):
    root = tmp_path / "data"
    for k, (e, t) in enumerate(zip(scene.experiments[:4], scene.tables)):
        (root / str(k)).mkdir(parents=True)
        write_experiment(root / str(k) / "experiment.json", e.replace(beam=Beam(0.0197 if k == 0 else 0.02508),
                                                                      known=("wavelength",)))  # fmt: skip
        write_reflections(root / str(k) / "reflections.h5", t)
    assert run(["merge", str(root), "--out", str(tmp_path / "out")]) == 0
    report = report_of(tmp_path / "out")
    assert any("wavelengths differ" in w for w in report["warnings"])
    assert report["wavelength"] == pytest.approx(0.02508)


def test_one_set_alone(scene, tmp_path):
    write_sets(tmp_path / "data", scene)
    one = tmp_path / "data" / "set 0" / "XDS_ASCII.HKL"
    assert run(["merge", str(one), "--out", str(tmp_path / "out")]) == 0
    report = report_of(tmp_path / "out")
    assert len(report["members"]) == 1 and report["cc_half_by_crystals"] is None
    assert any("One data set" in w for w in report["warnings"])


def test_all_junk_ends_with_the_reasons(wedges, tmp_path, capsys):
    data = write_sets(tmp_path / "data", wedges(78, n=4, junk=4, widths=(20, 30)))
    assert run(["merge", str(data), "--out", str(tmp_path / "out")]) == 1
    assert "no two data sets agree" in capsys.readouterr().err
    report = report_of(tmp_path / "out")
    assert not report["ok"] and len(report["rejected"]) == 4 and all(r["reason"] for r in report["rejected"])


@pytest.mark.parametrize("text", ["", "hello"])
def test_nothing_readable_is_bad_input(tmp_path, text, capsys):
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "XDS_ASCII.HKL").write_text(text)
    assert run(["merge", str(tmp_path / "a b"), "--out", str(tmp_path / "out")]) == 2
    assert "a b/XDS_ASCII.HKL" in capsys.readouterr().err
    assert run(["merge", str(tmp_path / "missing"), "--out", str(tmp_path / "out2")]) == 2
    (tmp_path / "void").mkdir()
    assert run(["merge", str(tmp_path / "void"), "--out", str(tmp_path / "out3")]) == 2


def test_a_given_space_group_is_followed_and_a_wrong_one_refused(scene, tmp_path, capsys):
    data = write_sets(tmp_path / "data", scene)
    assert run(["merge", str(data), "--space-group", "P n m a", "--out", str(tmp_path / "out")]) == 0
    assert report_of(tmp_path / "out")["space_group"] == "P n m a"
    assert run(["merge", str(data), "--space-group", "P 7", "--out", str(tmp_path / "out2")]) == 2
    assert "not a space group" in capsys.readouterr().err


def test_a_program_that_is_not_there_is_named(scene, tmp_path, capsys, monkeypatch):
    data = write_sets(tmp_path / "data", scene)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["merge", str(data), "--engine", "xscale", "--out", str(tmp_path / "out")]) == 1
    assert "XSCALE is not on PATH" in capsys.readouterr().err
    assert (tmp_path / "out" / "xscale" / "XSCALE.INP").is_file()


def test_phases_of_a_cluster_are_merged_one_by_one(scene, wedges, tmp_path):
    data = write_sets(tmp_path / "data", scene)
    write_sets(tmp_path / "data", wedges(79, n=6, widths=(20, 30), cell=Cell(6.1, 11.9, 13.4, 90, 90, 90)), first=8)
    names = sorted(str(p) for p in data.rglob("XDS_ASCII.HKL"))
    second = [i for i, n in enumerate(names) if int(n.split("/")[-2].split()[1]) >= 8]
    first = [i for i in range(14) if i not in second]
    # the last is by itself among the intensities: it goes with the others of its cell, to be judged by them
    clusters = [{"members": first, "intensity_labels": [1] * 7 + [2]}, {"members": second}]
    (tmp_path / "sorted").mkdir()
    write_json(tmp_path / "sorted" / "report.json",
               {"command": "cluster", "ok": True, "datasets": names, "clusters": clusters})  # fmt: skip
    assert run(["merge", str(tmp_path / "sorted"), "--out", str(tmp_path / "out")]) == 0
    report = report_of(tmp_path / "out")
    assert [len(p["members"]) for p in report["phases"]] == [8, 6]
    assert report["phases"][1]["cell"][2] == pytest.approx(13.4, rel=1e-3)
    for name in "AB":
        assert (tmp_path / "out" / name / "merged.hkl").is_file()
    assert "Phase B" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.data
def test_measured_lta_is_what_its_own_run_says(shared_data, tmp_path):
    """Four thicknesses of one LTA crystal: Pm-3m, R and CC½ as XDS has them for the first."""
    root = shared_data / "lta_stw_xds"
    files = [str(root / f"LTA_t{k}" / "INTEGRATE.HKL.gz") for k in (1, 2, 3, 4)]
    assert run(["merge", *files, "--out", str(tmp_path / "out")]) == 0
    report = report_of(tmp_path / "out")
    assert report["laue_group"] == "m-3m" and len(report["members"]) == 4
    assert "P m -3 m" in [c["space_group"] for c in report["candidates"][:3]]
    assert report["completeness"] > 0.99 and report["cc_half"] > 0.95


def test_what_the_cluster_found_to_be_junk_stays_out(scene, tmp_path):
    names = sorted(str(p) for p in write_sets(tmp_path / "data", scene).rglob("XDS_ASCII.HKL"))
    kinds = ["phase"] * 6 + ["junk", "undecided"]
    verdicts = [{"kind": k, "label": int(k == "phase"), "reason": f"for {k}"} for k in kinds]
    part = {
        "members": list(range(8)),
        "intensity_labels": [v["label"] for v in verdicts],
        "intensity_verdicts": verdicts,
    }
    (tmp_path / "sorted").mkdir()
    write_json(tmp_path / "sorted" / "report.json",
               {"command": "cluster", "ok": True, "datasets": names, "clusters": [part],
                "rejected": [{"dataset": "x", "reason": "unreadable"}]})  # fmt: skip
    assert run(["merge", str(tmp_path / "sorted"), "--out", str(tmp_path / "out")]) == 0
    report = report_of(tmp_path / "out")
    assert len(report["members"]) == 7 and names[7] in report["members"]
    assert report["rejected"][0] == {"dataset": "x", "reason": "unreadable"}
    assert report["rejected"][1:] == [{"dataset": names[6], "reason": "junk, as `credo cluster` found: for junk"}]


def test_reflections_are_needed(tmp_path, scene, capsys):
    write_experiment(tmp_path / "experiment.json", scene.experiments[0])
    write_reflections(tmp_path / "reflections.h5", Reflections(x=[1.0], y=[2.0], phi=[0.0]))
    assert run(["merge", str(tmp_path / "experiment.json"), "--out", str(tmp_path / "out")]) == 2
    assert "has no column h" in capsys.readouterr().err
