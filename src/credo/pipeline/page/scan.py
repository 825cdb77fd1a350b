"""What changes from frame to frame: spots, beam, orientation and scale along the scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from credo.pipeline.page.chart import Chart
from credo.pipeline.page.markup import csv_link, figure, section
from credo.pipeline.page.numbers import fixed

if TYPE_CHECKING:
    from credo.pipeline.process import Processed

__all__ = ["scan_section"]

_SIZE = 560, 230


def scan_section(found: Processed) -> str:
    """Four charts over the rotation angle, and their numbers as CSV."""
    if not len(found.experiment.scan):
        return ""
    charts = "".join((_beam(found), _orientation(found), _scale(found), _spots(found)))
    gaps = found.experiment.scan.missing
    note = f"{len(gaps)} frame numbers are missing; lines are broken there." if len(gaps) else ""
    return section("scan", "Along the scan", f'<div class="pair">{charts}</div>' if charts else "", note=note)


def _angles(found: Processed, *columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mid angles and columns of every frame, with NaN between frames that a gap parts, where lines must break."""
    scan = found.experiment.scan
    at = np.flatnonzero(np.diff(scan.numbers) > 1) + 1
    return tuple(np.insert(np.asarray(c, dtype=float), at, np.nan) for c in (scan.mid_deg, *columns))


def _limits(found: Processed) -> tuple[float, float]:
    scan = found.experiment.scan
    ends = np.concatenate([scan.start_deg, scan.end_deg])
    return float(ends.min()), float(ends.max())


def _span(*values: np.ndarray, about: float = 0.0, least: float = 0.0) -> tuple[float, float]:
    """Limits that hold all but the wildest half percent, and ``about``, with a little room."""
    v = np.concatenate([np.ravel(x) for x in values])
    v = v[np.isfinite(v)]
    low, high = (float(q) for q in np.quantile(v, (0.005, 0.995))) if len(v) else (0.0, 1.0)
    low, high = min(low, about - least), max(high, about + least)
    room = 0.08 * (high - low)
    return low - room, high + room


def _beam(found: Processed) -> str:
    scan = found.experiment.scan
    if scan.beam_shift is None:
        return ""
    phi, x, y = _angles(found, scan.beam_shift[:, 0], scan.beam_shift[:, 1])
    stage = found.stages.get("beam")
    seen = stage.figures.get("beam_xy") if stage else None
    limits = _span(x, y, least=1.0)
    if seen is not None and len(seen) == len(scan):
        seen = np.asarray(seen) - np.asarray(found.experiment.detector.origin)
        limits = _span(x, y, seen, least=1.0)
    chart = Chart(_limits(found), limits, "rotation angle [°]", "shift of the beam [px]", _SIZE)
    if seen is not None and len(seen) == len(scan):
        chart.dots(scan.mid_deg, seen[:, 0], "c1 faint", radius=1.3).dots(
            scan.mid_deg, seen[:, 1], "c2 faint", radius=1.3
        )
    chart.line(phi, x, "c1", "x").line(phi, y, "c2", "y")
    drift = float(np.hypot(*np.ptp(scan.beam_shift, axis=0)))
    caption = (
        f"Drift of the beam: lines as refined with the lattice, dots the centre of the bright disc. It moves within "
        f"{fixed(drift, 1)} px. A constant offset between the two means that the disc is not round. "
        + csv_link("beam", ("frame", "angle", "x", "y"), [
            (int(n), f"{a:.4f}", f"{u:.3f}", f"{v:.3f}")
            for n, a, (u, v) in zip(scan.numbers, scan.mid_deg, scan.beam_shift)
        ])
    )  # fmt: skip
    return figure("beam-drift", chart.svg("Beam drift", f"Within {drift:.1f} pixels."), caption)


def _orientation(found: Processed) -> str:
    stage = found.stages.get("missets")
    if stage is None or "misset_about_axis_deg" not in stage.figures:
        return ""
    f, scan = stage.figures, found.experiment.scan
    names = (
        ("misset_about_axis_deg", "c1", "about the axis"),
        ("misset_across_deg", "c2", "across it"),
        ("misset_about_beam_deg", "c3", "about the beam"),
    )
    shown = [np.asarray(f[n]) for n, _, _ in names if n in f]
    chart = Chart(_limits(found), _span(*shown), "rotation angle [°]", "misset of the frame [°]", _SIZE)
    esd = np.asarray(f["misset_esd_deg"]) if "misset_esd_deg" in f else None
    for k, (name, kind, label) in enumerate(names):
        if name not in f:
            continue
        phi, value = _angles(found, f[name])
        if esd is not None and k < 2:
            chart.band(scan.mid_deg, f[name] - esd[:, k], f[name] + esd[:, k], kind)
        chart.line(phi, value, kind, label)
    rms = [float(np.sqrt(np.mean(v**2))) for v in shown]
    caption = (
        "Orientation of every frame beside that of a steady rotation, bands ± 1 esd: rms "
        + ", ".join(f"{fixed(r, 3)}° {label}" for r, (_, _, label) in zip(rms, names))
        + ". "
        + csv_link("orientation", ("frame", "angle", *(label for _, _, label in names[: len(shown)])), [
            (int(n), f"{a:.4f}", *(f"{v:.5f}" for v in row))
            for n, a, row in zip(scan.numbers, scan.mid_deg, np.column_stack(shown))
        ])
    )  # fmt: skip
    return figure("orientation", chart.svg("Orientation of every frame", "Missets along the scan."), caption)


def _scale(found: Processed) -> str:
    stages, scan = found.stages, found.experiment.scan
    smooth = stages["scale"].figures.get("scale") if "scale" in stages else None
    frames = stages["integrate"].figures.get("frame_scale") if "integrate" in stages else None
    if smooth is None and frames is None:
        return ""
    shown = [np.asarray(s) for s in (smooth["scale"] if smooth else None, frames) if s is not None]
    limits = 0.0, max(1.1, 1.08 * float(np.quantile(np.concatenate(shown), 0.995)))
    chart = Chart(_limits(found), limits, "rotation angle [°]", "scale", _SIZE)
    words = []
    if frames is not None and len(frames) == len(scan):
        phi, value = _angles(found, frames)
        chart.line(phi, value, "c2", "frame beside its neighbours", "thin")
        words.append(f"how bright single frames are (rms {fixed(100 * float(np.std(frames)), 1)} %)")
    lit = stages["integrate"].figures.get("brightness") if "integrate" in stages else None
    if lit is not None and len(lit) == len(scan):
        phi, value = _angles(found, np.minimum(lit, limits[1]))
        chart.line(phi, value, "c3", "brightness")
        words.append("how bright reflections are beside what they usually are (near nought: no crystal in the beam)")
    if smooth is not None:
        knots = np.clip(smooth["angle_deg"], *_limits(found))
        chart.line(knots, np.interp(knots, smooth["angle_deg"], smooth["scale"]), "c1", "crystal")
        words.append("the smooth scale that brings equivalents together (volume in the beam, decay)")
    caption = "Scale along the scan: " + " and ".join(words) + "."
    return figure("scale", chart.svg("Scale along the scan", "Scales of frames and crystal."), caption)


def _spots(found: Processed) -> str:
    scan, spots = found.experiment.scan, found.spots
    n = len(scan)
    at = np.clip(spots["frame"].astype(int), 0, n - 1)
    every = np.bincount(at, minlength=n).astype(float)
    mine = np.bincount(at[spots["lattice"] >= 0], minlength=n).astype(float)
    chart = Chart(
        _limits(found), (0.0, 1.05 * max(1.0, float(every.max()))), "rotation angle [°]", "spots per frame", _SIZE
    )
    phi, a, b = _angles(found, every, mine)
    chart.line(phi, a, "c2", "found", "thin").line(phi, b, "c1", "indexed", "thin")
    caption = f"Spots on each frame, counted where they are brightest: {len(spots)} in all, {int(mine.sum())} indexed."
    return figure("spots-per-frame", chart.svg("Spots per frame", "Found and indexed."), caption)
