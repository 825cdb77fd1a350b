"""Text files of other programs: read whole within a limit (also gzipped), tables of numbers, errors with the line."""

from __future__ import annotations

import gzip
import io
import re
import warnings
from pathlib import Path
from typing import NoReturn

import numpy as np

from credo.io.atomic import atomic_write
from credo.io.frame_file import reading
from credo.model.errors import UnreadableInput

__all__ = ["MAX_TEXT", "at_line", "head", "number", "read_bytes", "read_text", "table", "write_text"]

#: Larger reflection files than this are not one crystal's (5 million lines of XDS_ASCII.HKL).
MAX_TEXT = 2**29
_GZIP = b"\x1f\x8b"


def read_bytes(path: Path, limit: int = MAX_TEXT) -> bytes:
    """The whole file, unpacked if it is gzipped; refused before it takes more memory than ``limit`` [bytes]."""
    path = Path(path)
    with reading(path, "a readable file"), path.open("rb") as stream:
        packed = stream.read(2) == _GZIP
        stream.seek(0)
        data = (gzip.GzipFile(fileobj=stream) if packed else stream).read(limit + 1)
    if len(data) > limit:
        raise UnreadableInput(f"{path}: more than {limit} bytes", "check that this is the file you mean")
    return data


def read_text(path: Path, limit: int = MAX_TEXT) -> str:
    """The text of a file; bytes that are not UTF-8 (a degree sign in a path) become replacement characters."""
    return read_bytes(path, limit).decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")


def head(path: Path, count: int = 4096) -> str:
    """The first ``count`` bytes of a file as text, unpacked if it is gzipped; for sniffing."""
    with reading(path, "a readable file"), Path(path).open("rb") as stream:
        packed = stream.read(2) == _GZIP
        stream.seek(0)
        return (gzip.GzipFile(fileobj=stream) if packed else stream).read(count).decode("utf-8", "replace")


def at_line(path: Path, line: int, what: str, remedy: str = "correct the line, or write the file again") -> NoReturn:
    """The error of a text file: where and what."""
    raise UnreadableInput(f"{path}, line {line}: {what}", remedy)


def number(text: str) -> float:
    """A number as CIF and Fortran print it: ``10.732(4)``, ``1.2D+03``, ``.5``; ValueError if it is none."""
    match = re.fullmatch(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][-+]?\d{1,3})?)(?:\(\d+\))?\s*", text)
    if match is None:
        raise ValueError(f"{text.strip()[:40]!r} is not a number")
    return float(match[1].replace("D", "E").replace("d", "e"))


def table(path: Path, text: str, columns: int, first_line: int = 1, what: str = "reflections") -> np.ndarray:
    """Lines of ``columns`` numbers separated by blanks as (n, columns) float64; empty text gives (0, columns).

    first_line: the number of the text's first line in its file, for messages.
    """
    if not text.strip():
        return np.empty((0, columns))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            data = np.loadtxt(io.StringIO(text), ndmin=2, comments=None)
        except (ValueError, UserWarning) as error:
            row = re.search(r"at row (\d+)", str(error))
            line = first_line + _line_of_row(text, int(row[1])) if row else first_line
            at_line(path, line, f"not {columns} numbers ({str(error)[:120]})")
    if data.shape[1] != columns:
        at_line(path, first_line, f"{what} have {data.shape[1]} columns where {columns} are expected")
    if not np.isfinite(data).all():
        at_line(
            path, first_line + _line_of_row(text, int(np.argwhere(~np.isfinite(data))[0, 0])), "not a finite number"
        )
    return data


def _line_of_row(text: str, row: int) -> int:
    """Offset of the line that holds data row ``row`` (blank lines are no rows)."""
    count = -1
    for i, line in enumerate(text.split("\n")):
        count += bool(line.strip())
        if count == row:
            return i
    return 0


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with atomic_write(Path(path)) as stream:
        stream.write(text.encode("utf-8"))
