"""Statistics by resolution shell: the table, and the curves of CC½, R_int, ⟨I/σ⟩ and completeness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from credo.pipeline.page.chart import Chart, resolution_ticks
from credo.pipeline.page.markup import figure, section, table
from credo.pipeline.page.markup import label as markup_label
from credo.pipeline.page.numbers import fixed, percent

if TYPE_CHECKING:
    from credo.pipeline.process import Processed

__all__ = ["shells_section"]

_HEAD = ("d [Å]", "observed", "unique", "possible", "complete", "multiplicity", "⟨I/σ⟩", "R_int", "R_meas", "R_pim",
         "CC½", "pairs")  # fmt: skip


def shells_section(found: Processed) -> str:
    """Curves first, then the table."""
    statistics = found.stages.get("statistics")
    if statistics is None:
        return ""
    shells = statistics.figures["shells"]["shells"]
    inside = statistics.figures["inside"]["overall"]
    limit = found.report.numbers.get("resolution")
    rows = [_row(s) for s in shells] + [("to the resolution limit", *_row(inside)[1:])]
    note = (
        "Friedel mates merged. R<sub>int</sub> over reflections seen at least twice; CC½ by the σ-τ method. The "
        "shells reach as far as was integrated; the numbers on top are those within the resolution limit (dashed)."
    )
    curves = "".join(f for f in _curves(shells, limit))
    return section(
        "shells", "Statistics by resolution", f'<div class="pair">{curves}</div>',
        table("shells", "Shells of equal volume in reciprocal space", _HEAD, rows, len(rows) - 1), note=note,
    )  # fmt: skip


def _row(s: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{fixed(s['d_max'])} – {fixed(s['d_min'])}", str(s["observations"]), str(s["unique"]), str(s["possible"]),
        percent(s["completeness"]), fixed(s["multiplicity"]), fixed(s["i_over_sigma"]), fixed(s["r_int"], 3),
        fixed(s["r_meas"], 3), fixed(s["r_pim"], 3), fixed(s["cc_half"], 3), str(s["pairs"]),
    )  # fmt: skip


def _curves(shells: list[dict[str, Any]], limit: float | None):
    def of(name: str) -> np.ndarray:
        return np.array([np.nan if s[name] is None else s[name] for s in shells], dtype=float)

    low, high = 1 / of("d_max")[0] ** 2, 1 / of("d_min")[-1] ** 2
    x = 0.5 * (1 / of("d_max") ** 2 + 1 / of("d_min") ** 2)
    plans = (
        ("CC½", "cc_half", (_bottom(of("cc_half")), 1.0), 0.3),
        ("R_int", "r_int", (0.0, _top(of("r_int"), 2.0)), None),
        ("⟨I/σ⟩", "i_over_sigma", (_bottom(of("i_over_sigma")), _top(of("i_over_sigma"), np.inf)), 1.0),
        ("Completeness", "completeness", (0.0, 1.0), None),
    )
    for label, name, y, level in plans:
        chart = Chart((low, high), y, "d [Å]", label, (480, 230), resolution_ticks(low, high))
        if limit:
            chart.rule(x=1 / limit**2, text=f"{limit:.2f} Å")
        if level is not None:
            chart.rule(y=level, text=f"{level:g}")
        chart.line(x, of(name)).dots(x, of(name), radius=3)
        text = f"From {fixed(of(name)[0])} in the lowest shell to {fixed(of(name)[-1])} in the highest."
        over = np.isfinite(of(name)) & (of(name) > y[1])
        more = f", drawn at {y[1]:g} where it is larger" if over.any() else ""
        yield figure(name, chart.svg(f"{label} by resolution", text), f"{markup_label(label)} in shells{more}")


def _top(values: np.ndarray, most: float) -> float:
    """An upper end of the axis; what lies above is drawn at the border."""
    finite = values[np.isfinite(values)]
    return float(min(1.05 * finite.max(), most)) if len(finite) and finite.max() > 0 else 1.0


def _bottom(values: np.ndarray) -> float:
    """A lower end of the axis: nought, or what lies below."""
    return float(np.nanmin(np.append(values, 0.0)))
