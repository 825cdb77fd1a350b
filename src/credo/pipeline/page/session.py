"""The report of a session: grid, rotation tracks, cells, phases with their structures, what was left out, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from credo.model import CredoError, Reflections
from credo.pipeline.cluster import ClusterSettings, sorted_sets
from credo.pipeline.collection import together
from credo.pipeline.data_set import DataSet
from credo.pipeline.page.clustering import colour, histograms, tree_section
from credo.pipeline.page.document import Part, document
from credo.pipeline.page.intensities import intensities_section
from credo.pipeline.page.map_section import SCRIPTS
from credo.pipeline.page.markup import esc, key_values, section, table
from credo.pipeline.page.numbers import counted, fixed, percent, short, symbol
from credo.pipeline.page.session_grid import grid_section
from credo.pipeline.page.session_phase import DRAWN, merging_table, phase_key, phase_section
from credo.pipeline.page.tracks import range_histogram, tracks
from credo.pipeline.session import Session, SessionCrystal

__all__ = ["session_page"]


def session_page(s: Session) -> str:
    """The HTML of a project folder; every part is left out where the folder does not hold it."""
    sorting = _sorting(s)
    colours = _colours(s, sorting)
    parts = [
        Part("phases", "Phases", section("phases", "Phases", merging_table(s.phases))),
        Part("grid", "Grid", grid_section(s, colours)),
        Part("tracks", "Rotation", _tracks(s, colours)),
        Part("cells", "Cells", _cells(s, sorting)), Part("tree", "Tree", tree_section(sorting) if sorting else ""),
        Part("intensities", "Intensities", intensities_section(sorting) if sorting else ""),
        *(
            Part(phase_key(p), p.title, phase_section(p, s.crystals, s.folder, k < DRAWN))
            for k, p in enumerate(s.phases)
        ),
        Part("sets", "Data sets", _sets(s, sorting)), Part("rejected", "Left out", _rejected(s)),
        Part("measured", "How it was measured", _measured(s)), Part("made", "How it was computed", _made(s)),
    ]  # fmt: skip
    scripts = (*SCRIPTS, "clustering.js")
    return document(_title(s), _headline(s), parts, str(s.folder.resolve()), _warnings(s), scripts)


def _title(s: Session) -> str:
    name = s.folder.resolve().name
    return f"{name}: {counted(len(s.phases), 'phase')} of {counted(len(s.crystals), 'data set')}"


def _headline(s: Session) -> str:
    indexed = [c for c in s.crystals if c.report.get("ok")]
    merged = sum(bool(c.phase) for c in s.crystals)
    how = together([c.experiment.acquisition for c in s.crystals if c.experiment is not None])
    time = sum(c.experiment.acquisition.exposed_s or 0 for c in s.crystals if c.experiment is not None)
    turned = sum(abs(c.turn[1] - c.turn[0]) for c in s.crystals if c.turn)
    rows = [
        ("Data sets", f"{len(s.crystals)}<small>{len(indexed)} with a lattice, {merged} merged</small>"),
        ("Phases", str(len(s.phases))), ("Structures", str(sum(p.structure is not None for p in s.phases))),
    ]  # fmt: skip
    if turned:
        rows.append(("Rotation", f"{turned:.0f}°<small>all crystals together</small>"))
    if time:
        rows.append(("Beam time", f"{time / 60:.1f} min<small>on the crystals</small>"))
    waves = {round(c.experiment.beam.wavelength, 5) for c in s.crystals if c.experiment and _said(c)}
    if waves:
        rows.append(("Wavelength", " and ".join(f"{w:.5f}" for w in sorted(waves)) + " Å"))
    if how.microscope or how.camera:
        rows.append(("Instrument", esc(", ".join(x for x in (how.microscope, how.camera) if x))))
    best = [f"{p.title}: {_result(p)}" for p in s.phases]
    return key_values(rows) + ("<ul>" + "".join(f"<li>{esc(b)}</li>" for b in best[:12]) + "</ul>" if best else "")


def _said(c: SessionCrystal) -> bool:
    return c.experiment is not None and "wavelength" in c.experiment.known


def _result(p: Any) -> str:
    group = symbol(p.refine.get("space_group") or p.solve.get("space_group") or p.merge.get("space_group") or "–")
    if p.refine:
        return f"refined in {group}, R1 {fixed(p.refine.get('r1_obs'), 3)} to {fixed(p.refine.get('resolution'))} Å"
    if p.structure is not None:
        return f"solved in {group}, R1 {fixed(p.solve.get('r1'), 3)}"
    return f"merged in {group}, {percent(p.merge.get('completeness'))} complete to {fixed(p.merge.get('resolution'))} Å"


def _warnings(s: Session) -> list[str]:
    return [f"{p.title}: {w}" for p in s.phases for w in p.merge.get("warnings") or ()]


def _colours(s: Session, sorting: dict[str, Any]) -> dict[str, str]:
    """A class for each phase: that of the cluster of cells which most of its members are in, as in the tree; a second
    phase of one cluster gets one that no other has."""
    clusters: list[Any] = list(sorting.get("clusters") or ())
    names: list[str] = list(sorting.get("datasets") or ())
    cluster = {names[i]: k for k, part in enumerate(clusters) for i in part["members"] if i < len(names)}
    out: dict[str, str] = {}
    free = max(len(clusters), 0)
    for p in s.phases:
        mine = [cluster[c.name] for c in s.crystals if c.phase == p.name and c.name in cluster]
        best = max(set(mine), key=mine.count) if mine else None
        kind = None if best is None else colour(best)
        if kind is None or (kind in out.values() and kind != "quiet"):
            kind, free = colour(free), free + 1
        out[p.name] = kind
    return out


def _tracks(s: Session, colours: dict[str, str]) -> str:
    turned = [c for c in s.crystals if c.turn is not None]
    if not turned:
        return ""
    kinds = [colours.get(c.phase, "quiet") for c in turned]
    picture = tracks([c.name for c in turned], [c.turn for c in turned if c.turn], kinds)
    several = f'<div class="uneven">{range_histogram([c.turn for c in turned if c.turn])}</div>' if turned[3:] else ""
    keys = ", ".join(f'<span class="key {k}">{esc(p.title)}</span>' for p in s.phases if (k := colours[p.name]))
    note = f"Colours: {keys}; in no phase grey." if keys else ""
    return section("tracks", "Rotation tracks", picture, several, note=note)


def _sorting(s: Session) -> dict[str, Any]:
    """The sorting that the batch kept, else that of the cells alone."""
    told = s.sorting
    if told.get("joins") is not None and told.get("clusters"):
        return dict(told)
    sets = _as_sets(s)
    if len(sets) < 3:
        return {}
    try:
        return sorted_sets(sets, ClusterSettings())
    except CredoError:
        return {}


def _as_sets(s: Session) -> list[DataSet]:
    return [DataSet(c.name, c.experiment, Reflections()) for c in s.crystals if c.experiment and c.experiment.crystals]


def _cells(s: Session, sorting: dict[str, Any]) -> str:
    sets = {d.name: d for d in _as_sets(s)}
    names = sorting.get("datasets") or ()
    # histograms of a handful tell less than the table
    if len(names) < 5 or any(n not in sets for n in names):
        return ""
    return histograms([sets[n] for n in names], sorting)


def _sets(s: Session, sorting: dict[str, Any]) -> str:
    """Those of the tree first and in its order, as a click on the tree marks them."""
    order: dict[str, int] = {name: i for i, name in enumerate(sorting.get("datasets") or ())}
    rows = [
        (
            f"{order[c.name] + 1}  {c.name}" if c.name in order else c.name, c.phase or "–", _cell(c.report),
            str(c.report.get("centring") or "–"), percent(c.report.get("indexed_fraction"), 0),
            fixed(c.report.get("resolution")), percent(c.report.get("completeness")), fixed(c.report.get("r_int"), 3),
            fixed(c.report.get("cc_half"), 3), _turn(c),
        )
        for c in sorted(s.crystals, key=lambda c: order.get(c.name, len(order)))
    ]  # fmt: skip
    head = ("Data set", "Phase", "a b c α β γ [Å, °]", "Lattice", "Indexed", "Resolution [Å]", "Complete", "R_int",
            "CC½", "From … to [°]")  # fmt: skip
    body = table("data-sets", "Every data set, numbered as in the tree", head, rows)
    return section("sets", "Data sets", body.replace("<table>", '<table id="tree-table">'))


def _cell(report: Any) -> str:
    """The angles only where they are not all right ones."""
    values = list(report.get("cell") or ())
    plain = len(values) == 6 and all(abs(v - 90) < 5e-3 for v in values[3:])
    return " ".join(fixed(v) for v in (values[:3] if plain else values)) or "–"


def _turn(c: SessionCrystal) -> str:
    return "–" if c.turn is None else f"{fixed(c.turn[0], 1)} … {fixed(c.turn[1], 1)}"


def _rejected(s: Session) -> str:
    body = table("left-out", "Data sets in no merge, and why", ("Data set", "Reason"), s.rejected)
    passed = [(reason, str(n)) for reason, n in s.passed.items()]
    body += table("passed-over", "Crystals passed over while collecting", ("Reason", "Crystals"), passed)
    return section("rejected", "Left out", body.replace("<table>", '<table class="plain">'))


def _measured(s: Session) -> str:
    """What the logs of the collection tell: for the CIF, for the referee."""
    found = [c for c in s.crystals if c.experiment is not None]
    rows = []
    for c in found:
        assert c.experiment is not None
        a = c.experiment.acquisition
        rows.append((
            c.name, a.mode or "–", fixed(a.speed_deg_s), fixed(a.exposed_s or None, 1), short(a.flux), short(a.fluence),
            "–" if a.tracking is None else "yes" if a.tracking else "no", a.camera or "–", a.software or "–",
            a.log or "–",
        ))  # fmt: skip
    head = ("Data set", "Mode", "Speed [°/s]", "Exposed [s]", "Flux [e Å⁻² s⁻¹]", "Fluence [e Å⁻²]", "Tracking",
            "Camera", "Software", "Log")  # fmt: skip
    told = [0, *(k for k in range(1, len(head)) if any(row[k] != "–" for row in rows))]
    if len(told) == 1:
        return ""
    shown = [[row[k] for k in told] for row in rows]
    body = table("measured", "As the logs tell it; what no log says is left out", [head[k] for k in told], shown)
    return section("measured", "How it was measured", body)


def _made(s: Session) -> str:
    """Commands, versions and settings; `credo explain` follows every file back to the frames."""
    rows = []
    for name, report in _reports(s):
        told = dict(report.get("provenance") or {})
        changed = ", ".join(f"{k} = {v}" for k, v in dict(told.get("changed") or {}).items()) or "defaults"
        rows.append(
            (name, str(report.get("command")), str(report.get("version")), str(told.get("made") or "–"), changed)
        )
    rows = list(dict.fromkeys(rows))
    note = (
        "Every folder holds a report.json with all numbers, settings, versions and hashes; "
        "<code>credo explain FILE</code> follows any file back to its frames and says whether all still is as it was."
    )
    body = table("made", "Commands", ("Folder", "Command", "Version", "When", "Settings"), rows)
    body = body.replace("<table>", '<table class="plain">')
    inside = f"<details><summary>{counted(len(rows), 'command')}</summary>{body}</details>" if rows else ""
    return section("made", "How it was computed", inside, note=note)


def _reports(s: Session) -> Sequence[tuple[str, Any]]:
    out: list[tuple[str, Any]] = [(".", s.batch)] if s.batch else []
    out += [(c.folder.relative_to(s.folder).as_posix(), c.report) for c in s.crystals]
    for p in s.phases:
        place = p.folder.relative_to(s.folder).as_posix()
        out += [(place, r) for r in (p.merge, p.solve, p.refine) if r.get("command")]
    return out
