"""NXmx: round trip with gaps, links that stay in the folder, compression filters, and DIALS as the other reader."""

from __future__ import annotations

import builtins
import json

import h5py
import hdf5plugin
import numpy as np
import pytest

from credo.io import nxmx, nxmx_write
from credo.io.open import open_experiment
from credo.model import Ellipse
from credo.model.errors import UnreadableInput


def test_round_trip_with_a_gap(tmp_path, small, pictures) -> None:
    e, images = small((40, 60), numbers=[1, 2, 5, 6]), pictures(4, (40, 60))
    nxmx_write.write(tmp_path / "a.nxs", images, e, images.dtype)
    opened = open_experiment(tmp_path / "a.nxs")
    x = opened.experiment
    assert np.array_equal(np.stack(list(opened.frames)), images)
    assert x.scan.numbers.tolist() == [1, 2, 5, 6]
    assert np.allclose(x.scan.start_deg, e.scan.start_deg)
    assert np.allclose(x.scan.width_deg, 0.25)
    assert x.detector.q_per_pixel == pytest.approx(e.detector.q_per_pixel)
    assert x.detector.origin == pytest.approx(e.detector.origin)
    assert x.goniometer.angle_deg == pytest.approx(128.34)
    assert x.beam == e.beam
    assert x.detector.saturation == 11000
    assert {"wavelength", "q_per_pixel", "origin", "axis", "angles"} <= set(x.known)


@pytest.mark.peer
def test_dials_reads_what_is_written(tmp_path, small, pictures, dials) -> None:
    e, images = small((40, 60), n=3), pictures(3, (40, 60))
    nxmx_write.write(tmp_path / "a.nxs", images, e, images.dtype)
    code = """
import sys, json
from dxtbx.model.experiment_list import ExperimentListFactory
x = ExperimentListFactory.from_filenames(sys.argv[1:])[0]
p, s = x.detector[0], x.scan
d = x.imageset.get_raw_data(1)[0]
print(json.dumps([p.get_pixel_size(), abs(p.get_distance()), x.beam.get_wavelength(), s.get_oscillation(),
  list(p.get_image_size()), p.get_beam_centre_px(x.beam.get_s0()), x.goniometer.get_rotation_axis(),
  p.get_fast_axis(), p.get_slow_axis(), int(d.as_1d().as_double().as_numpy_array().sum())]))
"""
    said = json.loads(dials(code, [str(tmp_path / "a.nxs")]).splitlines()[-1])
    assert said[0] == pytest.approx([0.055, 0.055])
    assert said[1] == pytest.approx(e.detector.distance_mm(e.beam.wavelength), rel=1e-6)
    assert said[2] == pytest.approx(e.beam.wavelength, rel=1e-7)
    assert said[3] == pytest.approx([-12.5, 0.25])
    assert said[4] == [60, 40]
    assert said[5] == pytest.approx(e.detector.origin, abs=1e-6)
    # DIALS looks against the beam: its y and z are the negatives of ours
    assert said[6] == pytest.approx(e.goniometer.axis * [1, -1, -1], abs=1e-6)
    assert (said[7], said[8]) == (pytest.approx([1, 0, 0]), pytest.approx([0, -1, 0]))
    assert said[9] == int(images[1].sum())


def _master(path, target: str, name: str = "/entry/data/data") -> None:
    with h5py.File(path, "w") as file:
        file.create_group("entry/data")["data_000001"] = h5py.ExternalLink(target, name)


def test_links_within_the_folder(tmp_path, pictures) -> None:
    images = pictures(3)
    with h5py.File(tmp_path / "x_data_000001.h5", "w") as file:
        file["entry/data/data"] = images
    _master(tmp_path / "x_master.h5", "x_data_000001.h5")
    file = nxmx.read(tmp_path / "x_master.h5")
    assert np.array_equal(file.read(2), images[2])


@pytest.mark.parametrize("target", ["../secret.h5", "/etc/passwd", "C:\\secret.h5"])
def test_links_that_leave_the_folder_are_refused(tmp_path, target) -> None:
    (tmp_path / "in").mkdir()
    _master(tmp_path / "in" / "x_master.h5", target)
    with pytest.raises(UnreadableInput, match="outside its folder"):
        nxmx.read(tmp_path / "in" / "x_master.h5")


def test_an_absent_part_is_named(tmp_path) -> None:
    _master(tmp_path / "x_master.h5", "x_data_000001.h5")
    with pytest.raises(UnreadableInput, match="x_data_000001"):
        nxmx.read(tmp_path / "x_master.h5")


def test_bitshuffle_lz4(tmp_path, pictures) -> None:
    images = pictures(3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("entry/data/data", data=images, chunks=(1, 40, 60), **hdf5plugin.Bitshuffle(cname="lz4"))
    assert np.array_equal(nxmx.read(tmp_path / "a.h5").read(1), images[1])


def test_an_absent_filter_says_what_to_install(tmp_path, pictures, monkeypatch) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("entry/data/data", data=pictures(3), chunks=(1, 40, 60), **hdf5plugin.Bitshuffle())
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
    real = builtins.__import__

    def without(name, *args, **kw):
        if name == "hdf5plugin":
            raise ImportError(name)
        return real(name, *args, **kw)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnreadableInput, match="bitshuffle") as caught:
        nxmx.read(tmp_path / "a.h5")
    assert "credo[hdf5]" in caught.value.remedy


def test_units_of_length_and_angle(tmp_path, pictures) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data/data"] = pictures(3)
        detector = file.create_group("entry/instrument/detector")
        for name, value, unit in (("x_pixel_size", 55.0, "um"), ("distance", 0.5, "m")):
            detector[name] = value
            detector[name].attrs["units"] = unit
        moves = file.create_group("entry/sample/transformations")
        moves["omega"] = np.radians([0.0, 0.5, 1.0])
        moves["omega"].attrs["units"] = "rad"
    file = nxmx.read(tmp_path / "a.h5")
    assert file.hints.pixel_size_mm == pytest.approx(0.055)
    assert file.hints.distance_mm == 500
    assert file.start_deg == pytest.approx([0.0, 0.5, 1.0])


def test_an_hdf5_file_without_images(tmp_path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = [1, 2, 3]
    with pytest.raises(UnreadableInput, match="without an entry"):
        nxmx.read(tmp_path / "a.h5")


def test_the_ellipse_is_kept(tmp_path, small, pictures) -> None:
    e, images = small((40, 60)), pictures(3, (40, 60))
    e = e.replace(detector=e.detector.replace(ellipse=Ellipse(2.4, 83.0)))
    nxmx_write.write(tmp_path / "a.nxs", images, e, images.dtype)
    assert open_experiment(tmp_path / "a.nxs").experiment.detector.ellipse == Ellipse(2.4, 83.0)
    with h5py.File(tmp_path / "a.nxs", "a") as file:
        file["entry/instrument/detector/distortion/ellipse_percent"][...] = 80.0
    opened = open_experiment(tmp_path / "a.nxs").experiment
    assert opened.detector.ellipse == Ellipse()
    assert any("ellipse of 80" in p for p in opened.problems)
