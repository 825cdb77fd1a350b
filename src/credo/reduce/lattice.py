"""Lattices from reciprocal points: direct vectors, bases, and how much likelier each makes the spots than chance."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.fft

from credo.kernels.lattice import climb, difference_histogram, differences, over_chance
from credo.reduce.points import Points

__all__ = [
    "Fit",
    "beam_offset",
    "candidate_bases",
    "direct_vectors",
    "distinct",
    "likelihood",
    "reduced",
    "without_empty_nodes",
]

_GRID = 128
_NEAR = np.array(list(itertools.product(range(-2, 3), repeat=2)))
#: No crystal repeats over less [Å].
SHORTEST = 2.2


@dataclass(frozen=True)
class Fit:
    """How well a lattice explains points. ``score``: log-likelihood over chance [nat]; ``fraction`` of points on the
    lattice; ``member`` (n,): probability of each; ``spread``: by how much the stated σ had to be multiplied."""

    ub: np.ndarray
    score: float
    fraction: float
    member: np.ndarray
    spread: float


def likelihood(points: Points, ub: np.ndarray, spreads: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)) -> Fit:
    """Log-likelihood of the points given a lattice UB (3, 3), over that of chance.

    A member lies about its node as N(0, σ²); anything else is anywhere in the reciprocal cell, of volume V*. So
    ln L = Σ ln[f V* N(δ; σ) + 1 − f]: a larger cell (smaller V*) must earn its finer mesh. The node 000 explains
    nothing. f is found by expectation maximisation, the spread of σ from the few given.
    """
    h = points.q @ np.linalg.inv(ub).T
    node = np.rint(h)
    delta2 = np.sum(((h - node) @ ub.T) ** 2, axis=1)
    somewhere = np.any(node != 0, axis=1)
    volume = abs(np.linalg.det(ub))
    best = None
    for spread in spreads:
        member = np.empty(len(h))
        score, f = over_chance(delta2, (spread * points.sigma) ** 2, somewhere, volume, member)
        if best is None or score > best.score:
            best = Fit(ub, score, f, member, spread)
    assert best is not None
    return best


def direct_vectors(points: Points, reach_phi_deg: float, reach_q: float, most: int = 60) -> np.ndarray:
    """Candidate direct-lattice vectors (k, 4): u [Å] and S(u) = ⟨cos 2π Δq·u⟩ over pairs, best first.

    The Fourier transform of the histogram of differences peaks at lattice vectors; each peak is then climbed with
    the differences themselves. Neither needs the beam centre.
    """
    work = np.empty((400_000, 3))
    n = differences(points.q, points.phi, np.radians(reach_phi_deg), reach_q, work)
    d = work[:n]
    if n < 10:
        return np.empty((0, 4))
    starts = _fourier_peaks(d, reach_q, most)
    if n > 4000:
        d = d[np.random.default_rng(0).choice(n, 4000, replace=False)]
    found = climb(np.ascontiguousarray(d), starts, 15)
    found = found[(np.linalg.norm(found[:, :3], axis=1) > 2.0) & (found[:, 3] > 0.1)]
    return distinct(found[np.argsort(-found[:, 3], kind="stable")], 0.3)


def distinct(vectors: np.ndarray, apart: float) -> np.ndarray:
    """The rows of vectors (k, 3+) that differ from all earlier ones, ±u being the same, by ``apart`` [Å]."""
    kept: list[int] = []
    for i, u in enumerate(vectors[:, :3]):
        old = vectors[kept, :3]
        if not len(old) or min(np.sum((old - u) ** 2, axis=1).min(), np.sum((old + u) ** 2, axis=1).min()) > apart**2:
            kept.append(i)
    return vectors[kept]


def _fourier_peaks(d: np.ndarray, reach: float, most: int) -> np.ndarray:
    """Peaks (k, 3) [Å] of the transform of the difference histogram."""
    n = _GRID
    histogram = np.zeros((n, n, n), dtype=np.float32)
    difference_histogram(d, reach, histogram)
    s = np.real(scipy.fft.rfftn(histogram, overwrite_x=True))
    step = 1 / (2 * reach)
    length = _grid_lengths() * step
    s[(length < 2.5) | (length > 0.95 * step * n / 2)] = -1
    flat = s.ravel()
    top = np.flatnonzero(flat > np.float32(0.1 * max(2 * len(d), 1)))
    if len(top) > 4000:
        top = top[np.argpartition(-flat[top], 4000)[:4000]]
    top = top[np.argsort(-flat[top], kind="stable")]
    i, j, k = np.unravel_index(top, s.shape)
    axis = np.rint(np.fft.fftfreq(n) * n)
    u = np.stack([axis[i], axis[j], k.astype(float)], axis=1) * step
    kept: list[int] = []
    for row in range(len(u)):
        old = u[kept]
        if not len(old) or (
            min(np.sum((old - u[row]) ** 2, axis=1).min(), np.sum((old + u[row]) ** 2, axis=1).min())
            > (1.6 * step) ** 2
        ):
            kept.append(row)
            if len(kept) == most:
                break
    return np.ascontiguousarray(u[kept])


@cache
def _grid_lengths() -> np.ndarray:
    """|n| of the nodes of the half transform (n, n, n/2 + 1)."""
    axis, half = np.rint(np.fft.fftfreq(_GRID) * _GRID), np.arange(_GRID // 2 + 1)
    squares = (axis**2)[:, None, None] + (axis**2)[None, :, None] + (half**2)[None, None, :]
    return np.sqrt(squares).astype(np.float32)


def reduced(a: np.ndarray) -> np.ndarray:
    """A right-handed basis (rows) of the shortest vectors of the same lattice (Minkowski)."""
    a = np.array(a, dtype=float)
    for _ in range(100):
        a = a[np.argsort(np.sum(a**2, axis=1), kind="stable")]
        changed = False
        g = a[:2] @ a[:2].T
        m = np.rint(g[1, 0] / g[0, 0])
        if m:
            a[1] -= m * a[0]
            changed = True
        combos = _NEAR @ a[:2] + a[2]
        lengths = np.sum(combos**2, axis=1)
        best = int(np.argmin(lengths))
        if lengths[best] < np.sum(a[2] ** 2) - 1e-9:
            a[2] = combos[best]
            changed = True
        if not changed:
            break
    return a if np.linalg.det(a) > 0 else -a


def candidate_bases(vectors: np.ndarray, shortest: int = 20, most: int = 60) -> list[np.ndarray]:
    """Distinct reduced bases (3, 3), rows [Å], of triples of the shortest convincing vectors (k, 4).

    What is convincing depends on the errors: long vectors of a blurred lattice score little, short ones of a sharp
    lattice score high by accident, so three limits are tried.
    """
    bases: list[np.ndarray] = []
    for limit in (0.85, 0.6, 0.35):
        if len(vectors) < 3:
            break
        v = vectors[vectors[:, 3] > limit * vectors[:, 3].max()]
        v = v[np.argsort(np.sum(v[:, :3] ** 2, axis=1), kind="stable")]
        for basis in _triples(_spanning(v, shortest), most // 3):
            if not bases or np.abs(np.array(bases) - basis).max(axis=(1, 2)).min() > 0.2:
                bases.append(basis)
    return bases


def _spanning(v: np.ndarray, shortest: int, others: int = 5) -> np.ndarray:
    """The shortest vectors (k, 4) of those given by length, and ``others`` out of their plane where nearly all lie in
    one: two short axes and a long one have many combinations shorter than the long axis."""
    first = v[:shortest]
    unit = first[:, :3] / np.linalg.norm(first[:, :3], axis=1, keepdims=True)
    across = np.cross(unit[0], unit)
    best = int(np.argmax(np.linalg.norm(across, axis=1)))
    normal = across[best] / max(float(np.linalg.norm(across[best])), 1e-9)
    out = np.abs(v[:, :3] @ normal) > 0.08 * np.linalg.norm(v[:, :3], axis=1)
    if np.count_nonzero(out[:shortest]) >= 3:
        return first
    return np.concatenate([first, v[shortest:][out[shortest:]][:others]])


def _triples(v: np.ndarray, most: int) -> list[np.ndarray]:
    """The strongest triples of vectors that span a volume, at most three of about the same volume."""
    if len(v) < 3:
        return []
    triples = np.array(list(itertools.combinations(range(len(v)), 3)))
    a = v[triples][:, :, :3]
    volume = np.abs(np.linalg.det(a))
    flat = volume / np.prod(np.linalg.norm(a, axis=2), axis=1)
    good = (flat > 0.08) & (volume > 8)
    triples, a, volume = triples[good], a[good], volume[good]
    strength = v[triples][:, :, 3].sum(axis=1)
    chosen: dict[int, int] = {}
    bases: list[np.ndarray] = []
    for i in np.argsort(-strength, kind="stable"):
        key = round(float(np.log(volume[i])) * 25)
        if chosen.get(key, 0) >= 3:
            continue
        chosen[key] = chosen.get(key, 0) + 1
        bases.append(reduced(a[i]))
        if len(bases) == most:
            break
    return bases


def without_empty_nodes(points: Points, fit: Fit) -> Fit:
    """The sparser reciprocal lattice that explains the points better, if the nodes of this one are mostly empty.

    If all indices obey v·h ≡ 0 (mod p), the direct cell was p times too large: tried for p = 2, 3, 5 until no
    sub-cell is likelier.
    """
    improved = True
    while improved:
        improved = False
        h = np.rint(points.q @ np.linalg.inv(fit.ub).T).astype(int)
        member = fit.member * np.any(h != 0, axis=1)
        for p, v in _CONGRUENCES:
            share = float(member @ ((h @ v) % p == 0)) / max(float(member.sum()), 1e-9)
            if share < 0.5 + 0.5 / p:
                continue
            # direct vectors of the finer direct lattice: the old ones and (Σ v_i a_i)/p
            finer = _enriched(np.linalg.inv(fit.ub), v, p)
            if np.linalg.norm(finer, axis=1).min() < SHORTEST:
                continue
            trial = likelihood(points, np.linalg.inv(finer))
            if trial.score > fit.score:
                fit, improved = trial, True
                break
    return fit


def _projective(p: int) -> list[np.ndarray]:
    """One vector of each line through the origin modulo p."""
    lines = []
    for v in itertools.product(range(p), repeat=3):
        first = next((x for x in v if x), 0)
        if first == 1:
            lines.append(np.array(v))
    return lines


_CONGRUENCES = [(p, v) for p in (2, 3, 5) for v in _projective(p)]


def _enriched(a: np.ndarray, v: np.ndarray, p: int) -> np.ndarray:
    """Reduced basis (rows) of the direct lattice of rows ``a`` with v·a/p added."""
    k = int(np.argmax(v == 1))
    b = a.copy()
    b[k] = v @ a / p
    return reduced(b)


def beam_offset(points: Points, basis: np.ndarray, q_per_pixel: float, reach_px: float, prior_px: float) -> np.ndarray:
    """The direct beam's error d (2,) [px] that best puts the points on the lattice of ``basis`` (3, 3), rows.

    Maximises Σ_j Σ_k cos 2π a_k·(q_j − Rᵀ_j d) by a grid out to ``reach_px``; a weak pull towards nought of width
    ``prior_px`` settles ties between lattice translations in narrow wedges.
    """
    length = float(np.linalg.norm(basis, axis=1).max())
    step = max(min(0.2 / (length * q_per_pixel), reach_px / 3), reach_px / 25)
    ticks = np.arange(-np.ceil(reach_px / step), np.ceil(reach_px / step) + 1) * step
    score = np.zeros((len(ticks), len(ticks)))
    # some 400 points tell it as well as all
    every = max(len(points) // 400, 1)
    q, rotation = points.q[::every], points.rotation[::every, :2]
    for a in basis:
        turned = rotation @ a * q_per_pixel
        wave = every * np.exp(2j * np.pi * (q @ a))
        ex = np.exp(-2j * np.pi * np.outer(ticks, turned[:, 0]))
        ey = np.exp(-2j * np.pi * np.outer(ticks, turned[:, 1]))
        score += ((ex * wave) @ ey.T).real
    score -= 0.5 * (ticks[:, None] ** 2 + ticks[None, :] ** 2) / prior_px**2
    i, j = np.unravel_index(int(np.argmax(score)), score.shape)
    return np.array([ticks[i], ticks[j]])
