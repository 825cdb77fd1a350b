"""MRC: every mode and stamp that occurs is read; what is written passes mrcfile's strict validation."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from credo.io import mrc
from credo.io.open import open_experiment
from credo.model.errors import UnreadableInput


@pytest.mark.parametrize("dtype", ["i1", "i2", "f4", "u2"])
@pytest.mark.parametrize("n", [1, 3])
def test_written_files_are_strictly_valid(tmp_path, pictures, dtype, n) -> None:
    images = pictures(n, (40, 60), dtype)
    path = tmp_path / "a.mrc"
    mrc.write(path, images)
    assert mrcfile.validate(path, print_file=io.StringIO())
    with mrcfile.open(path) as other:
        assert np.array_equal(other.data.reshape(n, 40, 60), images)
        assert other.header.dmax == images.max()
        assert other.header.dmean == pytest.approx(images.mean(), rel=1e-6)
        assert other.header.rms == pytest.approx(images.std(), rel=1e-5)
    assert np.array_equal(np.stack([mrc.read(path).read(i) for i in range(n)]), images)


@pytest.mark.parametrize(("dtype", "stored"), [("u1", "u2"), ("i4", "u2"), ("f8", "f4"), ("u4", "u2")])
def test_other_types_are_stored_without_loss(tmp_path, pictures, dtype, stored) -> None:
    images = pictures(2, (40, 60), dtype)
    mrc.write(tmp_path / "a.mrc", images)
    file = mrc.read(tmp_path / "a.mrc")
    assert file.dtype == np.dtype(stored)
    assert np.array_equal(file.read(1), images[1])


@pytest.mark.parametrize("mode", [0, 1, 2, 6, 12])
@pytest.mark.parametrize("order", ["<", ">"])
def test_modes_and_byte_orders_of_mrcfile(tmp_path, pictures, mode, order) -> None:
    dtype = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}[mode]
    images = pictures(2, (40, 60), dtype)
    path = tmp_path / "a.mrcs"
    with mrcfile.new(path) as other:
        other.set_data(images.astype(np.dtype(dtype).newbyteorder(order)))
    file = mrc.read(path)
    assert np.allclose(file.read(1).astype(float), images[1].astype(float))
    assert file.read(1).dtype == file.dtype
    assert file.dtype.isnative


@pytest.mark.parametrize("stamp", [b"\0\0\x41\x44", b"\x44\x41\0\0", b"\x44\x44\0\0", b"\0\0\0\0", b"\x11\x11\0\0"])
@pytest.mark.parametrize("name", [b"MAP ", b"MAP\0"])
def test_sloppy_stamps(tmp_path, pictures, stamp, name) -> None:
    """Instamatic's stamp 00 00 41 44 and "MAP\\0"; a wrong big-endian stamp on a little-endian file too."""
    images = pictures(1, (40, 60))
    path = tmp_path / "a.mrc"
    mrc.write(path, images)
    raw = bytearray(path.read_bytes())
    raw[208:212], raw[212:216] = name, stamp
    path.write_bytes(raw)
    assert mrc.sniff(path)
    assert np.array_equal(mrc.read(path).read(0), images[0])


def test_unsigned_bytes_of_imod(tmp_path) -> None:
    images = np.full((1, 4, 5), -6, np.int8)
    path = tmp_path / "a.mrc"
    mrc.write(path, images)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<2i", raw, 152, 1146047817, 0)
    path.write_bytes(raw)
    assert mrc.read(path).read(0).max() == 250


def test_extended_header_is_stepped_over(tmp_path, pictures) -> None:
    images = pictures(2, (40, 60))
    path = tmp_path / "a.mrc"
    mrc.write(path, images)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<i", raw, 92, 160)
    path.write_bytes(raw[:1024] + bytes(160) + raw[1024:])
    assert np.array_equal(mrc.read(path).read(1), images[1])


def test_thermo_fisher_header_gives_angles_and_scale(tmp_path, pictures) -> None:
    from mrcfile.dtypes import get_ext_header_dtype

    rows = np.zeros(3, get_ext_header_dtype(b"FEI1"))
    rows["HT"], rows["Pixel size X"], rows["Alpha tilt"] = 200e3, 4.12e7, [-3.0, -2.5, -2.0]
    rows["Integration time"] = 0.5
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as other:
        other.set_data(pictures(3, (40, 60)))
        other.set_extended_header(rows)
        other.header.exttyp = b"FEI1"
    file = mrc.read(path)
    assert file.hints.wavelength == pytest.approx(0.025079, rel=1e-4)
    assert file.hints.q_per_pixel == pytest.approx(0.00412)
    assert file.start_deg is not None
    assert file.start_deg.tolist() == [-3.0, -2.5, -2.0]


def test_thermo_fisher_movie_with_a_step(tmp_path, pictures) -> None:
    """EPU-D repeats the start angle in every frame and gives the tilt per image and the beam centre."""
    from mrcfile.dtypes import get_ext_header_dtype

    rows = np.zeros(3, get_ext_header_dtype(b"FEI2"))
    rows["HT"], rows["Pixel size X"], rows["Alpha tilt"], rows["Tilt per image"] = 200e3, 4e7, -30.0, -0.5
    rows["Beam center X pixel"], rows["Beam center Y pixel"] = 31, 18
    with mrcfile.new(tmp_path / "a.mrc") as other:
        other.set_data(pictures(3, (40, 60)))
        other.set_extended_header(rows)
        other.header.exttyp = b"FEI2"
    e = open_experiment(tmp_path / "a.mrc").experiment
    assert e.scan.start_deg == pytest.approx([-30, -30.5, -31])
    assert e.detector.origin == (31, 18)


def _header(path: Path, place: int, kind: str, *values: int) -> None:
    raw = bytearray(path.read_bytes())
    struct.pack_into(kind, raw, place, *values)
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("place", "kind", "values", "word"),
    [
        (12, "<i", (3,), "mode 3"),
        (0, "<3i", (60000, 60000, 1), "no detector"),
        (0, "<3i", (60, 40, 9), "truncated"),
        (92, "<i", (-5,), "extended header"),
        (92, "<i", (10**9,), "truncated"),
    ],
)
def test_bad_headers_are_named(tmp_path, pictures, place, kind, values, word) -> None:
    path = tmp_path / "bad.mrc"
    mrc.write(path, pictures(1, (40, 60)))
    _header(path, place, kind, *values)
    with pytest.raises(UnreadableInput, match=word) as caught:
        mrc.read(path)
    assert "bad.mrc" in str(caught.value)
