"""Simulated annealing of the sites of a four-connected net on the points of a grid, against moduli and connections."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["anneal", "contact_table"]

#: What a site with 0, 1, 2 … neighbours costs.
COST = np.array([3.0, 3.0, 2.0, 1.0, 0.0, 1.5, 3.0, 4.5, 6.0, 7.5, 9.0, 10.5, 12.0, 13.5, 15.0, 16.5])
#: Hardly a move gains more in correlation than this: what geometry alone makes this much worse is not tried further.
_MOST_GAIN = 0.06
#: Shares of the moves: insert, delete, step to a point beside (the others jump anywhere).
_INSERT, _DELETE, _STEP = 0.05, 0.10, 0.60


@njit(cache=True)
def contact_table(
    shape: tuple[int, int, int], which: np.ndarray, first: np.ndarray, offsets: np.ndarray, near: np.ndarray
) -> np.ndarray:
    """(p, p) uint8: how many points of orbit q bond with the first of orbit p (low four bits), and clash (high four).

    offsets (k, 3): steps on the grid, not 0 0 0, within the reach of a bond; near (k,): those that clash.
    """
    nx, ny, nz = shape
    out = np.zeros((len(first), len(first)), dtype=np.uint8)
    for p in range(len(first)):
        i, j, k = first[p] // (ny * nz), (first[p] // nz) % ny, first[p] % nz
        for m in range(len(offsets)):
            a, b, c = (i + offsets[m, 0]) % nx, (j + offsets[m, 1]) % ny, (k + offsets[m, 2]) % nz
            q = which[(a * ny + b) * nz + c]
            if near[m]:
                if out[p, q] < 240:
                    out[p, q] += 16
            elif out[p, q] & 15 < 15:
                out[p, q] += 1
    return out


@njit(cache=True, fastmath=True)
def _correlation(f: np.ndarray, columns: np.ndarray, m: np.ndarray, free: bool) -> float:
    """Of m (n,), of mean nought and Σm² = 1, with the moduli of f (c,)."""
    s, s2, sm = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    if free:
        for i in range(len(m)):
            a, b = f[columns[i, 0]], f[columns[i, 1]]
            v = np.sqrt(a * a + b * b) if columns[i, 0] != columns[i, 1] else abs(a)
            s += v
            s2 += v * v
            sm += v * m[i]
    else:
        for i in range(len(m)):
            v = abs(f[i])
            s += v
            s2 += v * v
            sm += v * m[i]
    spread = s2 - s * s / len(m)
    return float(sm / np.sqrt(spread)) if spread > 0 else 0.0


@njit(cache=True, fastmath=True)
def _connect(i: int, p: int, site: np.ndarray, n: int, degree: np.ndarray, table: np.ndarray, weight: np.ndarray,
             gain: np.ndarray) -> tuple[int, float, float]:  # fmt: skip
    """Neighbours of site i put on p, and the costs of connections and clashes that change among all; p or site i −1:
    none. ``gain`` (n,): by how much the degree of each other site changes."""
    old = site[i] if i < n else -1
    mine, cost, clash = 0, 0.0, 0.0
    if p >= 0:
        mine = table[p, p] & 15
    for j in range(n):
        if j == i:
            continue
        q, d, c = site[j], 0.0, 0.0
        if p >= 0:
            t = table[p, q]
            mine += t & 15
            d += (t & 15) * weight[p] / weight[q]
            c += (t >> 4) * weight[p]
        if old >= 0:
            t = table[old, q]
            d -= (t & 15) * weight[old] / weight[q]
            c -= (t >> 4) * weight[old]
        gain[j] = int(np.rint(d))
        if gain[j] != 0:
            cost += weight[q] * (COST[min(15, degree[j] + gain[j])] - COST[min(15, degree[j])])
        clash += 2 * c
    if p >= 0:
        cost += weight[p] * COST[min(15, mine)]
    if old >= 0:
        cost -= weight[old] * COST[min(15, degree[i])]
    return mine, cost, clash


@njit(cache=True, fastmath=True)
def _propose(
    site: np.ndarray, n: int, around: np.ndarray, allowed: np.ndarray, full: bool, rng: np.random.Generator
) -> tuple[int, int]:
    """(site, point): a new site has the number n; point −1 takes the site away."""
    kind = rng.random()
    anywhere = allowed[int(rng.random() * len(allowed))]
    if n == 0 or (kind < _INSERT and n < len(site) and not full):
        return n, anywhere
    i = int(rng.random() * n)
    if _INSERT <= kind < _DELETE and n > 1:
        return i, -1
    if kind < _STEP:
        return i, around[site[i], int(rng.random() * 26)]
    return i, anywhere


@njit(cache=True, fastmath=True)
def _taken(p: int, site: np.ndarray, n: int) -> bool:
    """Whether a site is on point p already."""
    return bool(np.any(site[:n] == p))


@njit(cache=True, fastmath=True)
def anneal(
    d: np.ndarray, columns: np.ndarray, m: np.ndarray, table: np.ndarray, weight: np.ndarray, around: np.ndarray,
    allowed: np.ndarray, most: int, atoms: tuple[float, float], penalty: tuple[float, float],
    heat: tuple[float, float], moves: int, start: np.ndarray, rng: np.random.Generator,
) -> tuple[float, float, np.ndarray]:  # fmt: skip
    """(merit, correlation, sites (n,)) of the best net met while cooling from ``heat[0]`` to ``heat[1]``.

    The merit is CC(|F|) − Σ penalties/atoms[1]. d (p, c) float32: what a site on a point adds to the coefficients;
    columns (n, 2) of them; m (n,): moduli less their mean, Σm² = 1; table: see :func:`contact_table`; weight (p,):
    atoms in the cell; around (p, 26); allowed (a,): points that do not clash with themselves; ``most`` sites,
    ``start`` (s,) of them there at first; atoms: in the cell, fewest and most; penalty: of a wrong connection and of a
    clash.
    """
    site, degree, gain = np.full(most, -1), np.zeros(most, np.int64), np.zeros(most, np.int64)
    f, g = np.zeros(d.shape[1], np.float32), np.zeros(d.shape[1], np.float32)
    free = d.shape[1] != len(m)
    fewest, top = atoms
    n, total, cc, geometry = 0, 0.0, 0.0, 0.0
    for p in start:
        mine, cost, clash = _connect(n, p, site, n, degree, table, weight, gain)
        geometry += (penalty[0] * cost + penalty[1] * clash) / top
        for j in range(n):
            degree[j] += gain[j]
        site[n], degree[n] = p, mine
        n, total = n + 1, total + weight[p]
        for c in range(len(f)):
            f[c] += d[p, c]
    cc = _correlation(f, columns, m, free) if n else 0.0
    best, best_cc, best_site = -1e9, 0.0, site[:0].copy()
    t, ratio = heat[0], (heat[1] / heat[0]) ** (1 / moves)
    for _ in range(moves):
        t *= ratio
        i, p = _propose(site, n, around, allowed, total >= top, rng)
        old = site[i] if i < n else -1
        if p == old or (p >= 0 and (table[p, p] >= 16 or _taken(p, site, n))):
            continue
        new_total = total
        if p >= 0:
            new_total += weight[p]
        if old >= 0:
            new_total -= weight[old]
        if new_total > top:
            continue
        mine, cost, clash = _connect(i, p, site, n, degree, table, weight, gain)
        change = (penalty[0] * cost + penalty[1] * clash) / top
        few = 0.5 * (max(0.0, fewest - new_total) - max(0.0, fewest - total)) / top
        limit = t * np.log(rng.random() + 1e-12)
        if _MOST_GAIN - change - few < limit:
            continue
        for c in range(len(f)):
            g[c] = f[c]
        if old >= 0:
            for c in range(len(f)):
                g[c] -= d[old, c]
        if p >= 0:
            for c in range(len(f)):
                g[c] += d[p, c]
        new = _correlation(g, columns, m, free)
        if new - cc - change - few < limit:
            continue
        cc, geometry, total = new, geometry + change, new_total
        f, g = g, f
        for j in range(n):
            if j != i:
                degree[j] += gain[j]
        if p >= 0:
            site[i], degree[i] = p, mine
            n = max(n, i + 1)
        else:
            n -= 1
            site[i], degree[i] = site[n], degree[n]
        merit = cc - geometry - 0.5 * max(0.0, fewest - total) / top
        if merit > best:
            best, best_cc, best_site = merit, cc, site[:n].copy()
    return float(best), best_cc, best_site
