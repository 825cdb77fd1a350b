"""The page of calibrations of an instrument: every value with its esd, and where measured places lie off the fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from credo.io.cif import with_esd
from credo.pipeline.page.chart import Chart
from credo.pipeline.page.document import Part, document
from credo.pipeline.page.markup import esc, figure, key_values, section, table

__all__ = ["calibration_page", "values_of"]


def calibration_page(numbers: Mapping[str, Any], shape: tuple[int, int]) -> str:
    """``numbers`` as in the report; ``shape`` (rows, columns) of the camera."""
    head = [
        ("Instrument", esc(numbers["instrument"])),
        ("Frames", f"{numbers['frames']}, beam on for {numbers['beam_on_s']:.1f} s"),
        ("Time at the instrument", f"{numbers['instrument_s']:.0f} s"),
        ("Dose where the beam was", f"{numbers['dose_e_per_A2']:.3g} e/Å²"),
    ]
    rows = [[_name(r), *values_of(r["result"]), str(r["result"].get("conditions", ""))] for r in numbers["results"]]
    titles = ["What", "Value", "Measured from"]
    parts = [Part("values", "Values", section("values", "Values", table("values", "Calibrated.", titles, rows)))]
    if numbers["checks"]:
        lines = [[c["what"], "yes" if c["holds"] else "NO", f"{c['off_px']:.2f}", f"{c['pull']:.1f}"]
                 for c in numbers["checks"]]  # fmt: skip
        body = table("checks", "Stored values against two images each.", ["What", "Holds", "Off (px)", "Pull"], lines)
        parts.append(Part("checks", "Checks", section("checks", "Checks", body)))
    pictures = [_picture(r, shape) for r in numbers["results"]]
    shown = "".join(p for p in pictures if p)
    text = "Arrows: measured places less the fit, enlarged."
    parts.append(Part("residuals", "Residuals", section("residuals", "Residuals", shown, note=text) if shown else ""))
    return document("Calibration of the instrument", key_values(head), parts, "", numbers["warnings"])


def values_of(result: Mapping[str, Any]) -> list[str]:
    """The value as text, with its esd in brackets: a number, a pair, or a matrix row by row."""
    value, esd = result["value"], result.get("esd") or 0.0
    if not isinstance(value, Sequence):
        return [with_esd(value, esd)]
    if not isinstance(value[0], Sequence):
        esds = esd if isinstance(esd, Sequence) else (esd, esd)
        return [", ".join(with_esd(v, s) for v, s in zip(value, esds))]
    return ["; ".join(", ".join(with_esd(v, esd) for v in row) for row in value)]


def _name(facts: Mapping[str, Any]) -> str:
    return " ".join(str(facts[k]) for k in ("table", "key", "name") if facts[k])


def _picture(facts: Mapping[str, Any], shape: tuple[int, int]) -> str:
    """Places on the frame with their residuals as arrows; nothing where there is no residual of two coordinates."""
    details = facts.get("details", {})
    seen, residual = (np.array(details.get(k) or [], dtype=float) for k in ("seen", "residual"))
    if seen.ndim != 2 or seen.shape[1] != 2 or residual.shape != seen.shape or not np.isfinite(seen).any():
        return ""
    span = float(np.nanmax(np.ptp(seen[np.isfinite(seen).all(axis=1)], axis=0)))
    large = 0.15 * span / max(float(np.nanquantile(np.abs(residual), 0.9)), 1e-9)
    scale = float(10 ** np.floor(np.log10(large)))
    low, high = np.nanmin(seen, axis=0) - 0.1 * span, np.nanmax(seen, axis=0) + 0.1 * span
    size = (380, int(380 * (high[1] - low[1]) / max(high[0] - low[0], 1e-9)) + 40)
    chart = Chart(
        (low[0], high[0]), (low[1], high[1]), "column (px)", "row (px)", (size[0], min(max(size[1], 200), 520))
    )
    for a, b in zip(seen, seen + scale * residual):
        chart.line(np.array([a[0], b[0]]), np.array([a[1], b[1]]), "c2")
    chart.dots(seen[:, 0], seen[:, 1], "c1")
    title = f"{_name(facts)}: residuals, {scale:g} times enlarged"
    return figure(_name(facts).replace(" ", "-"), chart.svg(title, "Places with arrows."), esc(title))
