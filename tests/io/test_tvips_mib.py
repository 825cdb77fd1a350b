"""TVIPS recordings and Merlin's MIB files, made here byte by byte, and rosettasciio's readers of the same."""

from __future__ import annotations

import numpy as np
import pytest

from credo.io import mib, tvips
from credo.io.open import open_experiment
from credo.model.errors import UnreadableInput


def _tvips(images: np.ndarray, angles: list[float], head: bool = True) -> bytes:
    n, rows, columns = images.shape
    words = np.zeros(64, "<u4")
    words[:13] = [256, 2, columns, rows, 8 * images.dtype.itemsize, 0, 0, 1, 1, 15500, 200, 800, 60]
    out = words.tobytes() if head else b""
    for i in range(n):
        frame = bytearray(60)
        frame[:28] = np.array([i, 1_600_000_000 + i, 250, 0, 0, 0, 2], "<u4").tobytes()
        frame[28:48] = np.array([0, 0, 0, angles[i], 0], "<f4").tobytes()
        out += bytes(frame) + images[i].tobytes()
    return out


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_tvips_over_two_files_with_angles(tmp_path, pictures, dtype) -> None:
    images = pictures(5, (40, 60), dtype)
    (tmp_path / "run_000.tvips").write_bytes(_tvips(images[:3], [0.5, 1.0, 1.5]))
    (tmp_path / "run_001.tvips").write_bytes(_tvips(images[3:], [2.0, 2.5], head=False))
    file = tvips.read(tmp_path / "run_000.tvips")
    assert np.array_equal(np.stack([file.read(i) for i in range(5)]), images)
    assert file.start_deg is not None
    assert np.allclose(file.start_deg, [0.5, 1.0, 1.5, 2.0, 2.5])
    assert file.hints.wavelength == pytest.approx(0.025079, rel=1e-4)
    opened = open_experiment(tmp_path)
    assert opened.frames is not None
    assert opened.frames.shape == (5, 40, 60)
    assert opened.experiment.scan.width_deg == pytest.approx(0.5)
    with pytest.raises(UnreadableInput, match="_000"):
        tvips.read(tmp_path / "run_001.tvips")


def _mib(images: np.ndarray, kind: str, raw: list[bytes] | None = None, bits: int = 12, chips: str = "1x1") -> bytes:
    out = b""
    for i, image in enumerate(images):
        rows, columns = image.shape
        head = f"MQ1,{i + 1:06d},00384,01,{columns:04d},{rows:04d},{kind},   {chips},01,2018-01-19 20:55:10.966026,"
        head += f"0.250000,0,0,0,1.5E+1,3RX,050,MQ1A,2018-01-19T20:55:10.966026053Z,250000000ns,{bits},"
        out += head.encode().ljust(384, b" ") + (raw[i] if raw else image.tobytes())
    return out


@pytest.mark.parametrize(("kind", "dtype"), [("U08", ">u1"), ("U16", ">u2"), ("U32", ">u4")])
def test_processed_mib(tmp_path, pictures, kind, dtype) -> None:
    images = pictures(3, (40, 60), dtype[1:])
    (tmp_path / "a.mib").write_bytes(_mib(images.astype(dtype), kind))
    file = mib.read(tmp_path / "a.mib")
    assert np.array_equal(np.stack([file.read(i) for i in range(3)]), images)
    assert file.read(0).dtype.isnative
    assert file.hints.exposure_s == 0.25


def _words(pixels: np.ndarray, bits: int) -> bytes:
    """How the chip sends rows of pixels: groups of 64 bits, each with its last pixel first, most significant first."""
    if bits == 1:
        groups = pixels.reshape(-1, 64)[:, ::-1]
        return np.packbits(groups, axis=1, bitorder="big").tobytes()
    if bits == 6:
        return pixels.astype(np.uint8).reshape(-1, 8)[:, ::-1].tobytes()
    return pixels.reshape(-1, 4)[:, ::-1].astype(">u2").tobytes()


@pytest.mark.parametrize("bits", [1, 6, 12, 24])
@pytest.mark.parametrize("quad", [False, True])
def test_raw_mib(tmp_path, bits, quad) -> None:
    side = 512 if quad else 256
    image = np.random.default_rng(bits).integers(0, 2**bits, (side, side), dtype=np.uint32)
    rows = image
    if quad:
        upper, lower = image[:256], image[256:][::-1, ::-1]
        # turned by 180°, the lower right chip is the left half
        rows = np.hstack([lower[:, :256], lower[:, 256:], upper[:, 256:], upper[:, :256]])
    raw = _words(rows, bits) if bits < 24 else _words(rows >> 12, 12) + _words(rows & 4095, 12)
    (tmp_path / "a.mib").write_bytes(_mib(image[None], "R64", [raw], bits, "2x2" if quad else "1x1"))
    file = mib.read(tmp_path / "a.mib")
    assert np.array_equal(file.read(0), image)


def test_an_unfinished_last_image_is_left_out(tmp_path, pictures) -> None:
    raw = _mib(pictures(3).astype(">u2"), "U16")
    (tmp_path / "a.mib").write_bytes(raw[:-7])
    file = mib.read(tmp_path / "a.mib")
    assert file.shape[0] == 2
    assert "unfinished" in file.hints.problems[0]
