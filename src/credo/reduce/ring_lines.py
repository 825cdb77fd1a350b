"""The rings that a powder of known material gives, and which of them the observed ones are, from ratios of radii."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.model import CannotDo, Cell, Structure
from credo.physics.ewald import miller_indices
from credo.physics.structure_factors import structure_factors

__all__ = ["Indexed", "RingLines", "index_rings", "lines_of_cell", "lines_of_structure", "tangent"]

#: Relative distance (rms) of peaks from their lines: those of overlapping rings lie off by this much.
_TOLERANCE = 0.008


@dataclass(frozen=True)
class RingLines:
    """``hkl`` (n, 3) one of each form, ``q`` (n,) [Å⁻¹] increasing, ``strength`` (n,) expected height, greatest 1."""

    hkl: np.ndarray
    q: np.ndarray
    strength: np.ndarray


@dataclass(frozen=True)
class Indexed:
    """``scale`` [px Å], how well it explains peaks and lines (``score``, at most 1), the best other scale's score."""

    scale: float
    score: float
    other: float
    other_scale: float
    matched: int


def tangent(q: np.ndarray | float, wavelength: float) -> np.ndarray:
    """tan 2θ/λ [Å⁻¹], what a flat detector measures, of rings at q = 2 sin θ/λ [Å⁻¹]."""
    return np.tan(2 * np.arcsin(0.5 * wavelength * np.asarray(q, dtype=float))) / wavelength


def lines_of_structure(structure: Structure, d_min: float = 0.6) -> RingLines:
    """Height of a ring ∝ Σ|F|²/q²: one 1/q for how seldom a grain diffracts, one for the circumference."""
    hkl = miller_indices(structure.cell.B, d_min)
    return _lines(hkl, structure.cell, np.abs(structure_factors(structure, hkl)) ** 2)


def lines_of_cell(cell: Cell, centring: str = "P", d_min: float = 0.6) -> RingLines:
    """Without atoms every |F|² is taken as equal."""
    hkl = miller_indices(cell.B, d_min, centring)
    return _lines(hkl, cell, np.ones(len(hkl)))


def _lines(hkl: np.ndarray, cell: Cell, power: np.ndarray, least: float = 1e-3) -> RingLines:
    q = 1 / cell.d_spacing(hkl)
    # the representative of a form has its indices positive and falling as far as the form allows
    order = np.lexsort((*(-hkl.T[::-1]), np.round(q, 5)))
    hkl, q, power = hkl[order], q[order], power[order]
    start = np.flatnonzero(np.diff(np.round(q, 5), prepend=-1.0) > 1e-5)
    height = np.add.reduceat(power, start) / q[start] ** 2
    keep = height > least * height.max()
    if keep.sum() > 400:
        raise CannotDo(
            f"a cell of {cell.volume:.0f} Å³ gives {int(keep.sum())} rings", "use a standard with a small cell"
        )
    return RingLines(hkl[start][keep], q[start][keep], height[keep] / height.max())


def index_rings(
    radius: np.ndarray, height: np.ndarray, field: tuple[float, float], lines: RingLines, wavelength: float,
    near: float | None = None,
) -> Indexed:  # fmt: skip
    """The scale [px Å] at which peaks at ``radius`` (n,) [px] of ``height`` (n,) are the lines.

    Every pair of a peak and a line is tried. A scale must explain the peaks by lines, and the lines that it puts
    into the field ``field`` (least, greatest radius [px]) by peaks. near: only scales within 25 % of this one.
    """
    x = tangent(lines.q, wavelength)
    scales = (radius[:, None] / x[None, :]).ravel()
    if near is not None:
        scales = scales[np.abs(np.log(scales / near)) < np.log(1.25)]
    if not len(scales):
        raise CannotDo("no ring lies where the given pixel size puts one", "leave --pixel-size out, or correct it")
    scored = np.array([_score(c, radius, height, field, x, lines.strength) for c in scales])
    best = int(np.argmax(scored))
    far = np.abs(np.log(scales / scales[best])) > 0.03
    rival = int(np.argmax(np.where(far, scored, -1.0)))
    other = (float(scored[rival]), float(scales[rival])) if far.any() else (0.0, 0.0)
    line = np.argmin(np.abs(np.log(radius[:, None] / (scales[best] * x[None, :]))), axis=1)
    off = np.log(radius / (scales[best] * x[line]))
    good = np.abs(off) < 2 * _TOLERANCE
    scale = float(scales[best] * np.exp(np.median(off[good])))
    return Indexed(scale, float(scored[best]), *other, len(set(line[good].tolist())))


def _score(
    scale: float, radius: np.ndarray, height: np.ndarray, field: tuple[float, float], x: np.ndarray, s: np.ndarray
) -> float:
    """Share of the peaks' weight that lines explain, times the share of the lines' weight that peaks show."""
    r = scale * x
    off = np.log(radius[:, None] / r[None, :])
    near = np.exp(-0.5 * (off / _TOLERANCE) ** 2)
    inside = (r > field[0]) & (r < field[1])
    if not inside.any():
        return 0.0
    # lines that run into a stronger neighbour are not missed: their light is in its peak
    apart = np.abs(np.log(r[:, None] / r[None, :]))
    hidden = ((apart < 0.15) & (s[None, :] * r[None, :] ** 2 > 1.5 * s[:, None] * r[:, None] ** 2)).any(axis=1)
    weight = np.sqrt(s) * inside * np.where(hidden, 0.25, 1.0)
    w = np.sqrt(height)
    explained = float((w * near[:, inside].max(axis=1)).sum() / w.sum())
    return explained * float((weight * near.max(axis=0)).sum() / weight.sum())
