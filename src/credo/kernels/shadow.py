"""The specimen in projection: thickness of faceted crystals, the carbon film and the grid's bars, pixel by pixel."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
from numba import njit

from credo.kernels.rows import exponentials, logarithms

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
def _add_film(depth: np.ndarray, texture: np.ndarray, a, da, b, db, level, contrast) -> None:
    """Add level + contrast · texture to ``depth`` (n,), a periodic map (s, s) being read bilinearly from sample (a, b)
    on in steps of (da, db); all of them are positive, s is a power of two."""
    size = np.uint32(len(texture))
    mask, flat = size - np.uint32(1), texture.reshape(-1)
    for j in range(len(depth)):
        n, k = np.uint32(np.int32(a)), np.uint32(np.int32(b))
        fa, fb = np.float32(a - np.float64(n)), np.float32(b - np.float64(k))
        n0, n1 = n & mask, (n + np.uint32(1)) & mask
        k0, k1 = (k & mask) * size, ((k + np.uint32(1)) & mask) * size
        top = flat[k0 + n0] + (flat[k0 + n1] - flat[k0 + n0]) * fa
        low = flat[k1 + n0] + (flat[k1 + n1] - flat[k1 + n0]) * fa
        depth[j] += level + contrast * (top + (low - top) * fb)
        a += da
        b += db


@njit(cache=True, fastmath=True)
def _add_bars(depth: np.ndarray, x, dx, y, dy, bars: np.ndarray) -> None:
    """Add the bars' optical depth where the row from grid point (x, y) on crosses them."""
    step, half, more, n = 1 / bars[0], 0.5 * (bars[0] - bars[1]), np.float32(bars[2]), len(depth)
    cx, cy = bars[0] * np.floor(x * step + 0.5), bars[0] * np.floor(y * step + 0.5)
    if max(abs(x - cx), abs(y - cy), abs(x + n * dx - cx), abs(y + n * dy - cy)) <= half:
        return  # both ends in the same square: none is crossed
    for j in range(len(depth)):
        gx, gy = x + dx * j, y + dy * j
        # a square's middle is at the origin: the bars lie half a pitch away
        bx = abs(gx - bars[0] * np.floor(gx * step + 0.5))
        by = abs(gy - bars[0] * np.floor(gy * step + 0.5))
        depth[j] += more if max(bx, by) > half else np.float32(0)


@njit(cache=True, fastmath=True)
def _clear_holes(film: np.ndarray, x, dx, y, dy, holes: np.ndarray) -> None:
    """No film in the holes."""
    step, r2 = 1 / holes[0], 0.25 * holes[1] ** 2
    for j in range(len(film)):
        gx, gy = x + dx * j, y + dy * j
        hx = gx - holes[0] * np.floor(gx * step + 0.5)
        hy = gy - holes[0] * np.floor(gy * step + 0.5)
        if hx * hx + hy * hy < r2:
            film[j] = 0.0


@njit(cache=True, fastmath=True)
def _light(row: np.ndarray, x, dx, y, dy, radius, edge, dose) -> None:
    """Multiply a row by the electrons of the beam, of which (x, y) is the distance of its start."""
    n = len(row)
    if max(x**2 + y**2, (x + dx * n) ** 2 + (y + dy * n) ** 2) <= max(radius - 0.5 * edge, 0.0) ** 2:
        row *= np.float32(dose)
        return
    for j in range(n):
        r = sqrt((x + dx * j) ** 2 + (y + dy * j) ** 2)
        row[j] *= np.float32(dose * min(max((radius - r) / edge + 0.5, 0.0), 1.0))


@njit(cache=True)
def _span(x: float, dx: float, y: float, dy: float, radius: float, n: int) -> tuple[int, int]:
    """Pixels j of a row, from the first to the one after the last, with (x + j dx, y + j dy) within ``radius``."""
    square, middle = dx * dx + dy * dy, -(x * dx + y * dy)
    root2 = middle * middle - square * (x * x + y * y - radius * radius)
    if root2 <= 0:
        return 0, 0
    first, last = (middle - sqrt(root2)) / square, (middle + sqrt(root2)) / square
    return int(min(max(first, 0.0), n)), int(min(max(last + 2, 0.0), n))


@njit(cache=True)
def _positive(start: float, whole: float, period: int) -> float:
    """``start`` shifted by periods so that it and start + whole are not negative."""
    return start - period * np.floor(min(start, start + whole) / period)


@njit(cache=True)
def transmit(
    out: np.ndarray, origin: np.ndarray, back: np.ndarray, stage: np.ndarray, squash: float, film: np.ndarray,
    texture: np.ndarray, per_um: float, bars: np.ndarray, holes: np.ndarray, beam: np.ndarray, dose: float,
) -> None:  # fmt: skip
    """Turn the crystals' optical depth in ``out`` (ny, nx) into the expected electrons of every pixel, in place.

    ``origin``, ``back``: pixel to column position [µm]; ``stage`` (2,): the grid point on the axis; ``squash``: cos α.
    ``film`` = (optical depth, its relative texture); ``texture`` float32: a periodic map of unit variance, ``per_um``
    samples to the µm; ``bars`` = (pitch, width, optical depth) [µm]; ``holes`` = (pitch, diameter), 0 without;
    ``beam`` = (x, y, radius, edge) [µm]; ``dose``: electrons a pixel at full beam.
    """
    ny, nx = out.shape
    bits, light, carbon = np.empty(nx, np.int32), np.empty(nx, np.float32), np.empty(nx, np.float32)
    dx, dy, slope, size = back[0, 0], back[1, 0], 1 / squash, len(texture)
    level, contrast = np.float32(film[0] * slope), np.float32(film[0] * film[1] * slope)
    for i in range(ny):
        u, v = 0.5 - origin[0], i + 0.5 - origin[1]
        x, y = back[0, 0] * u + back[0, 1] * v, back[1, 0] * u + back[1, 1] * v
        start, end = _span(x - beam[0], dx, y - beam[1], dy, beam[2] + beam[3], nx)
        out[i, :start] = 0
        out[i, end:] = 0
        n = end - start
        if n <= 0:
            continue
        x, y = x + start * dx, y + start * dy
        gx, gy, gdy = stage[0] + x, stage[1] + y * slope, dy * slope
        depth, shade = out[i, start:end], carbon[:n]
        if film[0] > 0:
            a, b = gx * per_um, gy * per_um
            da, db = dx * per_um, gdy * per_um
            shade[:] = 0
            _add_film(shade, texture, _positive(a, da * n, size), da, _positive(b, db * n, size), db, level, contrast)
            if holes[0] > 0:
                _clear_holes(shade, gx, dx, gy, gdy, holes)
            depth += shade
        if bars[0] > 0:
            _add_bars(depth, gx, dx, gy, gdy, bars)
        exponentials(depth, bits[:n], light[:n])
        _light(light[:n], x - beam[0], dx, y - beam[1], dy, beam[2], beam[3], dose)
        depth[:] = light[:n]


@njit(cache=True, fastmath=True)
def fringe(image: np.ndarray, strength: float) -> None:
    """Multiply ``image`` (ny, nx) float32 by 1 + strength ∇² ln image, that factor within 0.5 and 1.5, in place; its
    border stays. Below a thousandth of the brightest the logarithm stops falling."""
    ny, nx = image.shape
    top, s = np.float32(0), np.float32(strength)
    for i in range(ny):
        for j in range(nx):
            top = max(top, image[i, j])
    low = log(1e-3 * top + 1e-12)
    bits = np.empty(nx, np.int32)
    above, here, below = np.empty(nx, np.float32), np.empty(nx, np.float32), np.empty(nx, np.float32)
    logarithms(image[0], bits, low, above)
    logarithms(image[min(1, ny - 1)], bits, low, here)
    for i in range(1, ny - 1):
        logarithms(image[i + 1], bits, low, below)
        row = image[i]
        for j in range(1, nx - 1):
            bend = above[j] + below[j] + here[j - 1] + here[j + 1] - np.float32(4) * here[j]
            row[j] *= min(max(np.float32(1) + s * bend, np.float32(0.5)), np.float32(1.5))
        above, here, below = here, below, above
