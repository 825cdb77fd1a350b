"""The page of a framework: its name, the topologies met, the space groups searched, coordination sequences, atoms."""

from __future__ import annotations

from typing import Any

import numpy as np

from credo.model import Structure
from credo.pipeline.page.document import Part, document
from credo.pipeline.page.map_section import SCRIPTS, map_section
from credo.pipeline.page.markup import esc, key_values, section, table
from credo.pipeline.page.solution import atom_table, number
from credo.pipeline.page.structure3d import structure_section
from credo.solve.frameworks import FrameworkSolution

__all__ = ["framework_page"]


def framework_page(
    found: FrameworkSolution, numbers: dict[str, Any], name: str, best: tuple[Structure, np.ndarray] | None = None
) -> str:
    """One self-contained HTML page; ``best``: the structure with its oxygens, refined, and its map of Fo."""
    top = found.best
    said = f"framework {top.name} in {top.space_group}" if top and found.solved else "no framework found"
    parts = [
        Part("structure", "Structure", structure_section(best[0]) if best else ""),
        Part("map", "Map", map_section({"Fo": best[1]}, best[0]) if best else ""),
        Part("topologies", "Topologies", _topologies(found)),
        Part("sequences", "Coordination sequences", _sequences(found)),
        Part("groups", "Space groups", _groups(found)),
        Part("atoms", "Atoms", atom_table(numbers)),
    ]
    return document(
        f"{name}: {said}", _summary(found, numbers), parts, "", numbers["warnings"],
        SCRIPTS,
    )  # fmt: skip


def _summary(found: FrameworkSolution, numbers: dict[str, Any]) -> str:
    best = found.best
    rows = [
        ("Framework type", esc(best.name if best else "–")),
        ("Space group", esc(numbers["space_group"] or "–")),
        ("R1, distances restrained", number(numbers["r1"])),
        ("T sites", f"{best.n_t}, {best.density:.1f} T per 1000 Å³" if best else "–"),
        ("Trials", f"{numbers['trials']} in {numbers['cpu_seconds']:.1f} CPU seconds, to {found.d_min:.2f} Å"),
        ("Why", esc("; ".join(found.reasons))),
    ]
    return key_values(rows)


def _topologies(found: FrameworkSolution) -> str:
    rows = [
        (f.name, f.space_group, number(f.r1), number(f.misfit, 2), f"{f.angle:.0f}", number(f.merit), str(f.hits))
        for f in found.candidates[:20]
    ]
    head = ("Framework", "Space group", "R1", "Misfit", "Smallest T–O–T [°]", "Merit of T sites", "Found in trials")
    note = (
        "Every complete four-connected net that was met and refined, best first. The misfit is the root mean square of "
        "(distance − ideal)/tolerance over T–O, O…O and T…T: below 1 for nets that silicates can have."
    )
    return section("topologies", "Topologies", table("topologies", "Nets met", head, rows), note=note)


def _sequences(found: FrameworkSolution) -> str:
    if found.best is None:
        return ""
    rows = [(f"{100 * n:.1f} %", " ".join(map(str, s))) for s, n in found.best.sequences]
    note = "T atoms 1 to 10 steps away. The set of them names the framework type."
    return section(
        "sequences",
        "Coordination sequences",
        table("sequences", "N1 to N10", ("Share of T", "Sequence"), rows),
        note=note,
    )


def _groups(found: FrameworkSolution) -> str:
    rows = [(g, str(n), number(m)) for g, n, m in found.groups]
    return section(
        "groups", "Space groups", table("groups", "Searched", ("Space group", "Trials", "Best merit"), rows),
        note="In the order of likelihood; each had half the time of the one before.",
    )  # fmt: skip
