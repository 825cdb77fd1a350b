"""Spots on streams of frames: boxes that stand out, what connects, and windows measured around each of them."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["box_sums", "gather_marks", "mark_boxes", "measure_windows", "scale_at", "window_centroids"]


@njit(cache=True, fastmath=True)
def box_sums(frame: np.ndarray, good: np.ndarray, work: np.ndarray, out: np.ndarray) -> None:
    """Sums of 3×3 boxes of ``frame`` · ``good`` into ``out`` (ny, nx) float32; the border is zero."""
    ny, nx = frame.shape
    row = np.empty(nx, dtype=np.float32)
    for i in range(ny):
        for j in range(nx):
            row[j] = np.float32(frame[i, j]) * good[i, j]
        for j in range(1, nx - 1):
            work[i, j] = row[j - 1] + row[j] + row[j + 1]
    for i in range(1, ny - 1):
        for j in range(1, nx - 1):
            out[i, j] = work[i - 1, j] + work[i, j] + work[i + 1, j]


@njit(cache=True, fastmath=True)
def scale_at(grid: np.ndarray, y: float, x: float) -> float:
    """Bilinear value of a grid of blocks at block coordinates, constant beyond the outer blocks' centres."""
    ny, nx = grid.shape
    y = min(max(y, 0.0), ny - 1.0)
    x = min(max(x, 0.0), nx - 1.0)
    i, j = min(int(y), max(ny - 2, 0)), min(int(x), max(nx - 2, 0))
    k, l = min(i + 1, ny - 1), min(j + 1, nx - 1)
    dy, dx = y - i, x - j
    return (grid[i, j] * (1 - dy) + grid[k, j] * dy) * (1 - dx) + (grid[i, l] * (1 - dy) + grid[k, l] * dy) * dx


@njit(cache=True, fastmath=True)
def mark_boxes(
    box: np.ndarray, ratio: np.ndarray, back: np.ndarray, block: int, gain: float, grow: float, seed: float,
    cx: float, cy: float, r_min: float, rows: np.ndarray, cols: np.ndarray, kind: np.ndarray, signal: np.ndarray,
) -> int:  # fmt: skip
    """Boxes brighter than chance allows, on the middle of three frames alone and on the three together.

    box (3, ny, nx): 3×3 sums of the frames before, now and after (zero where there is none); ratio (3, by, bx): their
    background over ``back`` (ny, nx), the 3×3 sums of the mean. A box of expectation f electrons must exceed
    f + z√f + (z² − 1)/6: the Poisson quantile with Cornish and Fisher's skewness term, good to one count from f = 0.01.
    Lists: ``kind`` 1 single frame, 2 three frames, + 4 when ``seed`` and not only ``grow`` is passed; ``signal`` of the
    middle box above background. Nothing within ``r_min`` of (cx, cy). Returns how many.
    """
    _, ny, nx = box.shape
    one, three = np.empty(nx, dtype=np.float32), np.empty(nx, dtype=np.float32)
    over = np.empty(nx, dtype=np.float32)
    inv, ig = 1.0 / block, 1.0 / gain
    z0, c0 = np.float32(grow), np.float32((grow * grow - 1) / 6)
    n = 0
    for i in range(1, ny - 1):
        if i % 4 == 1:
            y = (i + 1.5) * inv - 0.5
            for j in range(nx):
                if j % 4 == 0:
                    x = (j + 2) * inv - 0.5
                    s = np.float32(scale_at(ratio[1], y, x) * ig)
                    t = s + np.float32((scale_at(ratio[0], y, x) + scale_at(ratio[2], y, x)) * ig)
                one[j] = s
                three[j] = t
        for j in range(nx):
            f = back[i, j] * one[j]
            g = back[i, j] * three[j]
            e = box[1, i, j] * np.float32(ig)
            d = (box[0, i, j] + box[2, i, j]) * np.float32(ig) + e
            over[j] = max(e - f - z0 * np.sqrt(f), d - g - z0 * np.sqrt(g)) - c0
        for j in range(1, nx - 1):
            if over[j] <= 0 or back[i, j] <= 0:
                continue
            if (i + 0.5 - cy) ** 2 + (j + 0.5 - cx) ** 2 < r_min * r_min or n >= len(rows):
                continue
            f, g = back[i, j] * one[j], back[i, j] * three[j]
            e = box[1, i, j] * ig
            d = e + (box[0, i, j] + box[2, i, j]) * ig
            k = 0
            if e > f + grow * np.sqrt(f) + c0:
                k = 1
            # a frame of no signal within a bright trio is not the spot's
            if d > g + grow * np.sqrt(g) + c0 and e > f:
                k |= 2
            if k == 0:
                continue
            c1 = (seed * seed - 1) / 6
            if e > f + seed * np.sqrt(f) + c1 or d > g + seed * np.sqrt(g) + c1:
                k |= 4
            rows[n], cols[n], kind[n] = i, j, k
            signal[n] = (e - f) * gain
            n += 1
    return n


@njit(cache=True, fastmath=True)
def gather_marks(
    spot: np.ndarray, frame: np.ndarray, row: np.ndarray, col: np.ndarray, kind: np.ndarray, signal: np.ndarray,
    sums: np.ndarray, span: np.ndarray, seeds: np.ndarray,
) -> None:  # fmt: skip
    """Per spot: ``sums`` (n, 7) Σw, Σwx, Σwy, Σwx², Σwy², most w, marks; ``span`` (n, 4) first and last frame marked
    alone, first and last marked at all (first ones must come as large numbers, last ones as −1); ``seeds`` (n,)."""
    for k in range(len(spot)):
        i = spot[k]
        w = max(signal[k], 1e-3)
        x, y, f = col[k] + 0.5, row[k] + 0.5, frame[k]
        sums[i, 0] += w
        sums[i, 1] += w * x
        sums[i, 2] += w * y
        sums[i, 3] += w * x * x
        sums[i, 4] += w * y * y
        sums[i, 5] = max(sums[i, 5], w)
        sums[i, 6] += 1
        if kind[k] & 1:
            span[i, 0] = min(span[i, 0], f)
            span[i, 1] = max(span[i, 1], f)
        span[i, 2] = min(span[i, 2], f)
        span[i, 3] = max(span[i, 3], f)
        if kind[k] & 4:
            seeds[i] += 1


@njit(cache=True, fastmath=True)
def measure_windows(
    frame: np.ndarray, f: int, mean: np.ndarray, ratio: np.ndarray, block: int, bad: np.ndarray, top: float,
    who: np.ndarray, x: np.ndarray, y: np.ndarray, first: np.ndarray, last: np.ndarray, offset: np.ndarray,
    start: np.ndarray, radius: float, patch: np.ndarray, level: np.ndarray, curve: np.ndarray, peak: np.ndarray,
    flags: np.ndarray,
) -> None:  # fmt: skip
    """Add frame ``f`` to the spots ``who`` that it may hold.

    ``patch`` (n, k, k): signal above background, summed over the frames ``first`` to ``last`` of each spot, centred on
    the pixel of (x, y); ``level`` (n,): background per pixel of that sum. ``curve`` (m, 2): signal and background
    within ``radius`` frame by frame, at ``offset`` + f − ``start``. ``peak`` (n,): brightest pixel above background.
    ``flags`` (n,): 1 a bad or missing pixel within the radius, 2 a pixel at or above ``top``.
    """
    ny, nx = frame.shape
    h = patch.shape[1] // 2
    inv = 1.0 / block
    for w in range(len(who)):
        s = who[w]
        px, py = int(x[s]), int(y[s])
        scale = scale_at(ratio, float(y[s]) * inv - 0.5, float(x[s]) * inv - 0.5)
        inside = first[s] <= f <= last[s]
        total, flat, here, seen = 0.0, 0.0, 0.0, 0
        for a in range(-h, h + 1):
            for b in range(-h, h + 1):
                i, j = py + a, px + b
                near = (i + 0.5 - y[s]) ** 2 + (j + 0.5 - x[s]) ** 2 <= radius * radius
                if i < 0 or j < 0 or i >= ny or j >= nx or bad[i, j]:
                    if near:
                        flags[s] |= 1
                    continue
                v = np.float32(frame[i, j])
                m = mean[i, j] * scale
                here += m
                seen += 1
                if near:
                    total += v - m
                    flat += m
                if inside:
                    patch[s, a + h, b + h] += v - m
                    if near:
                        peak[s] = max(peak[s], v - m)
                        if v >= top:
                            flags[s] |= 2
        k = offset[s] + f - start[s]
        curve[k, 0] = total
        curve[k, 1] = flat
        if inside and seen > 0:
            level[s] += here / seen


@njit(cache=True, fastmath=True)
def window_centroids(
    patch: np.ndarray, level: np.ndarray, x: np.ndarray, y: np.ndarray, sigma: float, gain: float, out: np.ndarray
) -> None:
    """Centroids under a Gaussian window that follows them, on (n, k, k) patches centred on the pixels of (x, y).

    x ← x + 2 Σ w s (x_i − x)/Σ w s, var x = 4 Σ w² v (x_i − x)²/(Σ w s)², v the counting variance (Bertin, SExtractor
    manual, 'windowed positional parameters'): nearly as precise as a fit, and no threshold biases it. First the mean of
    the window's rim is taken off, as far as it is significant. ``out`` (n, 6): x, y, var x, var y, rim [per pixel],
    1 where it converged.
    """
    n, k, _ = patch.shape
    h = k // 2
    for s in range(n):
        p = patch[s]
        rim, var, m = 0.0, 0.0, 0
        limit = 3.0 * np.sqrt(gain * max(level[s], 0.0)) + 2.0 * gain
        for a in range(k):
            for b in range(k):
                r2 = (a - h) ** 2 + (b - h) ** 2
                if r2 > 9 * sigma * sigma and abs(p[a, b]) <= limit:
                    rim += p[a, b]
                    m += 1
        if m >= 8:
            rim /= m
            var = gain * max(level[s], 0.1) / m
            # shrunk by its own uncertainty
            rim *= max(0.0, 1.0 - 2.0 * var / max(rim * rim, 1e-12))
        else:
            rim = 0.0
        ox, oy = int(x[s]) - h + 0.5, int(y[s]) - h + 0.5
        cx, cy = x[s] - ox, y[s] - oy
        ok = False
        vx, vy = 0.0, 0.0
        for _turn in range(25):
            t, sx, sy, vx, vy = 0.0, 0.0, 0.0, 0.0, 0.0
            for a in range(k):
                for b in range(k):
                    dx, dy = b - cx, a - cy
                    w = np.exp(-0.5 * (dx * dx + dy * dy) / (sigma * sigma))
                    v = p[a, b] - rim
                    t += w * v
                    sx += w * v * dx
                    sy += w * v * dy
                    c = w * w * gain * max(p[a, b] + level[s], level[s] * 0.5 + 0.1)
                    vx += c * dx * dx
                    vy += c * dy * dy
            if t <= 0:
                break
            ex, ey = 2 * sx / t, 2 * sy / t
            step = np.hypot(ex, ey)
            if step > sigma:
                ex, ey = ex * sigma / step, ey * sigma / step
            cx, cy = cx + ex, cy + ey
            vx, vy = 4 * vx / (t * t), 4 * vy / (t * t)
            if np.hypot(cx + ox - x[s], cy + oy - y[s]) > 2.5 * sigma + 1:
                break
            if step < 1e-3:
                ok = True
                break
        out[s, 0], out[s, 1], out[s, 2], out[s, 3], out[s, 4], out[s, 5] = cx + ox, cy + oy, vx, vy, rim, 1.0 * ok
