"""miniCBF: a text header as PILATUS writes it, then one image compressed by byte offset (or not compressed)."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import numpy as np

from credo.io.atomic import atomic_write
from credo.io.frame_file import FrameFile, Hints, check_size, checked_shape, native, read_head, reading, scale_of
from credo.model import Experiment
from credo.model.errors import UnreadableInput

__all__ = ["read", "sniff", "write"]

MAX_HEADER = 2**20
_START = b"\x0c\x1a\x04\xd5"
_TYPES = {
    "signed 32-bit integer": "i4",
    "signed 16-bit integer": "i2",
    "signed 8-bit integer": "i1",
    "unsigned 32-bit integer": "u4",
    "unsigned 16-bit integer": "u2",
    "unsigned 8-bit integer": "u1",
    "signed 32-bit real IEEE": "f4",
}
_NUMBER = r"([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)"


def sniff(path: Path) -> bool:
    """A CBF file with a binary section."""
    return read_head(path, 64).lstrip().startswith(b"###CBF")


def read(path: Path) -> FrameFile:
    """One image, as signed or unsigned integers; masked pixels keep their negative values."""
    head = read_head(path, MAX_HEADER)
    place = head.find(_START)
    text = (head if place < 0 else head[:place]).decode("latin-1")
    if place < 0 or "--CIF-BINARY-FORMAT-SECTION--" not in text:
        raise UnreadableInput(f"{path}: a CBF file without a binary image", "check the file")
    offset = place + len(_START)
    columns, rows = (
        _count(path, text, "X-Binary-Size-Fastest-Dimension"),
        _count(path, text, "X-Binary-Size-Second-Dimension"),
    )
    size = _count(path, text, "X-Binary-Size")
    checked_shape(path, 1, rows, columns)
    check_size(path, offset + size)
    kind = re.search(r'X-Binary-Element-Type:\s*"([^"]*)"', text)
    dtype = _TYPES.get(kind[1] if kind else "signed 32-bit integer")
    if dtype is None:
        raise UnreadableInput(f"{path}: pixels are {kind[1] if kind else '?'}", f"known are {', '.join(_TYPES)}")
    match = re.search(r'conversions\s*=\s*"?([\w-]+)', text)
    conversion = match[1].upper() if match else "X-CBF_NONE"
    big = "BIG_ENDIAN" in text.upper()
    stored = np.dtype((">" if big else "<") + dtype)
    if conversion not in ("X-CBF_BYTE_OFFSET", "X-CBF_NONE"):
        raise UnreadableInput(f"{path}: compressed by {conversion}", "only byte offset is read; convert it")
    if rows * columns > size or (conversion == "X-CBF_NONE" and rows * columns * stored.itemsize > size):
        raise UnreadableInput(f"{path}: {size} bytes cannot hold {rows} x {columns} pixels", "copy the file again")
    digest = re.search(r"Content-MD5:\s*(\S+)", text)

    def image(_: int) -> np.ndarray:
        with reading(path, "a CBF file"), path.open("rb") as stream:
            stream.seek(offset)
            raw = stream.read(size)
        check_size(path, size, len(raw))
        _verify(path, raw, digest[1] if digest else None)
        if conversion == "X-CBF_NONE":
            return native(np.frombuffer(raw, stored, rows * columns)).reshape(rows, columns)
        return _decode(path, raw, (rows, columns), stored)

    return FrameFile(
        path, "CBF", (1, rows, columns), stored.newbyteorder("="), image, _hints(path, text, (rows, columns))
    )


def _count(path: Path, text: str, key: str) -> int:
    match = re.search(rf"^{key}:\s*(\d{{1,12}})\s*$", text, re.MULTILINE)
    if match is None:
        raise UnreadableInput(f"{path}: the CBF header has no {key}", "check the file")
    return int(match[1])


def _verify(path: Path, raw: bytes, digest: str | None) -> None:
    if digest is None:
        return
    if base64.b64encode(hashlib.md5(raw, usedforsecurity=False).digest()).decode() != digest:
        raise UnreadableInput(f"{path}: the image's checksum is wrong", "the file was damaged; copy it again")


def _decode(path: Path, raw: bytes, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    from credo.kernels.byte_offset import decode_byte_offset

    values = np.empty(shape[0] * shape[1], dtype=np.int64)
    n = decode_byte_offset(np.frombuffer(raw, np.uint8), values)
    if n != values.size:
        raise UnreadableInput(f"{path}: the image ends after {n} of {values.size} pixels", "copy the file again")
    return values.astype(dtype.newbyteorder("=")).reshape(shape)


def _hints(path: Path, text: str, shape: tuple[int, int]) -> Hints:
    """The lines that begin with #, as PILATUS writes them; lengths there are in metres."""

    def value(key: str, unit: str = "") -> float | None:
        match = re.search(rf"^#\s*{key}\s*[=:]?\s*{_NUMBER}\s*{unit}", text, re.MULTILINE)
        return float(match[1]) if match else None

    wavelength, distance, pixel = value("Wavelength"), value("Detector_distance"), value("Pixel_size")
    problems: tuple[str, ...] = ()
    if wavelength is not None and not 0.001 < wavelength < 0.2:
        problems = (f"Wavelength {wavelength:g} Å in the CBF headers is not an electron's; it was not used.",)
        wavelength = None
    centre = re.search(rf"^#\s*Beam_xy\s*\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)", text, re.MULTILINE)
    return Hints(
        source=path.name,
        wavelength=wavelength,
        q_per_pixel=scale_of(pixel, wavelength, distance),
        pixel_size_mm=1e3 * pixel if pixel else None,
        distance_mm=1e3 * distance if distance else None,
        origin=(float(centre[1]), float(centre[2])) if centre else None,
        start_deg=value("Start_angle"),
        step_deg=value("Angle_increment"),
        exposure_s=value("Exposure_time"),
        saturation=value("Count_cutoff"),
        shape=shape,
        problems=problems,
    )


def write(path: Path, image: np.ndarray, experiment: Experiment, i: int) -> int:
    """Write image i as signed 32-bit integers; returns how many values had to be clipped."""
    from credo.kernels.byte_offset import encode_byte_offset

    rounded = np.rint(image) if image.dtype.kind == "f" else image
    # differences of neighbours must fit 32 bits
    low, high = -(2**30), 2**30 - 1
    clipped = int((rounded < low).sum() + (rounded > high).sum())
    data = np.clip(rounded, low, high).astype(np.int64)
    body = encode_byte_offset(data)
    scan, det = experiment.scan, experiment.detector
    rows, columns = data.shape
    pixel = det.pixel_size_mm * 1e-3
    exposure = float(scan.exposure_s[i]) if scan.exposure_s is not None else 0.0
    cutoff = f"# Count_cutoff {det.saturation:.0f} counts\r\n" if det.saturation else ""
    header = (
        f"###CBF: VERSION 1.5, credo\r\n\r\ndata_{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)}\r\n\r\n"
        "_array_data.header_convention PILATUS_1.2\r\n_array_data.header_contents\r\n;\r\n"
        f"# Detector: electron detector, credo\r\n# Pixel_size {pixel:.9g} m x {pixel:.9g} m\r\n"
        f"# Exposure_time {exposure:.7g} s\r\n# Exposure_period {exposure:.7g} s\r\n{cutoff}"
        f"# Wavelength {experiment.beam.wavelength:.7f} A\r\n"
        f"# Detector_distance {1e-3 * det.distance_mm(experiment.beam.wavelength):.8f} m\r\n"
        f"# Beam_xy ({det.origin[0]:.4f}, {det.origin[1]:.4f}) pixels\r\n"
        f"# Start_angle {scan.start_deg[i]:.6f} deg.\r\n# Angle_increment {scan.width_deg[i]:.6f} deg.\r\n;\r\n\r\n"
        "_array_data.data\r\n;\r\n--CIF-BINARY-FORMAT-SECTION--\r\nContent-Type: application/octet-stream;\r\n"
        '     conversions="x-CBF_BYTE_OFFSET"\r\nContent-Transfer-Encoding: BINARY\r\n'
        f"X-Binary-Size: {len(body)}\r\nX-Binary-ID: 1\r\n"
        'X-Binary-Element-Type: "signed 32-bit integer"\r\nX-Binary-Element-Byte-Order: LITTLE_ENDIAN\r\n'
        f"Content-MD5: {base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()}\r\n"
        f"X-Binary-Number-of-Elements: {rows * columns}\r\nX-Binary-Size-Fastest-Dimension: {columns}\r\n"
        f"X-Binary-Size-Second-Dimension: {rows}\r\nX-Binary-Size-Padding: 4095\r\n\r\n"
    )
    with atomic_write(path) as stream:
        stream.write(header.encode("ascii") + _START + body + bytes(4095))
        stream.write(b"\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n\r\n")
    return clipped
