"""The page of Fourier maps: the layers, the structure, and the peaks of each map with their nearest atoms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from credo.model import Structure
from credo.pipeline.page.document import Part, document
from credo.pipeline.page.map_section import SCRIPTS, map_section
from credo.pipeline.page.markup import esc, key_values, section, table
from credo.pipeline.page.structure3d import structure_section

__all__ = ["map_page"]

_NAMES = {"observed": "Fo", "difference": "Fo − Fc", "double": "2Fo − Fc"}


def map_page(maps: Mapping[str, np.ndarray], structure: Structure, numbers: dict[str, Any], name: str) -> str:
    """One self-contained HTML file; ``numbers``: the report of ``credo map``."""
    # a map is opened to see what the model lacks
    order = sorted(maps, key=lambda kind: kind != "difference")
    named = {_NAMES.get(kind, kind): maps[kind] for kind in order}
    parts = [
        Part("map", "Maps", map_section(named, structure, title="Maps")),
        Part("structure", "Structure", structure_section(structure)),
        Part("difference", "Peaks of Fo − Fc", _peaks("difference", "Peaks of Fo − Fc", numbers)),
        Part("observed", "Peaks of Fo", _peaks("observed", "Peaks of Fo", numbers)),
    ]
    span = f"{numbers['residual_min']:.3f} … {numbers['residual_max']:.3f} Å⁻²"
    headline = key_values([
        ("Space group", esc(structure.space_group)), ("Cell", esc(str(structure.cell))),
        ("R1 of I > 2σ", f"{numbers['r1_obs']:.4f}"), ("Difference map", f"{span}, rms {numbers['residual_rms']:.3f}"),
        ("Grid", " × ".join(map(str, numbers["grid"]))),
    ])  # fmt: skip
    return document(f"Maps of {name}", headline, parts, "", numbers["warnings"], SCRIPTS)


def _peaks(kind: str, title: str, numbers: dict[str, Any]) -> str:
    rows = [
        (f"Q{n}", *(f"{v:.4f}" for v in p["xyz"]), f"{p['height']:.3f}", f"{p['sigma']:.1f}", _nearest(p))
        for n, p in enumerate(numbers[f"{kind}_peaks"], 1)
    ]
    head = ("Peak", "x", "y", "z", "height [Å⁻²]", "σ of the map", "nearest atom [Å]")
    return section(kind, title, table(f"peaks-{kind}", "Highest first", head, rows))


def _nearest(peak: dict[str, Any]) -> str:
    return f"{peak['nearest_distance']:.2f} to {peak['nearest_atom']}" if peak["nearest_atom"] else "–"
