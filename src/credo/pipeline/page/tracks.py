"""Rotation tracks: from where to where each crystal was turned, and how far, after figure 20 of the thesis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from credo.pipeline.page.chart import Chart, ticks
from credo.pipeline.page.markup import csv_link, figure
from credo.pipeline.page.numbers import counted, fixed

__all__ = ["range_histogram", "tracks"]

#: Height of one track [px], and of all of them at most.
_LINE, _MOST = 14, 900


def tracks(names: Sequence[str], turns: Sequence[tuple[float, float]], kinds: Sequence[str]) -> str:
    """One line per crystal from the first to the last angle [deg], a dot at its end; ``kinds``: classes of colour."""
    a = np.array(turns, dtype=float).reshape(-1, 2)
    low, high = float(a.min()), float(a.max())
    n = len(a)
    height = int(min(_MOST, 90 + _LINE * n))
    whole = [t for t in ticks(1, max(n, 2), 8) if t == round(t)]
    # the first on top
    chart = Chart((low - 3, high + 3), (0.3, n + 0.7), "tilt [°]", "crystal", (980, height),
                  y_ticks=[(n + 1 - t, f"{t:g}") for t in whole if t <= n])  # fmt: skip
    for kind in dict.fromkeys(kinds):
        mine = [i for i, k in enumerate(kinds) if k == kind]
        x = np.array([[a[i, 0], a[i, 1], np.nan] for i in mine]).ravel()
        y = np.array([[n - i, n - i, np.nan] for i in mine]).ravel()
        chart.line(x, y, kind, more="thick" if n <= 60 else "")
        chart.dots(a[mine, 1], n - np.array(mine, dtype=float), kind, radius=4.0 if n <= 60 else 2.0)
    rows = [(i + 1, name, f"{s:.3f}", f"{e:.3f}") for i, (name, (s, e)) in enumerate(zip(names, a))]
    more = csv_link("tracks", ("crystal", "data set", "start_deg", "end_deg"), rows)
    words = f"{counted(n, 'crystal')} turned between {fixed(low, 1)} and {fixed(high, 1)} degrees"
    caption = f"Rotation tracks in the order of collection; the dot is where each ended. {more}"
    return figure("tracks", chart.svg("Rotation tracks", words), caption, True)


def range_histogram(turns: Sequence[tuple[float, float]]) -> str:
    """How many crystals were turned how far [deg]."""
    # a stage ends a hair before or after what it was asked for
    spans = np.abs(np.diff(np.array(turns, dtype=float).reshape(-1, 2), axis=1)).ravel().round(1)
    top = max(float(spans.max()), 5.0)
    edges = np.arange(0, np.floor(top / 5) + 2) * 5
    count = np.histogram(spans, edges)[0]
    chart = Chart((0, edges[-1]), (0, 1.1 * max(count.max(), 1)), "range [°]", "crystals", (480, 240),
                  y_ticks=[(t, f"{t:g}") for t in ticks(0, count.max(), 4) if t == round(t)])  # fmt: skip
    show = count > 0
    chart.bars(edges[:-1][show], edges[1:][show], count[show], "c1")
    chart.rule(x=float(np.median(spans)), text=f"median {np.median(spans):.0f}°")
    words = f"from {spans.min():.1f} to {spans.max():.1f} degrees, together {spans.sum():.0f}"
    caption = f"Rotation range of each crystal: {words}."
    return figure("ranges", chart.svg("Histogram of rotation ranges", words), caption)
