"""How probable a strain from the true cell to a measured one is: one direction of a tilt series is badly known.

Strains are Kelvin vectors (6,) of symmetric tensors in the Cartesian frame of the true cell, a along x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.kernels.spread import any_direction

__all__ = ["Density", "Noise", "Spreads", "density", "estimated", "kelvin", "log_strain", "tensor"]

_ROWS, _COLUMNS = np.array([0, 1, 2, 1, 0, 0]), np.array([0, 1, 2, 2, 2, 1])
_ROOTS = np.array([1, 1, 1, 2, 2, 2]) ** 0.5
#: Data sets are not all equally good: half the usual noise, the usual, twice; and how often.
_SCALES, _SHARES = np.array([0.5, 1.0, 2.0]), np.array([0.25, 0.5, 0.25])
#: As many data sets as the first guess of the noise counts for.
_PRIOR = 3.0


def kelvin(e: np.ndarray) -> np.ndarray:
    """Six numbers (..., 6) of a symmetric tensor (..., 3, 3), of the same norm."""
    return e[..., _ROWS, _COLUMNS] * _ROOTS


def tensor(v: np.ndarray) -> np.ndarray:
    """The symmetric tensor (3, 3) of a Kelvin vector (6,)."""
    e = np.zeros((3, 3))
    e[_ROWS, _COLUMNS] = e[_COLUMNS, _ROWS] = v / _ROOTS
    return e


def log_strain(inverse: np.ndarray, metrics: np.ndarray) -> np.ndarray:
    """½ ln(O⁻ᵀ G O⁻¹) as Kelvin vectors (r, 6) of metrics G (r, 3, 3); ``inverse``: O⁻¹ (3, 3)."""
    values, vectors = np.linalg.eigh(inverse.T @ metrics @ inverse)
    return kelvin((vectors * (0.5 * np.log(values))[:, None, :]) @ vectors.transpose(0, 2, 1))


def _half_sphere(n: int) -> np.ndarray:
    """Kelvin vectors (n, 6) of d dᵀ for directions d spread evenly over half a sphere (Fibonacci's lattice)."""
    k = np.arange(n) + 0.5
    z, turn = k / n, np.pi * (1 + 5**0.5) * k
    r = np.sqrt(1 - z**2)
    d = np.stack([r * np.cos(turn), r * np.sin(turn), z], axis=1)
    return kelvin(d[:, :, None] * d[:, None, :])


_DIRECTIONS = _half_sphere(300)


@dataclass(frozen=True)
class Noise:
    """Rms strains. ``good``, ``bad``: of cells without a covariance, per component and along the bad direction;
    ``extra``: what covariances do not tell of; ``factor``: by which their uncertainties are too small."""

    good: float = 0.01
    bad: float = 0.05
    extra: float = 0.005
    factor: float = 1.0


@dataclass(frozen=True)
class Spreads:
    """What is known of each row's uncertainty; NaN where it is not. ``direction`` (r, 6): Kelvin vector of d dᵀ, d the
    badly known direction; ``covariance`` (r, 6, 6) of the strain."""

    direction: np.ndarray
    covariance: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """Which rows (r,) have a covariance."""
        return np.isfinite(self.covariance[:, 0, 0])

    def part(self, rows: np.ndarray) -> Spreads:
        return Spreads(self.direction[rows], self.covariance[rows])


@dataclass(frozen=True)
class Density:
    """``log`` (r,) of the density; ``precision`` (r, 6, 6) expected; of the squares ``along`` (r,) the bad direction
    and ``across`` (r,) it, each over the square of the data set's own scale."""

    log: np.ndarray
    precision: np.ndarray
    along: np.ndarray
    across: np.ndarray


def density(v: np.ndarray, spreads: Spreads, noise: Noise) -> Density:
    """p(v) = Σ_τ w_τ ⟨N(v; 0, τ² C)⟩, v (r, 6): over the scales τ and, where it is unknown, over all directions d.

    C = good² 1 + (bad² − good²) k kᵀ with k the Kelvin vector of d dᵀ, or factor² C_cell + extra² 1.
    """
    r = len(v)
    out = Density(np.empty(r), np.empty((r, 6, 6)), np.zeros(r), np.zeros(r))
    told = np.isfinite(spreads.direction[:, 0])
    groups = (
        (np.flatnonzero(spreads.known), _by_covariance),
        (np.flatnonzero(~spreads.known & told), _by_direction),
        (np.flatnonzero(~spreads.known & ~told), _by_any_direction),
    )
    for rows, kind in groups:
        if len(rows):
            for mine, part in zip(
                (out.log, out.precision, out.along, out.across), kind(v[rows], spreads.part(rows), noise)
            ):
                mine[rows] = part
    return out


def _by_covariance(v: np.ndarray, spreads: Spreads, noise: Noise):
    variance, axes = np.linalg.eigh(spreads.covariance)
    variance = noise.factor**2 * np.maximum(variance, 0) + noise.extra**2
    w2 = np.einsum("rij,ri->rj", axes, v) ** 2
    terms = -0.5 * (w2 / variance).sum(axis=1)[:, None] / _SCALES**2 - 6 * np.log(_SCALES) + np.log(_SHARES)
    terms -= 0.5 * np.log(2 * np.pi * variance).sum(axis=1)[:, None]
    log = np.logaddexp.reduce(terms, axis=1)
    weight = np.exp(terms - log[:, None]) @ _SCALES**-2.0
    return log, np.einsum("r,rij,rj,rkj->rik", weight, axes, 1 / variance, axes), np.zeros(len(v)), np.zeros(len(v))


def _by_direction(v: np.ndarray, spreads: Spreads, noise: Noise):
    k = spreads.direction
    along, whole = np.einsum("rk,rk->r", v, k) ** 2, np.sum(v**2, axis=1)
    gain = noise.good**-2 - noise.bad**-2
    square = whole / noise.good**2 - gain * along
    terms = -0.5 * square[:, None] / _SCALES**2 - 6 * np.log(_SCALES) + np.log(_SHARES)
    log = np.logaddexp.reduce(terms, axis=1)
    weight = np.exp(terms - log[:, None]) @ _SCALES**-2.0
    log -= 5 * np.log(noise.good) + np.log(noise.bad) + 3 * np.log(2 * np.pi)
    precision = np.eye(6) / noise.good**2 - gain * k[:, :, None] * k[:, None]
    return log, weight[:, None, None] * precision, weight * along, weight * (whole - along)


def _by_any_direction(v: np.ndarray, spreads: Spreads, noise: Noise):
    log, precision, squares = np.empty(len(v)), np.empty((len(v), 6, 6)), np.empty((len(v), 2))
    any_direction(np.ascontiguousarray(v), _DIRECTIONS, noise.good, noise.bad, log, precision, squares)
    return log, precision, squares[:, 0], squares[:, 1]


def estimated(v: np.ndarray, spreads: Spreads, found: Density, weight: np.ndarray, noise: Noise) -> Noise:
    """The noise that makes strains v (r, 6) of these weights (r,) likelier, with a first guess as prior."""
    first, blind = Noise(), ~spreads.known
    if blind.any():
        n, w = weight[blind].sum() + _PRIOR, weight[blind]
        bad = np.sqrt((w @ found.along[blind] + _PRIOR * first.bad**2) / n)
        good = np.sqrt((w @ found.across[blind] + 5 * _PRIOR * first.good**2) / (5 * n))
        noise = Noise(float(good), float(max(bad, good)), noise.extra, noise.factor)
    if spreads.known.any():
        extra, factor = _grid(v[spreads.known], spreads.covariance[spreads.known], weight[spreads.known])
        noise = Noise(noise.good, noise.bad, extra, factor)
    return noise


def _grid(v: np.ndarray, covariance: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """The likeliest (extra, factor) of some, over the scales' mean."""
    variance, axes = np.linalg.eigh(covariance)
    w2 = np.einsum("rij,ri->rj", axes, v) ** 2
    best = (-np.inf, 0.0, 1.0)
    for extra in (0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02):
        for factor in (1.0, 1.4, 2.0, 2.8):
            s = factor**2 * np.maximum(variance, 0) + extra**2
            terms = -0.5 * (w2 / s).sum(axis=1)[:, None] / _SCALES**2 + np.log(_SHARES) - 6 * np.log(_SCALES)
            score = weight @ (np.logaddexp.reduce(terms, axis=1) - 0.5 * np.log(s).sum(axis=1))
            # as if some sets agreed with the first guess
            score -= _PRIOR * (np.log(extra / Noise.extra) ** 2 + np.log(factor) ** 2)
            best = max(best, (float(score), extra, factor))
    return best[1], best[2]
