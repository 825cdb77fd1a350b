"""Merlin / Medipix (.mib): a text header before every image; 8, 16, 32 bits, or raw with 1, 6, 12, 24 bits a pixel."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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

__all__ = ["decode_raw", "read", "sniff"]

MAX_HEADER = 65536
_TYPES = {"U08": ">u1", "U16": ">u2", "U32": ">u4", "U64": ">u8"}
_RAW_BYTES = {1: 1 / 8, 6: 1, 12: 2, 24: 4}


@dataclass(frozen=True)
class _Layout:
    header: int
    rows: int
    columns: int
    kind: str
    bits: int

    @property
    def size(self) -> int:
        """Bytes of one image without its header."""
        pixels = self.rows * self.columns
        if self.kind == "R64":
            return math.ceil(pixels * _RAW_BYTES[self.bits])
        return pixels * np.dtype(_TYPES[self.kind]).itemsize

    @property
    def dtype(self) -> np.dtype:
        """What an image comes as."""
        if self.kind == "R64":
            return np.dtype({1: "u1", 6: "u1", 12: "u2", 24: "u4"}[self.bits])
        return native_dtype(_TYPES[self.kind])


def sniff(path: Path) -> bool:
    """The header begins with MQ1 (one or more chips)."""
    return re.match(rb"MQ1,\d{6},\d{5},", read_head(path, 17)) is not None


def read(path: Path) -> FrameFile:
    """All images of the file, row 0 first as stored (Merlin shows it at the bottom).

    A last image that was cut off is left out.
    """
    layout, exposure = _header(path)
    with reading(path, "a readable file"):
        total = path.stat().st_size
    step = layout.header + layout.size
    check_size(path, step)
    shape = checked_shape(path, total // step, layout.rows, layout.columns)

    def image(i: int) -> np.ndarray:
        offset = i * step + layout.header
        if layout.kind == "R64":
            raw = read_array(path, offset, "u1", (layout.size,))
            return decode_raw(raw, layout.bits, (layout.rows, layout.columns))
        return read_array(path, offset, _TYPES[layout.kind], (layout.rows, layout.columns))

    left = total - shape[0] * step
    problems = (f"{path.name}: {left} bytes of an unfinished last image were left out.",) if left else ()
    hints = Hints(
        source=path.name,
        pixel_size_mm=0.055,
        exposure_s=exposure,
        saturation=float(2**layout.bits - 1) if layout.bits in (1, 6, 12, 24) else None,
        shape=shape[1:],
        problems=problems,
    )
    return FrameFile(path, "MIB", shape, layout.dtype, image, hints)


def _header(path: Path) -> tuple[_Layout, float | None]:
    head = read_head(path, 4096)
    fields = [f.strip() for f in head.split(b"\0")[0].decode("latin-1").split(",")]
    with reading(path, "a MIB file"):
        header, columns, rows, kind = int(fields[2]), int(fields[4]), int(fields[5]), fields[6]
        exposure = float(fields[10])
    if not 64 <= header <= MAX_HEADER or (kind not in _TYPES and kind != "R64"):
        raise UnreadableInput(f"{path}: a header of {header} bytes and pixels of type {kind}", "check the file")
    bits = _bits(fields, head[:header], kind)
    if kind == "R64" and bits not in _RAW_BYTES:
        raise UnreadableInput(f"{path}: raw pixels of {bits} bits", "save it again as U16")
    if kind == "R64" and (rows, columns) == (256, 1024) and "2x2" in fields[7]:
        rows, columns = 512, 512
    if kind == "R64" and (rows, columns) not in ((256, 256), (512, 512)):
        raise UnreadableInput(f"{path}: raw data of {columns} x {rows} pixels", "save it again as U08, U16 or U32")
    checked_shape(path, 1, rows, columns)
    return _Layout(header, rows, columns, kind, bits), exposure if 0 < exposure < 1e6 else None


def _bits(fields: list[str], head: bytes, kind: str) -> int:
    """Counter depth: the number after the exposure in the MQ1A part, else the most the type holds."""
    match = re.search(rb"MQ1[AB],[^,]*,\s*\d+ns,\s*(\d{1,2})\s*[,\0 ]", head)
    if match:
        return int(match[1])
    return {"U08": 6, "U16": 12, "U32": 24}.get(kind, 12)


def decode_raw(raw: np.ndarray, bits: int, shape: tuple[int, int]) -> np.ndarray:
    """The image from its read-out words (uint8), which hold pixels in groups of 64 bits, the last one first.

    One chip (256, 256), or four chips (512, 512), whose rows are read side by side: lower right, lower left, upper
    right, upper left, the lower two turned by 180°. 24 bits: two read-outs of 12 bits, the more significant one first.
    """
    if bits == 24:
        half = raw.size // 2
        high, low = (decode_raw(part, 12, shape) for part in (raw[:half], raw[half:]))
        return (high.astype(np.uint32) << 12) + low
    if bits == 1:
        pixels = np.unpackbits(raw.reshape(-1, 8)[:, ::-1], axis=1, bitorder="little")
    elif bits == 6:
        pixels = raw.reshape(-1, 8)[:, ::-1]
    else:
        pixels = raw.view(">u2").reshape(-1, 4)[:, ::-1].astype(np.uint16)
    if shape != (512, 512):
        return np.ascontiguousarray(pixels).reshape(shape)
    chips = np.ascontiguousarray(pixels).reshape(256, 4, 256)
    upper = np.hstack([chips[:, 3], chips[:, 2]])
    lower = np.hstack([chips[::-1, 1, ::-1], chips[::-1, 0, ::-1]])
    return np.vstack([upper, lower])
