"""Cells of one or several lattices as a mixture: centres with esds, and whether one centre or two explain them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from credo.merge.lattice_symmetry import free_constants, lattice_group, subgroups
from credo.merge.spread import Density, Noise, Spreads, density, estimated, kelvin, log_strain, tensor
from credo.merge.strain import Lattice, aliases
from credo.model import Cell

__all__ = ["Mixture", "Rows", "fit", "one", "rows_about", "two"]

#: Rms strain per component between lattices that a tree of strains does not tell apart (its cuts lie near 0.25).
_NEARBY = 0.1
#: Bases beyond the best by more strain than this are not tried.
_SLACK = 0.2
_MOST_BASES = 24
#: Cells that a trial of two centres looks at.
_SAMPLE = 150
#: Evidence [nat] that a lower symmetry must have more, there being many to try.
_PREFERENCE = 3.0
#: Fewer cells are not parted.
_FEWEST = 8


@dataclass(frozen=True)
class Rows:
    """Every cell on each basis that it may have in a cluster: ``owner`` (r,) rising, ``basis`` (r, 3, 3) P with
    (a, b, c) P on the axes of the cluster's head, ``metric`` (r, 3, 3) there; of each cell ``slope`` (n, 6, 3, 3),
    ∂G/∂(a..γ), its ``covariance`` (n, 6, 6) and its badly known ``direction`` (n, 3) in fractions; else NaN."""

    owner: np.ndarray
    basis: np.ndarray
    metric: np.ndarray
    slope: np.ndarray
    covariance: np.ndarray
    direction: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """First row of each cell (n,)."""
        return np.searchsorted(self.owner, np.arange(len(self.slope)))

    def part(self, cells: np.ndarray) -> Rows:
        """Those of some cells, in rising order."""
        keep = np.flatnonzero(np.isin(self.owner, cells))
        owner = np.searchsorted(cells, self.owner[keep])
        known = (x[cells] for x in (self.slope, self.covariance, self.direction))
        return Rows(owner, self.basis[keep], self.metric[keep], *known)

    def only(self, rows: np.ndarray) -> Rows:
        """Without the other rows."""
        known = self.slope, self.covariance, self.direction
        return Rows(self.owner[rows], self.basis[rows], self.metric[rows], *known)

    def spreads(self, inverse: np.ndarray) -> Spreads:
        """In the Cartesian frame of a centre with O⁻¹ (3, 3)."""
        r, t = len(self.owner), self.basis @ inverse
        direction, spread = np.full((r, 6), np.nan), np.full((r, 6, 6), np.nan)
        told = np.flatnonzero(np.isfinite(self.covariance[self.owner, 0, 0]))
        if len(told):
            u = t[told, None]
            jacobian = kelvin(0.5 * u.transpose(0, 1, 3, 2) @ self.slope[self.owner[told]] @ u)
            spread[told] = jacobian.transpose(0, 2, 1) @ self.covariance[self.owner[told]] @ jacobian
        told = np.flatnonzero(np.isfinite(self.direction[self.owner, 0]))
        if len(told):
            d = np.linalg.solve(t[told], self.direction[self.owner[told]][..., None])[..., 0]
            d = d / np.linalg.norm(d, axis=1, keepdims=True)
            direction[told] = kelvin(d[:, :, None] * d[:, None, :])
        return Spreads(direction, spread)


@dataclass(frozen=True)
class Mixture:
    """``metrics`` (k, 3, 3) of the centres; ``shares`` (k,); ``information`` (k, 6, 6): inverse covariance of each
    centre's strain; ``posterior`` (n, k); ``row`` (n,): the basis each cell has in its likeliest centre."""

    metrics: np.ndarray
    shares: np.ndarray
    information: np.ndarray
    noise: Noise
    posterior: np.ndarray
    row: np.ndarray
    log_likelihood: float
    constants: int = 6

    @property
    def evidence(self) -> float:
        """To be large [nat]: ln L less half of ln n for each free constant of one centre and each share (Schwarz's
        criterion), and less the entropy of the posterior (Biernacki's): clusters that overlap are none. A further
        centre could be anywhere near: each of its constants costs ln(σ₀/σ), with σ₀ of lattices and σ as it is known
        (Laplace's approximation of its evidence)."""
        n, k = self.posterior.shape
        p = np.maximum(self.posterior, 1e-300)
        entropy = -float(np.sum(p * np.log(p)))
        anywhere = 0.5 * np.log1p(_NEARBY**2 * np.linalg.eigvalsh(self.information)).mean()
        further = (k - 1) * (self.constants * float(anywhere) + 0.5 * float(np.log(n)))
        return self.log_likelihood - 0.5 * self.constants * float(np.log(n)) - further - entropy


def rows_about(
    head: Lattice,
    lattices: Sequence[Lattice],
    directions: Sequence[np.ndarray | None] | None = None,
    bases: Sequence[np.ndarray] | None = None,
) -> Rows:
    """The bases of ``lattices`` that come near the reduced axes of ``head``; ``bases``: their :func:`aliases`."""
    owner, basis, metric, o = [], [], [], head.inverse
    for i, x in enumerate(lattices):
        u = aliases(x.metric) if bases is None else bases[i]
        g = u.transpose(0, 2, 1) @ x.metric @ u
        d = 0.5 * np.linalg.norm(o.T @ g @ o - np.eye(3), axis=(1, 2))
        near = np.argsort(d, kind="stable")[:_MOST_BASES]
        near = near[d[near] <= d[near[0]] + _SLACK]
        owner += [i] * len(near)
        basis += list(x.basis @ u[near])
        metric += list(g[near])
    none, unknown = np.full(3, np.nan), np.full((6, 6), np.nan)
    bad = np.array([none if d is None else d for d in directions or [None] * len(lattices)])
    return Rows(
        np.array(owner), np.array(basis), np.array(metric), np.array([_slope(x.cell) for x in lattices]),
        np.array([unknown if x.cell.covariance is None else x.cell.covariance for x in lattices]), bad,
    )  # fmt: skip


def _slope(cell: Cell) -> np.ndarray:
    """∂G/∂(a, b, c, α, β, γ) (6, 3, 3) in closed form."""
    lengths, angles = np.array(cell.lengths), np.radians(cell.angles)
    cosine = np.array([[1, np.cos(angles[2]), np.cos(angles[1])], [0, 1, np.cos(angles[0])], [0, 0, 1]])
    cosine = np.triu(cosine) + np.triu(cosine, 1).T
    out = np.zeros((6, 3, 3))
    for k in range(3):
        out[k, k] += cosine[k] * lengths
        out[k, :, k] += cosine[k] * lengths
        i, j = (k + 1) % 3, (k + 2) % 3
        out[3 + k, i, j] = out[3 + k, j, i] = -lengths[i] * lengths[j] * np.sin(angles[k]) * np.pi / 180
    return out


def fit(
    rows: Rows, metrics: np.ndarray, noise: Noise | None = None, rounds: int = 30, images: np.ndarray | None = None
) -> Mixture:
    """Expectation maximisation from first centres (k, 3, 3); the noise is found with them, one for all centres.

    A cell may lie on any of its bases: which one is as unknown as which centre it belongs to, so that a lattice of high
    symmetry is not taken for a lower one by choosing for each cell the basis that suits. ``images`` (m, 3, 3): the
    changes of basis that the centres are symmetric under.
    """
    images = np.eye(3)[None] if images is None else images
    metrics = _symmetric(metrics, images)
    noise, shares = noise or Noise(), np.full(len(metrics), 1 / len(metrics))
    starts, last, kept = rows.starts, -np.inf, np.arange(len(rows.owner))
    for turn in range(rounds):
        inverses = [np.linalg.inv(np.linalg.cholesky(g)).T for g in metrics]
        v = [log_strain(o, rows.metric) for o in inverses]
        spreads = [rows.spreads(o) for o in inverses]
        found = [density(x, s, noise) for x, s in zip(v, spreads)]
        log = np.stack([f.log for f in found], axis=1) + np.log(shares)
        whole = np.logaddexp.reduceat(np.logaddexp.reduce(log, axis=1), starts)
        weight = np.exp(log - whole[rows.owner][:, None])
        information = np.stack([np.einsum("r,rij->ij", w, f.precision) for w, f in zip(weight.T, found)])
        total = float(whole.sum())
        if turn == rounds - 1 or abs(total - last) < 0.01:
            break
        last = total
        metrics = np.stack([
            _moved(o, np.linalg.solve(i + 1e-9 * np.eye(6), np.einsum("r,rij,rj->i", w, f.precision, x)))
            for o, i, w, f, x in zip(inverses, information, weight.T, found, v)
        ])  # fmt: skip
        metrics = _symmetric(metrics, images)
        shares = np.maximum(weight.sum(axis=0) / len(starts), 1e-6)
        noise = _noise(v, spreads, found, weight, noise)
        if turn in (1, 4):
            # bases that no centre comes near
            live = np.flatnonzero(weight.max(axis=1) > 1e-7)
            rows, kept = rows.only(live), kept[live]
            starts = rows.starts
    posterior = np.add.reduceat(weight, starts, axis=0)
    of = posterior.argmax(axis=1)[rows.owner]
    mine = log[np.arange(len(log)), of]
    row = kept[[s + int(np.argmax(mine[s:e])) for s, e in zip(starts, [*starts[1:], len(mine)])]]
    return Mixture(metrics, shares, information, noise, posterior, row, total, free_constants(images))


def _symmetric(metrics: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The means of metrics (k, 3, 3) over changes of basis."""
    return np.mean([u.T @ metrics @ u for u in images], axis=0)


def _noise(v, spreads, found, weight, noise: Noise) -> Noise:
    def join(what, name: str) -> np.ndarray:
        return np.concatenate([getattr(w, name) for w in what])

    every = Spreads(join(spreads, "direction"), join(spreads, "covariance"))
    whole = Density(*(join(found, n) for n in ("log", "precision", "along", "across")))
    return estimated(np.concatenate(v), every, whole, weight.T.reshape(-1), noise)


def _moved(inverse: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The metric of a centre strained by v (6,), at most a tenth a step."""
    v = v * min(1.0, 0.1 / max(float(np.linalg.norm(v)), 1e-12))
    values, vectors = np.linalg.eigh(tensor(v))
    o = np.linalg.inv(inverse)
    return o.T @ (vectors * np.exp(2 * values)) @ vectors.T @ o


def one(rows: Rows, head: Lattice, noise: Noise | None = None) -> tuple[Mixture, np.ndarray]:
    """The single centre of most evidence, and the group (m, 3, 3) of its symmetry: from the highest that the head
    nearly has down to lower ones, as long as the evidence grows."""
    group = lattice_group(head.metric)
    best = fit(rows, head.metric[None], noise, images=group)
    while True:
        lower = [g for g in subgroups(group) if best.constants < free_constants(g)]
        fewest = min(map(free_constants, lower), default=0)
        trials = [(fit(rows, head.metric[None], best.noise, images=g), g) for g in lower if free_constants(g) == fewest]
        better = max(trials, key=lambda t: t[0].evidence, default=None)
        if better is None or better[0].evidence <= best.evidence + _PREFERENCE:
            return best, group
        best, group = better


def two(rows: Rows, single: Mixture, images: np.ndarray, seed: int = 0) -> Mixture | None:
    """The best fit of two centres, where it has more :attr:`Mixture.evidence` than one and both have three cells.

    They are as symmetric as the single one is (``images``), or not at all.
    """
    n = len(rows.slope)
    if n < _FEWEST:
        return None
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(n, _SAMPLE, replace=False)) if n > _SAMPLE else np.arange(n)
    small = rows.part(chosen) if n > _SAMPLE else rows
    alone = fit(small, single.metrics, single.noise, images=images)
    found = []
    for group in (images, np.eye(3)[None])[: 1 if len(images) == 1 else 2]:
        trials = [fit(small, m, alone.noise, 8, group) for m in _starts(small, alone, rng)]
        best = max(trials, key=lambda t: t.log_likelihood)
        found.append((fit(small, best.metrics, best.noise, images=group), group))
    best, group = max(found, key=lambda f: f[0].evidence)
    if best.evidence <= alone.evidence:
        return None
    if small is not rows:
        best = fit(rows, best.metrics, best.noise, images=group)
    sizes = np.bincount(best.posterior.argmax(axis=1), minlength=2)
    return best if best.evidence > single.evidence and sizes.min() >= 3 else None


def _starts(rows: Rows, single: Mixture, rng: np.random.Generator) -> list[np.ndarray]:
    """Pairs of centres (2, 3, 3): either side along the widest strains without bad directions, and pairs of cells."""
    inverse = np.linalg.inv(np.linalg.cholesky(single.metrics[0])).T
    v = log_strain(inverse, rows.metric[single.row])
    spreads = rows.spreads(inverse).part(single.row)
    precision = density(v, spreads, single.noise).precision
    clean = np.einsum("rij,rj->ri", precision, v)
    clean /= np.trace(precision, axis1=1, axis2=2)[:, None] / 6
    axes = np.linalg.svd(clean - clean.mean(axis=0), full_matrices=False)[2]
    found = []
    for axis in axes[:3]:
        up = clean @ axis > np.median(clean @ axis)
        if not up.any():
            # cells that are all alike have no sides
            continue
        sides = [
            np.linalg.solve(precision[s].sum(axis=0), np.einsum("rij,rj->i", precision[s], v[s])) for s in (up, ~up)
        ]
        found.append(np.stack([_moved(inverse, s) for s in sides]))
    for _ in range(4):
        pair = rng.choice(len(v), 2, replace=False)
        found.append(rows.metric[single.row[pair]])
    return found
