"""Figures of a sorting by intensities: sets as points, their tree, the evidence for so many groups, phases compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from credo.pipeline.page.chart import Chart
from credo.pipeline.page.markup import esc, figure, section, table
from credo.pipeline.page.numbers import counted, fixed

__all__ = ["intensities_section"]

_COLOURS = ("c1", "c2", "c3", "c4")
#: Clusters of cells of which figures are drawn, the largest.
_MOST = 6


def intensities_section(numbers: dict[str, Any]) -> str:
    """Figures of each cluster of cells in a report of `credo cluster` that has intensities; empty without any."""
    parts = [(k, p) for k, p in enumerate(numbers["clusters"], start=1) if "intensity_verdicts" in p]
    drawn = "".join(_figures(k, p) for k, p in parts[:_MOST])
    note = (
        "Directions in the first figure are phases, lengths tell how much of a set the others explain: junk lies near "
        "the middle. The fifth and smaller phases, and sets in none, are grey."
    )
    return section("intensities", "Intensities", drawn, note=note) if drawn else ""


def _colour(label: int) -> str:
    return _COLOURS[label - 1] if 0 < label <= len(_COLOURS) else "quiet"


def _figures(k: int, part: dict[str, Any]) -> str:
    labels = np.array([v["label"] for v in part["intensity_verdicts"]], dtype=int)
    charts = _points(k, part, labels) + _tree(k, part, labels) + _evidence(k, part)
    return f'<h3>Cluster {k}</h3>{_phases(k, part, labels)}<div class="small-charts">{charts}</div>'


def _phases(k: int, part: dict[str, Any], labels: np.ndarray) -> str:
    """A table of the phases: members and CC with the others."""
    count = int(labels.max(initial=0))
    between = np.asarray(part["intensity_between"], dtype=float)
    rows = [
        (str(a), str(int(np.sum(labels == a))),
         ", ".join(f"{fixed(float(between[a - 1, b - 1]))} with {b}" for b in range(1, count + 1) if b != a) or "–")
        for a in range(1, count + 1)
        if len(between) >= count
    ]  # fmt: skip
    kinds: dict[str, int] = {}
    for v in part["intensity_verdicts"]:
        if v["label"] == 0:
            kinds[v["kind"]] = kinds.get(v["kind"], 0) + 1
    rows += [(name, str(n), "–") for name, n in sorted(kinds.items())]
    title = f"Cluster {k}: {counted(count, 'phase')}, rms error of ln I {fixed(part['intensity_noise'])}"
    return table(f"phases-{k}", title, ("phase", "data sets", "CC of profiles"), rows)


def _points(k: int, part: dict[str, Any], labels: np.ndarray) -> str:
    xy = np.asarray(part["intensity_coordinates"], dtype=float).reshape(-1, 2)
    if len(xy) < 3:
        return ""
    span = 1.1 * max(float(np.abs(xy).max()), 0.1)
    chart = Chart((-span, span), (-span, span), "", "", (360, 330))
    for label in np.unique(labels):
        here = labels == label
        chart.dots(xy[here, 0], xy[here, 1], _colour(int(label)), radius=3.5 if label else 2.5)
    words = f"{len(xy)} data sets of cluster {k} as points, {np.sum(labels == 0)} of them in no phase"
    return figure(f"points-{k}", chart.svg("Data sets by intensity", words), "Nearness by CC of log intensities")


def _tree(k: int, part: dict[str, Any], labels: np.ndarray) -> str:
    joins = np.asarray(part["intensity_joins"], dtype=float).reshape(-1, 4)
    n = len(labels)
    if n < 3 or len(joins) != n - 1:
        return ""
    x, h, of = np.empty(2 * n - 1), np.zeros(2 * n - 1), np.zeros(2 * n - 1, dtype=int)
    x[np.asarray(part["intensity_order"], dtype=int)] = np.arange(n)
    of[:n] = labels
    lines: dict[str, list[np.ndarray]] = {}
    for node, (a, b, height, _) in enumerate(joins, start=n):
        a, b = int(a), int(b)
        x[node], h[node], of[node] = (x[a] + x[b]) / 2, height, of[a] if of[a] == of[b] else 0
        fork = [(x[a], h[a]), (x[a], height), (x[b], height), (x[b], h[b]), (np.nan, np.nan)]
        lines.setdefault(_colour(int(of[node])), []).append(np.array(fork))
    chart = Chart((-0.5, n - 0.5), (0, 1.05 * max(float(h.max()), 0.1)), "", "1 − cos", (360, 330), x_ticks=[])
    for kind, forks in lines.items():
        points = np.concatenate(forks)
        chart.line(points[:, 0], points[:, 1], kind, more="thin")
    words = f"Tree of the {n} data sets of cluster {k} by the angle between their points"
    return figure(f"intensity-tree-{k}", chart.svg("Tree by intensity", words), "Average linkage of the same points")


def _evidence(k: int, part: dict[str, Any]) -> str:
    curve: Sequence[Any] = part["intensity_curve"]
    if len(curve) < 3:
        return ""
    groups, gain = np.asarray(curve, dtype=float).T
    last = slice(max(0, len(groups) - 25), None)
    across = float(groups[last].min()) - 0.5, float(groups[last].max()) + 0.5
    up = min(0.0, float(gain[last].min())), 1.05 * float(gain.max())
    chart = Chart(across, up, "groups", "log evidence", (360, 330))
    chart.line(groups[last], gain[last]).dots(groups[last], gain[last])
    words = f"Log evidence as groups are joined, to {groups[-1]:.0f} with {gain[-1]:.0f}"
    caption = f"Joined until the evidence would fall: {esc(f'{groups[-1]:.0f}')} groups, single sets among them"
    return figure(f"evidence-{k}", chart.svg("Evidence", words), caption)
