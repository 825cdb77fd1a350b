"""The grid in the report of a session: where the crystals lay, on the atlas if there is one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from credo.pipeline.page.chart import Chart
from credo.pipeline.page.image import data_uri, shrunk
from credo.pipeline.page.markup import csv_link, esc, figure, section
from credo.pipeline.page.numbers import counted
from credo.pipeline.session import Session

__all__ = ["grid_section"]

#: Pixels of the atlas along an edge that the page holds at most, and side of the drawing [px].
_MOST, _SIDE = 700, 640


def grid_section(s: Session, colours: Mapping[str, str]) -> str:
    """A map of the places [µm] that the logs tell, over the atlas; nothing where there is neither. ``colours``: a class
    for each phase."""
    placed = [(c, c.place) for c in s.crystals if c.place is not None]
    atlas = _atlas(s.grid)
    if not placed and atlas is None:
        return ""
    points = np.array([p for _, p in placed], dtype=float).reshape(-1, 2)
    (left, right), (low, high) = _limits(points, atlas)
    chart = Chart((left, right), (low, high), "x [µm]", "y [µm]", (_SIDE, _SIDE))
    if atlas is not None:
        chart.parts.append(_image(chart, *atlas))
    for name in ("", *colours):
        mine = np.array([c.phase == name or (not name and c.phase not in colours) for c, _ in placed], dtype=bool)
        if mine.any():
            legend = f"Phase {name}" if name else "in no phase"
            chart.dots(points[mine, 0], points[mine, 1], colours.get(name, "quiet"), legend, 4.0)
    rows = [(c.name, c.phase, f"{p[0]:.3f}", f"{p[1]:.3f}") for c, p in placed]
    words = counted(len(placed), "crystal")
    over = " on the atlas" if atlas is not None else ""
    more = csv_link("places", ("data set", "phase", "x_um", "y_um"), rows) if rows else ""
    picture = figure("grid", chart.svg("Crystals on the grid", words + over), f"{esc(words)}{over}. {more}")
    return section("grid", "Grid", f'<div class="uneven">{picture}</div>')


def _atlas(grid: Path | None) -> tuple[np.ndarray, Mapping[str, Any]] | None:
    """The map (ny, nx) as grey values, thinned to what the page can hold, and the facts of where it lies."""
    if grid is None:
        return None
    try:
        facts = json.loads((grid / "atlas.json").read_text(encoding="utf-8"))
        image = np.asarray(tifffile.imread(grid / "atlas.tiff"), dtype=np.float32)
        _ = (float(facts["pixel_um"]), [float(v) for v in facts["corner_um"][:2]])
    except (OSError, ValueError, KeyError, TypeError, tifffile.TiffFileError):
        return None
    if image.ndim != 2 or not image.size:
        return None
    small = shrunk(image, _MOST)
    seen = np.isfinite(small)
    low, high = np.percentile(small[seen], (1, 99)) if seen.any() else (0.0, 1.0)
    grey = 20 + 235 * np.clip((np.where(seen, small, high) - low) / max(float(high - low), 1e-9), 0, 1)
    step = -(-max(image.shape) // _MOST)
    return grey.astype(np.uint8), {**facts, "pixel_um": float(facts["pixel_um"]) * step}


def _limits(points: np.ndarray, atlas) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of a square around everything [µm]."""
    corners = [points] if len(points) else []
    if atlas is not None:
        grey, facts = atlas
        corner = np.array(facts["corner_um"][:2], dtype=float)
        corners.append(np.array([corner, corner + facts["pixel_um"] * np.array(grey.shape[::-1])]))
    every = np.concatenate(corners)
    middle, reach = 0.5 * (every.min(0) + every.max(0)), 0.53 * max(float(np.ptp(every, axis=0).max()), 10.0)
    return tuple((float(m - reach), float(m + reach)) for m in middle)  # type: ignore[return-value]


def _image(chart: Chart, grey: np.ndarray, facts: Mapping[str, Any]) -> str:
    """The atlas in the chart; its first row lies at the smallest y, below."""
    x0, y0 = (float(v) for v in facts["corner_um"][:2])
    x1, y1 = x0 + facts["pixel_um"] * grey.shape[1], y0 + facts["pixel_um"] * grey.shape[0]
    left, right = (float(v) for v in chart.at_x(np.array([x0, x1])))
    bottom, top = (float(v) for v in chart.at_y(np.array([y0, y1])))
    place = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}"'
    return f'<image {place} preserveAspectRatio="none" href="{data_uri(grey[::-1])}"/>'
