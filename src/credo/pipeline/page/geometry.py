"""How the geometry was found: the score of the rotation axis over the circle, and what positions are left over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from credo.pipeline.page.chart import Chart
from credo.pipeline.page.markup import figure, key_values, section
from credo.pipeline.page.numbers import fixed, percent, with_esd

if TYPE_CHECKING:
    from credo.pipeline.process import Processed

__all__ = ["geometry_section"]

_SIZE = 380, 300


def geometry_section(found: Processed) -> str:
    """Axis score, residuals, and the refined numbers that are not on top."""
    charts = "".join((_axis_score(found), _residuals(found), _angles(found)))
    return section("geometry", "Geometry", f'<div class="three">{charts}</div>' if charts else "", _refined(found))


def _axis_score(found: Processed) -> str:
    stage = found.stages.get("index")
    score = stage.figures.get("axis_score") if stage else None
    if score is None or not len(score["angle_deg"]):
        return ""
    angle, value = np.asarray(score["angle_deg"]), np.asarray(score["score"], dtype=float)
    value = value / max(float(value.max()), 1e-30)
    chart = Chart((0, 360), (0, 1.08), "axis in the image, from +x towards +y [°]", "score", _SIZE, _ROUND)
    chart.line(np.append(angle, 360), np.append(value, value[0]))
    caption = "Coincidence of difference vectors for every direction of the axis, relative to the best."
    if found.experiment.crystals:
        at = found.experiment.goniometer.angle_deg
        chart.rule(x=(at + 180) % 360, text="other hand").rule(x=at, text=f"{at:.1f}°", kind="c2")
        caption += f" The lattices decide between the hands: {_hands(found)}."
    return figure("axis-score", chart.svg("Score of the rotation axis", "Its peak is the axis."), caption)


_ROUND = [(t, str(t)) for t in range(0, 361, 60)]


def _hands(found: Processed) -> str:
    assert found.stages["index"]
    hands = found.stages["index"].numbers.get("hand_score", {})
    this, other = hands.get("this"), hands.get("opposite")
    return f"log-likelihood {fixed(this, 0)} for this hand, {fixed(other, 0)} for the other"


def _residuals(found: Processed) -> str:
    stage = found.stages.get("refine")
    if stage is None or not len(stage.figures.get("residual_x_px", ())):
        return ""
    dx, dy = np.asarray(stage.figures["residual_x_px"]), np.asarray(stage.figures["residual_y_px"])
    reach = max(3 * float(np.sqrt(0.5 * np.mean(dx**2 + dy**2))), 0.3)
    chart = Chart((-reach, reach), (-reach, reach), "x observed − predicted [px]", "y [px]", _SIZE)
    pick = np.linspace(0, len(dx) - 1, min(len(dx), 2500)).astype(int)
    inside = pick[(np.abs(dx[pick]) < reach) & (np.abs(dy[pick]) < reach)]
    chart.dots(dx[inside], dy[inside], "c1 faint", radius=1.4)
    chart.rule(x=0.0).rule(y=0.0)
    caption = (
        f"Spots against their predicted positions: rms {fixed(stage.numbers.get('rms_x_px'))} px in x and "
        f"{fixed(stage.numbers.get('rms_y_px'))} px in y, medians {fixed(np.median(dx).item(), 3)} and "
        f"{fixed(np.median(dy).item(), 3)} px."
    )
    return figure("residuals", chart.svg("Position residuals", "A round cloud about nought is right."), caption)


def _angles(found: Processed) -> str:
    stage = found.stages.get("refine")
    dphi = np.asarray(stage.figures.get("residual_phi_deg", ())) if stage else np.empty(0)
    if len(dphi) < 10:
        return ""
    assert stage is not None
    reach = max(5 * 1.4826 * float(np.median(np.abs(dphi))), 1e-3)
    inside = dphi[np.abs(dphi) < reach]
    count, edges = np.histogram(inside, 41, (-reach, reach))
    chart = Chart((-reach, reach), (0, 1.08 * float(count.max())), "φ observed − predicted [°]", "spots", _SIZE)
    chart.bars(edges[:-1], edges[1:], count.astype(float), "c1").rule(x=0.0)
    caption = (
        "Spots against the angle at which they should cross the Ewald sphere: rms "
        f"{fixed(stage.numbers.get('rms_phi_deg'), 3)}°, {percent(1 - len(inside) / len(dphi))} lie outside the chart."
    )
    return figure("residual-angles", chart.svg("Residuals in rotation angle", "A peak about nought is right."), caption)


def _refined(found: Processed) -> str:
    stage = found.stages.get("refine")
    if stage is None:
        return ""
    n, det = stage.numbers, found.experiment.detector
    out_of_plane = with_esd(n.get("rotation_axis_out_of_plane_deg"), n.get("rotation_axis_out_of_plane_esd_deg"), 2)
    rows = [
        ("Axis out of the image plane", f"{out_of_plane}°"),
        ("Direct beam", f"{fixed(det.origin[0])}, {fixed(det.origin[1])} px"),
        (
            "Lens ellipse",
            f"{with_esd(n.get('ellipse_percent'), n.get('ellipse_esd_percent'))} %"
            f"<small>long axis at {fixed(n.get('ellipse_azimuth_deg'), 1)}°</small>",
        ),
        (
            "Pixel size by curvature",
            f"{percent(_minus_one(n.get('scale_from_curvature')), 2)}"
            f"<small>± {percent(n.get('scale_from_curvature_esd'), 2)}, beside the one used</small>",
        ),
        ("Rotation per step", f"{with_esd(n.get('rotation_step_factor'), n.get('rotation_step_factor_esd'), 4)}"
         "<small>times that of the file</small>"),
    ]  # fmt: skip
    if found.experiment.crystals:
        rows.append(("Mosaicity", f"{fixed(found.experiment.crystal.mosaicity_deg, 3)}°<small>rms half-width</small>"))
    return key_values(rows)


def _minus_one(value: float | None) -> float | None:
    return None if value is None else value - 1
