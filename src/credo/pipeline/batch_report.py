"""What ``credo batch`` reports: phases, every data set with its phase or why it has none, and what was left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from credo.pipeline.batch_find import Tree
from credo.pipeline.batch_sort import Sorting
from credo.pipeline.data_set import DataSet

__all__ = ["batch_report", "nothing_found", "twins_of"]


def nothing_found(root: Path, tree: Tree) -> str:
    if not tree.left:
        return f"{root}: no data set in it or below it"
    first = tree.left[0]
    more = f" (and {len(tree.left) - 1} more)" if len(tree.left) > 1 else ""
    return f"{root}: no data set in it or below it; {first.path}: {first.reason}{more}"


def twins_of(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Data sets that hold what an earlier one holds, by name: counted twice, a crystal would agree with itself."""
    first: dict[str, str] = {}
    twins = {}
    for name, row in rows.items():
        if row["content"] and row["state"] == "done" and first.setdefault(row["content"], name) != name:
            twins[name] = first[row["content"]]
    return twins


def batch_report(
    tree: Tree, rows: dict[str, Any], twins: dict[str, str], sets: list[DataSet], sorting: Sorting,
    phases: list[dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """The keys of report.json."""
    place = {n: p["name"] for p in phases for n in p["datasets"]}
    why = {n: f"the same frames as {first}" for n, first in twins.items()}
    why |= {n: r["reason"] for n, r in rows.items() if r["state"] != "done"}
    why |= {sets[i].name: "alone: no other data set has its cell" for i in sorting.alone}
    why |= {r.name: r.reason for r in sorting.refused}
    for p in phases:
        why |= {r["dataset"]: f"left out of phase {p['name']}: {r['reason']}" for r in p.get("rejected") or ()}
        if not p["ok"]:
            why |= dict.fromkeys(p["datasets"], f"phase {p['name']} was not merged: {p['reason']}")
    why |= {s.name: "a cell without intensities" for s in sets if not len(s.table)}
    found = [
        {"dataset": s.name, "number": rows[s.name]["number"], "kind": s.kind, "what": s.what, "place": str(s.paths[0]),
         "state": rows[s.name]["state"], "cell_of": rows[s.name]["cell_of"],
         "phase": None if s.name in why else place.get(s.name),
         "reason": why.get(s.name, ""), **_some(rows[s.name]["numbers"])}
        for s in tree.sets
    ]  # fmt: skip
    return {
        "datasets": len(tree.sets),
        "indexed": sum(r["state"] == "done" for r in rows.values()),
        "phases": [{k: v for k, v in p.items() if k not in ("reused", "key", "rejected")} for p in phases],
        "rejected": [{"dataset": n, "reason": why[n]} for n in rows if n in why],
        "sets": found,
        "left": [{"path": str(x.path), "reason": x.reason} for x in tree.left],
        "warnings": [],
    }


def _some(numbers: dict[str, Any]) -> dict[str, Any]:
    names = ("cell", "cell_esd", "centring", "laue_group", "n_frames", "n_spots", "indexed_fraction", "completeness",
             "resolution", "r_meas", "cc_half", "mosaicity_deg", "lattices")  # fmt: skip
    return {k: numbers.get(k) for k in names}
