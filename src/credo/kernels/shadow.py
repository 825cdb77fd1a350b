"""The specimen in projection: thickness of faceted crystals, the carbon film and the grid's bars, pixel by pixel."""

from __future__ import annotations

from math import exp, sqrt

import numpy as np
from numba import njit

__all__ = ["add_footprints", "fringe", "illuminated", "transmit"]


@njit(cache=True)
def _depth(normal: np.ndarray, offset: np.ndarray, x: float, y: float) -> float:
    """Distance inside a convex polygon given by its edges' normals (e, 2) and distances (e,); negative outside."""
    depth = 1e30
    for e in range(len(offset)):
        depth = min(depth, offset[e] - normal[e, 0] * x - normal[e, 1] * y)
    return depth


@njit(cache=True)
def add_footprints(
    out: np.ndarray, origin: np.ndarray, m: np.ndarray, back: np.ndarray, centre: np.ndarray, reach: np.ndarray,
    normal: np.ndarray, offset: np.ndarray, height: np.ndarray,
) -> None:  # fmt: skip
    """Add each crystal's height (n,) over its polygon to ``out`` (ny, nx), in place; edges are smoothed over a pixel.

    A crystal is thinner towards its edges: half of its height at the edge, all of it from a third of ``reach`` inwards.

    A point r [µm] of the specimen plane lies at pixel ``origin`` + m (r); ``back`` is m's inverse; ``centre`` (n, 2)
    [µm], ``reach`` (n,) the largest radius; normal (n, e, 2), offset (n, e) [µm].
    """
    ny, nx = out.shape
    soft = sqrt(abs(back[0, 0] * back[1, 1] - back[0, 1] * back[1, 0]))
    span_x = sqrt(m[0, 0] ** 2 + m[0, 1] ** 2)
    span_y = sqrt(m[1, 0] ** 2 + m[1, 1] ** 2)
    for n in range(len(centre)):
        cx = origin[0] + m[0, 0] * centre[n, 0] + m[0, 1] * centre[n, 1]
        cy = origin[1] + m[1, 0] * centre[n, 0] + m[1, 1] * centre[n, 1]
        rx, ry = reach[n] * span_x + 2, reach[n] * span_y + 2
        for i in range(max(0, int(cy - ry)), min(ny, int(cy + ry) + 1)):
            for j in range(max(0, int(cx - rx)), min(nx, int(cx + rx) + 1)):
                u, v = j + 0.5 - cx, i + 0.5 - cy
                x, y = back[0, 0] * u + back[0, 1] * v, back[1, 0] * u + back[1, 1] * v
                depth = _depth(normal[n], offset[n], x, y)
                inside = depth / soft + 0.5
                if inside > 0:
                    wedge = 0.5 + 0.5 * min(max(3 * depth / reach[n], 0.0), 1.0)
                    out[i, j] += height[n] * min(inside, 1.0) * wedge


@njit(cache=True)
def illuminated(
    centre: np.ndarray, normal: np.ndarray, offset: np.ndarray, reach: float, beam: np.ndarray, radius: float,
    edge: float, squash: float,
) -> tuple[float, float, float, float]:  # fmt: skip
    """(area in the beam [µm²], whole area, mean x, mean y of the lit part): one crystal and a round beam.

    The polygon's y is shortened by ``squash`` (cos α); the beam falls off over ``edge`` [µm] at ``radius``. 32 × 32
    points.
    """
    grid = 32
    step = 2 * reach / grid
    area, lit, mx, my = 0.0, 0.0, 0.0, 0.0
    for i in range(grid):
        for j in range(grid):
            x, y = -reach + (j + 0.5) * step, -reach + (i + 0.5) * step
            inside = min(max(_depth(normal, offset, x, y) / step + 0.5, 0.0), 1.0)
            if inside <= 0:
                continue
            area += inside
            px, py = centre[0] + x, centre[1] + y * squash
            r = sqrt((px - beam[0]) ** 2 + (py - beam[1]) ** 2)
            w = inside * min(max((radius - r) / edge + 0.5, 0.0), 1.0)
            lit += w
            mx += w * px
            my += w * py
    cell = step * step * squash
    if lit <= 0:
        return 0.0, area * cell, centre[0], centre[1]
    return lit * cell, area * cell, mx / lit, my / lit


@njit(cache=True, fastmath=True)
def _sampled(texture: np.ndarray, x: float, y: float) -> float:
    """A periodic map, its edge a power of two, at (x, y) in samples; bilinear."""
    mask = len(texture) - 1
    a, b = x + 1048576.0, y + 1048576.0  # positive: a cast is a floor
    n, k = int(a), int(b)
    fa, fb = a - n, b - k
    n0, n1, k0, k1 = n & mask, (n + 1) & mask, k & mask, (k + 1) & mask
    top = texture[k0, n0] * (1 - fa) + texture[k0, n1] * fa
    return top * (1 - fb) + (texture[k1, n0] * (1 - fa) + texture[k1, n1] * fa) * fb


@njit(cache=True, fastmath=True)
def transmit(
    out: np.ndarray, heights: np.ndarray, origin: np.ndarray, back: np.ndarray, stage: np.ndarray, squash: float,
    film: np.ndarray, texture: np.ndarray, per_um: float, bars: np.ndarray, holes: np.ndarray, beam: np.ndarray,
    dose: float,
) -> None:  # fmt: skip
    """Write the expected electrons of every pixel of ``out`` (ny, nx), given the crystals' optical depth ``heights``.

    ``origin``, ``back``: pixel to column position [µm]; ``stage`` (2,): the grid point on the axis; ``squash``: cos α.
    ``film`` = (optical depth, its relative texture); ``texture``: a periodic map of unit variance, ``per_um`` samples
    to the µm; ``bars`` = (pitch, width, optical depth) [µm]; ``holes`` = (pitch, diameter), 0 without; ``beam`` =
    (x, y, radius, edge) [µm]; ``dose``: electrons a pixel at full beam.
    """
    ny, nx = out.shape
    half = 0.5 * (bars[0] - bars[1])
    bar_step = 1 / bars[0] if bars[0] > 0 else 0.0
    hole_step, hole2 = (1 / holes[0], 0.25 * holes[1] ** 2) if holes[0] > 0 else (0.0, 0.0)
    slope = 1 / squash
    inner, outer = max(beam[2] - beam[3], 0.0) ** 2, (beam[2] + beam[3]) ** 2
    for i in range(ny):
        v = i + 0.5 - origin[1]
        for j in range(nx):
            u = j + 0.5 - origin[0]
            x, y = back[0, 0] * u + back[0, 1] * v, back[1, 0] * u + back[1, 1] * v
            r2 = (x - beam[0]) ** 2 + (y - beam[1]) ** 2
            if r2 > outer:
                out[i, j] = 0.0
                continue
            lit = 1.0
            if r2 > inner:
                lit = min(max((beam[2] - sqrt(r2)) / beam[3] + 0.5, 0.0), 1.0)
            gx, gy = stage[0] + x, stage[1] + y * slope
            t = _sampled(texture, gx * per_um, gy * per_um)
            depth = film[0] * (1 + film[1] * t) * slope
            if hole_step > 0:
                hx = gx - holes[0] * np.floor(gx * hole_step + 0.5)
                hy = gy - holes[0] * np.floor(gy * hole_step + 0.5)
                if hx * hx + hy * hy < hole2:
                    depth = 0.0
            if bar_step > 0:
                bx = abs(gx - bars[0] * np.floor(gx * bar_step + 0.5))
                by = abs(gy - bars[0] * np.floor(gy * bar_step + 0.5))
                # a square's middle is at the origin: the bars lie half a pitch away
                if max(bx, by) > half:
                    depth += bars[2]
            out[i, j] = dose * lit * exp(-min(depth + heights[i, j], 60.0))


@njit(cache=True, fastmath=True)
def fringe(image: np.ndarray, strength: float) -> np.ndarray:
    """``image`` (ny, nx) times 1 + strength ∇² ln image, that factor within 0.5 and 1.5; its border as it is."""
    ny, nx = image.shape
    depth = np.log(np.maximum(image, np.float32(1e-3) * image.max() + np.float32(1e-12)))
    out = image.copy()
    for i in range(1, ny - 1):
        for j in range(1, nx - 1):
            lap = depth[i + 1, j] + depth[i - 1, j] + depth[i, j + 1] + depth[i, j - 1] - 4 * depth[i, j]
            out[i, j] *= min(max(1 + strength * lap, 0.5), 1.5)
    return out
