"""The page of frame orientations: their path, their errors, the steps of the stage, the rocking curve learned."""

from __future__ import annotations

from typing import Any

import numpy as np

from credo.kernels.rocking import shares
from credo.orient.observations import Observations
from credo.orient.orientations import Orientations
from credo.orient.path import along_path, same_axes
from credo.pipeline.page.chart import Chart
from credo.pipeline.page.document import Part, document
from credo.pipeline.page.markup import esc, figure, key_values, section

__all__ = ["orientations_page"]

_METHODS = {
    "rocking": "rocking curves, all frames at once",
    "thesis": "thesis, frame by frame",
    "dynamical": "Bloch waves of the known structure",
}


def orientations_page(found: Orientations, obs: Observations, numbers: dict[str, Any], name: str) -> str:
    """One self-contained HTML file."""
    parts = [
        Part("path", "Path", _path(found, obs)), Part("steps", "Steps", _steps(found, obs)),
        Part("errors", "Uncertainties", _errors(found)), Part("rocking", "Rocking curve", _rocking(found)),
        Part("study", "All numbers", _study(numbers)),
    ]  # fmt: skip
    return document(f"Orientations of {name}", _headline(found, numbers), parts, "", tuple(numbers["warnings"]))


def _headline(found: Orientations, numbers: dict[str, Any]) -> str:
    error = numbers["half_set_error_deg"]
    step = f"{numbers['mean_step_deg']:.5f}°<small>single steps differ by {numbers['step_esd_deg']:.4f}° rms</small>"
    rows = [
        ("Frames", f"{numbers['n_frames']}<small>{numbers['n_reflections']} reflections on them</small>"),
        (
            "Method",
            esc(_METHODS[found.method]),
        ),
        ("Error of a frame", "–" if error is None else f"{error:.4f}°<small>mean, by half sets</small>"),
        ("Axis [uvw]", " ".join(f"{v:.4f}" for v in numbers["axis_uvw"])),
        ("Mean step", step),
        ("Out of plane", f"{numbers['goniometer']['out_of_plane_rms']:.4f}° rms"),
    ]
    if found.dynamical is not None:
        by = numbers["dynamical"]
        rows.append(
            ("Thickness", f"{by['thickness'] / 10:.1f} nm<small>R1 {by['r1']:.3f}; each frame has its own</small>")
        )
    if "mean_error_deg" in numbers:
        rows.append(("True error", f"{numbers['mean_error_deg']:.4f}°<small>mean, against the truth</small>"))
    return key_values(rows)


def _path(found: Orientations, obs: Observations) -> str:
    along, across = along_path(found.path)
    smooth = None if found.smooth is None else along_path(same_axes(found.path, found.smooth.zone))
    pictures = [
        _course(obs.angle_deg, along - np.median(along), None if smooth is None else smooth[0] - np.median(along),
                "along", "Turn beyond the nominal angle"),
        _course(obs.angle_deg, across - np.median(across), None if smooth is None else smooth[1] - np.median(across),
                "across", "Out of the plane of the rotation"),
    ]  # fmt: skip
    note = "Dots: each frame by itself. Line: what is left when only the noise of the fit is taken out."
    return section("path", "Path", f'<div class="pair">{"".join(pictures)}</div>', note=note)


def _course(angle: np.ndarray, value: np.ndarray, smooth: np.ndarray | None, name: str, title: str) -> str:
    low, high = np.nanquantile(value, [0.005, 0.995])
    room = 0.15 * max(high - low, 1e-6)
    span = (float(angle.min()), float(angle.max()))
    chart = Chart(span, (float(low - room), float(high + room)), "nominal angle [°]", "[°]", (560, 300))
    chart.dots(angle, value, "c1", radius=1.5)
    if smooth is not None:
        order = np.argsort(angle, kind="stable")
        chart.line(angle[order], smooth[order], "c2")
    return figure(name, chart.svg(title, f"{len(value)} frames"), f"{title}.")


def _steps(found: Orientations, obs: Observations) -> str:
    steps = np.diff(found.path.turn_deg)
    if len(steps) < 3:
        return ""
    low, high = np.quantile(steps, [0.01, 0.99])
    room = 0.2 * max(high - low, 1e-6)
    count, edge = np.histogram(steps, bins=40, range=(low - room, high + room))
    chart = Chart((float(edge[0]), float(edge[-1])), (0, float(count.max()) * 1.08), "step [°]", "frames", (560, 300))
    chart.line(np.repeat(edge, 2)[1:-1], np.repeat(count, 2).astype(float), "c1")
    picture = figure(
        "steps", chart.svg("Histogram of the steps", f"{len(steps)} steps"), "Rotation from frame to frame."
    )
    return section("steps", "Steps", f'<div class="pair">{picture}</div>')


def _errors(found: Orientations) -> str:
    esd = np.degrees(np.sqrt(np.einsum("fii->fi", found.covariance)))
    if not np.isfinite(esd).any():
        return ""
    top = float(np.nanquantile(np.where(np.isfinite(esd), esd, np.nan), 0.98)) * 1.2
    x = np.arange(len(esd), dtype=float)
    chart = Chart((0, float(len(esd))), (0, top), "frame", "esd [°]", (560, 300))
    for k, (kind, name) in enumerate((("c1", "along"), ("c2", "across"))):
        good = np.isfinite(esd[:, k])
        chart.dots(x[good], esd[good, k], kind, name, 1.5)
    picture = figure("errors", chart.svg("Standard uncertainties", "of every frame"), "Calibrated by half sets.")
    return section("errors", "Uncertainties", f'<div class="pair">{picture}</div>')


def _rocking(found: Orientations) -> str:
    fit = found.fit
    if fit is None:
        return ""
    s = np.linspace(-1, 1, 201) * fit.knot * len(fit.profile)
    value, _ = shares(s, np.zeros_like(s), fit.profile, fit.knot)
    chart = Chart((float(s[0]), float(s[-1])), (0, 1.08), "excitation error [Å⁻¹]", "intensity", (560, 300))
    chart.line(s, value, "c1")
    caption = "The rocking curve that all reflections share, as the data have it."
    picture = figure("rocking", chart.svg("Rocking curve", "learned"), caption)
    return section("rocking", "Rocking curve", f'<div class="pair">{picture}</div>')


def _study(numbers: dict[str, Any]) -> str:
    rows = [
        (k.replace("_", " "), f"{v:.6g}" if isinstance(v, float) else esc(v)) for k, v in numbers["goniometer"].items()
    ]
    return section("study", "All numbers", key_values(rows), note="Angles in degrees, periods in frames.")
