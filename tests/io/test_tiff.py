"""TIFF: the quick way agrees with tifffile; headers of Instamatic are read without ever building an object."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from credo.io import tiff
from credo.model.errors import UnreadableInput


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_plain_files_agree_with_tifffile(tmp_path, pictures, dtype, order) -> None:
    images = pictures(3, (40, 60), dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, images, byteorder=order, photometric="minisblack", rowsperstrip=7)
    file = tiff.read(path)
    assert file.shape == (3, 40, 60)
    assert np.array_equal(np.stack([file.read(i) for i in range(3)]), images)
    assert file.read(0).dtype == file.dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib"},
        {"tile": (16, 16)},
        {"bigtiff": True},
        {"imagej": True},
        {"predictor": True, "compression": "zlib"},
        {"photometric": "miniswhite"},
    ],
)
def test_all_other_files_go_through_tifffile(tmp_path, pictures, options) -> None:
    images = pictures(3, (40, 64))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, images, **{"photometric": "minisblack", **options})
    file = tiff.read(path)
    assert file.shape == (3, 40, 64)
    assert np.array_equal(file.read(2), tifffile.imread(path)[2])


def test_round_trip(tmp_path, pictures) -> None:
    images = pictures(2, (40, 60), "i4")
    tiff.write(tmp_path / "a.tiff", images)
    assert np.array_equal(tifffile.imread(tmp_path / "a.tiff"), images)
    tiff.write(tmp_path / "b.tiff", images[0])
    assert tiff.read(tmp_path / "b.tiff").shape == (1, 40, 60)


YAML = """ImageExposureTime: 0.5
ImageGetTime: 1559580375.25
StagePosition: !!python/object/new:instamatic.StagePositionTuple
- 1.0
- 2.0
- 3.0
- -12.75
- 0.0
beam_center: !!python/tuple [1.5, 2.5]
evil: !!python/object/apply:os.system ["touch hacked"]
"""


def test_instamatic_header_is_plain_data(tmp_path, pictures, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiff.write(tmp_path / "a.tiff", pictures(1)[0], YAML)
    file = tiff.read(tmp_path / "a.tiff")
    assert file.hints.exposure_s == 0.5
    assert file.hints.timestamp == 1559580375.25
    assert file.hints.start_deg == -12.75
    assert file.header["evil"] == ["touch hacked"]
    assert not (tmp_path / "hacked").exists()


def test_a_yaml_bomb_is_not_expanded(tmp_path, pictures) -> None:
    levels = "\n".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}, *a{i - 1}]}}" for i in range(1, 40))
    tiff.write(tmp_path / "a.tiff", pictures(1)[0], f"ImageX: 1\nStagePosition: 1\na0: &a0 {{x: 1}}\n{levels}\n")
    assert tiff.read(tmp_path / "a.tiff").hints.start_deg is None


def test_a_colour_picture_is_refused(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "photo.tif", np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    with pytest.raises(UnreadableInput, match=r"photo\.tif: a colour picture"):
        tiff.read(tmp_path / "photo.tif")


def test_a_truncated_file_is_named(tmp_path, pictures) -> None:
    tiff.write(tmp_path / "a.tiff", pictures(1)[0])
    raw = (tmp_path / "a.tiff").read_bytes()
    (tmp_path / "cut.tiff").write_bytes(raw[:-100])
    with pytest.raises(UnreadableInput, match=r"cut\.tiff"):
        tiff.read(tmp_path / "cut.tiff").read(0)


@pytest.mark.parametrize("dtype", ["u1", "u2", "<i4", ">u2", "f4"])
def test_frames_of_a_series_share_a_head(tmp_path, dtype):
    rng = np.random.default_rng(0)
    for shape in ((31, 45), (516, 516)):
        image = rng.integers(0, 200, shape).astype(dtype)
        head, pixels = tiff.encoded(image)
        path = tmp_path / f"{shape[0]}.tif"
        path.write_bytes(head + pixels.tobytes())
        np.testing.assert_array_equal(tifffile.imread(path), image)
        np.testing.assert_array_equal(tiff.read(path).read(0), image)
