"""edtools's cells.yaml: the cells of many data sets, for clustering; safe loading only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from credo.io.frame_file import reading
from credo.io.merged import cell_or_none
from credo.io.text import head, read_text, write_text
from credo.model import Cell
from credo.model.errors import UnreadableInput

__all__ = ["CellRecord", "read_cells_yaml", "sniff_cells_yaml", "write_cells_yaml"]

MAX_YAML = 2**26


@dataclass(frozen=True)
class CellRecord:
    """One data set. ``raw``: the cell before symmetry was imposed; ``weight``: edtools's number of observations."""

    directory: str
    cell: Cell
    raw: Cell
    space_group: str = ""
    weight: float = 1.0
    number: int = 0


def sniff_cells_yaml(path: Path) -> bool:
    """Whether a file is a cells.yaml."""
    return path.suffix.lower() in (".yaml", ".yml") and "unit_cell:" in head(path, 2**14)


def read_cells_yaml(path: Path) -> list[CellRecord]:
    """All cells; entries without a usable cell are an error that names them."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with reading(path, "a cells.yaml"):
        text = read_text(path, MAX_YAML)
        if "&" in text and "*" in text and text.count("*") > 10**4:
            raise UnreadableInput(f"{path}: too many YAML aliases", "write the file again")
        try:
            data = yaml.load(text, Loader=loader)  # noqa: S506 - a safe loader, the fast one where it is built
        except (yaml.YAMLError, RecursionError) as error:
            raise UnreadableInput(f"{path}: not YAML ({str(error).splitlines()[0][:150]})", "correct it") from None
        if not isinstance(data, list):
            raise UnreadableInput(f"{path}: not a list of cells", "give the cells.yaml of edtools.extract_xds_info")
        return [_record(path, i, entry) for i, entry in enumerate(data, start=1)]


def _record(path: Path, i: int, entry: Any) -> CellRecord:
    if not isinstance(entry, dict):
        raise UnreadableInput(f"{path}: entry {i} is not a data set", "correct it")
    raw = entry.get("raw_unit_cell") or entry.get("unit_cell")
    made = [_cell(entry.get("unit_cell") or raw), _cell(raw)]
    if made[0] is None or made[1] is None:
        raise UnreadableInput(f"{path}: entry {i} has no usable unit_cell", "remove it")
    return CellRecord(
        directory=_text(entry.get("directory")),
        cell=made[0],
        raw=made[1],
        space_group=_text(entry.get("space_group")),
        weight=float(entry.get("weight") or 1.0),
        number=int(entry.get("number") or i),
    )


def _text(value: Any) -> str:
    """Plain text; anything nested (which aliases could blow up) is left out."""
    return str(value) if isinstance(value, str | int | float) else ""


def _cell(values: Any) -> Cell | None:
    return cell_or_none(values) if isinstance(values, list) and len(values) == 6 else None


def write_cells_yaml(path: Path, records: Sequence[CellRecord]) -> None:
    """The list as edtools.cluster and edtools.find_cell read it."""
    import yaml

    entries = [
        {
            "directory": r.directory,
            "number": r.number or i,
            "raw_unit_cell": [round(float(x), 6) for x in r.raw.parameters],
            "space_group": r.space_group,
            "unit_cell": [round(float(x), 6) for x in r.cell.parameters],
            "weight": int(r.weight) if float(r.weight).is_integer() else float(r.weight),
        }
        for i, r in enumerate(records, start=1)
    ]
    write_text(path, yaml.safe_dump(entries, sort_keys=True, allow_unicode=True))
