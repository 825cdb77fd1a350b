"""miniCBF: byte offset against fabio in both directions; checksums; PILATUS lines."""

from __future__ import annotations

import json

import fabio
import numpy as np
import pytest
from fabio.cbfimage import CbfImage
from hypothesis import given, settings
from hypothesis import strategies as st

from credo.io import cbf
from credo.kernels.byte_offset import decode_byte_offset, encode_byte_offset
from credo.model.errors import UnreadableInput


@settings(deadline=None)
@given(st.lists(st.integers(-(2**30), 2**30 - 1), min_size=1, max_size=60))
def test_byte_offset_is_undone(values: list[int]) -> None:
    out = np.empty(len(values), np.int64)
    raw = np.frombuffer(encode_byte_offset(np.array(values)), np.uint8)
    assert decode_byte_offset(raw, out) == len(values)
    assert out.tolist() == values
    assert decode_byte_offset(raw[:-1], out) < len(values)


def test_64_bit_differences_are_read() -> None:
    """−2³¹ as a difference announces 64 bits."""
    raw = bytes([0x80, 0, 0x80, 0, 0, 0, 0x80]) + (5 * 2**32).to_bytes(8, "little", signed=True)
    out = np.empty(1, np.int64)
    assert decode_byte_offset(np.frombuffer(raw, np.uint8), out) == 1
    assert out[0] == 5 * 2**32


def test_round_trip_and_fabio(tmp_path, small, pictures) -> None:
    image = pictures(1, (40, 60), "i4")[0]
    image[3, 4:8] = -1, -2, 100000, 2**29
    e = small((40, 60))
    assert cbf.write(tmp_path / "a.cbf", image, e, 1) == 0
    file = cbf.read(tmp_path / "a.cbf")
    assert np.array_equal(file.read(0), image)
    assert file.hints.q_per_pixel == pytest.approx(e.detector.q_per_pixel, rel=1e-5)
    assert file.hints.origin == pytest.approx(e.detector.origin)
    assert (file.hints.start_deg, file.hints.step_deg) == (-12.25, 0.25)
    with fabio.open(str(tmp_path / "a.cbf")) as other:
        assert np.array_equal(other.data, image)


def test_files_of_fabio_are_read(tmp_path, pictures) -> None:
    image = pictures(1, (40, 60), "i4")[0]
    CbfImage(data=image).write(str(tmp_path / "a.cbf"))
    assert np.array_equal(cbf.read(tmp_path / "a.cbf").read(0), image)


@pytest.mark.peer
def test_dials_reads_what_is_written(tmp_path, small, pictures, dials) -> None:
    e, images = small((40, 60), n=2), pictures(2, (40, 60))
    for i in range(2):
        cbf.write(tmp_path / f"{i + 1:05d}.cbf", images[i], e, i)
    code = """
import sys, json
import dxtbx
from dxtbx.format.FormatCBFMini import FormatCBFMini
assert FormatCBFMini.understand(sys.argv[1])
f = FormatCBFMini(sys.argv[1])
d = f.get_raw_data()
total = int(d.as_1d().as_double().as_numpy_array().sum())
print(json.dumps([f.get_beam().get_wavelength(), f.get_scan().get_oscillation(), total]))
"""
    said = json.loads(dials(code, [str(tmp_path / "00002.cbf")]).splitlines()[-1])
    assert said[0] == pytest.approx(e.beam.wavelength, rel=1e-6)
    assert said[1] == pytest.approx([-12.25, 0.25])
    assert said[2] == int(images[1].sum())


def test_a_damaged_image_is_noticed(tmp_path, small, pictures) -> None:
    path = tmp_path / "bad.cbf"
    cbf.write(path, pictures(1)[0], small(), 0)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"\x0c\x1a\x04\xd5") + 500] ^= 1
    path.write_bytes(raw)
    with pytest.raises(UnreadableInput, match=r"bad\.cbf: the image's checksum"):
        cbf.read(path).read(0)


def test_truncated(tmp_path, small, pictures) -> None:
    path = tmp_path / "bad.cbf"
    cbf.write(path, pictures(1)[0], small(), 0)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UnreadableInput, match=r"bad\.cbf: truncated"):
        cbf.read(path)


def test_clipping_is_counted(tmp_path, small) -> None:
    image = np.zeros((40, 60))
    image[0, 0] = 1e12
    assert cbf.write(tmp_path / "a.cbf", image, small(), 0) == 1
