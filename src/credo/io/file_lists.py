"""Lists of data sets that other programs keep: XSCALE.INP and XSCALE.LP, edtools's filelist.txt, KAMO's *.lst."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from credo.io.frame_file import reading
from credo.io.text import head, read_text

__all__ = ["FileList", "XscaleLog", "read_file_list", "read_xscale_log", "sniff_file_list"]

_LISTS = ("filelist.txt", "filenames.lst", "formerge.lst")


@dataclass(frozen=True)
class FileList:
    """``files`` as paths from the list's own folder; ``missing``: those that are not there."""

    files: tuple[Path, ...]
    missing: tuple[Path, ...]


@dataclass(frozen=True)
class XscaleLog:
    """``names`` (n,) as XSCALE printed them; ``common`` and ``cc`` (n, n) of the scaled intensities, NaN where a pair
    shares nothing; ``error``: why XSCALE stopped, or empty."""

    names: tuple[str, ...]
    cc: np.ndarray
    common: np.ndarray
    error: str


def sniff_file_list(path: Path) -> bool:
    """Whether a file names data sets for XSCALE, edtools or KAMO."""
    name = path.name.lower()
    if name == "xscale.lp":
        return "***** XSCALE *****" in head(path, 2000)
    return name == "xscale.inp" or name in _LISTS


def read_file_list(path: Path) -> FileList:
    """The files that a list names; blanks in a path are part of it as far as the list's format tells."""
    with reading(path, "a list of files"):
        text = read_text(path, 2**26)
    if path.name.lower() == "xscale.lp":
        names = list(read_xscale_log(path).names)
    elif path.name.lower() == "xscale.inp":
        names = [
            m[1].strip().lstrip("*").strip() for m in re.finditer(r"^[^!\n]*INPUT_FILE=([^!\n]*)", text, re.MULTILINE)
        ]
    else:
        names = [n for line in text.splitlines() if (n := _listed(line))]
    found = [_placed(path.parent, n) for n in dict.fromkeys(names)]
    return FileList(tuple(f for f in found if f.is_file()), tuple(f for f in found if not f.is_file()))


def _listed(line: str) -> str:
    """The path of a line, alone or between edtools's number and its resolution limits."""
    line = line.split("#")[0].strip()
    match = re.fullmatch(r"\d+\s+(.*?)(?:\s+\d+\.\d+\s+\d+\.\d+)?", line)
    return match[1] if match else line


def _placed(folder: Path, name: str) -> Path:
    path = Path(name.replace("\\", "/"))
    return path if path.is_absolute() else folder / path


def read_xscale_log(path: Path) -> XscaleLog:
    """Names, correlations and the error of a run. Names with blanks and tables that a failed run cut off are read as
    far as they go."""
    with reading(path, "an XSCALE.LP"):
        text = read_text(path, 2**28)
    entry = re.compile(r"^ +(\d+) +([-\d.E+]+) +(\d+) +\d+ +(\S.*)$", re.MULTILINE)
    names = [m[4].strip() for m in entry.finditer(_after(text, "READING INPUT REFLECTION DATA FILES"))]
    n = len(names)
    cc, common = np.full((n, n), np.nan), np.zeros((n, n), dtype=int)
    row = re.compile(r"^ +(\d+) +(\d+) +(\d+) +(-?\d+\.\d+) +-?\d+\.\d+ +-?\d+\.\d+ *$", re.MULTILINE)
    for m in row.finditer(_after(text, "CORRELATIONS BETWEEN INPUT DATA SETS AFTER CORRECTIONS")):
        i, j = int(m[1]) - 1, int(m[2]) - 1
        if 0 <= i < n and 0 <= j < n:
            common[i, j] = common[j, i] = int(m[3])
            cc[i, j] = cc[j, i] = float(m[4])
    error = re.search(r"!!! ERROR !!! *(.*)", text) or re.search(
        r"(INSUFFICIENT NUMBER OF COMMON STRONG REFLECTIONS.*)", text
    )
    return XscaleLog(tuple(names), cc, common, error[1].strip() if error else "")


def _after(text: str, title: str) -> str:
    """From a title to the next row of stars, or nothing."""
    start = text.find(title)
    if start < 0:
        return ""
    end = text.find("****", start + len(title))
    return text[start : end if end > 0 else len(text)]
