"""The page of a merge: statistics, data sets with reasons, scales, completeness, errors and symmetry, by phase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from credo.merge.directions import completeness_by_direction
from credo.pipeline.merge_output import chi_by, damping_of, dataset_rows
from credo.pipeline.page.chart import Chart, resolution_ticks
from credo.pipeline.page.document import Part, document
from credo.pipeline.page.markup import esc, figure, key_values, label, section, table
from credo.pipeline.page.numbers import counted, fixed, percent, short, symbol, with_esd

if TYPE_CHECKING:
    from credo.pipeline.merge import Merged

__all__ = ["merging_page"]

_SIZE = 480, 240
#: More curves in one chart cannot be told apart.
_CURVES = 80


def merging_page(phases: Sequence[Merged], failed: Sequence[dict[str, Any]], source: str) -> str:
    """The HTML of all phases, one after the other."""
    parts = [Part(f"summary-{p.name}", f"Phase {p.name}", _summary(p, len(phases) > 1)) for p in phases]
    parts = parts if len(phases) > 1 else []
    for p in phases:
        tail = f" {p.name}" if len(phases) > 1 else ""
        for key, title, make in _SECTIONS:
            parts.append(Part(f"{key}-{p.name}", title + tail, make(p, f"{key}-{p.name}", title + tail)))
    parts.append(Part("failed", "Not merged", _failed(failed)))
    warnings = [w if len(phases) == 1 else f"Phase {p.name}: {w}" for p in phases for w in p.warnings]
    head = _facts(phases[0]) if len(phases) == 1 else f"<p>{len(phases)} phases</p>"
    kept = sum(m.kept for p in phases for m in p.members)
    return document(f"{counted(kept, 'data set')} merged", head, parts, source, warnings)


def _summary(p: Merged, several: bool) -> str:
    return section(f"summary-{p.name}", f"Phase {p.name}", _facts(p)) if several else ""


def _facts(p: Merged) -> str:
    values, esds = p.cell.parameters, p.cell.esd or (None,) * 6
    cell = " ".join(
        f"<span><i>{n}</i> {esc(with_esd(v, e if e and e > 1e-6 else None, 2))}{u}</span>"
        for n, v, e, u in zip("abcαβγ", values, esds, (" Å",) * 3 + ("°",) * 3)
    )
    o, best = p.inside.overall, p.candidates[0]
    kept = sum(m.kept for m in p.members)
    chance = "given" if p.group != best.group else f"probability {fixed(best.probability)}"
    others = f"R_meas {fixed(o.r_meas, 3)}, R_pim {fixed(o.r_pim, 3)}"
    rows = [
        ("Space group", f"{esc(symbol(p.group.xhm()))}<small>{esc(chance)}</small>"),
        ("Laue group", f"{esc(symbol(p.laue.laue_group))}<small>probability {fixed(p.laue.probability)}</small>"),
        ("Data sets", f"{kept}<small>of {len(p.members) + len(p.refused)}</small>"),
        ("Resolution", f"{fixed(p.resolution)} Å<small>where CC½ falls to 0.3</small>" if p.resolution_by == "cc_half"
         else f"{fixed(p.resolution)} Å<small>by I/σ</small>"),
        ("Completeness", percent(o.completeness)), ("Multiplicity", fixed(o.multiplicity, 1)),
        ("R_int", f"{fixed(o.r_int, 3)}<small>{label(others)}</small>"),
        ("CC½", f"{fixed(o.cc_half, 3)}<small>{fixed(p.halves[0], 3)} by crystals</small>"),
        ("Unique reflections", f"{o.unique}<small>of {o.observations} observations</small>"),
    ]  # fmt: skip
    return f'<p class="cell">{cell}</p>' + key_values(rows)


def _statistics(p: Merged, key: str, title: str) -> str:
    shells = p.everything.shells
    if not shells:
        return ""
    head = ("d [Å]", "observed", "unique", "possible", "complete", "multiplicity", "⟨I/σ⟩", "R_int", "R_meas", "R_pim",
            "CC½", "CC½ by crystals", "pairs")  # fmt: skip
    rows = [_row(s, h) for s, h in zip(shells, p.halves[1:])]
    rows.append(("to the resolution limit", *_row(p.inside.overall, p.halves[0])[1:]))
    x = np.array([0.5 * (1 / s.d_max**2 + 1 / s.d_min**2) for s in shells])
    limits = 1 / shells[0].d_max ** 2, 1 / shells[-1].d_min ** 2
    cc, by = np.array([s.cc_half for s in shells]), np.array(p.halves[1:])
    chart = Chart(limits, (min(0.0, float(np.nanmin(np.append(cc, 0)))), 1.0), "d [Å]", "CC½", _SIZE,
                  resolution_ticks(*limits))  # fmt: skip
    chart.rule(x=1 / p.resolution**2, text=f"{p.resolution:.2f} Å").rule(y=0.3, text="0.3")
    chart.line(x, cc, "c1", "of observations").dots(x, cc, "c1").line(x, by, "c2", "by crystals").dots(x, by, "c2")
    r = np.array([s.r_meas for s in shells])
    top = float(min(1.05 * np.nanmax(np.append(r, 0.1)), 2.0))
    second = Chart(limits, (0.0, top), "d [Å]", "R_meas", _SIZE, resolution_ticks(*limits)).line(x, r).dots(x, r)
    share = np.array([s.completeness for s in shells])
    third = Chart(limits, (0.0, 1.0), "d [Å]", "Completeness", _SIZE, resolution_ticks(*limits))
    third.line(x, share).dots(x, share)
    figures = (
        figure(f"cc-{p.name}", chart.svg("CC½ by resolution", "Two kinds."), "CC½ by the σ-τ method, and between "
               "halves of the crystals"),
        figure(f"r-{p.name}", second.svg("R_meas by resolution", ""), label("R_meas in shells")),
        figure(f"complete-{p.name}", third.svg("Completeness by resolution", ""), "Completeness in shells"),
    )  # fmt: skip
    note = (
        "Friedel mates merged; weighted means; R over reflections seen at least twice, outliers beyond 5 σ left out. "
        f"Completeness in {esc(symbol(p.laue.laue_group))}, centring {esc(p.laue.centring)}."
    )
    return section(
        key, title, f'<div class="three">{"".join(figures)}</div>',
        table(f"shells-{p.name}", "Shells of equal volume in reciprocal space", head, rows, len(rows) - 1), note=note,
    )  # fmt: skip


def _row(s: Any, by_crystals: float) -> tuple[str, ...]:
    return (
        f"{fixed(s.d_max)} – {fixed(s.d_min)}", str(s.observations), str(s.unique), str(s.possible),
        percent(s.completeness), fixed(s.multiplicity), fixed(s.i_over_sigma), fixed(s.r_int, 3), fixed(s.r_meas, 3),
        fixed(s.r_pim, 3), fixed(s.cc_half, 3), fixed(by_crystals, 3), str(s.pairs),
    )  # fmt: skip


def _datasets(p: Merged, key: str, title: str) -> str:
    head = ("data set", "in the merge", "posterior", "observations", "common", "CC", "R", "weight", "scale", "B [Å²]",
            "ΔCC½", "why")  # fmt: skip
    found = dataset_rows(p)
    names = _short([r["dataset"] for r in found] + [x.name for x in p.refused])
    rows = [
        (
            name, "yes" if r["kept"] else "no", short(r["posterior"]), str(r["observations"]), str(r["common"]),
            fixed(r["cc"], 3), fixed(r["r_merge"], 3), fixed(r["weight"]), fixed(r["scale"]), fixed(r["b"]),
            fixed(r["delta_cc_half"], 4), r["reason"],
        )
        for name, r in zip(names, found)
    ]  # fmt: skip
    rows += [(name, "no", *["–"] * 9, x.reason) for name, x in zip(names[len(found) :], p.refused)]
    note = (
        "Each set is judged by the means of the others. The posterior is that it is of this phase; the weight is how "
        "much its observations count beside those of a typical set; R is Σ|I − Ī|/ΣI of its observations; ΔCC½ is what "
        "CC½ loses without it."
    )
    r = np.array([np.nan if x["r_merge"] is None else x["r_merge"] for x in found])
    chart = Chart((0, len(r) + 1), (0, float(min(1.1 * np.nanmax(np.append(r, 0.1)), 2))), "data set", "R", (980, 200))
    at = np.arange(1, len(r) + 1)
    chart.bars(at - 0.4, at + 0.4, r, "c1")
    picture = figure(
        f"r-sets-{p.name}", chart.svg("R of each data set", ""), "R of each data set, in the table's order"
    )
    return section(
        key, title, picture, table(f"datasets-{p.name}", "Data sets", head, rows), note=note
    )  # fmt: skip


def _short(names: list[str]) -> list[str]:
    """Names without the folders that all have, and without the file that all are."""
    parts = [n.replace("\\", "/").split("/") for n in names]
    while len(names) > 1 and all(len(x) > 1 for x in parts) and len({x[0] for x in parts}) == 1:
        parts = [x[1:] for x in parts]
    while len(names) > 1 and all(len(x) > 1 for x in parts) and len({x[-1] for x in parts}) == 1:
        parts = [x[:-1] for x in parts]
    return ["/".join(x) for x in parts]


def _scales(p: Merged, key: str, title: str) -> str:
    knots = p.scaled.knots
    kept = [d for d, m in enumerate(p.members) if m.kept][:_CURVES]
    spans = [(d, knots.angle[knots.of(d)]) for d in kept]
    spans = [(d, a - a[0]) for d, a in spans if len(a) > 1]
    if not spans:
        return ""
    width = max(float(a[-1]) for _, a in spans)
    charts = []
    for row, name, text in ((0, "ln K", "scale"), (1, "B [Å²]", "fall-off")):
        values = p.scaled.values[row]
        every = np.concatenate([values[knots.of(d)] for d, _ in spans])
        low, high = (float(q) for q in np.quantile(every, (0.01, 0.99)))
        room = 0.08 * (high - low) + 0.05
        chart = Chart((0, width), (low - room, high + room), "rotation from the start of the set [°]", name, _SIZE)
        for i, (d, a) in enumerate(spans):
            chart.line(a, values[knots.of(d)], f"c{i % 3 + 1}", "", "thin")
        charts.append(figure(f"{text}-{p.name}", chart.svg(f"{name} along the rotation", ""), f"{name} of every set"))
    more = f" The first {_CURVES} sets are drawn." if sum(m.kept for m in p.members) > _CURVES else ""
    note = "Intensities are divided by K exp(−2B s²), s = 1/2d; both are relative to the mean of all sets." + more
    return section(key, title, f'<div class="pair">{"".join(charts)}</div>', note=note)


def _sphere(p: Merged, key: str, title: str) -> str:
    directions, share = completeness_by_direction(
        p.scaled.hkl, p.cell, p.laue.laue_group, p.laue.centring, p.resolution
    )
    # Lambert's azimuthal projection keeps areas
    scale = 100 / np.sqrt(1 + directions[:, 2])
    xy = np.stack([directions[:, 0], -directions[:, 1]], axis=1) * scale[:, None]
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.6" class="fill c1" style="fill-opacity:{0.06 + 0.94 * s:.2f}">'
        f"<title>{100 * s:.0f} %</title></circle>"
        for (x, y), s in zip(xy, share)
        if np.isfinite(s)
    )
    axes, halo = "", 'style="paint-order:stroke;stroke:var(--paper);stroke-width:4px"'
    for name, a in zip(("a*", "b*", "c*"), p.cell.B.T):
        a = a / np.linalg.norm(a)
        a = a if a[2] >= -1e-9 else -a
        f = 112 / np.sqrt(1 + a[2])
        axes += f'<text x="{a[0] * f:.1f}" y="{-a[1] * f + 4:.1f}" text-anchor="middle" {halo}>{name}</text>'
    low = np.nanmin(share) if np.isfinite(share).any() else float("nan")
    svg = (
        '<svg class="chart" viewBox="-125 -125 250 250" style="max-width:26rem" role="img" '
        'aria-label="Completeness by direction"><title>Completeness by direction</title>'
        f'<circle r="103" class="frame" fill="none"/>{marks}{axes}</svg>'
    )
    caption = (
        "Half a sphere of directions in reciprocal space, seen along its pole (equal areas): full colour where every "
        f"possible reflection to {fixed(p.resolution)} Å was measured, itself or an equivalent, pale where none was. "
        f"The least complete direction has {percent(low, 0)}."
    )
    return section(key, title, figure(f"sphere-{p.name}", svg, caption))


def _errors(p: Merged, key: str, title: str) -> str:
    chi = chi_by(p)
    if not chi:
        return ""
    e = p.scaled.errors
    charts = []
    for name, text in (("intensity", "mean intensity"), ("inverse_d_squared", "resolution")):
        x = np.array([row[0] for row in chi[name]])
        y = np.array([row[1] for row in chi[name]])
        x = np.log10(np.maximum(x, 1e-6)) if name == "intensity" else x
        limits = float(x.min()), float(x.max())
        ticks = None if name == "intensity" else resolution_ticks(*limits)
        chart = Chart(
            limits, (0.0, max(2.0, float(y.max()))), "log₁₀ I" if ticks is None else "d [Å]", "χ²", _SIZE, ticks
        )
        chart.rule(y=1.0, text="1").line(x, y).dots(x, y, radius=3)
        charts.append(figure(f"chi-{name}-{p.name}", chart.svg(f"χ² by {text}", ""), f"χ² of equivalents by {text}"))
    note = (
        f"σ'² = a²(σ² + (bI)²) with a = {fixed(e.a)} and b = {fixed(e.b, 3)} (I/{short(e.typical)})<sup>{fixed(e.c)}"
        f"</sup>, b without a cap. {int(p.observations['rejected'].sum())} observations are beyond 5 σ' of their "
        "equivalents."
    )
    return section(key, title, f'<div class="pair">{"".join(charts)}</div>', note=note)


def _damping(p: Merged, key: str, title: str) -> str:
    d = damping_of(p)
    if d is None or p.damping is None:
        return ""
    if not d["applied"]:
        return section(key, title, note=f"Looked for with the structure given and not taken out: {esc(d['reason'])}.")
    found = dataset_rows(p)
    names = _short([r["dataset"] for r in found])
    rows = [
        (name, fixed(r["thickness_nm"], 0), fixed(float(p.damping.gain[i]), 1))
        for i, (name, r) in enumerate(zip(names, found)) if r["kept"]
    ]  # fmt: skip
    note = (
        "The intensities are divided by Blackman's two-beam factor for the crystal's thickness and the structure's "
        f"|Fc|, and so depend on that structure: {esc(d['reason'])}. The least factor is {fixed(d['least_factor'])}; "
        f"{percent(d['share_below_0.9'])} of the observations had lost a tenth or more. ln likelihood of the "
        f"observations, each crystal's by the other crystals: {d['gain_crystals']:+.0f}."
    )
    head = ("data set", "thickness by damping [nm]", "gain of held-out reflections, ln likelihood")
    return section(key, title, table(f"damping-{p.name}", "Thickness of the crystals", head, rows), note=note)


def _symmetry(p: Merged, key: str, title: str) -> str:
    laue = [
        (symbol(c.laue_group), c.centring, fixed(c.probability, 3), fixed(c.cc, 3), fixed(100 * c.strain))
        for c in p.laue_candidates[:8]
    ]
    groups = [
        (
            symbol(g.symbol) + ("" if g.twin is None else f" or {symbol(g.twin.xhm())}"), str(g.group.number),
            fixed(g.probability, 3), fixed(g.absences, 1), str(g.n_absent), fixed(g.centre, 1),
        )
        for g in p.candidates[:10]
    ]  # fmt: skip
    chosen = next((i for i, g in enumerate(p.candidates[:10]) if g.group == p.group), -1)
    parts = (
        table(f"groups-{p.name}", "Space groups", ("space group", "number", "probability", "evidence of absences",
              "observed that it forbids", "evidence of a centre"), groups, chosen),
        table(f"laue-{p.name}", "Laue groups", ("Laue group", "centring", "probability", "CC of E²", "strain [%]"),
              laue, 0),
    )  # fmt: skip
    note = (
        "Evidence is the natural logarithm of a likelihood ratio. Absent reflections may have up to a fifth of the "
        "mean intensity, since multiple scattering fills them; a centre of symmetry shows in the distribution of "
        "intensities, which dynamical scattering levels: it counts little."
    )
    return section(key, title, f'<div class="uneven">{"".join(parts)}</div>', note=note)


def _failed(failed: Sequence[dict[str, Any]]) -> str:
    rows = [(f["phase"], str(len(f["datasets"])), f["reason"]) for f in failed]
    return section(
        "failed", "Not merged", table("failed", "Phases without result", ("phase", "data sets", "why"), rows)
    )


_SECTIONS = (
    ("shells", "Statistics", _statistics),
    ("datasets", "Data sets", _datasets),
    ("sphere", "Completeness", _sphere),
    ("scales", "Scales", _scales),
    ("errors", "Errors", _errors),
    ("damping", "Damping of strong reflections", _damping),
    ("symmetry", "Symmetry", _symmetry),
)
