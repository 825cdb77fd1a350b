"""convert and check of processing files: everything to everything, or a clear refusal; geometry and gaps survive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from credo.io.check import check
from credo.io.convert import convert, write_frames
from credo.io.overrides import GeometryOverrides
from credo.io.project import write_experiment, write_reflections
from credo.io.reflection_files import FORMATS, read_any, sniff, write_any
from credo.model import ArrayFrames, Reflections
from credo.model.errors import CannotDo, CredoError, UnreadableInput

TARGETS = {
    "refl": "a.refl", "expt": "a.expt", "mtz": "a.mtz", "xds_ascii": "XDS_ASCII.HKL", "xparm": "XPARM.XDS",
    "spot_xds": "SPOT.XDS", "xds_inp": "XDS.INP", "cif_pets": "a.cif_pets", "pts": "a.pts", "ed3d": "a.ed3d",
    "cif": "a.cif", "ins": "a.ins", "hkl": "a.hkl", "cells_yaml": "cells.yaml",
}  # fmt: skip
#: What each file holds beyond a cell: g geometry, i intensities with indices, p positions, f frames.
HOLDS = {
    "refl": "gipf", "expt": "gipf", "mtz": "ip", "xds_ascii": "gipf", "xparm": "g", "spot_xds": "gpf", "xds_inp": "g",
    "cif_pets": "if", "pts": "", "ed3d": "", "cif": "i", "ins": "", "hkl": "i", "cells_yaml": "",
}  # fmt: skip
NEEDS = {
    "refl": "gp", "expt": "g", "mtz": "i", "xds_ascii": "gip", "xparm": "g", "spot_xds": "gp", "xds_inp": "g",
    "cif_pets": "fi", "pts": "g", "ed3d": "g", "cif": "i", "ins": "", "hkl": "i", "cells_yaml": "",
}  # fmt: skip


@pytest.fixture
def written(indexed, tmp_path):
    """``written(format)``: a file of this format with all that it can hold, alone in its folder."""
    e, r = indexed(gaps=True)
    merged = Reflections({k: r[k] for k in ("h", "k", "l", "intensity", "sigma")})

    def make(name: str) -> Path:
        folder = tmp_path / f"from_{name}"
        folder.mkdir()
        write_any(folder / TARGETS[name], e, merged if name in ("cif", "hkl") else r)
        return folder / TARGETS[name]

    return make


def test_every_writable_format_is_tried() -> None:
    assert set(TARGETS) == {f.name for f in FORMATS if f.writer}


@pytest.mark.parametrize("name", TARGETS)
def test_sniffed_as_what_it_is_and_told_by_check(written, name) -> None:
    path = written(name)
    assert sniff(path) == name
    report = check(path)
    assert report.numbers["frames"] == 0
    if name not in ("cells_yaml", "xds_inp"):
        assert report.numbers["format"] == name
    if name not in ("pts", "ed3d", "xds_inp", "cells_yaml", "spot_xds"):
        assert report.numbers["cell"] == pytest.approx((7.1, 8.3, 10.9, 83.0, 97.0, 104.0), rel=1e-4)


@pytest.mark.parametrize("name", TARGETS)
def test_everything_to_everything_or_a_clear_refusal(written, tmp_path, name) -> None:
    source = written(name)
    before, rows = read_any(source)
    for to, file in TARGETS.items():
        target = tmp_path / f"{name}_{to}" / file
        target.parent.mkdir()
        # geometry without a crystal is whole only where the file says all of it
        possible = set(NEEDS[to]) <= set(HOLDS[name])
        if name in ("pts", "ed3d"):
            possible = to in ("expt", "xds_inp", "pts", "ed3d")
        if name == "spot_xds":
            possible = to in ("refl", "expt", "spot_xds", "xds_inp", "pts", "ed3d", "xparm", "ins", "cells_yaml")
        try:
            report = convert(source, target)
        except CredoError as error:
            assert not possible, f"{name} to {to}: {error}"
            assert error.remedy
            assert not target.exists()
            continue
        assert possible, f"{name} to {to} should not be possible"
        assert report.numbers["format"] == to
        after, again = read_any(target)
        if {"h", "k", "l", "intensity"} <= set(again) and len(rows):
            a, b = (np.unique(_one_of_pairs(t.hkl), axis=0) for t in (rows, again))
            assert np.array_equal(a, b), f"{name} to {to}"
            assert len(again) == len(rows)
        if after is not None and after.crystals and before is not None and before.crystals:
            assert after.crystal.cell.parameters == pytest.approx(before.crystal.cell.parameters, rel=1e-4)


def _one_of_pairs(hkl: np.ndarray) -> np.ndarray:
    """The same member of each Friedel pair: merged MTZ keeps the asymmetric unit of the Laue group."""
    sign = np.sign(hkl[:, 2] * 10**8 + hkl[:, 1] * 10**4 + hkl[:, 0])
    return hkl * sign[:, None]


@pytest.mark.parametrize("to", ["a.expt", "XDS.INP", "a.ed3d", "a.pts"])
def test_the_geometry_of_frames_becomes_a_processing_file(tmp_path, small, pictures, to) -> None:
    e = small((40, 60), numbers=[1, 2, 5, 6])
    write_frames(tmp_path / "smv", "smv", e, ArrayFrames(pictures(4, (40, 60))))
    with pytest.raises(CannotDo, match="rotation axis"):
        convert(tmp_path / "smv", tmp_path / to)
    report = convert(tmp_path / "smv", tmp_path / to, overrides=GeometryOverrides(axis=128.34))
    assert report.numbers["n_frames"] == 4
    x, _ = read_any(tmp_path / to)
    assert x is not None
    assert x.beam.wavelength == pytest.approx(e.beam.wavelength, rel=2e-5)
    assert x.detector.q_per_pixel == pytest.approx(e.detector.q_per_pixel, rel=2e-5)
    assert x.goniometer.angle_deg == pytest.approx(128.34, abs=1e-3)
    starts = dict(zip(x.scan.numbers.tolist(), x.scan.start_deg.tolist()))
    assert [starts[n] for n in (1, 2, 5, 6)] == pytest.approx(e.scan.start_deg, abs=1e-4)
    # DIALS has no gaps in a scan
    assert x.scan.missing.tolist() == ([] if to == "a.expt" else [3, 4])
    if to != "a.ed3d":
        assert x.detector.origin == pytest.approx(e.detector.origin, abs=1e-3)


def test_a_processed_project_converts_to_what_it_holds(indexed, tmp_path) -> None:
    e, r = indexed(gaps=True)
    write_experiment(tmp_path / "p" / "experiment.json", e)
    write_reflections(tmp_path / "p" / "reflections.h5", r)
    for file in ("XDS_ASCII.HKL", "a.refl", "a.mtz", "a.cif_pets"):
        convert(tmp_path / "p" / "experiment.json", tmp_path / file)
        assert len(read_any(tmp_path / file)[1]) == len(r)


def test_nothing_is_overwritten(written, tmp_path) -> None:
    source = written("xds_ascii")
    (tmp_path / "a.expt").write_text("mine")
    with pytest.raises(CannotDo, match="exists"):
        convert(source, tmp_path / "a.refl")
    assert (tmp_path / "a.expt").read_text() == "mine"


def test_an_unknown_target_and_a_list_without_cell(tmp_path) -> None:
    (tmp_path / "a.hkl").write_text("   1   0   0   10.00    1.00\n   0   0   0    0.00    0.00\n")
    with pytest.raises(CannotDo, match="cell"):
        convert(tmp_path / "a.hkl", tmp_path / "a.mtz")
    with pytest.raises(UnreadableInput, match="which format"):
        convert(tmp_path / "a.hkl", tmp_path / "out")
    convert(tmp_path / "a.hkl", tmp_path / "b.hkl")
    assert read_any(tmp_path / "b.hkl")[1].hkl.tolist() == [[1, 0, 0]]
    assert "no cell" in check(tmp_path / "a.hkl").warnings[0]


def test_the_ins_of_another_list_is_not_taken(tmp_path) -> None:
    line = "   1   0   0   10.00    1.00\n"
    for name in ("a.hkl", "b.hkl"):
        (tmp_path / name).write_text(line)
    (tmp_path / "a.ins").write_text("TITL a\nCELL 0.0251 5 6 7 90 90 90\nZERR 1 0 0 0 0 0 0\nLATT -1\nHKLF 4\n")
    assert read_any(tmp_path / "a.hkl")[0] is not None
    assert read_any(tmp_path / "b.hkl")[0] is None


def test_an_xds_inp_whose_frames_are_gone_is_its_geometry(written) -> None:
    report = check(written("xds_inp"))
    assert report.numbers["frames"] == 0
    assert report.numbers["rotation_axis_deg"] == pytest.approx(137.4, abs=0.01)
    assert any("not there" in p for p in report.warnings)
