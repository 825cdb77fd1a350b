"""The page of a batch: its phases, every data set with its cell, phase and reason, and what was not read."""

from __future__ import annotations

from typing import Any

from credo.pipeline.page.document import Part, document
from credo.pipeline.page.markup import esc, section, table
from credo.pipeline.page.numbers import counted, fixed, percent

__all__ = ["batch_page"]


def batch_page(report: dict[str, Any]) -> str:
    """The HTML of the report of `credo batch`; the pages of phases and data sets are linked beside it."""
    parts = [
        Part("phases", "Phases", _phases(report)),
        Part("sets", "Data sets", _sets(report)),
        Part("rejected", "Not merged", _rejected(report)),
        Part("left", "Not read", _left(report)),
    ]
    n, indexed = report["datasets"], report["indexed"]
    head = f"<p>{esc(counted(n, 'data set'))}, {indexed} with a lattice, {counted(len(report['phases']), 'phase')}</p>"
    return document(f"{counted(len(report['phases']), 'phase')} in {counted(n, 'data set')}", head, parts, "",
                    report["warnings"])  # fmt: skip


def _phases(report: dict[str, Any]) -> str:
    rows = []
    for p in report["phases"]:
        name = p["name"] + (f" ({p['known']})" if p.get("known") else "")
        if not p["ok"]:
            rows.append([name, "not merged", "", str(len(p["datasets"])), "", "", "", "", str(p["reason"])])
            continue
        rows.append([
            name, _cell(p["cell"]), str(p["space_group"]), str(len(p["members"])), percent(p["completeness"]),
            fixed(p["resolution"]), fixed(p["r_meas"], 3), fixed(p["cc_half"], 3), _structure(p["structure"]),
        ])  # fmt: skip
    heads = ("Phase", "Cell", "Space group", "Data sets", "Complete", "Resolution (Å)", "R_meas", "CC½", "Structure")
    links = " · ".join(
        f'<a href="{p["folder"]}/{place}report.html">{esc(p["name"])}: {what}</a>'
        for p in report["phases"] if p["ok"] for place, what in _pages(p)
    )  # fmt: skip
    return section("phases", "Phases", table("phases", "What was found", heads, rows), f"<p>{links}</p>")


def _pages(p: dict[str, Any]) -> list[tuple[str, str]]:
    found = [("", "merging")]
    if p["structure"] and p["structure"].get("solved"):
        found.append(("solve/", "solution"))
        if p["structure"].get("refined"):
            found.append(("refine/", "refinement"))
    return found


def _structure(s: dict[str, Any] | None) -> str:
    if s is None:
        return "not asked for"
    if not s["ok"]:
        return f"not solved: {s.get('reason')}"
    solved, refined = s["solved"], s.get("refined") or {}
    r1 = f", R1 {fixed(refined['r1_obs'], 3)}" if refined.get("r1_obs") is not None else ""
    name = f", {solved['framework']['name']}" if solved.get("framework") else ""
    return f"{solved['space_group']}, {solved['n_atoms']} atoms{name}{r1}"


def _sets(report: dict[str, Any]) -> str:
    heads = ("Data set", "No.", "What", "Phase", "Cell", "Indexed", "Resolution (Å)", "CC½", "Complete", "Remark")
    rows = [
        [s["dataset"], f"{s['number']:04d}", s["what"], s["phase"] or "–", _cell(s["cell"]),
         percent(s["indexed_fraction"]), fixed(s["resolution"]), fixed(s["cc_half"], 3), percent(s["completeness"]),
         s["reason"]]
        for s in report["sets"]
    ]  # fmt: skip
    return section("sets", "Data sets", table("sets", "Every data set; its page is in crystals/ under its number",
                                              heads, rows))  # fmt: skip


def _rejected(report: dict[str, Any]) -> str:
    rows = [[r["dataset"], r["reason"]] for r in report["rejected"]]
    return section("rejected", "Not merged", table("rejected", "Data sets of no phase, and why", ("Data set", "Reason"),
                                                   rows))  # fmt: skip


def _left(report: dict[str, Any]) -> str:
    rows = [[x["path"], x["reason"]] for x in report["left"]]
    return section("left", "Not read", table("left", "What else lies there", ("Path", "Reason"), rows))


def _cell(cell: list[float] | None) -> str:
    return "–" if not cell else " ".join(f"{x:.2f}" for x in cell)
