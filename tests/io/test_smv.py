"""SMV: what is written is read back by fabio and DIALS; Instamatic's, DIALS's and ADSC's are understood."""

from __future__ import annotations

import json
from pathlib import Path

import fabio
import numpy as np
import pytest

from credo.io import smv
from credo.io.formats import open_frames
from credo.model.errors import UnreadableInput


def _smv(path: Path, image: np.ndarray, size: int = 512, **keys: object) -> Path:
    """A header of the given keys, and the image as it is."""
    text = "{\n" + f"HEADER_BYTES={size:5d};\n" + "".join(f"{k}={v};\n" for k, v in keys.items()) + "}"
    path.write_bytes(text.encode().ljust(size, b" ") + image.tobytes())
    return path


def test_round_trip_not_square(tmp_path, small, pictures) -> None:
    e, image = small((40, 60)), pictures(1, (40, 60))[0]
    assert smv.write(tmp_path / "a.img", image, e, 2) == 0
    file = smv.read(tmp_path / "a.img")
    assert np.array_equal(file.read(0), image)
    assert file.read(0).dtype == np.uint16
    assert file.header["SIZE1"] == "60"
    h = file.hints
    assert h.q_per_pixel == pytest.approx(0.00412, rel=1e-5)
    assert h.origin == pytest.approx(e.detector.origin)
    assert (h.start_deg, h.step_deg, h.wavelength) == (-12.0, 0.25, 0.0250793)


def test_fabio_reads_what_is_written(tmp_path, small, pictures) -> None:
    image = pictures(1, (40, 60))[0]
    smv.write(tmp_path / "a.img", image, small((40, 60)), 0)
    with fabio.open(str(tmp_path / "a.img")) as other:
        assert np.array_equal(other.data, image)
        assert float(other.header["OSC_RANGE"]) == 0.25


def test_values_are_rounded_and_clipped_never_wrapped(tmp_path, small) -> None:
    image = np.zeros((40, 60), np.float32)
    image[0, :4] = 70000, -5, 1.9, 7
    assert smv.write(tmp_path / "a.img", image, small((40, 60)), 0) == 2
    assert smv.read(tmp_path / "a.img").read(0)[0, :4].tolist() == [65535, 0, 2, 7]


@pytest.mark.parametrize("shape", [(516, 516), (512, 512), (120, 200)])
@pytest.mark.peer
def test_dials_reads_geometry_and_pixels(tmp_path, small, pictures, dials, shape) -> None:
    e, images = small(shape, n=3), pictures(3, shape)
    for i in range(3):
        smv.write(tmp_path / f"{i + 1:05d}.img", images[i], e, i)
    code = """
import sys, json
from dxtbx.model.experiment_list import ExperimentListFactory
x = ExperimentListFactory.from_filenames(sys.argv[1:])[0]
p, s = x.detector[0], x.scan
d = x.imageset.get_raw_data(1)
total = sum(int(a.as_1d().as_double().as_numpy_array().sum()) for a in d)
centre = p.get_beam_centre_px(x.beam.get_s0())
print(json.dumps([len(x.detector), p.get_pixel_size(), abs(p.get_distance()), x.beam.get_wavelength(),
  s.get_oscillation(), list(p.get_image_size()), centre, total]))
"""
    said = json.loads(dials(code, [str(p) for p in sorted(tmp_path.glob("*.img"))]).splitlines()[-1])
    assert said[2] == pytest.approx(e.detector.distance_mm(e.beam.wavelength), rel=1e-4)
    assert said[3] == pytest.approx(e.beam.wavelength, rel=1e-6)
    assert said[4] == pytest.approx([-12.5, 0.25])
    assert said[0] == 1
    assert said[5] == [shape[1], shape[0]]
    assert said[6] == pytest.approx(e.detector.origin, abs=1e-3)
    assert said[7] == int(images[1].sum())


def test_instamatic_writes_rows_as_size1(tmp_path, pictures) -> None:
    image = pictures(1, (40, 60))[0]
    path = _smv(tmp_path / "a.img", image, TYPE="unsigned_short", SIZE1=40, SIZE2=60, PHI="{phi:.4f}", OSC_START=3.5)
    file = smv.read(path)
    assert np.array_equal(file.read(0), image)
    assert file.hints.start_deg == 3.5
    assert any("SIZE1" in p for p in file.hints.problems)
    assert any("{phi" in p for p in file.hints.problems)
    right = _smv(tmp_path / "b.img", image, TYPE="unsigned_short", SIZE1=60, SIZE2=40)
    assert smv.read(right).shape == (1, 40, 60)


def test_big_endian_long_header_and_pedestal(tmp_path) -> None:
    image = (np.arange(48).reshape(6, 8) - 5).astype(">i4")
    path = _smv(
        tmp_path / "a.img", image, 1024, TYPE="signed_long", BYTE_ORDER="big_endian", SIZE1=8, SIZE2=6,
        IMAGE_PEDESTAL=10,
    )  # fmt: skip
    file = smv.read(path)
    assert np.array_equal(file.read(0), np.arange(48).reshape(6, 8) - 5)
    assert file.read(0).dtype.isnative
    assert file.hints.pedestal == 10


def test_smv_hidden_in_a_tif(tmp_path, small, pictures) -> None:
    image = pictures(1)[0]
    smv.write(tmp_path / "a.tif", image, small(), 0)
    assert open_frames(tmp_path / "a.tif").format == "SMV"


@pytest.mark.parametrize(
    ("keys", "origin"),
    [
        ({"PIXEL_SIZE": 0.05, "BEAM_CENTER_X": 28.28, "BEAM_CENTER_Y": 23.06}, (28.28, 23.06)),
        ({"PIXEL_SIZE": 0.05, "BEAM_CENTER_X": 1.1, "BEAM_CENTER_Y": 1.55}, (31.0, 22.0)),
        ({"PIXEL_SIZE": 0.05, "BEAM_CENTER_X": 5000, "BEAM_CENTER_Y": 1}, None),
    ],
)
def test_the_beam_centre_in_pixels_or_mm(tmp_path, keys, origin) -> None:
    path = _smv(tmp_path / "a.img", np.zeros((40, 60), np.uint16), SIZE1=60, SIZE2=40, CREATED_BY="x", **keys)
    assert smv.read(path).hints.origin == (pytest.approx(origin) if origin else None)


def test_an_x_ray_wavelength_is_not_used(tmp_path) -> None:
    path = _smv(tmp_path / "a.img", np.zeros((4, 4), np.uint16), SIZE1=4, SIZE2=4, WAVELENGTH=0.9795)
    hints = smv.read(path).hints
    assert hints.wavelength is None
    assert "0.9795" in hints.problems[0]


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"SIZE1": 4}, "SIZE2"),
        ({"SIZE1": 4, "SIZE2": -4}, "SIZE2"),
        ({"SIZE1": 4, "SIZE2": 4, "TYPE": "quaternion"}, "quaternion"),
        ({"SIZE1": 0, "SIZE2": 4}, "no image"),
        ({"SIZE1": 40, "SIZE2": 40}, "truncated"),
    ],
)
def test_bad_headers_are_named(tmp_path, keys, word) -> None:
    path = _smv(tmp_path / "bad.img", np.zeros((4, 4), np.uint16), **keys)
    with pytest.raises(UnreadableInput, match=word) as caught:
        smv.read(path)
    assert "bad.img" in str(caught.value)
    assert caught.value.remedy


def test_a_huge_header_is_refused(tmp_path) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(b"{\nHEADER_BYTES=999999;\nSIZE1=4;SIZE2=4;}" + bytes(2000))
    with pytest.raises(UnreadableInput, match="HEADER_BYTES"):
        smv.read(path)
