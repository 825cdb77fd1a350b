"""The files of one series as one lazy stack: headers compared before any image is read, fillers found, NaN refused."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from credo.io.formats import FrameFormat, format_of, open_frames
from credo.io.frame_file import FrameFile, reading
from credo.io.series import Series
from credo.model import ArrayFrames, Frames, LazyFrames
from credo.model.errors import UnreadableInput

__all__ = ["in_memory", "is_filler", "numbers_of", "open_all", "part_of", "stack_of", "subset"]


def open_all(series: Series) -> list[FrameFile]:
    """Every file's header, read and compared before any image is."""
    first_format: FrameFormat | None = format_of(series.files[0])
    if first_format is None:
        return [open_frames(series.files[0])]
    read = first_format.read
    files = [read(path) for path in series.files]
    first = files[0]
    for file in files[1:]:
        if file.shape[1:] != first.shape[1:]:
            raise UnreadableInput(
                f"{file.path}: {file.shape[1]} x {file.shape[2]} pixels, while {first.path.name} has "
                f"{first.shape[1]} x {first.shape[2]}",
                "leave out the frames that do not belong to the series",
            )
        if file.dtype != first.dtype:
            raise UnreadableInput(
                f"{file.path}: pixels are {file.dtype}, while those of {first.path.name} are {first.dtype}",
                "convert all frames to one type with `credo convert`",
            )
    return files


def is_filler(file: FrameFile) -> bool:
    """Whether the image is all zeros; a look at its middle settles nearly all cases."""
    rows, columns = file.shape[1:]
    size = rows * columns * file.dtype.itemsize
    with reading(file.path, "a readable file"), file.path.open("rb") as stream:
        stream.seek(-size + size // 2, os.SEEK_END)
        block = stream.read(min(65536, size // 2))
    return not any(block) and not np.any(file.read(0))


def numbers_of(series: Series, files: list[FrameFile]) -> np.ndarray:
    """The number of each image; a stack counts its own from 1."""
    if all(f.shape[0] == 1 for f in files):
        return series.numbers
    if len(files) == 1 and files[0].numbers is not None:
        return files[0].numbers
    return np.arange(1, sum(f.shape[0] for f in files) + 1)


def stack_of(files: list[FrameFile]) -> LazyFrames:
    """All images of all files, one after another, read when asked for."""
    counts = np.array([f.shape[0] for f in files])
    ends = np.cumsum(counts)
    total = int(ends[-1])
    shape = (total, *files[0].shape[1:])
    finite = files[0].dtype.kind != "f"

    def load(i: int) -> np.ndarray:
        k = int(np.searchsorted(ends, i, side="right"))
        inner = i - int(ends[k] - counts[k])
        image = files[k].read(inner)
        if not finite and not np.isfinite(image).all():
            row, column = np.argwhere(~np.isfinite(image))[0]
            raise UnreadableInput(
                f"{files[k].path}: image {inner} holds NaN or infinity, first at row {row}, column {column}",
                "leave this frame out, or replace these pixels by a number",
            )
        return image

    return LazyFrames(load, shape, files[0].dtype)  # type: ignore[arg-type]


def subset(frames: Frames, rows: np.ndarray) -> LazyFrames:
    return LazyFrames(lambda i: frames[int(rows[i])], (len(rows), *frames.shape[1:]), frames.dtype)


def part_of(file: FrameFile, keep: np.ndarray) -> FrameFile:
    """A stack's header cut down to the frames that are used."""
    cut = {k: None if (v := getattr(file, k)) is None else v[keep] for k in ("start_deg", "width_deg", "timestamps")}
    return replace(file, shape=(int(keep.sum()), *file.shape[1:]), numbers=None, **cut)


def in_memory(frames: Frames, limit_bytes: float = 6e8) -> Frames:
    """The frames read once, in their own dtype, when they take less than ``limit_bytes``; else as they are."""
    if isinstance(frames, ArrayFrames) or float(np.prod(frames.shape)) * frames.dtype.itemsize > limit_bytes:
        return frames
    data = np.empty(frames.shape, dtype=frames.dtype)
    for i in range(len(frames)):
        data[i] = frames[i]
    return ArrayFrames(data)
