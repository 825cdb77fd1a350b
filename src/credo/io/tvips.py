"""TVIPS recorder (.tvips): one header, then frames each with its time and stage angle; continued in _001, _002 ..."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from credo.io.electron import wavelength_of
from credo.io.frame_file import (
    FrameFile,
    Hints,
    check_size,
    checked_shape,
    native_dtype,
    read_array,
    read_head,
    reading,
)
from credo.model.errors import UnreadableInput

__all__ = ["read", "sniff"]

#: Words of the file header: size, version, columns, rows, bits, offsets, binning, pixel [nm], kV, magnification, head
_WORDS = 13
_FRAME = np.dtype(
    {
        "names": ["seconds", "milliseconds", "mode", "alpha"],
        "formats": ["<u4", "<u4", "<u4", "<f4"],
        "offsets": [4, 8, 24, 40],
        "itemsize": 60,
    }
)


def sniff(path: Path) -> bool:
    """The first file of a recording: a header of 256 bytes, version 1 or 2, 8 or 16 bits."""
    words = _words(read_head(path, 4 * _WORDS))
    return words is not None and words[0] == 256 and words[1] in (1, 2) and words[4] in (8, 16)


def _words(head: bytes) -> list[int] | None:
    return [int(w) for w in np.frombuffer(head, "<u4")] if len(head) == 4 * _WORDS else None


def read(path: Path) -> FrameFile:
    """The whole recording, with the files that continue it."""
    if not sniff(path):
        raise UnreadableInput(f"{path}: not the first file of a TVIPS recording", "give the file that ends in _000")
    words = _words(read_head(path, 4 * _WORDS))
    assert words is not None
    _, version, columns, rows, bits = words[:5]
    pixel_nm, kilovolt = words[9], words[10]
    dtype = np.dtype("u1" if bits == 8 else "<u2")
    head = 12 if version == 1 else words[12]
    if not 12 <= head <= 2**20:
        raise UnreadableInput(f"{path}: frame headers of {head} bytes", "the header is damaged")
    checked_shape(path, 1, rows, columns)
    step = head + rows * columns * dtype.itemsize
    parts = [(path, 256)] + [(p, 0) for p in _continued(path)]
    places: list[tuple[Path, int]] = []
    for part, begin in parts:
        with reading(part, "a readable file"):
            n = (part.stat().st_size - begin) // step
        places += [(part, begin + k * step) for k in range(n)]
    check_size(path, 256 + step)
    shape = checked_shape(path, len(places), rows, columns)

    def image(i: int) -> np.ndarray:
        part, offset = places[i]
        return read_array(part, offset + head, dtype, (rows, columns))

    angles, times = _frame_headers(places, head)
    hints = Hints(
        source=path.name,
        wavelength=wavelength_of(kilovolt) if 10 <= kilovolt <= 3000 else None,
        pixel_size_mm=pixel_nm * 1e-6 if 1000 <= pixel_nm <= 500_000 else None,
        shape=(rows, columns),
    )
    return FrameFile(path, "TVIPS", shape, native_dtype(dtype), image, hints, start_deg=angles, timestamps=times)


def _continued(path: Path) -> list[Path]:
    """name_001.tvips and so on, as long as the numbers run on."""
    match = re.fullmatch(r"(.*_)(0+)", path.stem)
    found: list[Path] = []
    while match is not None:
        after = path.with_name(f"{match[1]}{len(found) + 1:0{len(match[2])}d}{path.suffix}")
        if not after.is_file():
            break
        found.append(after)
    return found


def _frame_headers(places: list[tuple[Path, int]], head: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Stage angle α [deg] (the angle when the frame was stored) and time [s] of every frame, where they make sense."""
    raw = bytearray()
    for part, offset in places:
        with reading(part, "a readable file"), part.open("rb") as stream:
            stream.seek(offset)
            raw += stream.read(min(head, 60)).ljust(60, b"\0")
    table = np.frombuffer(bytes(raw), _FRAME)
    times = table["seconds"].astype(float) + 1e-3 * table["milliseconds"]
    angles = table["alpha"].astype(float)
    plausible = head >= 44 and np.isfinite(angles).all() and np.abs(angles).max() <= 180 and np.ptp(angles) > 0
    return (angles if plausible else None), (times if np.all(np.diff(times) > 0) and times[0] > 0 else None)
