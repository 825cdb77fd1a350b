"""The value of a lens at which a disc is smallest: r² is a parabola of it, seen on both sides.

The beam on the specimen against the condenser lens (its crossover), and the direct beam on the camera against the
diffraction focus (a sharp pattern), are the same problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from credo.collect import steps as do
from credo.collect.calibration.linear import Response, fit_response
from credo.collect.calibration.register import mended
from credo.collect.calibration.views import View
from credo.collect.rig import Rig
from credo.collect.steps import Steps
from credo.collect.tracking import fit_disc
from credo.model.errors import CannotDo

__all__ = ["Smallest", "find_smallest"]

#: Radii of discs that tell, smallest and largest, as shares of the frame's edge; those of the fine points, which are
#: brighter than what a film scatters around them.
_TELLS, _FINE = (0.035, 0.42), (0.06, 0.14)
#: Share of the brightest disc's light that another must hold to be the beam's.
_LIGHT = 0.4
#: Settings in a row, on both sides, without a disc after one was seen: it has left the frame.
_GONE = 6
#: What lies at the discs' edges in patterns, where a disc is the other way up beyond the focus, does not average out
#: between the two sides [px of radius]; in images it does, as the disc covers the same part of the specimen.
_EDGE = 0.01


@dataclass(frozen=True)
class Smallest:
    """``value`` of the lens and ``slope``, the disc's radius per unit off it [px], with esds; ``centre``: how the
    disc's centre moves with the lens; ``seen`` (n, 4): lens, radius, x, y [px]."""

    value: float
    value_esd: float
    slope: float
    slope_esd: float
    centre: Response
    seen: np.ndarray


def find_smallest(
    rig: Rig, view: View, put: Callable[[float], Steps[None]], start: float, step: float, span: tuple[float, float],
    points: int,
) -> Steps[Smallest]:  # fmt: skip
    """Look outwards from ``start`` in steps until three discs tell where the vertex is, then ``points`` around it."""
    edge = min(rig.camera.shape)
    vertex, slope = yield from _searched(view, put, start, step, span, edge)
    aims = np.linspace(*_FINE, (points + 1) // 2) * edge / slope
    fine: list[tuple[float, ...]] = []
    for off in np.concatenate([-aims[::-1], aims]):
        if span[0] <= vertex + off <= span[1]:
            yield from _seen(view, put, round(vertex + off), edge, fine)
    seen = _of_the_beam(fine)
    if len(seen) < 6:
        raise CannotDo(f"only {len(seen)} of {points} discs could be measured", "look at the images")
    return _fitted(seen, _EDGE if view.mode == "diff" else 0.0)


def _searched(view: View, put, start: float, step: float, span: tuple[float, float], edge: int) -> Steps[Any]:
    """Vertex and slope. A disc that moves as it grows leaves the frame before three are seen: the steps are halved."""
    hits: list[tuple[float, ...]] = []
    for part in (1, 2, 4):
        missed = 0
        for k in range(2 * int((span[1] - span[0]) * part / step)):
            at = (k + 1) // 2 * (-1) ** k
            value = start + step / part * at
            if not span[0] <= value <= span[1] or (part > 1 and at % 2 == 0):
                continue
            before = len(hits)
            yield from _seen(view, put, value, edge, hits)
            if (found := _vertex(_of_the_beam(hits))) is not None:
                return found
            missed = 0 if len(hits) > before else missed + 1
            if hits and missed >= _GONE:
                break
    raise CannotDo("the beam's disc was not seen at three settings", "centre the beam, and check the aperture")


def _of_the_beam(hits: list[tuple[float, ...]]) -> np.ndarray:
    """(n, 4) lens, radius, x, y of the discs that hold the beam's light, which is the same in all of them; what is
    scattered about a beam that is too small to be seen as a disc may look like one, with little light."""
    table = np.array(hits).reshape(-1, 5)
    return table[table[:, 4] > _LIGHT * table[:, 4].max(initial=0.0), :4]


def _seen(view: View, put, value: float, edge: int, hits: list[tuple[float, ...]]) -> Steps[None]:
    """Append (value, radius, x, y, light) where a disc of a useful size is seen whole."""
    yield from put(value)
    shot = yield do.Look(view.exposure or 0.05, "calibrate")
    try:
        disc = fit_disc(mended(shot.image))
    except CannotDo:
        return
    inside = min(disc.x, disc.y, edge - disc.x, edge - disc.y) > disc.radius
    if inside and _TELLS[0] * edge < disc.radius < _TELLS[1] * edge:
        hits.append((value, disc.radius, disc.x, disc.y, disc.level * disc.radius**2))


def _vertex(hits: np.ndarray) -> tuple[float, float] | None:
    """(vertex, slope) of the parabola through three discs or more; None while they do not make one.

    Three discs on one side make a parabola too: it must pass nearly through zero, and none that is larger is believed.
    """
    if len(hits) < 3:
        return None
    hits = hits[np.argsort(hits[:, 0])]
    middle, unit = hits[:, 0].mean(), max(float(np.ptp(hits[:, 0])), 1e-12)
    c, b, a = np.polyfit((hits[:, 0] - middle) / unit, hits[:, 1] ** 2, 2)
    if c <= 0 or abs(a - b * b / (4 * c)) > 0.1 * hits[:, 1].max() ** 2:
        return None
    return float(middle - unit * b / (2 * c)), float(np.sqrt(c) / unit)


def _fitted(seen: np.ndarray, edge: float) -> Smallest:
    """Vertex and slope by least squares on r² with weights 1/r², esds from the scatter and ``edge`` [px of radius]; the
    centre's line."""
    value, radius = seen[:, 0], seen[:, 1]
    middle, unit = value.mean(), float(np.ptp(value)) / 2
    v = (value - middle) / unit
    design = np.stack([np.ones_like(v), v, v * v], axis=1) / radius[:, None]
    keep = np.ones(len(v), dtype=bool)
    p = np.zeros(3)
    for _ in range(3):
        p, *_ = np.linalg.lstsq(design[keep], radius[keep], rcond=None)
        rest = radius - design @ p
        keep = np.abs(rest) <= 5 * 1.4826 * np.median(np.abs(rest[keep])) + 1e-9
    free = max(int(keep.sum()) - 3, 1)
    covariance = float((rest[keep] ** 2).sum() / free) * np.linalg.inv(design[keep].T @ design[keep])
    vertex, curve = -p[1] / (2 * p[2]), np.sqrt(p[2])
    by = np.array([0.0, -1 / (2 * p[2]), p[1] / (2 * p[2] ** 2)])
    scatter = float(np.sqrt(by @ covariance @ by))
    return Smallest(
        float(middle + unit * vertex), unit * float(np.hypot(scatter, edge / curve)), float(curve / unit),
        float(np.sqrt(covariance[2, 2]) / (2 * curve * unit)), fit_response(value[:, None], seen[:, 2:4]), seen,
    )  # fmt: skip
