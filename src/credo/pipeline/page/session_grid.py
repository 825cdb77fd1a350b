"""The grid in the report of a session: where the crystals lay, on the atlas if there is one."""

from __future__ import annotations

import numpy as np

from credo.pipeline.page.chart import Chart
from credo.pipeline.page.clustering import colour
from credo.pipeline.page.markup import csv_link, esc, figure, section
from credo.pipeline.page.numbers import counted
from credo.pipeline.session import Session

__all__ = ["grid_section"]


def grid_section(s: Session) -> str:
    """A map of the places [µm] that the logs tell; nothing where they tell none."""
    placed = [(c, c.place) for c in s.crystals if c.place is not None]
    if not placed:
        return ""
    colours = {p.name: colour(k) for k, p in enumerate(s.phases)}
    xs, ys = [p[0] for _, p in placed], [p[1] for _, p in placed]
    reach = max(max(xs) - min(xs), max(ys) - min(ys), 10.0) * 0.55
    mx, my = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    chart = Chart((mx - reach, mx + reach), (my - reach, my + reach), "x [µm]", "y [µm]", (560, 540))
    for name in ("", *colours):
        mine = [p for c, p in placed if c.phase == name or (not name and c.phase not in colours)]
        if mine:
            points = np.array(mine)
            chart.dots(points[:, 0], points[:, 1], colours.get(name, "quiet"), name and f"Phase {name}", 4.0)
    rows = [(c.name, c.phase, f"{p[0]:.3f}", f"{p[1]:.3f}") for c, p in placed]
    words = counted(len(placed), "crystal")
    caption = f"Places of {esc(words)} on the stage. {csv_link('places', ('data set', 'phase', 'x_um', 'y_um'), rows)}"
    return section("grid", "Grid", figure("grid", chart.svg("Crystals on the grid", words), caption))
