"""The reciprocal lattice in three dimensions: every spot turned back to φ = 0, with the cell, for a canvas to draw."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from credo.model import Experiment, Reflections
from credo.pipeline.page.markup import data_block, figure
from credo.pipeline.page.reciprocal import spot_vectors

if TYPE_CHECKING:
    from credo.pipeline.process import Processed

__all__ = ["lattice_data", "lattice_figure"]


def lattice_figure(found: Processed) -> str:
    """A canvas with buttons; its data lie beside it as JSON of numbers only."""
    experiment = found.experiment
    if not len(found.spots):
        return ""
    data = lattice_data(experiment, found.spots)
    known = bool(experiment.crystals)
    views = (("a", "along a"), ("b", "along b"), ("c", "along c")) if known else ()
    buttons = "".join(
        f'<button type="button" data-view="{k}">{t}</button>' for k, t in (*views, ("axis", "axis upright"))
    )
    if known:
        buttons += '<button type="button" data-fold aria-pressed="false">folded into one cell</button>'
        buttons += '<button type="button" data-show="1" aria-pressed="true">not indexed</button>'
    buttons += '<button type="button" data-near="1.4" aria-label="closer">+</button>'
    buttons += '<button type="button" data-near="0.714" aria-label="further">−</button>'
    label = "Reciprocal lattice of all spots in three dimensions. Arrow keys turn it, plus and minus zoom."
    canvas = (
        f'<div class="lattice"><div class="tools">{buttons}</div>'
        f'<canvas width="1000" height="1000" tabindex="0" role="img" aria-label="{label}"></canvas>'
        f"{data_block(data)}</div>"
    )
    colours = '<span class="key c1">●</span> indexed, <span class="key c2">●</span> not indexed'
    if len(experiment.crystals) > 1:
        colours += ', <span class="key c3">●</span> second crystal'
    caption = (
        f"All {len(found.spots)} spots in reciprocal space: {colours}. " if known else "All spots, nothing indexed. "
    )
    caption += "Drag to turn, arrow keys too; Ctrl + wheel zooms. "
    if known:
        caption += "Folded: every spot moved into one cell, where spots of the lattice gather at the corners."
    return figure("lattice", canvas, caption)


def lattice_data(experiment: Experiment, spots: Reflections, most: int = 20_000) -> dict[str, Any]:
    """Positions as int16 (n, 3) and kinds as uint8 (n,), base64; bases a*, b*, c* as rows [Å⁻¹]; the axis.

    Of more than ``most`` spots the most intense are taken. Kind 0: not indexed, 1: first crystal, 2: second.
    """
    if len(spots) > most:
        spots = spots.select(np.sort(np.argsort(-spots["intensity"], kind="stable")[:most]))
    q = spot_vectors(experiment, spots)
    length = np.linalg.norm(q, axis=1)
    reach = 1.1 * float(np.quantile(length, 0.98)) or 1.0
    unit = float(length.max()) / 32767 or 1.0
    packed = np.rint(q / unit).astype("<i2")
    kind = np.clip(spots["lattice"] + 1, 0, 2).astype(np.uint8)
    return {
        "points": base64.b64encode(packed.tobytes()).decode("ascii"),
        "kind": base64.b64encode(kind.tobytes()).decode("ascii"),
        "unit": unit,
        "reach": reach,
        "bases": [np.round(c.UB.T, 7).tolist() for c in experiment.crystals],
        "axis": np.round(experiment.goniometer.axis, 6).tolist(),
    }
