"""Frames as they arrive: each once, in order, whole; files still being written wait."""

import shutil

import numpy as np

from credo.io.convert import write_frames
from credo.io.nxmx_stream import GrowingNXmx
from credo.model import ArrayFrames, Beam, Detector, Experiment, Goniometer, Scan
from credo.pipeline.watch_frames import find_growing

IMAGES = np.random.default_rng(1).poisson(3, (6, 32, 32)).astype(np.uint16)


def experiment(n=6):
    return Experiment(
        Beam(0.0251), Detector((32, 32), 0.01, (16, 16)), Goniometer.in_plane(0), Scan.regular(n, -3, 0.5),
        known=("wavelength", "q_per_pixel", "axis", "angles"),
    )  # fmt: skip


def source(tmp_path, form="smv"):
    folder = tmp_path / "whole"
    folder.mkdir()
    write_frames(folder, form, experiment(), ArrayFrames(IMAGES))
    return sorted(p for p in folder.iterdir() if p.suffix in (".img", ".tiff", ".mrc", ".cbf"))


def test_a_folder_that_fills(tmp_path):
    files, seen = source(tmp_path), set()
    place = tmp_path / "in" / "x1" / "SMV" / "data"
    place.mkdir(parents=True)
    assert find_growing(tmp_path / "in", seen, set()) == []
    shutil.copy(files[0], place)
    (growing,) = find_growing(tmp_path / "in", seen, set())
    assert growing.name == "x1" and find_growing(tmp_path / "in", seen, set()) == []
    assert [(i.number, i.data.tolist()) for i in growing.new()] == [(1, IMAGES[0].tolist())]
    assert list(growing.new()) == []
    for f in files[1:4]:
        shutil.copy(f, place)
    numbers = [i.number for i in growing.new()]
    assert numbers == [2, 3, 4]
    found = growing.experiment(np.arange(1, 5))
    np.testing.assert_allclose(found.scan.start_deg, [-3, -2.5, -2, -1.5])


def test_a_file_half_written_waits_and_a_broken_one_is_left(tmp_path):
    files = source(tmp_path)
    place = tmp_path / "in"
    place.mkdir()
    shutil.copy(files[0], place)
    (growing,) = find_growing(place, set(), set())
    assert len(list(growing.new())) == 1
    half = place / files[1].name
    half.write_bytes(files[1].read_bytes()[:900])
    shutil.copy(files[2], place)
    assert list(growing.new()) == []
    shutil.copy(files[1], place)
    assert [i.number for i in growing.new()] == [2, 3]
    (place / files[3].name).write_bytes(b"")
    growing._patience = 1
    for f in files[4:]:
        shutil.copy(f, place)
    assert [i.number for i in growing.new()] == [5, 6]


def test_a_file_that_grows(tmp_path):
    stream = GrowingNXmx(tmp_path / "frames.h5", experiment(0), np.dtype(np.uint16), {})
    values = {"number": 1, "timestamp": 0.0, "exposure": 0.5, "omega": -3.0, "omega_end": -2.5}
    stream.append(IMAGES[0], values)
    (growing,) = find_growing(tmp_path, set(), set())
    assert [i.number for i in growing.new()] == [1]
    for k in (1, 2):
        stream.append(IMAGES[k], {**values, "number": k + 1, "omega": -3 + 0.5 * k, "omega_end": -2.5 + 0.5 * k})
    got = list(growing.new())
    assert [i.number for i in got] == [2, 3]
    np.testing.assert_array_equal(got[-1].data, IMAGES[2])
    np.testing.assert_allclose(growing.experiment(np.arange(1, 4)).scan.start_deg, [-3, -2.5, -2])
    stream.close()


def test_of_several_formats_the_output_is_left(tmp_path):
    files = source(tmp_path)
    for name in ("in/x", "in/out/crystals"):
        (tmp_path / name).mkdir(parents=True)
        shutil.copy(files[0], tmp_path / name)
    found = find_growing(tmp_path / "in", set(), {(tmp_path / "in" / "out").resolve()})
    assert [g.name for g in found] == ["x"]
