"""What the demonstration found, held against what the simulator knew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from credo.io.samples import sample
from credo.io.structure import read_structure
from credo.merge.strain import Lattice, reduce_lattice, relation
from credo.model import Cell, CredoError, Structure
from credo.pipeline.demo_scenes import Scene
from credo.solve.compare import atoms_in_cell, compare, same_space_group

__all__ = ["errors_of", "wrong"]

#: Strain below which a lattice is that of the true phase; largest errors of a cell length [%], of atoms [Å], and the
#: least share of true atoms but hydrogen that must be found, with their element's row, within 0.3 Å.
_SAME_LATTICE, _CELL_PERCENT, _DEVIATION, _RIGHT = 0.06, 1.0, 0.1, 0.95


def errors_of(
    phases: Sequence[dict[str, Any]], shown: Scene, project: Path, sets: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """For every true phase the found one that is most like it, and how far it is from the truth; ``sets``: the rows of
    the data sets, of which those with its lattice are counted."""
    errors = {}
    for name in shown.phases:
        true = sample(name)
        own = reduce_lattice(true.cell, _centring(true.space_group))
        like = sum(_strain(s, own)[0] <= _SAME_LATTICE for s in sets if s["state"] == "done")
        errors[name] = {**_nearest(true, shown.guest, phases, project), "data_sets": like}
    return errors


def wrong(errors: dict[str, Any]) -> list[str]:
    """Sentences about what is not as the simulator knew it; none if all is right."""
    return [f"{name}: {why}" for name, e in errors.items() if (why := _fault(e))]


def _fault(e: dict[str, Any]) -> str:
    if not e["found"]:
        few = " (two make a phase: ask for more by --crystals)" if e["data_sets"] < 2 else ""
        return f"not found; {e['data_sets']} data sets have its lattice{few}"
    if e["cell_percent"] > _CELL_PERCENT:
        return f"its cell is off by {e['cell_percent']:.2f} %"
    if not e.get("solved"):
        return f"not solved ({e.get('reason') or 'no reason given'})"
    if not e["space_group_right"]:
        return f"the space group is not {e['space_group']}"
    if e.get("guest_right", 1.0) < _RIGHT:
        return f"only {e['guest_right']:.0%} of the guest was found"
    if e["atoms_right"] < _RIGHT:
        return f"only {e['atoms_right']:.0%} of its atoms are in place"
    if e["mean_deviation"] > _DEVIATION:
        return f"its atoms are off by {e['mean_deviation']:.3f} Å in the mean"
    return ""


def _nearest(true: Structure, guest: Sequence[str], phases, project: Path) -> dict[str, Any]:
    told = [t for p in phases if p.get("ok") and (t := _against(true, guest, p, project)) is not None]
    if not told:
        return {"found": False}
    return max(told, key=lambda t: (t.get("atoms_right") or 0.0, t["members"], -t["cell_percent"]))


def _against(true: Structure, guest: Sequence[str], phase: dict[str, Any], project: Path) -> dict[str, Any] | None:
    """How far one phase is from the true structure; None where the lattice is another."""
    own = reduce_lattice(true.cell, _centring(true.space_group))
    strain, p = _strain(phase, own)
    if strain > _SAME_LATTICE:
        return None
    metric = p.T @ Cell(*phase["cell"]).metric @ p
    ratio = np.sqrt(np.diag(metric) / np.diag(own.metric))
    e: dict[str, Any] = {
        "found": True, "phase": phase["name"], "members": len(phase["members"]), "space_group": true.space_group,
        "cell_percent": 100 * float(np.abs(ratio - 1).max()),
        "space_group_right": same_space_group(phase["space_group"], true.space_group),
    }  # fmt: skip
    path = project / phase["folder"] / "structure.cif"
    told = phase.get("structure") or {}
    e |= {"solved": bool(told.get("ok")), "reason": str(told.get("reason") or "")}
    if not path.is_file():
        return e
    try:
        model = read_structure(path)
        c = compare(model, true)
    except CredoError as error:
        return e | {"solved": False, "reason": str(error)}
    if guest:
        e |= {"guest_right": _guest_right(model, true, guest, c.right)}
    return e | {
        "space_group_right": c.same_group, "atoms_right": c.right, "extra": c.extra,
        "mean_deviation": c.mean_deviation, "max_deviation": c.max_deviation,
        "r1": (told.get("refined") or {}).get("r1_obs"),
    }  # fmt: skip


def _strain(found: dict[str, Any], own: Lattice) -> tuple[float, np.ndarray]:
    """Strain from the lattice found to the true one, and P (3, 3), by which the found axes lie on its reduced ones."""
    strain, _, p = relation(reduce_lattice(Cell(*found["cell"]), found["centring"]), own, max_index=1)
    return strain, p


def _guest_right(model: Structure, true: Structure, guest: Sequence[str], right: float) -> float:
    """Share of the guest's atoms that are in place: what the share of all has beyond that of the framework alone."""
    framework = replace(true, atoms=tuple(a for a in true.atoms if a.label not in guest))
    whole, part = atoms_in_cell(true), atoms_in_cell(framework)
    return (whole * right - part * compare(model, framework).right) / (whole - part)


def _centring(group: str) -> str:
    g = gemmi.SpaceGroup(group)
    return "P" if g.ext == "R" else g.centring_type()
