"""Passes over one frame: running sums in time, a local scale of the background, and pixels that stand out."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["accumulate", "accumulate_clipped", "block_ratio", "gather", "link", "spread", "stand_out"]


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
def stand_out(
    frame: np.ndarray, mean: np.ndarray, ratio: np.ndarray, block: int, bad: np.ndarray, limit: np.ndarray,
    gain: float, z_min: float, cx: float, cy: float, r_min: float, flag: np.ndarray,
    rows: np.ndarray, cols: np.ndarray, signal: np.ndarray, back: np.ndarray,
) -> int:  # fmt: skip
    """Pixels of 3×3 boxes whose sum stands ``z_min`` σ above the background, on Anscombe's scale.

    The background is ``mean`` times the interpolated block ``ratio``; pixels up to ``limit`` are passed over, and all
    within ``r_min`` of (cx, cy). The pixels, their signal above background and the background go to the four lists;
    ``flag`` is work space of the frame's shape, zero before and after. Returns how many.
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
                        s += np.float32(frame[i + a, j + c])
                        bs += mean[i + a, j + c] * scale
            # ten per cent of the background may be wrong where it is high
            e = s / gain
            f = bs / gain
            z = 2 * (np.sqrt(e + 0.375) - np.sqrt(f + 0.375)) / np.sqrt(1 + 0.01 * f / 9)
            if z < z_min:
                continue
            for a in range(-1, 2):
                for c in range(-1, 2):
                    y, x = i + a, j + c
                    if flag[y, x] == 0 and not bad[y, x] and n < len(rows):
                        flag[y, x] = 1
                        rows[n], cols[n] = y, x
                        bb = mean[y, x] * scale
                        signal[n], back[n] = np.float32(frame[y, x]) - bb, bb
                        n += 1
    for k in range(n):
        flag[rows[k], cols[k]] = 0
    return n


@njit(cache=True)
def _root(parent: np.ndarray, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True)
def link(
    rows: np.ndarray, cols: np.ndarray, n: int, before: np.ndarray, now: np.ndarray, parent: np.ndarray,
    label: np.ndarray, next_label: int, joined: bool,
) -> int:  # fmt: skip
    """Label the first ``n`` pixels by connection in this frame and, if ``joined``, with the frame before.

    ``before``, ``now`` (ny, nx): labels of the two frames, −1 elsewhere; ``now`` is filled. Returns the next label.
    """
    ny, nx = now.shape
    for k in range(n):
        y, x = rows[k], cols[k]
        mine = -1
        for a in range(-1, 2):
            for c in range(-1, 2):
                yy, xx = y + a, x + c
                if yy < 0 or xx < 0 or yy >= ny or xx >= nx or now[yy, xx] < 0:
                    continue
                other = _root(parent, now[yy, xx])
                if mine < 0:
                    mine = other
                elif other != mine:
                    parent[max(other, mine)] = min(other, mine)
                    mine = min(other, mine)
        if joined and before[y, x] >= 0:
            other = _root(parent, before[y, x])
            if mine < 0:
                mine = other
            elif other != mine:
                parent[max(other, mine)] = min(other, mine)
                mine = min(other, mine)
        if mine < 0:
            if next_label >= len(parent):
                label[k] = -1
                continue
            mine = next_label
            parent[mine] = mine
            next_label += 1
        now[y, x] = mine
        label[k] = mine
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
