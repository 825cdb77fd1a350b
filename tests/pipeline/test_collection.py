"""How data were measured, handed from reports to results: means of crystals, nothing where one log is silent."""

from __future__ import annotations

import json

import numpy as np
import pytest

from credo.io.project import write_json
from credo.model import Acquisition, Beam, Cell, Crystal, Detector, Experiment, Goniometer, Scan
from credo.pipeline.collection import collection_beside, corrections_beside, measured, solved_by, together

A = Acquisition(mode="rotation", exposed_s=60.0, flux=0.1, camera="x", software="y", mosaicity_deg=0.2)


def _experiment(scan: Scan, **more) -> Experiment:
    crystal = Crystal(Cell(5, 6, 7, 90, 90, 90), np.eye(3), mosaicity_deg=0.15)
    return Experiment(
        Beam(0.0251),
        Detector((9, 9), 0.01, (4, 4)),
        Goniometer.in_plane(0),
        scan,
        (crystal,),
        known=("angles",),
        **more,
    )


def test_frames_tell_what_the_log_does_not():
    scan = Scan.regular(10, -5.0, 1.0).replace(exposure_s=np.full(10, 0.5))
    a = measured(_experiment(scan))
    assert (a.rotation_deg, a.exposed_s, a.mosaicity_deg) == (10.0, 5.0, 0.15)
    told = measured(_experiment(scan, acquisition=Acquisition(exposed_s=7.0, rotation_deg=11.0)))
    assert (told.rotation_deg, told.exposed_s) == (11.0, 7.0)
    # where frames are missing nobody knows how long the beam was on
    assert measured(_experiment(scan.part(np.r_[0:4, 6:10]))).exposed_s is None
    assert measured(_experiment(scan).replace(known=())).rotation_deg is None


def test_a_merge_has_the_mean_dose_of_its_crystals():
    b = A.replace(exposed_s=20.0, flux=0.4, camera="z", mosaicity_deg=0.4)
    both = together([A, b])
    assert both.crystals == 2 and both.exposed_s == 40 and both.mosaicity_deg == pytest.approx(0.3)
    assert both.fluence == pytest.approx((60 * 0.1 + 20 * 0.4) / 2)
    assert both.mode == "rotation" and both.software == "y" and both.camera is None
    assert together([both, A]).crystals == 3


def test_one_silent_log_makes_the_whole_unknown():
    both = together([A, A.replace(flux=None)])
    assert both.flux is None and both.fluence is None and both.exposed_s == 60
    assert together([]) == Acquisition()


def test_it_is_found_beside_the_reflections_and_above_those_of_one_of_several_phases(tmp_path):
    report = {
        "command": "merge", "collection": A.to_dict(),
        "phases": [{"name": "A", "collection": A.to_dict()}, {"name": "B", "collection": {"exposed_s": 3.0}}],
    }  # fmt: skip
    (tmp_path / "B").mkdir()
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert collection_beside(tmp_path / "B" / "merged.hkl").exposed_s == 3.0
    assert collection_beside(tmp_path / "C" / "merged.hkl") == Acquisition()
    report.pop("phases")
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert collection_beside(tmp_path / "merged.hkl") == A
    (tmp_path / "report.json").write_text('{"collection": {"strange": 1}}')
    assert collection_beside(tmp_path / "merged.hkl") == Acquisition()


def test_who_solved_a_structure_is_told_by_its_report_only(tmp_path):
    model = tmp_path / "structure.res"
    assert solved_by(model) == "?"
    report = {"command": "solve", "solved": True, "files": ["structure.res"], "version": "9.9"}
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert solved_by(model).startswith("credo 9.9") and solved_by(tmp_path / "mine.res") == "?"
    (tmp_path / "report.json").write_text(json.dumps(report | {"engine": "SHELXT"}))
    assert solved_by(model) == "SHELXT"


def test_a_model_that_was_refined_was_solved_by_who_solved_its_first_model(tmp_path):
    solve, refine = tmp_path / "solve", tmp_path / "refine"
    for folder in (solve, refine):
        folder.mkdir()
    for file in (solve / "structure.res", refine / "refined.res"):
        file.touch()
    write_json(solve / "report.json", {"command": "solve", "solved": True, "files": ["structure.res"], "engine": "X"})
    inputs = [{"from_here": "../solve/structure.res"}, {"from_here": "../merged.hkl"}]
    report = {"command": "refine", "files": ["refined.res"], "provenance": {"inputs": inputs}}
    write_json(refine / "report.json", report)
    assert solved_by(refine / "refined.res") == "X" and solved_by(refine / "other.res") == "?"


def test_what_was_taken_out_of_merged_data_is_told_beside_them(tmp_path):
    data = tmp_path / "merged.hkl"
    assert corrections_beside(data) == ()
    rows = [{"dataset": "a", "thickness_nm": 120.4}, {"dataset": "b", "thickness_nm": None}]
    for applied in (True, False):
        write_json(tmp_path / "report.json", {"command": "merge", "damping": {"applied": applied}, "datasets": rows})
        told = corrections_beside(data)
        assert (len(told) == 1 and "Blackman" in told[0] and "120 nm" in told[0]) if applied else told == ()
