"""Rocking curves of strong reflections: counts frame by frame, and the curve that integration assumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from credo.model import Scan
from credo.pipeline.page.chart import SMALL, Chart
from credo.pipeline.page.markup import figure, section

if TYPE_CHECKING:
    from credo.pipeline.process import Processed

__all__ = ["rocking_section"]


def rocking_section(found: Processed) -> str:
    """Small charts, one a reflection."""
    stage = found.stages.get("integrate")
    curves = stage.figures.get("rocking", []) if stage else []
    pictures = "".join(_curve(found.experiment.scan, c) for c in curves if len(c["frame"]) > 1)
    note = (
        "Strong, wholly recorded reflections: counts with their uncertainties on each frame (dots), and the curve of "
        "mean width, at the calculated angle, by which all reflections are integrated (line). A shifted line tells "
        "of a wrong orientation, a double curve of a split crystal."
    )
    return section(
        "rocking", "Rocking curves", f'<div class="small-charts">{pictures}</div>' if pictures else "", note=note
    )


def _curve(scan: Scan, curve: dict[str, Any]) -> str:
    frame = np.asarray(curve["frame"])
    order = np.argsort(frame)
    phi = scan.mid_deg[frame[order]]
    counts, sigma, model = (np.asarray(curve[k], dtype=float)[order] for k in ("intensity", "sigma", "model"))
    unit = 10.0 ** (3 * np.floor(np.log10(max(float(counts.max()), 1.0)) / 3))
    counts, sigma, model = counts / unit, sigma / unit, model / unit
    top = 1.1 * float(max((counts + sigma).max(), model.max()))
    chart = Chart(
        (float(phi.min()), float(phi.max())), (min(0.0, float((counts - sigma).min())), top), "", "", (250, 150),
        margin=SMALL,
    )  # fmt: skip
    chart.line(phi, model, "c2").sticks(phi, counts - sigma, counts + sigma).dots(phi, counts, radius=2)
    hkl = " ".join(f"{abs(v)}\N{COMBINING OVERLINE}" if v < 0 else str(v) for v in curve["hkl"])
    name = "rocking" + "".join(f"_{v}" for v in curve["hkl"])
    scale = f" [{unit:g} counts]" if unit > 1 else " [counts]"
    return figure(
        name, chart.svg(f"Rocking curve of {hkl}", "Counts by rotation angle."), f"<b>{hkl}</b>{scale}, angle in °"
    )
