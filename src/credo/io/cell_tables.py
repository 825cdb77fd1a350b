"""Tables of cells in spreadsheets: edtools's cells.xlsx and AutoLEI's xdsrunner.xlsx, and writing the former."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from credo.io.edtools import CellRecord
from credo.io.frame_file import reading
from credo.io.merged import cell_or_none
from credo.io.workbook import save_workbook
from credo.model.errors import UnreadableInput

__all__ = ["EDTOOLS_COLUMNS", "read_cells_xlsx", "sniff_cells_xlsx", "write_cells_xlsx"]

#: After the unnamed number of the data set.
EDTOOLS_COLUMNS = (
    "spgr", "a", "b", "c", "al", "be", "ga", "volume", "rotation_angle", "total_completeness", "file",
)  # fmt: skip
_MOST_ROWS, _MOST_BYTES = 100_000, 2**27


@dataclass(frozen=True)
class _Sheet:
    columns: dict[str, int]
    rows: list[tuple[Any, ...]]

    def value(self, row: tuple[Any, ...], *names: str) -> Any:
        """Of the first column that is there."""
        k = next((self.columns[n] for n in names if n in self.columns), None)
        return None if k is None or k >= len(row) else row[k]


def sniff_cells_xlsx(path: Path) -> bool:
    """Whether a file is a spreadsheet with the columns of edtools or of AutoLEI."""
    if path.suffix.lower() != ".xlsx" or path.name.startswith("~$"):
        return False
    try:
        columns = _sheet(path, 1).columns
    except UnreadableInput:
        return False
    return {"a", "b", "c", "al", "be", "ga"} <= set(columns) or "unit cell" in columns


def read_cells_xlsx(path: Path) -> list[CellRecord]:
    """All rows with a cell; AutoLEI leaves it empty where XDS failed. Lengths in Å."""
    sheet = _sheet(path, _MOST_ROWS)
    records = []
    for i, row in enumerate(sheet.rows, start=1):
        if "unit cell" in sheet.columns:
            values = _constants(sheet.value(row, "unit cell"))
            raw = _constants(sheet.value(row, "integration cell"))
        else:
            raw = values = [sheet.value(row, n) for n in ("a", "b", "c", "al", "be", "ga")]
        cell = cell_or_none(values) if len(values) == 6 else None
        if cell is None:
            continue
        name = sheet.value(row, "path", "file") or f"{path}#{i}"
        group = sheet.value(row, "sg", "space group", "spgr")
        first = cell_or_none(raw) if len(raw) == 6 else None
        records.append(CellRecord(str(name), cell, first or cell, str(group or ""), 1.0, i))
    return records


def _constants(text: Any) -> list[float]:
    """Numbers of a text, their uncertainties in brackets left out."""
    plain = re.sub(r"\(\d+\)", " ", str(text or ""))
    return [float(x) for x in re.findall(r"\d+\.?\d*", plain)]


def _sheet(path: Path, most: int) -> _Sheet:
    """The first sheet with its head in lower case."""
    from openpyxl import load_workbook

    with reading(path, "a spreadsheet"):
        if path.stat().st_size > _MOST_BYTES:
            raise UnreadableInput(f"{path}: too large a table of cells", "check that this is the file you mean")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                book = load_workbook(path, read_only=True, data_only=True)
            rows = [r for _, r in zip(range(most + 1), book.worksheets[0].iter_rows(values_only=True))]
            book.close()
        except (BadZipFile, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise UnreadableInput(f"{path}: not a spreadsheet ({str(error)[:100]})", "write it again") from None
    head = rows[0] if rows else ()
    columns = {str(name).strip().lower(): k for k, name in reversed(list(enumerate(head))) if name is not None}
    return _Sheet(columns, rows[1:])


def write_cells_xlsx(path: Path, rows: Sequence[dict[str, Any]], more: Sequence[str] = ()) -> None:
    """One row a data set, edtools's columns first, then ``more`` of our own; what is not known stays empty."""
    from openpyxl import Workbook
    from openpyxl.styles import Font

    book = Workbook()
    sheet: Any = book.active
    sheet.title = "cells"
    sheet.append([None, *EDTOOLS_COLUMNS, *more])
    for cell in sheet[1]:
        cell.font = Font(bold=True)
    for i, row in enumerate(rows, start=1):
        sheet.append([i, *(_plain(row.get(name)) for name in (*EDTOOLS_COLUMNS, *more))])
    sheet.freeze_panes = "B2"
    save_workbook(book, path)


def _plain(value: Any) -> Any:
    """A number as it is; a text never as a formula, and without the control characters that a sheet cannot hold."""
    if isinstance(value, int | float) or value is None:
        return value
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return "'" + text if text[:1] in "=+@" and text[:1] else text
