"""Fourier maps layer by layer: contours in multiples of the map's rms, with the atoms that lie near the layer."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from credo.model import Structure
from credo.pipeline.page.markup import data_block, esc, figure, section
from credo.pipeline.page.structure3d import cell_atoms, colour_of

__all__ = ["SCRIPTS", "map_data", "map_figure", "map_section"]

#: What a page runs that shows a structure in 3D and layers of maps.
SCRIPTS = ("turn.js", "structure.js", "fourier.js")

#: Grid points embedded at most; a finer map is thinned, since each costs 4/3 byte of the page.
MOST = 400_000


def map_section(maps: Mapping[str, np.ndarray], structure: Structure, key: str = "map", title: str = "Map") -> str:
    """A section of :func:`map_figure`; nothing without maps."""
    return section(key, title, map_figure(maps, structure, key)) if maps else ""


def map_figure(maps: Mapping[str, np.ndarray], structure: Structure, name: str, most: int | None = None) -> str:
    """One canvas for all ``maps`` (nx, ny, nz) over the cell, at most ``most`` points each; the page must run
    fourier.js."""
    data = {
        "maps": [map_data(name, rho, most) for name, rho in maps.items()],
        "cell": np.round(structure.cell.O.T, 4).tolist(),
    }
    data["atoms"] = [
        {"x": np.round(a.xyz, 4).tolist(), "name": a.label, "colour": colour_of(a.element)}
        for a in cell_atoms(structure)[:3000]
    ]
    kinds = "".join(
        f'<button type="button" data-map="{i}" aria-pressed="{"true" if i == 0 else "false"}">{esc(kind)}</button>'
        for i, kind in enumerate(maps)
    )
    across = "".join(f'<button type="button" data-across="{i}">across {k}</button>' for i, k in enumerate("abc"))
    slider = '<label>layer <input type="range" min="0" step="1"></label> <output></output>'
    label = "A layer of the map with contours; the slider moves the layer."
    canvas = (
        f'<div class="fourier"><div class="tools">{kinds if len(maps) > 1 else ""}{across}{slider}</div>'
        f'<canvas width="1100" height="680" role="img" aria-label="{label}"></canvas>'
        f"{data_block(data)}</div>"
    )
    caption = (
        "Contours at 2, 3, 4, 6, 8, 12 … times the rms of the map, "
        '<span class="key c1">positive</span> and <span class="key c2">negative</span>; '
        "atoms within 0.5 Å of the layer are named. It opens at the highest peak."
    )
    return figure(name, canvas, caption)


def map_data(name: str, rho: np.ndarray, most: int | None = None) -> dict[str, Any]:
    """The map in steps of ``unit`` rms as int8, z fastest, base64; ``peak``: grid point of the largest |ρ|."""
    step = next(s for s in range(1, 64) if np.prod([-(-n // s) for n in rho.shape]) <= (most or MOST))
    thin = rho[::step, ::step, ::step]
    rms = float(rho.std()) or 1.0
    unit = max(float(np.abs(thin).max()) / rms, 1.0) / 127
    packed = np.rint(thin / rms / unit).astype(np.int8)
    # what was cut between two grid points of the last, incomplete step is told by the true spacing
    extent = [n / (s * step) for n, s in zip(rho.shape, thin.shape)]
    return {
        "name": name, "shape": list(thin.shape), "extent": np.round(extent, 6).tolist(), "unit": unit, "rms": rms,
        "peak": [int(i) for i in np.unravel_index(int(np.argmax(np.abs(thin))), thin.shape)],
        "values": base64.b64encode(packed.tobytes()).decode("ascii"),
    }  # fmt: skip
