"""One file of frames as every reader presents it: its shape, how to read image i, and what its header says."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from credo.model.errors import UnreadableInput

__all__ = ["FrameFile", "Hints", "checked_shape", "native", "read_array", "read_head", "reading", "scale_of"]

#: No detector of today has more pixels in one image; files that claim more are damaged.
MAX_PIXELS = 2**27
MAX_FRAMES = 10**6

_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True)
class Hints:
    """What one source says about the geometry; ``None`` where it is silent.

    wavelength [Å]; q_per_pixel [Å⁻¹/px]; pixel_size_mm, distance_mm, camera_length_mm [mm]; origin (x, y) [px], pixel i
    covers [i, i + 1); ellipse: axis ratio less 1 [%] and azimuth of the long axis [deg]; axis_deg: in-plane angle from
    +x towards +y of the array; start_deg: start of frame ``first``, step_deg: width of a frame, signed [deg]; angles:
    frame number -> angle at the middle [deg]; exposure_s, timestamp [s]; saturation, pedestal [counts]; shape: (rows,
    columns); n_frames; excluded: ranges of frame numbers.
    """

    source: str = ""
    wavelength: float | None = None
    q_per_pixel: float | None = None
    pixel_size_mm: float | None = None
    distance_mm: float | None = None
    camera_length_mm: float | None = None
    origin: tuple[float, float] | None = None
    ellipse: tuple[float, float] | None = None
    axis_deg: float | None = None
    start_deg: float | None = None
    step_deg: float | None = None
    first: int | None = None
    angles: dict[int, float] | None = None
    exposure_s: float | None = None
    timestamp: float | None = None
    saturation: float | None = None
    pedestal: float | None = None
    shape: tuple[int, int] | None = None
    n_frames: int | None = None
    spot_size: int | None = None
    excluded: tuple[tuple[int, int], ...] | None = None
    problems: tuple[str, ...] = ()

    def or_else(self, other: Hints) -> Hints:
        """This source where it speaks, else the other; the problems of both."""
        silent = {f.name: getattr(other, f.name) for f in fields(self) if getattr(self, f.name) is None}
        return replace(self, **silent, problems=tuple(dict.fromkeys((*self.problems, *other.problems))))


def scale_of(pixel: float | None, wavelength: float | None, distance: float | None) -> float | None:
    """Å⁻¹ per pixel, pixel / (λ · distance), of lengths in one unit; ``None`` where one is unknown or absurd."""
    if not (pixel and wavelength and distance):
        return None
    product = wavelength * abs(distance)
    return pixel / product if 1e-9 < product < 1e9 else None


@dataclass(frozen=True)
class FrameFile:
    """``shape`` (n, rows, columns); ``read(i)`` gives image i with native byte order, never corrected.

    ``start_deg``, ``width_deg``, ``timestamps`` (n,): what the file measured of each image, or None.
    """

    path: Path
    format: str
    shape: tuple[int, int, int]
    dtype: np.dtype
    read: Callable[[int], np.ndarray]
    hints: Hints = field(default_factory=Hints)
    numbers: np.ndarray | None = None
    start_deg: np.ndarray | None = None
    width_deg: np.ndarray | None = None
    timestamps: np.ndarray | None = None
    header: dict[str, Any] = field(default_factory=dict)


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a damaged file makes a parser raise into one clear error that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise UnreadableInput(f"{path}: no such file", "check the path") from None
    except PermissionError:
        raise UnreadableInput(f"{path}: no permission to read it", "change its permissions") from None
    except IsADirectoryError:
        raise UnreadableInput(f"{path}: is a folder, not a file", "give the files inside it") from None
    except _DAMAGE as error:
        detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UnreadableInput(f"{path}: damaged or not {what} ({detail[:200]})", "copy the file again") from error


def checked_shape(path: Path, n: int, rows: int, columns: int) -> tuple[int, int, int]:
    """The sizes a header claims, refused before anything of that size is allocated."""
    if n < 1 or rows < 1 or columns < 1:
        raise UnreadableInput(f"{path}: holds no image (the header says {n} of {rows} x {columns})", "leave it out")
    if rows * columns > MAX_PIXELS or n > MAX_FRAMES:
        raise UnreadableInput(
            f"{path}: the header claims {n} images of {rows} x {columns} pixels, which no detector has",
            "the header is damaged; copy the file again",
        )
    return int(n), int(rows), int(columns)


def check_size(path: Path, needed: int, actual: int | None = None) -> None:
    """An error when the file is shorter than its header says."""
    with reading(path, "a readable file"):
        actual = path.stat().st_size if actual is None else actual
    if actual < needed:
        raise UnreadableInput(
            f"{path}: truncated, {actual} bytes where the header needs {needed}",
            "copy the file again, or leave it out: a missing frame is treated as a gap",
        )


def read_head(path: Path, count: int) -> bytes:
    """The first ``count`` bytes, or fewer when the file is shorter."""
    with reading(path, "a readable file"), path.open("rb") as stream:
        return stream.read(count)


def read_array(path: Path, offset: int, dtype: np.dtype | str, shape: tuple[int, ...]) -> np.ndarray:
    """A block of numbers in native byte order."""
    count = int(np.prod(shape))
    with reading(path, "a readable file"):
        data = np.fromfile(path, dtype=dtype, count=count, offset=offset)
    if data.size != count:
        check_size(path, offset + count * np.dtype(dtype).itemsize)
    return native(data).reshape(shape)


def native(data: np.ndarray) -> np.ndarray:
    """The same numbers in this machine's byte order; half floats become float32, which kernels can read."""
    if data.dtype == np.float16:
        return data.astype(np.float32)
    return data if data.dtype.isnative else data.astype(data.dtype.newbyteorder("="))


def native_dtype(dtype: np.dtype | str) -> np.dtype:
    """The dtype that :func:`native` gives."""
    dtype = np.dtype(dtype)
    return np.dtype(np.float32) if dtype == np.float16 else dtype.newbyteorder("=")
