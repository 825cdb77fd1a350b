"""convert: every format to every other without loss; check: what a folder is and what is wrong with it."""

from __future__ import annotations

import numpy as np
import pytest

from credo.io.check import check
from credo.io.convert import FRAME_WRITERS, convert
from credo.io.convert import write_frames as write
from credo.io.open import GeometryOverrides, open_experiment
from credo.model import ArrayFrames
from credo.model.errors import CannotDo, UnreadableInput


@pytest.fixture
def series(tmp_path, small, pictures):
    """Four frames with a gap, as SMV."""
    e, images = small((40, 60), numbers=[1, 2, 5, 6]), pictures(4, (40, 60))
    write(tmp_path / "smv", "smv", e, ArrayFrames(images))
    return tmp_path / "smv", e, images


@pytest.mark.parametrize("form", FRAME_WRITERS)
def test_every_format_keeps_pixels_numbers_and_angles(series, tmp_path, form) -> None:
    folder, e, images = series
    report = convert(folder, tmp_path / "out", to=form)
    assert report.numbers["n_frames"] == 4
    if form == "mrcs":
        again = open_experiment(tmp_path / "out", need_angles=False)
    else:
        again = open_experiment(tmp_path / "out")
        x = again.experiment
        assert x.scan.numbers.tolist() == [1, 2, 5, 6]
        assert x.scan.start_deg == pytest.approx(e.scan.start_deg)
        assert x.detector.q_per_pixel == pytest.approx(e.detector.q_per_pixel, rel=2e-5)
        assert x.detector.origin == pytest.approx(e.detector.origin, abs=1e-3)
    assert again.frames is not None
    assert np.array_equal(np.stack([again.frames[i] for i in range(4)]), images)


@pytest.mark.parametrize("name", ["a.nxs", "a.mrcs", "a.tiff", "a.mrc"])
def test_into_one_file_by_its_suffix(series, tmp_path, name) -> None:
    if name == "a.mrc":
        with pytest.raises(UnreadableInput, match="one frame"):
            convert(series[0], tmp_path / name)
        return
    convert(series[0], tmp_path / name)
    frames = open_experiment(tmp_path / name, need_angles=False).frames
    assert frames is not None
    assert frames.shape == (4, 40, 60)


def test_nothing_is_overwritten(series, tmp_path) -> None:
    with pytest.raises(CannotDo, match="already"):
        convert(series[0], series[0], to="smv")
    convert(series[0], tmp_path / "a.nxs")
    with pytest.raises(CannotDo, match="exists"):
        convert(series[0], tmp_path / "a.nxs")


def test_a_format_must_be_named(series, tmp_path) -> None:
    with pytest.raises(UnreadableInput, match="which format") as caught:
        convert(series[0], tmp_path / "out")
    assert "--to" in caught.value.remedy


def test_check_says_what_is_there(series) -> None:
    numbers = check(series[0]).numbers
    assert (numbers["kind"], numbers["frames"], numbers["shape"]) == ("SMV", 4, [40, 60])
    assert numbers["wavelength"] == pytest.approx(0.0250793)
    assert numbers["voltage_kv"] == pytest.approx(200, abs=0.1)
    assert numbers["rotation_axis_deg"] is None
    assert numbers["missing_frames"] == 2
    text = " ".join(numbers["problems"])
    assert "rotation axis" in text
    assert "2 frames are missing" in text


def test_check_sees_empty_frames_and_missing_angles(tmp_path, small) -> None:
    write(tmp_path / "t", "tiff", small((8, 8), n=3), ArrayFrames(np.zeros((3, 8, 8), np.uint16)))
    (tmp_path / "t" / "experiment.json").unlink()
    report = check(tmp_path / "t", GeometryOverrides(voltage=200))
    assert report.numbers["step_deg"] is None
    assert report.numbers["wavelength"] == pytest.approx(0.02508, rel=1e-4)
    assert any("images are empty" in p for p in report.warnings)
    assert any("--step" in p for p in report.warnings)


def _opened_again(tmp_path, form: str, e, images):
    """A folder of frames in this format, made from SMV with the axis given by hand."""
    write(tmp_path / "smv_in", "smv", e, ArrayFrames(images))
    convert(tmp_path / "smv_in", tmp_path / "out", to=form, overrides=GeometryOverrides(axis=128.34))
    return tmp_path / "out"


@pytest.mark.parametrize("form", FRAME_WRITERS)
def test_all_of_the_geometry_comes_back(tmp_path, small, pictures, form) -> None:
    """Axis, distance, beam centre, gaps and angles, in every format; again after a second conversion to NXmx."""
    e = small((40, 60), numbers=[1, 2, 5, 6])
    out = _opened_again(tmp_path, form, e, pictures(4, (40, 60)))
    convert(out, tmp_path / "again.nxs")
    for path in (out, tmp_path / "again.nxs"):
        x = open_experiment(path).experiment
        assert {"wavelength", "q_per_pixel", "origin", "axis", "angles"} <= set(x.known)
        assert x.scan.numbers.tolist() == [1, 2, 5, 6]
        assert x.scan.start_deg == pytest.approx(e.scan.start_deg, abs=1e-5)
        assert x.scan.width_deg == pytest.approx(e.scan.width_deg, abs=1e-5)
        assert x.goniometer.angle_deg == pytest.approx(128.34, abs=1e-4)
        assert x.detector.origin == pytest.approx(e.detector.origin, abs=1e-3)
        assert x.detector.distance_mm(x.beam.wavelength) == pytest.approx(532.3, rel=1e-3)
        assert x.detector.q_per_pixel == pytest.approx(e.detector.q_per_pixel, rel=2e-5)


@pytest.mark.parametrize("form", ["smv", "cbf"])
def test_headers_and_xds_inp_are_enough(tmp_path, small, pictures, form) -> None:
    """Without credo's own experiment.json."""
    e = small((40, 60), numbers=[1, 2, 5, 6])
    out = _opened_again(tmp_path, form, e, pictures(4, (40, 60)))
    (out / "experiment.json").unlink()
    x = open_experiment(out).experiment
    assert x.goniometer.angle_deg == pytest.approx(128.34, abs=1e-4)
    assert x.scan.numbers.tolist() == [1, 2, 5, 6]
    assert x.detector.origin == pytest.approx(e.detector.origin, abs=1e-3)
    assert x.problems == ()


def test_a_stack_without_geometry_says_so(series, tmp_path) -> None:
    assert any("holds no geometry" in w for w in convert(series[0], tmp_path / "a.mrcs").warnings)
    assert not any("holds no geometry" in w for w in convert(series[0], tmp_path / "a.nxs").warnings)


def test_a_failure_leaves_nothing_half_written(tmp_path, small, pictures) -> None:
    """The third frame is damaged: neither a folder with two frames nor a temporary one stays."""
    write(tmp_path / "in", "smv", small((40, 60)), ArrayFrames(pictures(4, (40, 60))))
    bad = sorted((tmp_path / "in").glob("*.img"))[2]
    opened = open_experiment(tmp_path / "in")
    assert opened.frames is not None
    bad.write_bytes(bad.read_bytes()[:600])
    with pytest.raises(UnreadableInput, match=bad.name):
        convert(tmp_path / "in", tmp_path / "out", to="cbf")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_a_full_disk_leaves_nothing_half_written(series, tmp_path, monkeypatch) -> None:
    import errno

    from credo.io import cbf

    def full(path, image, experiment, i) -> int:
        if i == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(b"x")
        return 0

    monkeypatch.setattr(cbf, "write", full)
    with pytest.raises(CannotDo, match="No space"):
        convert(series[0], tmp_path / "out", to="cbf")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["smv"]
