"""Passes over one frame: running sums in time, a local scale of the background, and pixels that stand out."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["accumulate", "accumulate_clipped", "block_ratio", "gather", "hills", "spread", "stand_out"]


@njit(cache=True, fastmath=True)
def accumulate(frame: np.ndarray, before: np.ndarray, total: np.ndarray, diff2: np.ndarray) -> None:
    """Add a frame to ``total`` and its squared change from the frame before to ``diff2`` (all (ny, nx))."""
    for i in range(frame.shape[0]):
        for j in range(frame.shape[1]):
            v = np.float32(frame[i, j])
            total[i, j] += v
            d = v - np.float32(before[i, j])
            diff2[i, j] += d * d


@njit(cache=True, fastmath=True)
def accumulate_clipped(frame: np.ndarray, limit: np.ndarray, total: np.ndarray, count: np.ndarray) -> None:
    """Add the pixels not above ``limit`` (ny, nx): a mean that spots do not lift."""
    for i in range(frame.shape[0]):
        for j in range(frame.shape[1]):
            v = np.float32(frame[i, j])
            if v <= limit[i, j]:
                total[i, j] += v
                count[i, j] += 1


@njit(cache=True, fastmath=True)
def block_ratio(frame: np.ndarray, mean: np.ndarray, bad: np.ndarray, gain: float, block: int, out: np.ndarray) -> None:
    """Σ frame / Σ mean in blocks of ``block`` pixels, pixels far above the mean left out; out (by, bx).

    Every other row will do.
    """
    ny, nx = frame.shape
    for a in range(out.shape[0]):
        for b in range(out.shape[1]):
            s = 0.0
            m = 0.0
            for i in range(a * block, min((a + 1) * block, ny), 2):
                for j in range(b * block, min((b + 1) * block, nx)):
                    if bad[i, j]:
                        continue
                    mu = mean[i, j]
                    v = np.float32(frame[i, j])
                    if v <= mu + 4.0 * np.sqrt(gain * mu) + 2.0 * gain:
                        s += v
                        m += mu
            out[a, b] = (s + 1.0) / (m + 1.0)


@njit(cache=True, fastmath=True)
def _at(grid: np.ndarray, y: float, x: float) -> float:
    """Bilinear value of a block grid at block coordinates."""
    ny, nx = grid.shape
    y = min(max(y, 0.0), ny - 1.0)
    x = min(max(x, 0.0), nx - 1.0)
    i, j = min(int(y), ny - 2), min(int(x), nx - 2)
    if i < 0 or j < 0:
        return grid[0, 0]
    dy, dx = y - i, x - j
    return (grid[i, j] * (1 - dy) + grid[i + 1, j] * dy) * (1 - dx) + (
        grid[i, j + 1] * (1 - dy) + grid[i + 1, j + 1] * dy
    ) * dx


@njit(cache=True, fastmath=True)
def _anscombe(e: float | np.floating, f: float | np.floating) -> float:
    """By how many σ the count of electrons ``e`` exceeds ``f`` in a box of nine pixels."""
    # ten per cent of the background may be wrong where it is high
    return 2 * (np.sqrt(e + 0.375) - np.sqrt(f + 0.375)) / np.sqrt(1 + 0.01 * f / 9)


@njit(cache=True, fastmath=True)
def _surplus(
    frame: np.ndarray, mean: np.ndarray, scale: float, bad: np.ndarray, i: int, j: int, gain: float
) -> float:  # fmt: skip
    """Counts per pixel above ``mean`` · ``scale`` around (i, j), as far as they are significant.

    The median of the eight 3×3 boxes five pixels off, which takes up any slope and no few neighbouring spots.
    """
    ny, nx = frame.shape
    found = np.empty(8, dtype=np.float32)
    k, flat, used = 0, 0.0, 0
    for dy in range(-5, 6, 5):
        for dx in range(-5, 6, 5):
            if dy == 0 and dx == 0:
                continue
            t, b, m = 0.0, 0.0, 0
            for y in range(max(i + dy - 1, 0), min(i + dy + 2, ny)):
                for x in range(max(j + dx - 1, 0), min(j + dx + 2, nx)):
                    if not bad[y, x]:
                        t += np.float32(frame[y, x])
                        b += mean[y, x] * scale
                        m += 1
            if m >= 5:
                found[k] = (t - b) / m
                flat += b
                used += m
                k += 1
    if k < 5:
        return 0.0
    middle = float(np.median(found[:k]))
    # variance of a median of k sums: π/2 of a mean's
    var = 1.57 * gain * (flat / used + 0.02) / used
    return middle * max(0.0, 1.0 - 2.0 * var / max(middle * middle, 1e-12))


@njit(cache=True, fastmath=True)
def stand_out(
    frame: np.ndarray, mean: np.ndarray, ratio: np.ndarray, block: int, bad: np.ndarray, limit: np.ndarray,
    gain: float, gain_box: float, z_min: float, cx: float, cy: float, r_min: float, flag: np.ndarray,
    rows: np.ndarray, cols: np.ndarray, signal: np.ndarray, back: np.ndarray,
) -> int:  # fmt: skip
    """Pixels of 3×3 boxes whose sum stands ``z_min`` σ above the background, on Anscombe's scale.

    ``gain``, ``gain_box``: variance over mean of pixels and of such sums. The background is ``mean`` times the
    interpolated block ``ratio`` plus what is significant of the excess around (see :func:`_surplus`), so that a beam
    whose halo moves does not leave spots behind. Pixels up to ``limit`` are passed over, and all within ``r_min`` of
    (cx, cy). The pixels, their signal above background and the background go to the four lists; ``flag`` is work
    space of the frame's shape, zero before and after. Returns how many.
    """
    ny, nx = frame.shape
    n = 0
    inv = 1.0 / block
    for i in range(1, ny - 1):
        for j in range(1, nx - 1):
            v = np.float32(frame[i, j])
            if v <= limit[i, j] or bad[i, j]:
                continue
            mu = mean[i, j]
            scale = _at(ratio, (i + 0.5) * inv - 0.5, (j + 0.5) * inv - 0.5)
            b = mu * scale
            if v - b < np.sqrt(gain * b) or (i + 0.5 - cy) ** 2 + (j + 0.5 - cx) ** 2 < r_min * r_min:
                continue
            s = 0.0
            bs = 0.0
            for a in range(-1, 2):
                for c in range(-1, 2):
                    if not bad[i + a, j + c]:
                        s += float(frame[i + a, j + c])
                        bs += mean[i + a, j + c] * scale
            e = s / gain_box
            f = bs / gain_box
            if _anscombe(e, f) < z_min:
                continue
            extra = _surplus(frame, mean, scale, bad, i, j, gain_box)
            if extra != 0.0 and _anscombe(e, max(f + 9 * extra / gain_box, 0.0)) < z_min:
                continue
            for a in range(-1, 2):
                for c in range(-1, 2):
                    y, x = i + a, j + c
                    if flag[y, x] == 0 and not bad[y, x] and n < len(rows):
                        flag[y, x] = 1
                        rows[n], cols[n] = y, x
                        bb = max(mean[y, x] * scale + extra, 0.0)
                        signal[n], back[n] = np.float32(frame[y, x]) - bb, bb
                        n += 1
    for k in range(n):
        flag[rows[k], cols[k]] = 0
    return n


@njit(cache=True)
def hills(
    rows: np.ndarray, cols: np.ndarray, n: int, signal: np.ndarray, height: np.ndarray, before: np.ndarray,
    now: np.ndarray, tops: np.ndarray, label: np.ndarray, next_label: int, joined: bool,
) -> int:  # fmt: skip
    """Label the first ``n`` pixels of a frame by the hilltop that each climbs to, and hilltops by those before.

    Every pixel climbs to the highest of its 5×5 neighbours, in 3×3 sums of ``signal``, until there is none higher: a
    bright spot's skirts stay its own and do not run into its neighbours. If ``joined``, a hilltop takes the label of
    the nearest hilltop of the frame before whose pixels ``before`` (ny, nx; −1: none) lie within two pixels and whose
    top was within three. ``tops`` (labels, 2): row and column of each label's last top. ``height`` (ny, nx) is work
    space, zero before and after; ``now`` is filled. Returns the next label.
    """
    ny, nx = now.shape
    up = np.empty(n, dtype=np.int32)
    summed = np.zeros(n, dtype=np.float32)
    for k in range(n):
        height[rows[k], cols[k]] = signal[k]
        now[rows[k], cols[k]] = k
    for k in range(n):
        for y in range(max(rows[k] - 1, 0), min(rows[k] + 2, ny)):
            for x in range(max(cols[k] - 1, 0), min(cols[k] + 2, nx)):
                summed[k] += height[y, x]
    for k in range(n):
        best = k
        for y in range(max(rows[k] - 2, 0), min(rows[k] + 3, ny)):
            for x in range(max(cols[k] - 2, 0), min(cols[k] + 3, nx)):
                m = now[y, x]
                if m >= 0 and (summed[m] > summed[best] or (summed[m] == summed[best] and m < best)):
                    best = m
        up[k] = best
    for k in range(n):
        label[k] = -1
    for k in range(n):
        if up[k] != k:
            continue
        mine, nearest = -1, 9.1
        if joined:
            for y in range(max(rows[k] - 2, 0), min(rows[k] + 3, ny)):
                for x in range(max(cols[k] - 2, 0), min(cols[k] + 3, nx)):
                    m = before[y, x]
                    if m >= 0:
                        far = (tops[m, 0] - rows[k]) ** 2 + (tops[m, 1] - cols[k]) ** 2
                        if far < nearest:
                            mine, nearest = m, far
        if mine < 0 and next_label < len(tops):
            mine = next_label
            next_label += 1
        label[k] = mine
    for k in range(n):
        m = k
        while up[m] != m:
            m = up[m]
        up[k] = m
        label[k] = label[m]
    for k in range(n):
        height[rows[k], cols[k]] = 0.0
        now[rows[k], cols[k]] = label[k]
        if up[k] == k and label[k] >= 0:
            tops[label[k], 0], tops[label[k], 1] = rows[k], cols[k]
    return next_label


@njit(cache=True, fastmath=True)
def gather(
    spot: np.ndarray, frame: np.ndarray, row: np.ndarray, col: np.ndarray, signal: np.ndarray, back: np.ndarray,
    gain: float, sums: np.ndarray, first: np.ndarray, last: np.ndarray, peak: np.ndarray,
) -> None:  # fmt: skip
    """Per spot, into ``sums`` (n, 11): pixels, Σs, Σb, Σ variance, Σw, Σwx, Σwy, Σwf with w = max(s, 0); the last three
    columns are :func:`spread`'s. ``first`` and ``last`` frame, ``peak`` (n,)."""
    for k in range(len(spot)):
        i = spot[k]
        s, b = signal[k], back[k]
        w = max(s, 0.0)
        sums[i, 0] += 1
        sums[i, 1] += s
        sums[i, 2] += b
        sums[i, 3] += gain * max(s + b, 0.0)
        sums[i, 4] += w
        sums[i, 5] += w * (col[k] + 0.5)
        sums[i, 6] += w * (row[k] + 0.5)
        sums[i, 7] += w * (frame[k] + 0.5)
        first[i] = min(first[i], frame[k])
        last[i] = max(last[i], frame[k])
        peak[i] = max(peak[i], s)


@njit(cache=True, fastmath=True)
def spread(
    spot: np.ndarray, frame: np.ndarray, row: np.ndarray, col: np.ndarray, signal: np.ndarray, back: np.ndarray,
    gain: float, sums: np.ndarray,
) -> None:  # fmt: skip
    """Σ v (position − centroid)² of x, y, frame into columns 8 to 10 of ``sums``, v the counting variance."""
    for k in range(len(spot)):
        i = spot[k]
        v = gain * max(signal[k] + back[k], 0.0)
        inv = 1.0 / max(sums[i, 4], 1e-9)
        sums[i, 8] += v * (col[k] + 0.5 - sums[i, 5] * inv) ** 2
        sums[i, 9] += v * (row[k] + 0.5 - sums[i, 6] * inv) ** 2
        sums[i, 10] += v * (frame[k] + 0.5 - sums[i, 7] * inv) ** 2
