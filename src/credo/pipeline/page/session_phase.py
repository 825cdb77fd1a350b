"""One phase in the report of a session: statistics as papers print them, structure and map."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from credo.pipeline.corrected import corrected_by
from credo.pipeline.page.chart import Chart, resolution_ticks
from credo.pipeline.page.map_section import map_figure
from credo.pipeline.page.markup import esc, figure, key_values, label, section, table
from credo.pipeline.page.numbers import counted, fixed, percent, symbol, with_esd
from credo.pipeline.page.structure3d import structure_figure
from credo.pipeline.session import SessionCrystal, SessionPhase, read_map

__all__ = ["DRAWN", "merging_table", "phase_key", "phase_section"]

_SIZE = 480, 240
#: Points of a map that the page holds: coarser than on the page of the refinement.
_POINTS = 60_000
#: Structures drawn, those of the first phases; a page with dozens would be slow.
DRAWN = 6


def phase_section(phase: SessionPhase, crystals: Sequence[SessionCrystal], root: Path, drawn: bool = True) -> str:
    """Facts, statistics and figures of a phase; ``drawn``: with structure and map; ``root``: the page's own folder."""
    members = [c for c in crystals if c.phase == phase.name]
    parts = [_facts(phase), _pages(phase, root), _members(phase, members), _charts(phase)]
    if drawn and phase.structure is not None and phase.structure.atoms:
        model = structure_figure(phase.structure, f"structure-{phase.name}")
        parts.append(f'<div class="pair">{model}{_map(phase)}</div>')
    parts += [_atoms(phase)]
    return section(phase_key(phase), phase.title, *parts, note=_note(phase))


def _pages(phase: SessionPhase, root: Path) -> str:
    """Links to the pages of the commands, which lie below."""
    links = [
        f'<a href="{quote(path.resolve().relative_to(root.resolve()).as_posix())}">{name}</a>'
        for name, folder in phase.folders.items()
        if (path := folder / "report.html").is_file() and root.resolve() in path.resolve().parents
    ]
    return f'<p class="note">Pages of their own: {", ".join(links)}</p>' if links else ""


def phase_key(phase: SessionPhase) -> str:
    """Of its section."""
    return "phase-" + "".join(c if c.isalnum() else "-" for c in phase.name)


def _note(phase: SessionPhase) -> str:
    reasons = [str(r.get("reason")) for r in (phase.solve,) if r and not r.get("ok")]
    return esc("; ".join(reasons))


def _cell_texts(report: Mapping[str, Any]) -> list[str]:
    """a b c α β γ with their uncertainties."""
    values = list(report.get("cell") or [None] * 6)
    esd = list(report.get("cell_esd") or []) or [None] * 6
    return [with_esd(v, e if e and e > 1e-6 else None, _digits(v, e, i)) for i, (v, e) in enumerate(zip(values, esd))]


def _digits(value: Any, esd: Any, i: int) -> int:
    """An angle that symmetry fixes has no decimals."""
    fixed_by_symmetry = i > 2 and not esd and isinstance(value, float) and abs(value - round(value)) < 1e-6
    return 0 if fixed_by_symmetry else 2


def _facts(phase: SessionPhase) -> str:
    m, s, r = phase.merge, phase.solve, phase.refine
    cell = _cell_texts(m or r or s)
    units = (" Å",) * 3 + ("°",) * 3
    shown = " ".join(f"<span><i>{n}</i> {esc(v)}{u}</span>" for n, v, u in zip("abcαβγ", cell, units))
    rows = [("Space group", esc(symbol(r.get("space_group") or s.get("space_group") or m.get("space_group") or "–")))]
    if m:
        rows += [
            ("Crystals merged", f"{len(m.get('members') or ())}<small>of {_of(m)}</small>"),
            ("Resolution", f"{fixed(m.get('resolution'))} Å"), ("Completeness", percent(m.get("completeness"))),
            ("R_int", f"{fixed(m.get('r_int'), 3)}<small>{label('R_meas ' + fixed(m.get('r_meas'), 3))}</small>"),
            ("CC½", fixed(m.get("cc_half"), 3)),
        ]  # fmt: skip
    if s.get("ok"):
        rows.append(("Solved", f"R1 {fixed(s.get('r1'), 3)}<small>{esc(_by(s))}</small>"))
    if r:
        data = f"{r.get('n_observed')} of {r.get('n_reflections')} observed, {r.get('n_parameters')} parameters"
        rows += [
            ("R1 of I > 2σ", f"{fixed(r.get('r1_obs'), 4)}<small>{fixed(r.get('r1_all'), 4)} of all</small>"),
            ("wR2, fit", f"{fixed(r.get('wr2'), 4)}, {fixed(r.get('goof'), 2)}<small>{esc(data)}</small>"),
            ("Difference map", f"{fixed(r.get('residual_min'))} … {fixed(r.get('residual_max'))} Å⁻²"),
        ]
    return f'<p class="cell">{shown}</p>' + key_values(rows) + _damping(phase)


def _damping(phase: SessionPhase) -> str:
    """Whether the structure is of data without the damping of strong reflections, and what speaks for that."""
    d = phase.corrected.get("damping")
    if not d:
        return ""
    if not d["applied"]:
        return f'<p class="note">Damping of strong reflections was not taken out: {esc(d["reason"])}.</p>'
    rows = [r for r in phase.corrected.get("datasets") or () if r.get("thickness_nm") is not None]
    thick = ", ".join(fixed(r["thickness_nm"], 0) for r in rows[:12]) + (" …" if len(rows) > 12 else "")
    kept = "is of" if phase.folders.get("refinement") == corrected_by(phase.folder) / "refine" else "is not of"
    return (
        f'<p class="note">The structure {kept} data corrected for the damping of strong reflections, which depend on '
        f"the structure itself: {esc(d['reason'])}. Thickness of the crystals by it: {thick} nm.</p>"
    )


def _of(merge: Mapping[str, Any]) -> int:
    return len(merge.get("members") or ()) + len(merge.get("rejected") or ())


def _by(solve: Mapping[str, Any]) -> str:
    framework = solve.get("framework")
    named = f", {framework['name']}" if isinstance(framework, dict) and framework.get("name") else ""
    return f"{counted(int(solve.get('n_atoms') or 0), 'atom')}{named}"


def _members(phase: SessionPhase, members: Sequence[SessionCrystal]) -> str:
    """A row for each data set and one for the merge, with the columns of table 1 of the thesis."""
    if not phase.merge:
        return ""
    rows = [
        (
            c.name, *(fixed(c.report.get(k), 3) for k in ("r_int", "r_meas", "cc_half")),
            percent(c.report.get("completeness")), fixed(c.report.get("resolution")), _count(c.report.get("n_unique")),
            fixed(c.report.get("i_over_sigma")), _lengths(c.report), fixed(_range(c), 1),
        )
        for c in members
    ]  # fmt: skip
    m = phase.merge
    rows.append((
        "merged", *(fixed(m.get(k), 3) for k in ("r_int", "r_meas", "cc_half")), percent(m.get("completeness")),
        fixed(m.get("resolution")), _count(m.get("n_unique")), fixed(m.get("i_over_sigma")), _lengths(m), "–",
    ))  # fmt: skip
    head = ("Data set", "R_int", "R_meas", "CC½", "Completeness", "Resolution [Å]", "No. refls", "Average I/σ",
            "Cell [Å]", "Tilt range [°]")  # fmt: skip
    caption = "Each data set by itself, in its own Laue group and to its own limit, and the merge"
    return table(f"members-{phase.name}", caption, head, rows, len(rows) - 1)


def _lengths(report: Mapping[str, Any]) -> str:
    return " ".join(fixed(v) for v in list(report.get("cell") or ())[:3]) or "–"


def _range(c: SessionCrystal) -> float | None:
    return None if c.turn is None else abs(c.turn[1] - c.turn[0])


def _count(n: Any) -> str:
    return str(n) if isinstance(n, int) else "–"


def merging_table(phases: Sequence[SessionPhase]) -> str:
    """The phases side by side, in the rows of tables 1 and 2 of the thesis."""
    merged = [p for p in phases if p.merge or p.refine or p.solve]
    if not merged:
        return ""
    lines: list[tuple[str, list[str]]] = [
        ("Space group", [symbol(p.refine.get("space_group") or p.merge.get("space_group") or "–") for p in merged]),
        ("Crystals merged", [_count(len(p.merge["members"])) if p.merge.get("members") else "–" for p in merged]),
    ]
    for i, (name, unit) in enumerate((("a", "Å"), ("b", "Å"), ("c", "Å"), ("α", "°"), ("β", "°"), ("γ", "°"))):
        lines.append((f"{name} [{unit}]", [_cell_texts(p.merge or p.refine or p.solve)[i] for p in merged]))
    lines += [(name, [make(dict(getattr(p, where)).get(key)) for p in merged]) for name, where, key, make in _LINES]
    rows = [(name, *values) for name, values in lines if any(v != "–" for v in values)]
    body = table("phases", "Phases side by side", ("", *(p.title for p in merged)), rows)
    narrow = body.replace("<table>", '<table class="narrow">') if len(merged) < 4 else body
    return re.sub(r">R_([a-z]+)<", r">R<sub>\1</sub><", narrow)


def _three(v: Any) -> str:
    return fixed(v, 3)


def _four(v: Any) -> str:
    return fixed(v, 4)


_LINES = (
    ("Reflections, total", "merge", "n_observations", _count), ("Reflections, unique", "merge", "n_unique", _count),
    ("Completeness", "merge", "completeness", percent), ("Resolution [Å]", "merge", "resolution", fixed),
    ("Average I/σ(I)", "merge", "i_over_sigma", fixed), ("R_int", "merge", "r_int", _three),
    ("R_meas", "merge", "r_meas", _three), ("R_pim", "merge", "r_pim", _three), ("CC½", "merge", "cc_half", _three),
    ("CC½ by crystals", "merge", "cc_half_by_crystals", _three), ("R1, solution", "solve", "r1", _three),
    ("R1, I > 2σ", "refine", "r1_obs", _four), ("R1, all", "refine", "r1_all", _four),
    ("wR2", "refine", "wr2", _four), ("Goodness of fit", "refine", "goof", _three),
    ("Parameters", "refine", "n_parameters", _count), ("Restraints", "refine", "n_restraints", _count),
    ("Highest residual [Å⁻²]", "refine", "residual_max", _three),
    ("Lowest residual [Å⁻²]", "refine", "residual_min", _three),
)  # fmt: skip


def _charts(phase: SessionPhase) -> str:
    shells = [s for s in phase.merge.get("shells") or () if isinstance(s, dict)]
    if len(shells) < 2:
        return ""
    x = np.array([0.5 * (1 / s["d_max"] ** 2 + 1 / s["d_min"] ** 2) for s in shells])
    limits = 1 / shells[0]["d_max"] ** 2, 1 / shells[-1]["d_min"] ** 2
    out = ""
    for key, name, top in (("cc_half", "CC½", 1.0), ("completeness", "Completeness", 1.0), ("r_meas", "R_meas", None)):
        y = np.array([np.nan if s.get(key) is None else s[key] for s in shells], dtype=float)
        if not np.isfinite(y).any():
            continue
        high = top or float(min(1.05 * np.nanmax(y), 2.0))
        chart = Chart(limits, (min(0.0, float(np.nanmin(y))), high), "d [Å]", name, _SIZE, resolution_ticks(*limits))
        chart.line(x, y).dots(x, y)
        if isinstance(phase.merge.get("resolution"), float):
            chart.rule(x=1 / phase.merge["resolution"] ** 2, text=f"{phase.merge['resolution']:.2f} Å")
        svg = chart.svg(f"{name} by resolution, {phase.title}", f"{len(shells)} shells")
        out += figure(f"{key}-{phase.name}", svg, f"{label(name)} of the merge, in shells")
    return f'<div class="three">{out}</div>'


def _map(phase: SessionPhase) -> str:
    assert phase.structure is not None
    maps = {name: rho for name, path in phase.maps.items() if (rho := read_map(path)) is not None}
    return map_figure(maps, phase.structure, f"map-{phase.name}", _POINTS) if maps else ""


def _atoms(phase: SessionPhase) -> str:
    if phase.structure is None or not phase.structure.atoms:
        return ""
    rows = [
        (a.label, a.element, *(fixed(float(x), 4) for x in a.xyz), fixed(a.u_iso, 4), fixed(a.occupancy, 3))
        for a in phase.structure.atoms
    ]
    head = ("Atom", "Element", "x", "y", "z", "U [Å²]", "occupancy")
    body = table(f"atoms-{phase.name}", "Fractional positions", head, rows)
    return f"<details><summary>{counted(len(rows), 'atom')}</summary>{body}</details>"
