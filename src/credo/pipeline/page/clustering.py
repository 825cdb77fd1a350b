"""The page of a clustering: cells by cluster, a tree to cut anew, data sets with phase, operator and reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import leaves_list

from credo.pipeline.cluster_output import dataset_rows
from credo.pipeline.data_set import DataSet
from credo.pipeline.page.chart import Chart, ticks
from credo.pipeline.page.document import Part, document
from credo.pipeline.page.intensities import intensities_section
from credo.pipeline.page.markup import esc, figure, key_values, section, table
from credo.pipeline.page.numbers import counted, fixed, percent, with_esd

__all__ = ["clustering_page", "colour", "histograms", "tree_section"]

_NAMES = (("a", "Å"), ("b", "Å"), ("c", "Å"), ("α", "°"), ("β", "°"), ("γ", "°"))
_COLOURS = ("c1", "c2", "c3", "c4")
#: Of the tree's drawing [px].
_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 960, 420, 58, 24, 20
#: More names than this cannot be read below the tree.
_NAMED = 60


def colour(k: int) -> str:
    """The CSS class of cluster k, from 0."""
    return _COLOURS[k] if k < len(_COLOURS) else "quiet"


def clustering_page(members: Sequence[DataSet], numbers: dict[str, Any], source: str) -> str:
    """The HTML of a report of `credo cluster`; it needs no other file."""
    parts = [
        Part("clusters", "Clusters", _clusters(numbers)), Part("known", "Known phases", _known(numbers)),
        Part("cells", "Cells", histograms(members, numbers)), Part("tree", "Tree", tree_section(numbers)),
        Part("intensities", "Intensities", intensities_section(numbers)),
        Part("sets", "Data sets", _sets(members, numbers)), Part("rejected", "Not read", _rejected(numbers)),
    ]  # fmt: skip
    warnings = [w for p in numbers["clusters"] for w in p.get("warnings", [])]
    if numbers["rejected"]:
        warnings.append(f"{counted(len(numbers['rejected']), 'file')} could not be read: see below.")
    head = key_values([
        ("Cells", str(len(members))), ("Clusters", str(numbers["k"])),
        ("Tree cut at", f"{fixed(numbers['cut'], 3)}<small>{esc(numbers['metric'])}</small>"),
        ("Not read", str(len(numbers["rejected"]))),
    ])  # fmt: skip
    title = f"{counted(len(members), 'cell')} in {counted(int(numbers['k']), 'cluster')}"
    return document(title, head, parts, source, warnings, ("clustering.js",))


def _clusters(numbers: dict[str, Any]) -> str:
    rows = []
    for k, part in enumerate(numbers["clusters"], start=1):
        esd = part["cell_esd"] or [None] * 6
        cell = [with_esd(float(v), None if e is None else float(e), 2) for v, e in zip(part["cell"], esd)]
        labels = list(part.get("intensity_labels", []))
        sizes = " + ".join(str(labels.count(i)) for i in sorted(set(labels)) if i) if labels else "–"
        rows.append((str(k), str(len(part["members"])), *cell, sizes))
    head = ("cluster", "members", *(f"{n} [{u}]" for n, u in _NAMES), "by intensity")
    note = (
        "Means on the axes of a member, each cell weighted by what is known of it; standard uncertainties in brackets."
    )
    return section("clusters", "Clusters", table("clusters", "Clusters of cells", head, rows), note=note)


def _known(numbers: dict[str, Any]) -> str:
    if "identity" not in numbers:
        return ""
    cells = {p["name"]: " ".join(f"{x:.2f}" for x in p["cell"]) + f" {p['centring']}" for p in numbers["known"]}
    rows = [(name, cells.get(name, ""), str(n)) for name, n in numbers["phase_counts"].items()]
    scale = with_esd(float(numbers["camera_scale"]), float(numbers["camera_scale_esd"]), 3)
    note = f"All measured lengths are {esc(scale)} times the known ones: the camera length, taken off before comparing."
    return section(
        "known", "Known phases", table("known", "Data sets by phase", ("phase", "cell", "data sets"), rows), note=note
    )


def _on_axes(members: Sequence[DataSet], part: dict[str, Any]) -> np.ndarray:
    """The cells (n, 6) of a cluster's members on its axes."""
    cells = [members[i].crystal.cell.replace(covariance=None) for i in part["members"]]
    if part.get("reindex") is not None:
        cells = [c.reindexed(np.asarray(p)) for c, p in zip(cells, part["reindex"])]
    return np.array([c.parameters for c in cells])


def histograms(members: Sequence[DataSet], numbers: dict[str, Any]) -> str:
    groups = [_on_axes(members, p) for p in numbers["clusters"]]
    pictures = "".join(_histogram([g[:, i] for g in groups], *_NAMES[i]) for i in range(6))
    note = "Every cell on the axes of its cluster; colours as in the tree, the fifth and smaller clusters grey."
    return section("cells", "Cells", f'<div class="small-charts">{pictures}</div>', note=note)


def _histogram(groups: list[np.ndarray], name: str, unit: str) -> str:
    """Bars that stand on each other: drawn as totals, the tallest first."""
    values = np.concatenate(groups)
    low, high = float(values.min()), float(values.max())
    pad = max(0.02 * (high - low), 0.005 * high)
    edges = np.linspace(low - pad, high + pad, min(40, max(8, len(values) // 2)) + 1)
    counts = np.array([np.histogram(g, edges)[0] for g in groups])
    totals = np.cumsum(counts, axis=0)
    top = float(totals[-1].max())
    chart = Chart((edges[0], edges[-1]), (0, 1.05 * top), f"{name} [{unit}]", "data sets", (300, 200),
                  y_ticks=[(t, f"{t:g}") for t in ticks(0, top, 4) if t == round(t)])  # fmt: skip
    for k in reversed(range(len(groups))):
        show = counts[k] > 0
        chart.bars(edges[:-1][show], edges[1:][show], totals[k][show], colour(k))
    text = f"{len(values)} values from {low:.2f} to {high:.2f} {unit}"
    return figure(
        f"histogram-{'abcdef'[[n for n, _ in _NAMES].index(name)]}",
        chart.svg(f"Histogram of {name}", text),
        f"<b>{esc(name)}</b>",
    )


def tree_section(numbers: dict[str, Any]) -> str:
    """Each join is a path of its own; the script recolours them when the cut moves."""
    joins = np.asarray(numbers["joins"], dtype=float)
    n = len(numbers["datasets"])
    if n < 2:
        return ""
    order = leaves_list(joins)
    top = float(1.05 * max(joins[:, 2].max(), numbers["cut"]))
    data = {
        "joins": [[int(a), int(b), round(float(h), 6)] for a, b, h in joins[:, :3]], "names": numbers["datasets"],
        "cut": float(numbers["cut"]), "top": top, "plot": [_TOP, _HEIGHT - _BOTTOM],
    }  # fmt: skip
    text = json.dumps(data).replace("<", "\\u003c").replace("&", "\\u0026")
    tools = (
        '<p class="tools"><output id="tree-cut"></output> <button type="button" id="tree-reset">as found</button></p>'
        f'<script type="application/json" id="tree-data">{text}</script>'
    )
    caption = "Average linkage. Click to move the cut; click a branch to mark its members in the table and list them."
    picture = figure("tree", _drawn(joins, order, numbers, top), caption, True)
    note = "The clusters above may differ from the cut: the mixture of lattices parts and unites them."
    return section("tree", "Tree", tools, picture, '<p class="note" id="tree-members"></p>', note=note)


def _drawn(joins: np.ndarray, order: np.ndarray, numbers: dict[str, Any], top: float) -> str:
    n = len(order)
    x = np.empty(2 * n - 1)
    h = np.zeros(2 * n - 1)
    x[order] = _LEFT + (np.arange(n) + 0.5) * (_WIDTH - _LEFT - 10) / n
    span = _HEIGHT - _TOP - _BOTTOM
    label = np.zeros(2 * n - 1, dtype=int)
    label[:n] = numbers["labels"]
    at = lambda v: _HEIGHT - _BOTTOM - v / top * span  # noqa: E731
    out = []
    for value in ticks(0, top, 6):
        out.append(f'<path class="grid" d="M{_LEFT} {at(value):.1f}H{_WIDTH - 10}"/>')
        out.append(f'<text x="{_LEFT - 6}" y="{at(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for k, (a, b, height, _) in enumerate(joins):
        a, b, node = int(a), int(b), n + k
        x[node], h[node] = 0.5 * (x[a] + x[b]), height
        label[node] = label[a] if label[a] == label[b] else 0
        kind = colour(label[node] - 1) if label[node] else "quiet"
        path = f"M{x[a]:.1f} {at(h[a]):.1f}V{at(height):.1f}H{x[b]:.1f}V{at(h[b]):.1f}"
        out.append(f'<path class="line join {kind}" data-join="{k}" d="{path}"/>')
    for i in order if n <= _NAMED else ():
        kind = colour(int(label[i]) - 1)
        place = f'x="{x[i]:.1f}" y="{_HEIGHT - 6}" text-anchor="middle"'
        out.append(f'<text class="small leaf {kind}" data-set="{i}" {place}>{i + 1}</text>')
    out.append(f'<path class="line dashed" id="tree-line" d="M{_LEFT} {at(float(numbers["cut"])):.1f}H{_WIDTH - 10}"/>')
    words = f"Tree of {n} cells, cut at {float(numbers['cut']):.3g}; the table of data sets says which is where."
    return (
        f'<svg id="tree-svg" class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{esc(words)}">'
        f"<title>Tree of cells</title>{''.join(out)}</svg>"
    )


def _sets(members: Sequence[DataSet], numbers: dict[str, Any]) -> str:
    rows = []
    identity = numbers.get("identity")
    sets = dataset_rows(members, numbers)[: len(members)]
    verdict = {i: v for p in numbers["clusters"] for i, v in zip(p["members"], p.get("intensity_verdicts", []))}
    for i, row in enumerate(sets):
        cell = " ".join(fixed(row[n], 2) for n in ("a", "b", "c", "al", "be", "ga"))
        known = ()
        if identity is not None:
            name = identity[i]["phase"]
            known = (name, percent(identity[i]["probability"][name], 1))
        by = verdict.get(i)
        reason = row["reason"] + (f"; by intensity: {by['reason']}" if by and by.get("reason") else "")
        kind = "–" if by is None else f"{by['kind']} {by['label']}" if by["label"] else by["kind"]
        rows.append((f"{i + 1}  {row['file']}", str(row["cluster"]), cell, percent(row["posterior"], 1), *known,
                     row["reindex"] or "–", kind, reason))  # fmt: skip
    known_head = ("known phase", "probability") if identity is not None else ()
    head = (
        "data set",
        "cluster",
        "a b c α β γ [Å, °]",
        "posterior",
        *known_head,
        "axes of the cluster",
        "by intensity",
        "reason",
    )
    body = table("data-sets", "Every data set; the axes of its cluster in terms of its own", head, rows)
    body = body.replace("<table>", '<table class="plain" id="tree-table">')
    return section("sets", "Data sets", body)


def _rejected(numbers: dict[str, Any]) -> str:
    rows = [(r["dataset"], r["reason"]) for r in numbers["rejected"]]
    body = table("rejected", "Not read, and why", ("file", "reason"), rows).replace("<table>", '<table class="plain">')
    return section("rejected", "Not read", body)
