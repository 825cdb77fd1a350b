"""Wilson statistics: how mean intensities fall with resolution, and how intensities are distributed about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import erf

from credo.model import Cell, Reflections
from credo.pipeline.page.chart import Chart, resolution_ticks
from credo.pipeline.page.markup import figure, section
from credo.pipeline.page.numbers import fixed
from credo.reduce.equivalents import merge_equivalents
from credo.reduce.statistics import Wilson, wilson

if TYPE_CHECKING:
    from credo.pipeline.process import Processed

__all__ = ["wilson_section"]


def wilson_section(found: Processed) -> str:
    """Two charts of what lies within the resolution limit."""
    table = found.reflections
    if table is None or not len(table) or not found.experiment.crystals:
        return ""
    crystal = found.experiment.crystal
    merged = merge_equivalents(table.select(table["lattice"] == 0), crystal.laue_group)
    limit = found.report.numbers.get("resolution")
    if limit:
        merged = merged.select(crystal.cell.d_spacing(merged.hkl) >= limit)
    if len(merged) < 60:
        return ""
    w = wilson(merged, crystal.cell)
    if len(w.s2) < 3:
        return ""
    x = 4 * w.s2
    low, high = float(w.log_i.min()), float(w.log_i.max())
    room = 0.1 * (high - low) + 0.05
    span = float(x[0]) * 0.8, float(x[-1]) * 1.02
    chart = Chart(span, (low - room, high + room), "d [Å]", "ln⟨I⟩", (560, 280), resolution_ticks(*span))
    if np.isfinite(w.b):
        middle = float(np.mean(w.log_i)) + 2 * w.b * float(np.mean(w.s2))
        chart.line(np.array(span), middle - 2 * w.b * np.array(span) / 4, "quiet", "", "dashed")
    chart.line(x, w.log_i, "c1").dots(x, w.log_i, "c1", radius=3)
    caption = (
        f"Mean intensity in shells of equal numbers of unique reflections. The straight line is B = {fixed(w.b)} Å², "
        "together with the fall of the atoms' own scattering, which is not divided out as the composition is unknown."
    )
    plot = figure("wilson", chart.svg("Wilson plot", f"B = {fixed(w.b)} Å²"), caption)
    return section(
        "wilson", "Wilson statistics", f'<div class="pair">{plot}{_cumulative(merged, w, crystal.cell)}</div>'
    )


def _cumulative(merged: Reflections, w: Wilson, cell: Cell) -> str:
    """N(z), the share of reflections with I/⟨I⟩ below z, beside what a centre of symmetry does to it."""
    s2 = 0.25 / cell.d_spacing(merged.hkl) ** 2
    mean = np.exp(np.interp(s2, w.s2, w.log_i))
    sure = mean > 2 * merged["sigma"]
    z = np.sort(merged["intensity"][sure] / mean[sure])
    if len(z) < 50:
        return ""
    x = np.linspace(0, 2, 81)
    chart = Chart((0, 2), (0, 1), "z = I/⟨I⟩", "N(z)", (560, 280))
    chart.line(x, 1 - np.exp(-x), "quiet", "without a centre").line(x, erf(np.sqrt(x / 2)), "c3", "with one")
    chart.line(x, np.searchsorted(z, x, side="right") / len(z), "c1", "measured")
    caption = (
        f"Cumulative distribution of {len(z)} unique intensities whose shells stand out of the noise. ⟨|E² − 1|⟩ = "
        f"{fixed(w.e2_minus_1, 3)} (0.968 with, 0.736 without a centre of symmetry). Both are kinematical values: "
        "dynamical scattering levels intensities, and a twin does too."
    )
    return figure("cumulative", chart.svg("Distribution of intensities", "Measured and expected curves."), caption)
