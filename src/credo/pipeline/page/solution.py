"""The page of a solved structure: what was found, the groups considered, the trials and the atoms."""

from __future__ import annotations

from typing import Any

import numpy as np

from credo.model import Structure
from credo.pipeline.page.chart import Chart
from credo.pipeline.page.document import Part, document
from credo.pipeline.page.map_section import SCRIPTS, map_section
from credo.pipeline.page.markup import esc, figure, key_values, section, table
from credo.pipeline.page.structure3d import structure_section
from credo.solve.solve import Solution

__all__ = ["atom_table", "number", "solution_page"]


def solution_page(
    found: Solution, numbers: dict[str, Any], name: str, best: tuple[Structure, np.ndarray] | None = None
) -> str:
    """One self-contained HTML page; ``best``: the best structure, refined, and its map of Fo (nx, ny, nz)."""
    title = f"{name}: " + (f"solved in {numbers['space_group']}" if found.solved else "not solved")
    parts = [
        Part("structure", "Structure", structure_section(best[0]) if best else ""),
        Part("map", "Map", map_section({"Fo": best[1]}, best[0]) if best else ""),
        Part("groups", "Space groups considered", _groups(found)), Part("trials", "Trials", _trials(found)),
        Part("atoms", "Atoms", atom_table(numbers)),
    ]  # fmt: skip
    return document(title, _summary(found, numbers), parts, "", numbers["warnings"], SCRIPTS)


def number(value: Any, digits: int = 3) -> str:
    """A dash where there is none."""
    return "–" if value is None or value != value or abs(value) == float("inf") else f"{value:.{digits}f}"


def _summary(found: Solution, numbers: dict[str, Any]) -> str:
    rows = [
        ("Space group", esc(numbers["space_group"] or "–")),
        ("R1, isotropic", number(numbers["r1"])),
        ("Atoms", str(numbers["n_atoms"])),
        ("Trials", f"{numbers['trials']} in {numbers['cpu_seconds']:.1f} CPU seconds, to {found.d_min:.2f} Å"),
        ("Why", esc("; ".join(found.reasons))),
    ]
    return key_values(rows)


def _groups(found: Solution) -> str:
    rows = [
        (
            c.space_group,
            number(c.agreement, 2),
            number(c.worst, 2),
            number(c.r_e),
            number(c.r1),
            number(c.merit, 2),
        )
        for c in found.candidates[:20]
    ]
    head = ("Space group", "Agreement", "Worst operation", "R of |E|", "R1", "Figure of merit")
    note = (
        "Agreement of the P1 phases with the group's operations, 1 for perfect. The lowest figure of merit is the best."
    )
    return section(
        "groups", "Space groups considered", table("groups", "Candidates, best first", head, rows), note=note
    )


def _trials(found: Solution) -> str:
    """Every trial's merit, in order: a success stands above the crowd."""
    merits = np.array([m for m in found.merits if np.isfinite(m)])
    if len(merits) < 2:
        return ""
    x = np.arange(1, len(merits) + 1)
    low, high = float(min(merits.min(), 0)), float(merits.max()) * 1.05
    chart = Chart((0, len(merits) + 1), (low, high), "trial", "merit", (640, 240)).dots(x, merits, "c1", radius=3)
    picture = figure("trials", chart.svg("Merit of every trial", f"{len(merits)} trials"), "Merit of every P1 trial.")
    return section("trials", "Trials", f'<div class="uneven">{picture}</div>')


def atom_table(numbers: dict[str, Any]) -> str:
    rows = [
        (a["label"], a["element"], *(number(x, 4) for x in a["xyz"]), number(a["u_iso"], 4)) for a in numbers["atoms"]
    ]
    return section(
        "atoms", "Atoms", table("atoms", "Fractional positions", ("Atom", "Element", "x", "y", "z", "U"), rows)
    )
