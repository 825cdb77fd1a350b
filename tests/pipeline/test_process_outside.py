"""XDS and DIALS in place of credo's indexing and integration: DIALS for real, XDS by its input and a stand-in."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from credo.io.project import read_experiment, read_reflections
from credo.io.xds_hkl import write_xds_ascii
from credo.io.xds_inp import parse_keywords
from credo.model import CannotDo, Reflections, Scan
from credo.physics.rotation_series import SeriesSettings
from credo.physics.truth import Truth, read_truth
from credo.pipeline.compare import compare
from credo.pipeline.numbered_frames import Whole, as_numbered, write_numbered
from credo.pipeline.process import ProcessSettings
from credo.pipeline.process_outside import process_outside
from credo.pipeline.simulate import simulate_frames

posix = pytest.mark.skipif(sys.platform == "win32", reason="scripts are no programs on Windows")
KNOWN = ProcessSettings(cell=(11.863, 11.863, 11.863, 90, 90, 90), space_group="I a -3 d")


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """46 of 48 frames of grossular over 72°, 192 x 192 pixels, with truth.json."""
    folder = tmp_path_factory.mktemp("outside") / "garnet"
    settings = SeriesSettings(
        frames=48, step_deg=1.5, start_deg=-36, shape=(192, 192), q_per_pixel=0.0105, seed=5,
        faults={"missing_every": 20},  # type: ignore[arg-type]
    )  # fmt: skip
    simulate_frames(folder, sample_name="grossular", settings=settings)
    return folder


@pytest.fixture(scope="module")
def truth(frames) -> Truth:
    return read_truth(frames / "truth.json")


def test_numbers_without_the_blanks():
    from credo.model import Beam, Detector, Experiment, Goniometer

    there = np.array([True, True, False, True])
    e = Experiment(Beam(0.025), Detector((9, 9), 0.01, (4, 4)), Goniometer.in_plane(0), Scan.regular(4, 0.0, 1.0))
    table = Reflections(first=[0, 1, 3, 2], last=[1, 3, 3, 2], frame=[1.0, 2.5, 3.5, 2.5], h=[1, 2, 3, 4])
    spots = Reflections(frame=[0.5, 3.5])
    found, s, r = as_numbered(Whole(e, np.array([7, 8, 9, 10]), there), e, spots, table)
    assert found.scan.numbers.tolist() == [7, 8, 10] and found.scan.start_deg.tolist() == [0.0, 1.0, 3.0]
    # what crossed the blank, or lay in it, is gone
    assert r["h"].tolist() == [1, 3] and r["frame"].tolist() == [1.0, 2.5] and s["frame"].tolist() == [0.5, 2.5]


def test_a_stage_that_turned_backwards_is_told_forwards_and_back_again(tmp_path):
    from credo.model import ArrayFrames, Beam, Cell, Crystal, Detector, Experiment, Goniometer
    from credo.physics.ewald import predict

    crystal = Crystal(Cell(7.0, 8.0, 9.0, 90, 95, 90), np.eye(3))
    e = Experiment(
        Beam(0.025), Detector((16, 16), 0.1, (8, 8)), Goniometer.in_plane(30), Scan.regular(6, 12.0, -2.0, first=3),
        (crystal,),
    )  # fmt: skip
    whole = write_numbered(tmp_path / "frames", e, ArrayFrames(np.zeros((6, 16, 16), np.uint16)))
    assert whole.back and whole.experiment.scan.start_deg.tolist() == [-12.0, -10.0, -8.0, -6.0, -4.0, -2.0]
    # the same crystal gives the same spots on the same frames
    ours, theirs = predict(e, crystal, 1.2), predict(whole.experiment.replace(crystals=(crystal,)), crystal, 1.2)
    assert len(ours) == len(theirs) > 10
    found, _, back = as_numbered(whole, whole.experiment, Reflections(frame=[]), theirs)
    assert found.scan == e.scan and np.allclose(found.goniometer.axis, e.goniometer.axis)
    order = lambda r: np.lexsort((r["phi"], *r.hkl.T))  # noqa: E731
    for name in ("x", "y", "phi", "frame"):
        assert np.allclose(ours[name][order(ours)], back[name][order(back)]), name


# ---------------------------------------------------------------- XDS


@pytest.fixture
def xds(tmp_path, monkeypatch, truth):
    """``xds(body)``: a program xds on PATH, a Python script; ``good``: an XDS_ASCII.HKL of the truth, to copy."""
    good = tmp_path / "good.HKL"
    r = truth.reflections
    scan = truth.experiment.scan
    n = int(scan.numbers[-1] - scan.numbers[0] + 1)
    whole = Scan.regular(n, float(scan.start_deg[0]), float(scan.end_deg[-1] - scan.start_deg[0]) / n)
    e = truth.experiment.replace(scan=whole)
    corrected = r["intensity"] / r["lorentz"]
    sigma = (1 + np.sqrt(np.abs(r["intensity"]))) / r["lorentz"]
    places = {"x_calc": r["x"], "y_calc": r["y"], "phi_calc": r["phi"]}
    table = r.with_columns(intensity=corrected, sigma=sigma, **places)
    write_xds_ascii(good, e, table)
    home = tmp_path / "bin"
    home.mkdir()
    monkeypatch.setenv("PATH", f"{home}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def make(body: str) -> Path:
        path = home / "xds"
        text = f"#!{sys.executable}\nimport pathlib, shutil\ngood = {str(good)!r}\n{body}\n"
        path.write_text(text)
        path.chmod(0o755)
        return path

    return make


@posix
def test_xds_gets_its_files_and_its_result_is_read(frames, truth, xds, tmp_path):
    xds("shutil.copy(good, 'XDS_ASCII.HKL'); assert len(list(pathlib.Path('frames').glob('*.img'))) == 48")
    settings = KNOWN.model_copy(update={"d_min": 1.0})
    report = process_outside([frames], tmp_path / "out", "xds", settings)
    assert report["ok"] and report["engine"] == "XDS" and report["space_group"] == "I a -3 d"
    words = parse_keywords((tmp_path / "out" / "xds" / "XDS.INP").read_text())
    assert words["SPACE_GROUP_NUMBER"] == ["230"] and words["UNIT_CELL_CONSTANTS"][0].startswith("11.8630 11.8630")
    assert words["NAME_TEMPLATE_OF_DATA_FRAMES"] == ["frames/?????.img SMV"] and words["DATA_RANGE"] == ["1 48"]
    assert words["EXCLUDE_DATA_RANGE"] == ["20 20", "40 40"] and words["INCLUDE_RESOLUTION_RANGE"] == ["50 1"]
    axis = np.array([float(v) for v in words["ROTATION_AXIS"][0].split()])
    assert axis @ truth.experiment.goniometer.axis > np.cos(np.radians(1.0))
    # the frames are not kept twice
    assert not (tmp_path / "out" / "xds" / "frames").exists()
    errors = compare(
        read_experiment(tmp_path / "out" / "experiment.json"),
        read_reflections(tmp_path / "out" / "reflections.h5"),
        truth,
    )
    assert errors["lattice_right"] and errors["cell_length_percent"] < 0.01 and errors["intensity_cc"] > 0.99


@posix
def test_xds_is_told_to_go_on_where_it_stops_at_few_indexed_spots(frames, xds, tmp_path):
    xds(
        "inp = pathlib.Path('XDS.INP').read_text()\n"
        "if 'JOB= DEFPIX INTEGRATE CORRECT' in inp: shutil.copy(good, 'XDS_ASCII.HKL')\n"
        "else: pathlib.Path('XPARM.XDS').write_text('x'); print('!!! ERROR !!! INSUFFICIENT PERCENTAGE (< 50%)')"
    )
    report = process_outside([frames], tmp_path / "out", "xds", KNOWN)
    assert any("told to go on" in w for w in report["warnings"])


@posix
def test_xds_without_a_result_or_absent_leaves_its_input_and_says_where(frames, xds, tmp_path, monkeypatch):
    program = xds("print('!!! ERROR !!! CANNOT INDEX')")
    with pytest.raises(CannotDo, match=r"there is no XDS_ASCII\.HKL.*CANNOT INDEX"):
        process_outside([frames], tmp_path / "out", "xds", KNOWN)
    program.unlink()
    with pytest.raises(CannotDo, match="not on PATH") as error:
        process_outside([frames], tmp_path / "out", "xds", KNOWN)
    assert str(tmp_path / "out" / "xds") in error.value.reason
    assert (tmp_path / "out" / "xds" / "XDS.INP").is_file() and (tmp_path / "out" / "xds" / "frames").is_dir()


# ---------------------------------------------------------------- DIALS


@pytest.mark.peer
@pytest.mark.timeout(1500)
@posix
def test_dials_processes_our_frames(frames, truth, tmp_path):
    if shutil.which("dials.integrate") is None:
        pytest.skip("DIALS ABSENT: apt install dials, so that nothing was processed by it")
    out = tmp_path / "out"
    report = process_outside([frames], out, "dials", KNOWN)
    assert report["engine"] == "DIALS" and report["n_frames"] == 46 and report["indexed_fraction"] > 0.9
    e, table = read_experiment(out / "experiment.json"), read_reflections(out / "reflections.h5")
    assert e.scan.numbers.tolist() == truth.experiment.scan.numbers.tolist()
    errors = compare(e, table, truth)
    assert errors["lattice_right"] and errors["cell_length_percent"] < 0.1 and errors["orientation_deg"] < 0.2
    assert errors["intensity_cc"] > 0.97 and errors["n_compared"] > 300
