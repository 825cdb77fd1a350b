"""TIFF: plain uncompressed images are read directly, all others through tifffile; Instamatic's YAML header is used."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from credo.io.atomic import atomic_path
from credo.io.frame_file import (
    MAX_FRAMES,
    FrameFile,
    Hints,
    check_size,
    checked_shape,
    native,
    native_dtype,
    read_array,
    read_head,
    reading,
)
from credo.model.errors import UnreadableInput

__all__ = ["encoded", "read", "sniff", "write"]

MAX_HEADER = 65536
#: No compression of TIFF shrinks an image more than this.
MAX_RATIO = 4096
#: Tags that matter here, by number (TIFF 6.0).
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _DESCRIPTION = 256, 257, 258, 259, 262, 270
_OFFSETS, _SAMPLES, _COUNTS, _FORMAT, _TILES, _PREDICTOR, _FILL = 273, 277, 279, 339, 322, 317, 266
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 11: 4, 12: 8}
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}


@dataclass(frozen=True)
class _Page:
    rows: int
    columns: int
    dtype: np.dtype
    offset: int


def sniff(path: Path) -> bool:
    """Classic or big TIFF."""
    return read_head(path, 4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read(path: Path) -> FrameFile:
    """All pages that have the first page's shape."""
    with reading(path, "a TIFF file"):
        plain = _plain_pages(path)
    if plain is None:
        return _read_by_tifffile(path)
    pages, description = plain
    first = pages[0]
    shape = checked_shape(path, len(pages), first.rows, first.columns)
    size = first.rows * first.columns * first.dtype.itemsize
    check_size(path, max(p.offset for p in pages) + size)

    def image(i: int) -> np.ndarray:
        return read_array(path, pages[i].offset, first.dtype, (first.rows, first.columns))

    hints, header = _hints(path, description, shape[1:])
    return FrameFile(path, "TIFF", shape, native_dtype(first.dtype), image, hints, header=header)


def _plain_pages(path: Path) -> tuple[list[_Page], str] | None:
    """Where the images lie if all pages are uncompressed, grey, contiguous and alike; None: leave it to tifffile."""
    with path.open("rb") as stream:
        head = stream.read(8)
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
        if order is None:
            return None
        pages: list[_Page] = []
        description = ""
        position = struct.unpack(order + "I", head[4:8])[0]
        seen = set()
        while position and position not in seen and len(seen) < MAX_FRAMES:
            seen.add(position)
            tags, position = _directory(stream, order, position)
            page = _page(tags, order)
            if page is None or (pages and (page.rows, page.columns) != (pages[0].rows, pages[0].columns)):
                return None
            description = description or _text(tags)
            pages.append(page)
    if not pages or (description.startswith("ImageJ=") and len(pages) == 1 and "images=" in description):
        return None
    return pages, description


def _directory(stream: Any, order: str, position: int) -> tuple[dict[int, Any], int]:
    """The tags of one directory (numbers as tuples, text as bytes) and the place of the next."""
    stream.seek(position)
    count = struct.unpack(order + "H", stream.read(2))[0]
    block = stream.read(12 * count + 4)
    tags: dict[int, Any] = {}
    for k in range(count):
        tag, kind, n = struct.unpack(order + "HHI", block[12 * k : 12 * k + 8])
        size = n * _SIZES.get(kind, 8)
        raw = block[12 * k + 8 : 12 * k + 12]
        if size > 4:
            if tag not in (_DESCRIPTION, _OFFSETS, _COUNTS, _BITS) or size > 2**24:
                continue
            stream.seek(struct.unpack(order + "I", raw)[0])
            raw = stream.read(size)
        raw = raw[:size]
        tags[tag] = struct.unpack(f"{order}{n}{_CODES[kind]}", raw) if kind in _CODES else raw
    return tags, struct.unpack(order + "I", block[12 * count :])[0]


def _page(tags: dict[int, Any], order: str) -> _Page | None:
    """A plain page, or None."""

    def one(tag: int, default: int) -> int:
        return tags.get(tag, (default,))[0]

    bits, form = one(_BITS, 1), one(_FORMAT, 1)
    kind = {(8, 1): "u1", (16, 1): "u2", (32, 1): "u4", (8, 2): "i1", (16, 2): "i2", (32, 2): "i4"}
    kind |= {(32, 3): "f4", (64, 3): "f8"}
    plain = one(_COMPRESSION, 1) == 1 and one(_SAMPLES, 1) == 1 and one(_PREDICTOR, 1) == 1 and one(_FILL, 1) == 1
    plain = plain and one(_PHOTOMETRIC, 1) == 1 and _TILES not in tags and len(tags.get(_BITS, (1,))) == 1
    if not plain or (bits, form) not in kind or _OFFSETS not in tags or _COUNTS not in tags:
        return None
    offsets, counts = tags[_OFFSETS], tags[_COUNTS]
    dtype = np.dtype(order + kind[bits, form])
    rows, columns = one(_LENGTH, 0), one(_WIDTH, 0)
    ends = [o + c for o, c in zip(offsets, counts)]
    if len(offsets) != len(counts) or ends[:-1] != list(offsets[1:]) or sum(counts) != rows * columns * dtype.itemsize:
        return None
    return _Page(rows, columns, dtype, offsets[0])


def _text(tags: dict[int, Any]) -> str:
    raw = tags.get(_DESCRIPTION, b"")
    return raw.split(b"\0")[0].decode("utf-8", "replace") if isinstance(raw, bytes) else ""


def _read_by_tifffile(path: Path) -> FrameFile:
    """Compressed, tiled, big and ImageJ files."""
    import tifffile

    with reading(path, "a TIFF file"), tifffile.TiffFile(path) as file:
        page = file.pages.first
        series = file.series[0]
        if page.samplesperpixel != 1 or page.photometric == 3:
            raise UnreadableInput(f"{path}: a colour picture, not a detector's image", "give the raw frames")
        rows, columns = (int(x) for x in page.shape[-2:])
        n = max(1, int(np.prod(series.shape)) // (rows * columns))
        shape = checked_shape(path, n, rows, columns)
        if page.dtype is None:
            raise UnreadableInput(f"{path}: a pixel type that cannot be read", "convert it to 16-bit TIFF")
        dtype = np.dtype(page.dtype)
        if rows * columns * dtype.itemsize > MAX_RATIO * path.stat().st_size:
            raise UnreadableInput(
                f"{path}: {rows} x {columns} pixels cannot be packed into so small a file", "copy the file again"
            )
        contiguous = series.dataoffset
        description = str(page.description)
    hints, header = _hints(path, description, shape[1:])
    if contiguous is not None:
        size, stored = rows * columns * dtype.itemsize, dtype.newbyteorder(file.byteorder)
        check_size(path, contiguous + n * size)
        load = partial(_read_contiguous, path, contiguous, size, stored, (rows, columns))
    else:
        load = partial(_read_page, path, (rows, columns))
    return FrameFile(path, "TIFF", shape, native_dtype(dtype), load, hints, header=header)


def _read_contiguous(path: Path, offset: int, size: int, dtype: np.dtype, shape: tuple[int, int], i: int) -> np.ndarray:
    return read_array(path, offset + i * size, dtype, shape)


def _read_page(path: Path, shape: tuple[int, int], i: int) -> np.ndarray:
    import tifffile

    with reading(path, "a TIFF file"), tifffile.TiffFile(path) as file:
        page = file.pages[i]
        if tuple(page.shape[-2:]) != shape:
            raise UnreadableInput(f"{path}: page {i} is {page.shape}, the first is {shape}", "split the file")
        return native(np.asarray(page.asarray()).reshape(shape))


def _hints(path: Path, description: str, shape: tuple[int, int]) -> tuple[Hints, dict[str, Any]]:
    """What Instamatic's YAML header says: exposure, time, and the stage angle where it was recorded."""
    if not re.search(r"^Image\w+:", description, re.M):
        return Hints(source=path.name, shape=shape), {}
    quick = {
        k: float(v) for k, v in re.findall(r"^(ImageExposureTime|ImageGetTime): ([-+.\deE]+)\s*$", description, re.M)
    }
    header: dict[str, Any] = dict(quick)
    angle = None
    if "StagePosition" in description:
        header = load_yaml(path, description)
        angle = _stage_angle(header.get("StagePosition"))
    hints = Hints(
        source=path.name,
        exposure_s=quick.get("ImageExposureTime"),
        timestamp=quick.get("ImageGetTime"),
        start_deg=angle,
        shape=shape,
    )
    return hints, header


def _stage_angle(stage: Any) -> float | None:
    """α [deg] of (x, y, z, a, b), however it was written."""
    if isinstance(stage, dict):
        stage = stage.get("a", stage.get("args"))
    if isinstance(stage, list | tuple) and len(stage) == 1:
        stage = stage[0]
    if isinstance(stage, list | tuple) and len(stage) >= 4:
        stage = stage[3]
    return float(stage) if isinstance(stage, int | float) else None


def load_yaml(path: Path, text: str) -> dict[str, Any]:
    """YAML with Python object tags read as plain data: nothing of it is ever constructed or run."""
    import yaml

    class Plain(yaml.SafeLoader):
        """Unknown tags become the plain list, mapping or text they are written as."""

    def plain(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        return node.value

    Plain.add_multi_constructor("", plain)
    # merge keys can grow exponentially, and no camera writes them
    if len(text) > MAX_HEADER or "<<" in text:
        return {}
    with reading(path, "a TIFF file with a YAML header"):
        try:
            data = yaml.load(text, Plain)  # noqa: S506 - a SafeLoader
        except yaml.YAMLError:
            return {}
    return data if isinstance(data, dict) else {}


def encoded(image: np.ndarray) -> tuple[bytes, np.ndarray]:
    """What comes before the pixels in an uncompressed TIFF of one image (rows, columns), and the pixels."""
    pixels = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("<"))
    return _head(pixels.shape, pixels.dtype), pixels


@lru_cache(maxsize=8)
def _head(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """Made once for all frames of a series, as it costs more than their pixels."""
    import tifffile

    blank = np.zeros(shape, dtype)
    with io.BytesIO() as stream:
        tifffile.imwrite(stream, blank, photometric="minisblack", metadata=None, software="credo", byteorder="<")
        return stream.getvalue()[: -blank.nbytes]


def write(path: Path, images: np.ndarray, description: str = "") -> None:
    """One image (rows, columns) or a stack (n, rows, columns), uncompressed, in the dtype it has."""
    import tifffile

    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary, images, photometric="minisblack", metadata=None, description=description, software="credo"
        )
