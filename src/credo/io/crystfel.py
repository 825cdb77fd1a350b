"""CrystFEL's .stream: the cell of every indexed crystal, in the order of the chunks."""

from __future__ import annotations

import re
from pathlib import Path

from credo.io.edtools import CellRecord
from credo.io.frame_file import reading
from credo.io.merged import cell_or_none
from credo.io.text import head, read_text
from credo.model.errors import UnreadableInput

__all__ = ["read_stream", "sniff_stream"]

_CELL = re.compile(
    r"^Cell parameters\s+(\S+)\s+(\S+)\s+(\S+)\s+nm,\s+(\S+)\s+(\S+)\s+(\S+)\s+deg(.*?)^(?:Reflections|--- End)",
    re.MULTILINE | re.DOTALL,
)


def sniff_stream(path: Path) -> bool:
    """Whether a file is a CrystFEL stream."""
    return path.suffix.lower() == ".stream" and head(path, 200).startswith("CrystFEL stream format")


def read_stream(path: Path) -> list[CellRecord]:
    """One record a crystal, lengths in Å; ``directory`` is the image with its event, ``space_group`` the centring.

    Chunks without a crystal are passed over; a crystal whose cell is no cell is an error that names it.
    """
    with reading(path, "a CrystFEL stream"):
        text = read_text(path)
    records: list[CellRecord] = []
    for chunk in text.split("----- Begin chunk -----")[1:]:
        image = re.search(r"^Image filename: (.*)$", chunk, re.MULTILINE)
        event = re.search(r"^Event: (.*)$", chunk, re.MULTILINE)
        name = " ".join(m[1].strip() for m in (image, event) if m)
        for match in _CELL.finditer(chunk):
            records.append(_record(path, name, match, len(records) + 1))
    return records


def _record(path: Path, name: str, match: re.Match[str], number: int) -> CellRecord:
    try:
        values = [float(x) for x in match.groups()[:6]]
    except ValueError:
        values = []
    cell = cell_or_none([10 * x for x in values[:3]] + values[3:]) if values else None
    if cell is None:
        raise UnreadableInput(f"{path}: crystal {number} ({name}) has no usable cell", "remove it")
    centring = re.search(r"^centering = ([PABCIFRH])", match[7], re.MULTILINE)
    return CellRecord(name or f"{path}#{number}", cell, cell, _group(match[7], centring), 1.0, number)


def _group(lines: str, centring: re.Match[str] | None) -> str:
    """The lowest symmetry with that centring, which is all that a stream tells."""
    letter = centring[1] if centring else "P"
    return "R 3" if letter in "RH" else f"{letter} 1"
