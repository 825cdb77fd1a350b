"""Which lattices and Laue groups were weighed, with their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from credo.pipeline.page.markup import section, table
from credo.pipeline.page.numbers import fixed, short, symbol

if TYPE_CHECKING:
    from credo.pipeline.process import Processed

__all__ = ["symmetry_section"]

_BRAVAIS = ("Bravais type", "a [Å]", "b [Å]", "c [Å]", "α [°]", "β [°]", "γ [°]", "strain [%]", "misfit χ²")
_LAUE = ("Laue group", "rotations", "log-likelihood below the best", "CC of E² under its rotations")


def symmetry_section(found: Processed) -> str:
    """Two tables; the chosen row is marked."""
    index = found.stages["index"].numbers if "index" in found.stages else {}
    symmetry = found.stages["symmetry"].numbers if "symmetry" in found.stages else {}
    lattices: list[dict[str, Any]] = index.get("bravais_candidates", [])
    groups: list[dict[str, Any]] = symmetry.get("laue_candidates", [])
    chosen = next((i for i, c in enumerate(lattices) if c.get("chosen")), -1)
    shown = lattices[:12] if chosen < 12 else [*lattices[:11], lattices[chosen]]
    note = (
        "Left: settings of the lattice within the strain tolerance, with the cell before symmetry was imposed, the "
        "strain that it would take to impose it and its misfit in uncertainties (χ² per constraint). "
        "Right: subgroups of the lattice's symmetry, by how well the intensities agree."
    )
    parts = (
        table("bravais", _counted(shown, lattices), _BRAVAIS, [_lattice(c) for c in shown], min(chosen, 11)),
        table("laue", "Laue groups", _LAUE, [_group(g) for g in groups], 0),
    )
    body = "".join(p for p in parts if p)
    return section("symmetry", "Lattice and symmetry", f'<div class="uneven">{body}</div>' if body else "", note=note)


def _counted(shown: list, every: list) -> str:
    return "Bravais types" if len(shown) == len(every) else f"Bravais types, {len(shown)} of {len(every)}"


def _lattice(c: dict[str, Any]) -> tuple[str, ...]:
    cell = c.get("cell", [None] * 6)
    return (
        str(c.get("bravais", "")), *(fixed(v, 3) for v in cell[:3]), *(fixed(v) for v in cell[3:]),
        fixed(c.get("strain_percent")), fixed(c.get("chi2_per_constraint"), 1),
    )  # fmt: skip


def _group(g: dict[str, Any]) -> tuple[str, ...]:
    return symbol(g.get("laue_group", "")), short(g.get("order")), fixed(g.get("score"), 1), fixed(g.get("cc"), 3)
