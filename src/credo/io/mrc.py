"""MRC / MRCS: a 1024-byte header, an extended header, then the images; strict and sloppy stamps are read."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from credo.io.atomic import atomic_write
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

__all__ = ["read", "sniff", "write"]

_MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
#: Word 39 of files by IMOD: bytes are then unsigned unless the first flag of word 40 is set.
_IMOD_STAMP = 1146047817
#: Pixels that are summed at a time.
_PIECE = 131072


def sniff(path: Path) -> bool:
    """'MAP' in its place, or an older file with this suffix and a header that makes sense."""
    head = read_head(path, 1024)
    if len(head) < 1024:
        return False
    return head[208:211] == b"MAP" or (path.suffix.lower() in (".mrc", ".mrcs", ".st") and _order(head) is not None)


def _order(head: bytes) -> str | None:
    """'<' or '>': by the machine stamp if it is one, else by what makes sense as sizes and a mode."""
    stamp = head[212:214]
    orders = {b"\x44\x44": "<>", b"\x44\x41": "<>", b"\x11\x11": "><"}.get(stamp, "<>")
    for order in orders:
        nx, ny, nz, mode = struct.unpack(order + "4i", head[:16])
        if min(nx, ny, nz) > 0 and max(nx, ny) < 2**16 and nz < 2**24 and mode in (*_MODES, 3, 4, 101):
            return order
    return None


def read(path: Path) -> FrameFile:
    """A stack of images, row 0 first as stored (Instamatic stores them upside down compared with its SMV and TIFF)."""
    head = read_head(path, 1024)
    check_size(path, 1024)
    order = _order(head)
    if order is None:
        raise UnreadableInput(f"{path}: the header is not that of an MRC file", "check the file")
    nx, ny, nz, mode = struct.unpack(order + "4i", head[:16])
    if mode not in _MODES:
        raise UnreadableInput(f"{path}: MRC mode {mode} is not one of {', '.join(map(str, _MODES))}", "convert it")
    extended = struct.unpack(order + "i", head[92:96])[0]
    imod, flags = struct.unpack(order + "2i", head[152:160])
    kind = "u1" if mode == 0 and imod == _IMOD_STAMP and not flags & 1 else _MODES[mode]
    dtype = np.dtype(order + kind)
    shape = checked_shape(path, nz, ny, nx)
    size = ny * nx * dtype.itemsize
    if extended < 0:
        raise UnreadableInput(f"{path}: the extended header has {extended} bytes", "the header is damaged")
    offset = 1024 + extended
    check_size(path, offset + nz * size)

    def image(i: int) -> np.ndarray:
        return read_array(path, offset + i * size, dtype, (ny, nx))

    hints, angles = _extended(path, head[104:108], extended, nz, (ny, nx))
    return FrameFile(path, "MRC", shape, native_dtype(dtype), image, hints, start_deg=angles)


def _extended(path: Path, kind: bytes, size: int, n: int, shape: tuple[int, int]) -> tuple[Hints, np.ndarray | None]:
    """What Thermo Fisher's extended header says: high tension, reciprocal pixel size, tilt angles."""
    plain = Hints(source=path.name, shape=shape)
    if kind not in (b"FEI1", b"FEI2") or size <= 0:
        return plain, None
    from mrcfile.dtypes import get_ext_header_dtype

    dtype = np.dtype(get_ext_header_dtype(kind, "<"))
    with reading(path, "an MRC file with Thermo Fisher's header"), path.open("rb") as stream:
        stream.seek(1024)
        raw = stream.read(min(size, n * dtype.itemsize))
    if len(raw) < dtype.itemsize:
        return plain, None
    rows: Any = np.frombuffer(raw[: len(raw) // dtype.itemsize * dtype.itemsize], dtype)
    volts, spacing, exposure = (float(rows[name][0]) for name in ("HT", "Pixel size X", "Integration time"))
    angles = rows["Alpha tilt"].astype(float)
    start, step, centre = float(angles[0]), 0.0, None
    if kind == b"FEI2":
        step = float(rows["Tilt per image"][0])
        x, y = (float(rows[f"Beam center {axis} pixel"][0]) for axis in "XY")
        centre = (x, y) if 0 < x < shape[1] and 0 < y < shape[0] else None
    known = np.isfinite(angles).all() and len(rows) == n
    hints = Hints(
        source=path.name,
        wavelength=wavelength_of(volts / 1e3) if 10e3 < volts < 2e6 else None,
        # [1/m] in diffraction mode, [m] in image mode
        q_per_pixel=spacing * 1e-10 if 1e4 < spacing < 1e10 else None,
        exposure_s=exposure if 0 < exposure < 1e6 else None,
        start_deg=start if np.isfinite(start) else None,
        step_deg=step if 0 < abs(step) < 20 else None,
        origin=centre,
        shape=shape,
    )
    return hints, angles if known and n > 1 else None


def write(path: Path, images: Sequence[np.ndarray] | np.ndarray) -> None:
    """A stack (n, rows, columns), row 0 first, with a valid stamp and the statistics of the header filled.

    Modes: uint16 6, int16 1, int8 0, float32 2, uint8 as 6; other integers 6 or 1 where they fit, else float32.
    """
    header, data = encoded(images)
    with atomic_write(path) as stream:
        stream.write(header)
        for image in data:
            stream.write(image.data)


def encoded(images: Sequence[np.ndarray] | np.ndarray) -> tuple[bytes, np.ndarray]:
    """Header and pixels (n, rows, columns) as they are stored."""
    data = _storable(np.asarray(images))
    n, rows, columns = data.shape
    mode = {"i1": 0, "i2": 1, "f4": 2, "u2": 6}[data.dtype.str[1:]]
    means, squares = np.array([_moments(image) for image in data]).T
    mean = float(means.mean())
    rms = float(np.sqrt(np.mean(squares + (means - mean) ** 2)))
    head = bytearray(1024)
    struct.pack_into("<10i", head, 0, columns, rows, n, mode, 0, 0, 0, columns, rows, n)
    struct.pack_into("<6f3i", head, 40, columns, rows, n, 90, 90, 90, 1, 2, 3)
    struct.pack_into("<3f", head, 76, data.min(), data.max(), mean)
    struct.pack_into("<2i", head, 88, 0, 0)
    struct.pack_into("<i", head, 108, 20140)
    head[208:216] = b"MAP \x44\x44\x00\x00"
    struct.pack_into("<fi", head, 216, rms, 1)
    head[224:304] = b"Written by credo".ljust(80)
    return bytes(head), np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("<"))


def _moments(image: np.ndarray) -> tuple[float, float]:
    """Mean, and mean square deviation from it, by pieces that stay in the processor's cache."""
    flat, n = image.ravel(), max(image.size, 1)
    pivot = np.float32(flat[:: max(n // 256, 1)].mean()) if image.size else np.float32(0)
    piece, ones, total, square = np.empty(min(_PIECE, n), dtype=np.float32), _ones(min(_PIECE, n)), 0.0, 0.0
    for i in range(0, image.size, _PIECE):
        part = flat[i : i + _PIECE]
        values = piece[: len(part)]
        np.copyto(values, part, casting="unsafe")
        values -= pivot
        total += float(values @ ones[: len(part)])
        square += float(values @ values)
    off = total / n
    return float(pivot) + off, max(square / n - off**2, 0.0)


@lru_cache(maxsize=2)
def _ones(n: int) -> np.ndarray:
    """A sum is a product with ones, at half the cost of ``sum``."""
    return np.ones(n, dtype=np.float32)


def _storable(data: np.ndarray) -> np.ndarray:
    """(n, rows, columns) in a dtype that MRC has, without loss for integers up to 2²⁴."""
    data = data[None] if data.ndim == 2 else data
    if data.dtype in (np.int8, np.int16, np.uint16, np.float32):
        return data
    if data.dtype.kind in "ui" and data.size and data.min() >= 0 and data.max() <= 65535:
        return data.astype(np.uint16)
    if data.dtype.kind in "ui" and data.size and data.min() >= -32768 and data.max() <= 32767:
        return data.astype(np.int16)
    return data.astype(np.float32)
