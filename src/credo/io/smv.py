"""SMV (.img): a text header in braces, then raw numbers; ADSC's, DIALS's and Instamatic's with its known defects."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from credo.io.atomic import atomic_write
from credo.io.frame_file import (
    FrameFile,
    Hints,
    check_size,
    checked_shape,
    native_dtype,
    read_array,
    read_head,
    scale_of,
)
from credo.model import Experiment
from credo.model.errors import UnreadableInput

__all__ = ["read", "sniff", "write"]

MAX_HEADER = 65536
_TYPES = {
    "unsigned_short": "u2",
    "unsigned_short_int": "u2",
    "short_int": "i2",
    "signed_short": "i2",
    "short": "i2",
    "unsigned_char": "u1",
    "unsigned_byte": "u1",
    "unsigned_long": "u4",
    "unsigned_int": "u4",
    "unsigned_long_int": "u4",
    "long_integer": "i4",
    "long": "i4",
    "signed_long": "i4",
    "int": "i4",
    "float": "f4",
    "double": "f8",
}
#: DATE and BEAMLINE that converters of the RED family leave in every file they write.
_PLACEHOLDER_BEAMLINES = ("ALS831",)
#: BEAMLINE in files that Instamatic writes.
_INSTAMATIC = ("TimePix_SU", "Instamatic", "TVIPS F416", "DigitalMicrograph")
_PAIR = re.compile(r"([A-Za-z0-9_' ]+?)\s*=\s*([^;\n]*);")


def sniff(path: Path) -> bool:
    """An SMV file, whatever its suffix."""
    return re.match(rb"\{\s*HEADER_BYTES\s*=", read_head(path, 64)) is not None


def read(path: Path) -> FrameFile:
    """One image; the header's keys are in ``header``."""
    header, offset = read_header(path)
    dtype = _dtype(path, header)
    fast, slow = (_integer(path, header, key) for key in ("SIZE1", "SIZE2"))
    checked_shape(path, 1, slow, fast)
    check_size(path, offset + fast * slow * dtype.itemsize)
    rows, columns = slow, fast
    problems: tuple[str, ...] = ()
    if fast != slow and _sizes_swapped(path, header, offset, dtype, slow, fast):
        rows, columns = fast, slow
        problems = (
            "SMV headers give SIZE1 as rows, as Instamatic does; it must be columns. The sizes were exchanged.",
        )

    def image(i: int) -> np.ndarray:
        return read_array(path, offset, dtype, (rows, columns))

    hints = _hints(path, header, (rows, columns), problems)
    return FrameFile(path, "SMV", (1, rows, columns), native_dtype(dtype), image, hints, header=header)


def read_header(path: Path) -> tuple[dict[str, str], int]:
    """The keys of the header and the number of bytes it takes."""
    head = read_head(path, 512)
    match = re.match(rb"\{\s*HEADER_BYTES\s*=\s*(\d{1,9})\s*;", head)
    if match is None:
        raise UnreadableInput(f"{path}: not an SMV file (it does not begin with HEADER_BYTES)", "check the file")
    size = int(match[1])
    if not 64 <= size <= MAX_HEADER:
        raise UnreadableInput(f"{path}: HEADER_BYTES={size} is not between 64 and {MAX_HEADER}", "repair the header")
    if size > len(head):
        check_size(path, size)
        head = read_head(path, size)
    # a closing brace inside a value (Instamatic's PHI={phi:.4f}) does not end the header
    text = re.split(r";\s*\}", head[:size].decode("latin-1"), maxsplit=1)[0].lstrip("{") + ";"
    return {key.strip(): value.strip() for key, value in _PAIR.findall(text)}, size


def _dtype(path: Path, header: dict[str, str]) -> np.dtype:
    name = (header.get("TYPE") or header.get("Data_type") or "unsigned_short").lower().replace(" ", "_")
    if name not in _TYPES:
        raise UnreadableInput(f"{path}: TYPE={name} is not known", f"known are {', '.join(_TYPES)}")
    order = ">" if header.get("BYTE_ORDER", "little").lower().startswith("big") else "<"
    return np.dtype(order + _TYPES[name])


def _integer(path: Path, header: dict[str, str], key: str) -> int:
    value = header.get(key, "")
    if not re.fullmatch(r"\d{1,9}", value):
        raise UnreadableInput(f"{path}: the header's {key} is {value or 'missing'}", "repair the header")
    return int(value)


def _number(header: dict[str, str], *keys: str) -> float | None:
    """The first of these keys that holds a finite number."""
    for key in keys:
        try:
            value = float(header[key])
        except (KeyError, ValueError):
            continue
        if math.isfinite(value):
            return value
    return None


def _sizes_swapped(path: Path, header: dict[str, str], offset: int, dtype: np.dtype, rows: int, columns: int) -> bool:
    """Whether a file by Instamatic hangs together only with SIZE1 as the number of rows.

    Neighbouring rows agree better under the right shape.
    """
    by_instamatic = header.get("BEAMLINE") in _INSTAMATIC or "{" in header.get("PHI", "")
    if not by_instamatic or "CREATED_BY" in header:
        return False
    a = np.log1p(np.abs(read_array(path, offset, dtype, (rows, columns)).astype(float)))
    b = a.reshape(columns, rows)
    return bool(np.mean(np.diff(b, axis=0) ** 2) < 0.9 * np.mean(np.diff(a, axis=0) ** 2))


def _hints(path: Path, header: dict[str, str], shape: tuple[int, int], problems: tuple[str, ...]) -> Hints:
    pixel, wavelength, distance = (_positive(header, k) for k in ("PIXEL_SIZE", "WAVELENGTH", "DISTANCE"))
    if header.get("BEAMLINE", "").upper() in _PLACEHOLDER_BEAMLINES:
        year = (re.findall(r"\d{4}", header.get("DATE", "")) or ["?"])[-1]
        problems += (
            f"SMV headers carry placeholders: BEAMLINE={header['BEAMLINE']} (an X-ray beamline), a date in {year}; "
            f"PIXEL_SIZE={header.get('PIXEL_SIZE')} only has a meaning together with DISTANCE.",
        )
    if "{" in header.get("PHI", ""):
        problems += ("SMV headers hold the literal text PHI={phi:.4f}, a defect of Instamatic; OSC_START is used.",)
    if wavelength is not None and not 0.001 < wavelength < 0.2:
        problems += (f"WAVELENGTH={wavelength:g} Å in the SMV headers is not an electron's; it was not used.",)
        wavelength = None
    return Hints(
        source=path.name,
        wavelength=wavelength,
        q_per_pixel=scale_of(pixel, wavelength, distance),
        pixel_size_mm=pixel,
        distance_mm=distance,
        origin=_origin(header, shape, pixel),
        start_deg=_number(header, "OSC_START", "PHI"),
        step_deg=_number(header, "OSC_RANGE"),
        exposure_s=_number(header, "TIME"),
        saturation=_number(header, "SATURATED_VALUE", "CCD_IMAGE_SATURATION", "SATURATION"),
        pedestal=_number(header, "IMAGE_PEDESTAL"),
        shape=shape,
        problems=problems,
    )


def _positive(header: dict[str, str], key: str) -> float | None:
    value = _number(header, key)
    return value if value is not None and value > 0 else None


def _origin(header: dict[str, str], shape: tuple[int, int], pixel: float | None) -> tuple[float, float] | None:
    """BEAM_CENTER in pixels (electron converters: x is the column) or in mm (ADSC: x runs down the rows).

    Whichever lies nearer the middle of the image is meant.
    """
    x, y = _number(header, "BEAM_CENTER_X"), _number(header, "BEAM_CENTER_Y")
    if x is None or y is None:
        return None
    options = [(x, y)] + ([(y / pixel, x / pixel)] if pixel else [])
    if header.get("CREATED_BY") == "credo":
        options = options[:1] if header.get("BEAMLINE") == "TimePix_SU" else options[1:]
    rows, columns = shape
    if not options:
        return None
    best = min(options, key=lambda o: math.hypot(o[0] - columns / 2, o[1] - rows / 2))
    return best if 0 < best[0] < columns and 0 < best[1] < rows else None


def write(path: Path, image: np.ndarray, experiment: Experiment, i: int) -> int:
    """Write image i; returns how many values had to be clipped to 0 ... 65535."""
    header, data, clipped = encoded(image, experiment, i)
    with atomic_write(path) as stream:
        stream.write(header)
        stream.write(data)
    return clipped


def encoded(image: np.ndarray, experiment: Experiment, i: int) -> tuple[bytes, memoryview, int]:
    """Header, pixels, and how many values had to be clipped to 0 ... 65535, of image i.

    SIZE1 is the number of columns. DIALS takes 516 x 516 pixels for the Timepix of Stockholm, with BEAM_CENTER in
    pixels, and everything else for ADSC's, with BEAM_CENTER in mm and its x down the rows; so it is written.
    """
    data, clipped = as_unsigned_short(image)
    scan, det, wavelength = experiment.scan, experiment.detector, experiment.beam.wavelength
    rows, columns = data.shape
    pixel = det.pixel_size_mm
    exposure = scan.exposure_s[i] if scan.exposure_s is not None else 0.0
    x, y = det.origin
    timepix = (rows, columns) == (516, 516)
    keys = {
        "HEADER_BYTES": "  512",
        "DIM": "2",
        "BYTE_ORDER": "little_endian",
        "TYPE": "unsigned_short",
        "SIZE1": f"{columns}",
        "SIZE2": f"{rows}",
        "PIXEL_SIZE": f"{pixel:.6f}".rstrip("0"),
        "BIN": "1x1",
        "BEAMLINE": "TimePix_SU" if timepix else "electrons",
        "DETECTOR_SN": "901" if timepix else "1",
        "CREATED_BY": "credo",
        "TIME": f"{exposure:.6g}",
        "DISTANCE": f"{det.distance_mm(wavelength):.5f}",
        "TWOTHETA": "0.0",
        "PHI": f"{scan.start_deg[i]:.5f}",
        "OSC_START": f"{scan.start_deg[i]:.5f}",
        "OSC_RANGE": f"{scan.width_deg[i]:.5f}",
        "WAVELENGTH": f"{wavelength:.7f}",
        "BEAM_CENTER_X": f"{x:.4f}" if timepix else f"{y * pixel:.6f}",
        "BEAM_CENTER_Y": f"{y:.4f}" if timepix else f"{x * pixel:.6f}",
        "DENZO_X_BEAM": f"{y * pixel:.4f}",
        "DENZO_Y_BEAM": f"{x * pixel:.4f}",
    }
    if det.pedestal:
        keys["IMAGE_PEDESTAL"] = f"{det.pedestal:g}"
    text = "{\n" + "".join(f"{k}={v};\n" for k, v in keys.items()) + "}"
    return text.encode("ascii").ljust(512, b"\0"), np.ascontiguousarray(data, dtype="<u2").data, clipped


def as_unsigned_short(image: np.ndarray) -> tuple[np.ndarray, int]:
    """Rounded and clipped to 0 ... 65535, and how many values were outside."""
    if image.dtype == np.uint16:
        return image, 0
    rounded = np.rint(image) if image.dtype.kind == "f" else image
    low, high = rounded < 0, rounded > 65535
    return np.clip(rounded, 0, 65535).astype(np.uint16), int(low.sum() + high.sum())
