"""The page of a solved structure: what was found, the groups considered, the trials and the atoms."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from credo import __version__
from credo.pipeline.page.markup import esc, key_values, section, table
from credo.solve.solve import Solution

__all__ = ["solution_page"]


def solution_page(found: Solution, numbers: dict[str, Any], name: str) -> str:
    """One self-contained HTML page."""
    style = files("credo.pipeline.page").joinpath("page.css").read_text("utf-8")
    title = f"{name}: " + (f"solved in {numbers['space_group']}" if found.solved else "not solved")
    body = _summary(found, numbers) + _groups(found) + _trials(found) + _atoms(numbers)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{esc(title)} – credo</title><style>{style}</style></head>\n"
        f'<body><header><h1>{esc(title)}</h1></header>\n<main id="main">{body}</main>'
        f"<footer>credo {esc(__version__)}</footer></body></html>\n"
    )


def _number(value: Any, digits: int = 3) -> str:
    return "–" if value is None or value != value or abs(value) == float("inf") else f"{value:.{digits}f}"


def _summary(found: Solution, numbers: dict[str, Any]) -> str:
    rows = [
        ("Space group", esc(numbers["space_group"] or "–")),
        ("R1, isotropic", _number(numbers["r1"])),
        ("Atoms", str(numbers["n_atoms"])),
        ("Trials", f"{numbers['trials']} in {numbers['cpu_seconds']:.1f} CPU seconds, to {found.d_min:.2f} Å"),
        ("Why", esc("; ".join(found.reasons))),
    ]
    notes = "".join(f"<li>{esc(w)}</li>" for w in numbers["warnings"])
    return section("summary", "Result", key_values(rows), f"<ul>{notes}</ul>" if notes else "")


def _groups(found: Solution) -> str:
    rows = [
        (
            c.space_group,
            _number(c.agreement, 2),
            _number(c.worst, 2),
            _number(c.r_e),
            _number(c.r1),
            _number(c.merit, 2),
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
    rows = [(str(n + 1), _number(m, 3)) for n, m in enumerate(found.merits)]
    head = ("Trial", "Merit")
    return section("trials", "Trials", table("trials", "Merit of every P1 trial", head, rows))


def _atoms(numbers: dict[str, Any]) -> str:
    rows = [
        (a["label"], a["element"], *(_number(x, 4) for x in a["xyz"]), _number(a["u_iso"], 4)) for a in numbers["atoms"]
    ]
    return section(
        "atoms", "Atoms", table("atoms", "Fractional positions", ("Atom", "Element", "x", "y", "z", "U"), rows)
    )
