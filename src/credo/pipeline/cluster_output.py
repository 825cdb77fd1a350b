"""What `credo cluster` writes for users of edtools: cells.yaml, one for each cluster, and cells.xlsx."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from credo.io.cell_tables import write_cells_xlsx
from credo.io.edtools import CellRecord, write_cells_yaml
from credo.io.space_group import number_of
from credo.pipeline.data_set import DataSet

__all__ = ["dataset_rows", "write_tables"]

_MORE = ("cluster", "known_phase", "posterior", "strain_percent", "lattice_index", "reindex", "reason")


def write_tables(folder: Path, members: Sequence[DataSet], numbers: dict[str, Any]) -> None:
    """cells.yaml, cells_cluster_K_N-items.yaml of every cluster, and cells.xlsx with a row for every data set, rejected
    ones included."""
    records = [_record(i, m) for i, m in enumerate(members, start=1)]
    write_cells_yaml(folder / "cells.yaml", records)
    for k, part in enumerate(numbers["clusters"], start=1):
        mine = [records[i] for i in part["members"]]
        write_cells_yaml(folder / f"cells_cluster_{k}_{len(mine)}-items.yaml", mine)
    write_cells_xlsx(folder / "cells.xlsx", dataset_rows(members, numbers), _MORE)


def _record(number: int, m: DataSet) -> CellRecord:
    c = m.crystal
    group = str(number_of(c.space_group, c.centring, c.laue_group))
    return CellRecord(m.name, c.cell, c.cell, group, float(max(len(m.table), 1)), number)


def dataset_rows(members: Sequence[DataSet], numbers: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a data set, then the rejected ones."""
    place = {i: (k, j) for k, p in enumerate(numbers["clusters"]) for j, i in enumerate(p["members"])}
    identity = numbers.get("identity") or [{}] * len(members)
    rows = []
    for i, m in enumerate(members):
        k, j = place[i]
        rows.append(_row(m, numbers["clusters"][k], j, identity[i]) | {"cluster": k + 1})
    return rows + [{"file": r["dataset"], "cluster": "rejected", "reason": r["reason"]} for r in numbers["rejected"]]


def _row(m: DataSet, part: dict[str, Any], j: int, identity: dict[str, Any]) -> dict[str, Any]:
    c, scan = m.crystal, m.experiment.scan
    reindex = part.get("reindex")
    return {
        "spgr": number_of(c.space_group, c.centring, c.laue_group),
        **dict(zip(("a", "b", "c", "al", "be", "ga"), (round(x, 4) for x in c.cell.parameters))),
        "volume": round(c.cell.volume, 2),
        "rotation_angle": round(scan.range_deg, 2) if "angles" in m.experiment.known else None,
        "file": m.name, "known_phase": identity.get("phase"),
        "posterior": _at(part, "posterior", j, 4), "strain_percent": _at(part, "strain", j, 2, 100),
        "lattice_index": _at(part, "lattice_index", j, 0), "reindex": "" if reindex is None else operator(reindex[j]),
        "reason": "; ".join(x for x in (part.get("reasons", [""] * (j + 1))[j], identity.get("reason", "")) if x),
    }  # fmt: skip


def _at(part: dict[str, Any], name: str, j: int, digits: int, factor: float = 1.0) -> float | None:
    values = part.get(name)
    return None if values is None else round(factor * float(values[j]), digits)


def operator(p: Any) -> str:
    """P as new axes in terms of the old ones: ``a-c, b, 2c``; fractions as 1/2, 1/3."""
    words = []
    for column in zip(*[[float(x) for x in row] for row in p]):
        terms = ""
        for x, name in zip(column, "abc"):
            n = next((d for d in (1, 2, 3, 4, 6, 12) if abs(x * d - round(x * d)) < 1e-4), 12)
            top = round(x * n)
            if top:
                size = f"{abs(top)}" if abs(top) != 1 or n != 1 else ""
                over = f"/{n}" if n > 1 else ""
                terms += ("-" if top < 0 else "+" if terms else "") + size + over + name
        words.append(terms or "0")
    return ", ".join(words)
