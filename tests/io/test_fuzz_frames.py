"""Whatever bytes a file holds, a reader gives frames or a CredoError, and never a huge allocation."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from credo.io import cbf, mib, mrc, nxmx, nxmx_write, smv, tiff, tvips
from credo.io.formats import format_of, open_frames
from credo.model.errors import CredoError

READERS = {
    "img": smv, "mrc": mrc, "tif": tiff, "lzw.tif": tiff, "cbf": cbf, "nxs": nxmx, "tvips": tvips, "mib": mib,
}  # fmt: skip
BOUND = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One good file of every format."""
    from credo.model import Beam, Detector, Experiment, Goniometer, Scan

    folder = tmp_path_factory.mktemp("valid")
    e = Experiment(
        Beam(0.025), Detector((6, 8), 0.004, (4.0, 3.0)), Goniometer.in_plane(10.0), Scan.regular(2, 0.0, 0.5)
    )
    images = np.arange(96, dtype=np.uint16).reshape(2, 6, 8)
    smv.write(folder / "a.img", images[0], e, 0)
    cbf.write(folder / "a.cbf", images[0], e, 0)
    mrc.write(folder / "a.mrc", images)
    tiff.write(folder / "a.tif", images, "ImageGetTime: 1.0\nStagePosition: !!python/tuple [1,2,3,4.5,0]\n")
    tifffile.imwrite(folder / "a.lzw.tif", images[0], compression="zlib")
    nxmx_write.write(folder / "a.nxs", iter(images), e, images.dtype)
    head = np.zeros(64, "<u4")
    head[:13] = [256, 2, 8, 6, 16, 0, 0, 1, 1, 15500, 200, 1, 60]
    frame = bytes(60) + images[0].astype("<u2").tobytes()
    (folder / "a.tvips").write_bytes(head.tobytes() + frame + frame)
    text = b"MQ1,000001,00384,01,0008,0006,U16,   1x1,01,2018-01-19 20:55:10.966026,1.000000,0,0".ljust(384)
    (folder / "a.mib").write_bytes(text + images[0].astype(">u2").tobytes())
    return {suffix: (folder / f"a.{suffix}").read_bytes() for suffix in READERS}


@pytest.fixture(autouse=True)
def _little_memory():
    """An attempt to allocate gigabytes fails here instead of being noticed by nobody."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _try(path: Path, read: Callable[[Path], object]) -> None:
    try:
        file = read(path)
        for i in range(min(3, file.shape[0])):  # type: ignore[attr-defined]
            image = file.read(i)  # type: ignore[attr-defined]
            assert image.shape == file.shape[1:]  # type: ignore[attr-defined]
    except CredoError as error:
        assert path.name in str(error)
        assert error.remedy


@pytest.mark.parametrize("suffix", READERS)
def test_the_good_file_is_good(suffix: str, valid: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(valid[suffix])
    assert open_frames(path).read(0).shape == (6, 8)


@pytest.mark.parametrize("suffix", READERS)
@BOUND
@given(flips=st.lists(st.tuples(st.integers(0, 2999), st.integers(0, 255)), min_size=1, max_size=6))
def test_flipped_bytes(suffix: str, valid: dict[str, bytes], tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    raw = bytearray(valid[suffix])
    for place, value in flips:
        raw[place % len(raw)] = value
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(bytes(raw))
    _try(path, READERS[suffix].read)
    _try(path, open_frames)


@pytest.mark.parametrize("suffix", READERS)
@BOUND
@given(part=st.floats(0, 1, exclude_max=True))
def test_truncation(suffix: str, valid: dict[str, bytes], tmp_path: Path, part: float) -> None:
    raw = valid[suffix]
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(raw[: int(part * len(raw))])
    _try(path, READERS[suffix].read)


@pytest.mark.parametrize("suffix", READERS)
@BOUND
@given(raw=st.binary(max_size=3000), keep=st.integers(0, 40))
def test_random_bytes(suffix: str, valid: dict[str, bytes], tmp_path: Path, raw: bytes, keep: int) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(valid[suffix][:keep] + raw)
    _try(path, READERS[suffix].read)
    try:
        format_of(path)
    except CredoError as error:
        assert path.name in str(error)


@pytest.mark.parametrize(
    ("suffix", "old", "new"),
    [
        ("img", b"SIZE1=8;", b"SIZE1=99999999;"),
        ("img", b"HEADER_BYTES=  512", b"HEADER_BYTES=99999"),
        ("cbf", b"Fastest-Dimension: 8", b"Fastest-Dimension: 8000000000"),
        ("cbf", b"Second-Dimension: 6", b"Second-Dimension: 60000"),
        ("mib", b",0008,0006,", b",9998,9996,"),
    ],
)
def test_sizes_that_no_file_can_hold(
    suffix: str, old: bytes, new: bytes, valid: dict[str, bytes], tmp_path: Path
) -> None:
    assert old in valid[suffix]
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(valid[suffix].replace(old, new, 1))
    with pytest.raises(CredoError, match=path.name):
        open_frames(path).read(0)


def test_an_hdf5_table_larger_than_any_detector(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_group("entry/data").create_dataset("data", (10**6, 10**5, 10**5), "u2", chunks=(1, 10, 10))
    with pytest.raises(CredoError, match="no detector has"):
        open_frames(path)
