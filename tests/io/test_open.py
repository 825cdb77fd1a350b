"""Opening what users point at: folders with logs and gaps, archives, files, stacks; and clear refusals."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from credo.io import mrc, smv, tiff
from credo.io.frame_file import Hints
from credo.io.open import GeometryOverrides, in_memory, open_experiment
from credo.io.project import write_experiment, write_reflections
from credo.model import ArrayFrames, Reflections
from credo.model.errors import CannotDo, UnreadableInput

LOG = """Starting angle: 10.00 degrees
Ending angle: {end} degrees
Exposure Time: 0.100 s
Pixelsize: 0.00412 px/Angstrom
Physical pixelsize: 0.055 um
Wavelength: 0.025079 Angstrom
Rotation axis: -2.24 radians
Oscillation angle: 0.5000 degrees
Number of frames: 6
"""


@pytest.fixture
def instamatic(tmp_path, pictures):
    """A folder as Instamatic leaves it: TIFF frames 1-3, 5-6, 8 and a log; the stage went down."""
    images = pictures(6)
    for number, image in zip((1, 2, 3, 5, 6, 8), images):
        (tmp_path / "exp_1" / "tiff").mkdir(parents=True, exist_ok=True)
        tiff.write(tmp_path / "exp_1" / "tiff" / f"{number:05d}.tiff", image)
    (tmp_path / "exp_1" / "cRED_log.txt").write_text(LOG.format(end="6.00"))
    return tmp_path / "exp_1", images


@pytest.mark.parametrize("inner", ["", "tiff"])
def test_a_folder_of_instamatic_with_gaps(instamatic, inner) -> None:
    folder, images = instamatic
    opened = open_experiment(folder / inner)
    e = opened.experiment
    assert e.scan.numbers.tolist() == [1, 2, 3, 5, 6, 8]
    assert e.scan.missing.tolist() == [4, 7]
    # the angle follows the number, not the place in the list
    assert e.scan.start_deg == pytest.approx([10, 9.5, 9, 8, 7.5, 6.5])
    assert e.scan.width_deg == pytest.approx(-0.5)
    assert e.goniometer.angle_deg == pytest.approx(128.3425, abs=1e-3)
    assert (e.beam.wavelength, e.detector.q_per_pixel) == (0.025079, 0.00412)
    assert "origin" not in e.known
    assert e.detector.origin == (30.0, 20.0)
    assert any("um" in p for p in e.problems)
    assert opened.frames is not None
    assert np.array_equal(opened.frames[3], images[3])
    loaded = in_memory(opened.frames)
    assert isinstance(loaded, ArrayFrames)
    assert np.array_equal(loaded[5], images[5])
    assert in_memory(opened.frames, limit_bytes=100) is opened.frames


def test_mrc_frames_stand_upside_down(instamatic) -> None:
    """Instamatic flips its MRC files, so that the same log means the mirrored axis there."""
    folder, images = instamatic
    for number, image in zip((1, 2, 3, 5, 6, 8), images):
        (folder / "RED").mkdir(exist_ok=True)
        mrc.write(folder / "RED" / f"{number:05d}.mrc", image[::-1])
    both = open_experiment(folder).experiment
    assert both.kind == "TIFF"
    assert any("same frames again" in p for p in both.problems)
    assert open_experiment(folder / "RED").experiment.goniometer.angle_deg == pytest.approx(231.6575, abs=1e-3)


def test_the_headers_of_smv_and_the_log_that_contradicts(tmp_path, small, pictures) -> None:
    e, images = small((40, 60), n=6), pictures(6)
    for i in range(6):
        smv.write(tmp_path / "SMV" / "data" / f"{i + 1:05d}.img", images[i], e, i)
    (tmp_path / "cRED_log.txt").write_text(LOG.format(end="6.00").replace("0.025079", "0.041757"))
    x = open_experiment(tmp_path).experiment
    assert x.beam.wavelength == pytest.approx(0.0250793)
    assert x.scan.width_deg == pytest.approx(0.25)
    assert x.detector.origin == pytest.approx(e.detector.origin, abs=1e-3)
    # SMV counts upwards although the stage went down: the axis is the opposite one
    assert x.goniometer.angle_deg == pytest.approx(308.3425, abs=1e-3)
    text = " ".join(x.problems)
    assert "80 kV" in text
    assert "0.5000° per frame" in text


def test_more_digits_are_taken_from_the_log(tmp_path, small, pictures) -> None:
    e, images = small((40, 60), n=2), pictures(2)
    for i in range(2):
        path = tmp_path / f"{i + 1:05d}.img"
        smv.write(path, images[i], e, i)
        path.write_bytes(path.read_bytes().replace(b"WAVELENGTH=0.0250793;\n", b"WAVELENGTH=0.0251   ;\n"))
    (tmp_path / "cRED_log.txt").write_text(LOG.format(end="11.00"))
    x = open_experiment(tmp_path).experiment
    assert x.beam.wavelength == 0.025079
    assert x.detector.q_per_pixel == pytest.approx(0.00412, rel=2e-5)


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.bz2", "zip"])
def test_an_archive_with_the_log_beside_it(instamatic, tmp_path, suffix) -> None:
    folder, images = instamatic
    target = tmp_path / "packed" / f"frames.{suffix}"
    target.parent.mkdir()
    if suffix == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            for path in (folder / "tiff").iterdir():
                archive.write(path, f"tiff/{path.name}")
    else:
        with tarfile.open(target, "w:" + suffix[4:]) as archive:
            archive.add(folder / "tiff", "tiff")
    (target.parent / "cRED_log.txt").write_text(LOG.format(end="6.00"))
    for path in (target, target.parent):
        opened = open_experiment(path)
        assert opened.frames is not None
        assert np.array_equal(opened.frames[5], images[5])
        assert opened.experiment.scan.start_deg[5] == pytest.approx(6.5)


def test_without_any_angle_the_user_is_asked_for_the_step(tmp_path, pictures) -> None:
    for i, image in enumerate(pictures(3)):
        tiff.write(tmp_path / f"{i}.tif", image)
    with pytest.raises(CannotDo, match="nothing says") as caught:
        open_experiment(tmp_path)
    assert "--step" in caught.value.remedy
    e = open_experiment(tmp_path, GeometryOverrides(step=-0.3, start=4.0, voltage=300, pixel_size=0.003, axis=40))
    x = e.experiment
    assert x.scan.start_deg == pytest.approx([4.0, 3.7, 3.4])
    assert x.beam.wavelength == pytest.approx(0.019687, abs=2e-6)
    assert set(x.known) == {"wavelength", "q_per_pixel", "axis", "angles"}
    bare = open_experiment(tmp_path, need_angles=False).experiment
    assert bare.known == ()
    assert any("--step" in p for p in bare.problems)


def test_a_range_of_frames(instamatic) -> None:
    opened = open_experiment(instamatic[0], GeometryOverrides(frames=(3, 6)))
    assert opened.experiment.scan.numbers.tolist() == [3, 5, 6]
    assert opened.frames is not None
    assert np.array_equal(opened.frames[0], instamatic[1][2])
    with pytest.raises(UnreadableInput, match="none of them"):
        open_experiment(instamatic[0], GeometryOverrides(frames=(30, 60)))


def test_a_stack_and_a_range_of_it(tmp_path, pictures) -> None:
    images = pictures(5)
    mrc.write(tmp_path / "a.mrcs", images)
    opened = open_experiment(tmp_path / "a.mrcs", GeometryOverrides(step=0.5, frames=(2, 4)))
    assert opened.frames is not None
    assert np.array_equal(np.stack([opened.frames[i] for i in range(3)]), images[1:4])
    assert opened.experiment.scan.start_deg == pytest.approx([0, 0.5, 1.0])


def test_several_files(instamatic) -> None:
    files = sorted((instamatic[0] / "tiff").iterdir())[:4]
    assert open_experiment(files[::-1]).experiment.scan.numbers.tolist() == [1, 2, 3, 5]


def test_headers_that_all_say_the_same_angle(tmp_path, small, pictures) -> None:
    e, images = small((40, 60), n=3), pictures(3)
    for i in range(3):
        smv.write(tmp_path / f"{i + 1:05d}.img", images[i], e, 0)
    x = open_experiment(tmp_path).experiment
    assert x.scan.start_deg == pytest.approx([-12.5, -12.25, -12.0])
    assert any("same start angle" in p for p in x.problems)


def test_a_frame_width_that_is_not_the_step(tmp_path, small, pictures) -> None:
    """The start angles decide; only a difference beyond the rounding of the printed width is told."""
    e, images = small((40, 60), n=50), pictures(50)
    e = e.replace(scan=e.scan.replace(start_deg=-10 + 0.26 * np.arange(50)))
    for i in range(50):
        smv.write(tmp_path / f"{i + 1:05d}.img", images[i], e, i)
    x = open_experiment(tmp_path).experiment
    assert x.scan.width_deg == pytest.approx(0.26)
    assert any("not the step" in p for p in x.problems)


def test_an_experiment_json_brings_its_frames_back(instamatic, tmp_path) -> None:
    opened = open_experiment(instamatic[0])
    x = opened.experiment.replace(scan=opened.experiment.scan.part(np.arange(1, 5)))
    write_experiment(tmp_path / "out" / "experiment.json", x)
    write_reflections(tmp_path / "out" / "reflections.h5", Reflections(x=np.array([1.0]), y=np.array([2.0])))
    again = open_experiment(tmp_path / "out")
    assert again.experiment == x
    assert again.spots is not None
    assert again.frames is not None
    assert np.array_equal(again.frames[0], instamatic[1][1])
    other = open_experiment(tmp_path / "out", GeometryOverrides(axis=10, step=0.1, distance=500, frames=(2, 3)))
    assert other.experiment.goniometer.angle_deg == pytest.approx(10)
    assert other.experiment.scan.start_deg == pytest.approx([9.5, 9.6])
    assert len(other.frames or ()) == 2


@pytest.mark.parametrize("case", ["missing", "empty", "mixed", "types", "truncated", "text", "two", "nan"])
def test_clear_refusals(tmp_path: Path, pictures, case: str) -> None:
    """Every refusal names the file or folder and says what to do."""
    for i, image in enumerate(pictures(3)):
        tiff.write(tmp_path / f"{i}.tif", image)
    path: object = tmp_path
    bad = tmp_path / "1.tif"
    match case:
        case "missing":
            path = bad = tmp_path / "nowhere"
        case "empty":
            path = bad = tmp_path / "empty"
            bad.mkdir()
        case "mixed":
            tiff.write(bad, pictures(1, (40, 61))[0])
        case "types":
            tiff.write(bad, pictures(1, dtype="f4")[0])
        case "truncated":
            bad.write_bytes(bad.read_bytes()[:3000])
        case "text":
            bad.write_text("hello")
        case "two":
            path = [tmp_path, tmp_path]
            bad = tmp_path
        case "nan":
            for i in range(3):
                tiff.write(tmp_path / f"{i}.tif", np.full((4, 4), np.nan if i == 1 else 1.0, np.float32))
    with pytest.raises(UnreadableInput) as caught:
        frames = open_experiment(path, GeometryOverrides(step=1.0)).frames  # type: ignore[arg-type]
        assert frames is not None
        in_memory(frames)
    assert str(bad) in str(caught.value)
    assert caught.value.remedy


def test_hints_fill_each_other() -> None:
    a, b = Hints(wavelength=0.02, problems=("x",)), Hints(wavelength=0.03, step_deg=1.0, problems=("x", "y"))
    both = a.or_else(b)
    assert (both.wavelength, both.step_deg, both.problems) == (0.02, 1.0, ("x", "y"))


@pytest.mark.parametrize("bad", [{"wavelength": 1.0}, {"voltage": 200, "wavelength": 0.025}, {"step": 0}, {"foo": 1}])
def test_overrides_are_checked(bad: dict) -> None:
    with pytest.raises(ValueError):
        GeometryOverrides(**bad)


def test_zero_frames_and_excluded_ranges_are_gaps(tmp_path, small, pictures) -> None:
    e, images = small((40, 60), n=8), pictures(8)
    images[2] = 0
    for i in range(8):
        smv.write(tmp_path / "SMV" / "data" / f"{i + 1:05d}.img", images[i], e, i)
    (tmp_path / "SMV" / "XDS.INP").write_text(
        "NAME_TEMPLATE_OF_DATA_FRAMES= data/0????.img SMV\nEXCLUDE_DATA_RANGE= 5 6\n!EXCLUDE_DATA_RANGE= 1 2\n"
    )
    opened = open_experiment(tmp_path)
    assert opened.experiment.scan.numbers.tolist() == [1, 2, 4, 7, 8]
    assert opened.experiment.scan.start_deg == pytest.approx([-12.5, -12.25, -11.75, -11, -10.75])
    assert opened.frames is not None
    assert np.array_equal(np.stack(list(opened.frames)), images[[0, 1, 3, 6, 7]])
    text = " ".join(opened.experiment.problems)
    assert "1 frames hold only zeros" in text
    assert "excludes frames 5 to 6" in text
