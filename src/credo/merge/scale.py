"""Scaling of many wedges together: a smooth scale and B along the rotation of each, one error model for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.kernels.scaling import apply_normal, gradient, group_medians, own_blocks, robust_means, scale_factors
from credo.merge.error_model import NU, ErrorModel, fit_error_model
from credo.model import CannotDo, Cell, Reflections
from credo.physics.symmetry import laue_rotations, unique_reflections

__all__ = ["Knots", "Pool", "Scaled", "ScalingSettings", "pool", "scale_sets"]


class ScalingSettings(BaseModel):
    """How much scales may vary."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    knot_deg: float = Field(default=4.0, gt=0, description="spacing of the knots along the rotation [deg]")
    step: float = Field(default=0.3, gt=0, description="expected change of ln(scale) from knot to knot")
    b_step: float = Field(default=0.3, gt=0, description="expected change of the relative B from knot to knot [Å²]")
    b_spread: float = Field(default=2.0, gt=0, description="expected spread of B among data sets [Å²]")


@dataclass(frozen=True)
class Pool:
    """Observations (n,) of all data sets below each other; ``dataset``: whose; ``count``: how many sets there are."""

    hkl: np.ndarray
    intensity: np.ndarray
    sigma: np.ndarray
    phi: np.ndarray
    dataset: np.ndarray
    count: int

    def __len__(self) -> int:
        return len(self.intensity)

    def select(self, rows: np.ndarray) -> Pool:
        """Some rows; data sets keep their numbers."""
        return replace(self, **{n: getattr(self, n)[rows] for n in ("hkl", "intensity", "sigma", "phi", "dataset")})


def pool(tables: Sequence[Reflections]) -> Pool:
    """The usable rows of unmerged tables; where there is no ``phi`` the whole set has one angle, 0."""
    kept = [_usable(t) for t in tables]
    return Pool(
        np.concatenate([t.hkl.astype(np.int32) for t in kept]),
        np.concatenate([t["intensity"] for t in kept]),
        np.concatenate([t["sigma"] for t in kept]),
        np.concatenate([t["phi"] if "phi" in t else np.zeros(len(t)) for t in kept]),
        np.repeat(np.arange(len(kept), dtype=np.int32), [len(t) for t in kept]),
        len(kept),
    )


def _usable(table: Reflections) -> Reflections:
    keep = np.isfinite(table["intensity"]) & (table["sigma"] > 0) & np.any(table.hkl != 0, axis=1)
    for name in ("rejected", "overloaded"):
        if name in table:
            keep &= ~table[name]
    if "phi" in table:
        keep &= np.isfinite(table["phi"])
    return table.select(keep)


@dataclass(frozen=True)
class Knots:
    """Where the scales of the sets bend: set d has those from ``first[d]`` to ``first[d + 1]`` of ``angle`` (P,)."""

    first: np.ndarray
    angle: np.ndarray

    def of(self, d: int) -> slice:
        return slice(int(self.first[d]), int(self.first[d + 1]))


@dataclass(frozen=True)
class Scaled:
    """Per observation (n,): unique reflection ``of``, ``scale`` k (divide by it), σ' of the scaled intensity,
    reliability ``u`` (about 1; small for outliers); per unique reflection (m,): ``hkl``, mean ``intensity``, its
    ``sigma``, ``multiplicity``; ``values`` (2, P): ln K and B at the knots; ``noise`` (d,): how much wider than the
    common model the errors of a set are.
    """

    of: np.ndarray
    scale: np.ndarray
    sigma_scaled: np.ndarray
    u: np.ndarray
    hkl: np.ndarray
    intensity: np.ndarray
    sigma: np.ndarray
    multiplicity: np.ndarray
    knots: Knots
    values: np.ndarray
    noise: np.ndarray
    errors: ErrorModel
    z2: np.ndarray

    @property
    def outlier(self) -> np.ndarray:
        """Mask (n,) of observations that are beyond 5 σ' of their equivalents: they hardly count in the means."""
        return self.z2 > 25


def scale_sets(
    data: Pool, cell: Cell, laue_group: str, settings: ScalingSettings | None = None, near: Scaled | None = None
) -> Scaled:
    """Divide by K(φ) exp(−2 B(φ) s²), s = 1/2d, of each set so that equivalents agree; means, sigmas and outliers.

    Minimises Σ u (I − k Ī)²/σ'² with the means Ī eliminated: Gauss-Newton, each step solved by conjugate gradients
    preconditioned by the blocks of single sets. u are Student weights. σ'² = a_d² a² (σ² + (b k Ī)²). ln K and B are
    linear between knots and change from knot to knot by a random walk, so that wedges with few equivalents stay smooth.
    near: the result for almost the same data, to start from.
    """
    settings = settings or ScalingSettings()
    if not len(data):
        raise CannotDo("no usable observations", "give integrated intensities")
    fit = _Fit(data, cell, laue_group, settings)
    fit.start(near)
    for step in range(12):
        change = fit.improve()
        if step < 3 or change > 0.02:
            fit.learn_errors()
        if step > 1 and change < 2e-3:
            break
    return fit.result()


#: What the kernels take of the state: starts of the groups, k, weights, means, knots, parts, s².
_Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class _Fit:
    """The state of one scaling: observations sorted by unique reflection, scales, means and errors."""

    def __init__(self, data: Pool, cell: Cell, laue_group: str, settings: ScalingSettings) -> None:
        self.hkl, of = unique_reflections(data.hkl, laue_rotations(laue_group))
        self.order = np.argsort(of, kind="stable")
        self.of = of[self.order]
        self.m = len(self.hkl)
        self.count = np.bincount(of, minlength=self.m)
        self.begin = np.concatenate([[0], np.cumsum(self.count)])
        self.i, self.s = data.intensity[self.order].copy(), data.sigma[self.order].copy()
        self.dataset = data.dataset[self.order].astype(np.int64)
        self.d = data.count
        self.s2 = (0.25 / cell.d_spacing(self.hkl) ** 2)[self.of]
        self.knots, self.knot, self.part = _knots(data, self.order, settings.knot_deg)
        self.p = np.zeros((2, len(self.knots.angle)))
        self.prior = _priors(self.knots, settings)
        self.noise, self.errors = np.ones(self.d), ErrorModel(1.0, 0.2)
        self.mean, self.u, self.w = np.zeros(self.m), np.ones(len(self.i)), np.ones(len(self.i))
        self.k = np.ones(len(self.i))

    def start(self, near: Scaled | None) -> None:
        """From an earlier result, or from one scale for each set."""
        if near is None:
            self.p[0] = np.repeat(self._first_scales(), np.diff(self.knots.first))
        else:
            self._take(near)
        self._rescale()
        self.mean = group_medians(self.i / self.k, self.of, self.m)
        self._average(8)
        self.learn_errors()

    def _take(self, near: Scaled) -> None:
        for d in range(self.d):
            mine, theirs = self.knots.of(d), near.knots.of(d)
            if mine.stop - mine.start == theirs.stop - theirs.start:
                self.p[:, mine] = near.values[:, theirs]
        self.noise, self.errors = near.noise.copy(), near.errors

    def _first_scales(self) -> np.ndarray:
        """ln K (d,) from medians of ln I against shells of resolution and then against equivalents."""
        strong = np.flatnonzero(self.i > 3 * self.s)
        if len(strong) < max(10, 0.02 * len(self.i)):
            strong = np.flatnonzero(self.i > 0)
        y, d, g = np.log(self.i[strong]), self.dataset[strong], self.of[strong]
        scale = np.zeros(self.d)
        shell = np.clip((self.s2[strong] / self.s2.max() * 12).astype(int), 0, 11)
        for of, n in ((shell, 12), (shell, 12), *((g, self.m),) * 6):
            level = group_medians(y - scale[d], of, n)
            scale += group_medians(y - level[of] - scale[d], d, self.d)
        return scale - scale.mean()

    def _rescale(self) -> None:
        self.k = scale_factors(self.p, self.knot, self.part, self.s2)

    def _average(self, rounds: int) -> None:
        a = self.noise[self.dataset] * self.errors.a
        self.w, self.u = robust_means(
            self.begin, self.k, self.i, self.s, a, self.errors.relative(self.mean), NU, self.mean, rounds
        )  # fmt: skip

    def improve(self) -> float:
        """One Gauss-Newton step; returns the largest change of ln k of a knot."""
        self._average(4)
        w = np.where(self._telling(), self.w, 1e-12 * self.w)
        rows = (self.begin, self.k, w, self.mean, self.knot, self.part, self.s2)
        g = np.zeros_like(self.p)
        gradient(self.begin, self.k, self.i, w, self.mean, self.knot, self.part, self.s2, g)
        g -= self._prior_times(self.p)
        step = self._solve(rows, g)
        step *= min(1.0, 1.0 / max(float(np.abs(step[0]).max()), 1e-9))
        self.p += step
        self.p[0] -= np.average(self.p[0])
        self._rescale()
        return float(np.abs(step[0]).max())

    def _telling(self) -> np.ndarray:
        """Observations of reflections that stand out of the noise and were seen twice."""
        information = np.bincount(self.of, self.w * self.k**2, self.m)
        strong = self.mean > 2 / np.sqrt(np.maximum(information, 1e-300))
        return (strong & (self.count > 1))[self.of]

    def _prior_times(self, v: np.ndarray) -> np.ndarray:
        return np.stack([_tridiagonal(*part, v[i]) for i, part in enumerate(self.prior)])

    def _solve(self, rows: _Rows, g: np.ndarray) -> np.ndarray:
        """Conjugate gradients on the normal equations."""
        inverse, at = self._preconditioner(rows)
        x, r = np.zeros_like(g), g.copy()
        z = _blockwise(inverse, at, r)
        direction, rz = z.copy(), float(np.sum(r * z))
        first, product = rz, np.zeros_like(g)
        for _ in range(40):
            apply_normal(*rows, direction, product)
            product += self._prior_times(direction)
            along = float(np.sum(direction * product))
            if along <= 0 or rz <= 1e-6 * first:
                break
            x += rz / along * direction
            r -= rz / along * product
            z = _blockwise(inverse, at, r)
            following = float(np.sum(r * z))
            direction, rz = z + following / rz * direction, following
        return x

    def _preconditioner(self, rows: _Rows) -> tuple[np.ndarray, np.ndarray]:
        """Inverses (d, 2q, 2q) of the sets' own normal matrices, and where their parameters are (d, q), −1 for none."""
        sizes = np.diff(self.knots.first)
        q = int(sizes.max())
        at = self.knots.first[:-1, None] + np.arange(q)[None]
        at = np.where(np.arange(q)[None] < sizes[:, None], at, -1)
        blocks = np.zeros((self.d, 2 * q, 2 * q))
        own_blocks(*rows, self.dataset, self.knots.first, blocks)
        for i, (diagonal, off) in enumerate(self.prior):
            o = i * q
            for j in range(q):
                blocks[:, o + j, o + j] += np.where(at[:, j] >= 0, diagonal[at[:, j]], 1.0)
                if j + 1 < q:
                    link = np.where(at[:, j + 1] >= 0, off[at[:, j]], 0.0)
                    blocks[:, o + j, o + j + 1] += link
                    blocks[:, o + j + 1, o + j] += link
        return np.linalg.inv(blocks), at

    def _standing(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Residuals (n,), what was expected (n,), and the share of each observation in its own mean (n,)."""
        expected = self.k * self.mean[self.of]
        information = np.bincount(self.of, self.w * self.k**2, self.m)
        share = self.w * self.k**2 / np.maximum(information[self.of], 1e-300)
        return self.i - expected, expected, share

    def learn_errors(self, exact: bool = False) -> None:
        """The common error model, and how much wider the errors of single sets are."""
        self._average(6)
        r, expected, share = self._standing()
        several = self.count[self.of] > 1
        if several.sum() < 30:
            return
        a = self.noise[self.dataset]
        mean = self.mean[self.of]
        self.errors = fit_error_model(
            (r / a)[several], self.s[several], expected[several], mean[several], share[several], self.errors, exact
        )  # fmt: skip
        v = self.errors.variance(self.s, expected, mean)
        z2 = r**2 / (v * np.maximum(1 - share, 0.05))
        n = np.bincount(self.dataset[several], minlength=self.d)
        wide = group_medians(z2[several], self.dataset[several], self.d) / 0.455
        # a prior worth of thirty observations says that the sets are alike
        self.noise = np.where(n > 0, np.maximum(wide, 1e-3) ** (0.5 * n / (n + 30)), 1.0)
        typical = np.median(self.noise[n > 0])
        self.noise = self.noise / typical

    def result(self) -> Scaled:
        self._average(20)
        self.learn_errors(exact=True)
        self._average(20)
        r, expected, share = self._standing()
        e = self.errors
        v = self.noise[self.dataset] ** 2 * e.variance(self.s, expected, self.mean[self.of])
        z2 = r**2 / (v * np.maximum(1 - share, 0.02))
        information = np.bincount(self.of, self.w * self.k**2, self.m)
        sigma = np.sqrt(np.bincount(self.of, self.w**2 * self.k**2 * v, self.m)) / information
        back = np.empty(len(self.order), dtype=np.int64)
        back[self.order] = np.arange(len(self.order))
        return Scaled(
            self.of[back], self.k[back], (np.sqrt(v) / self.k)[back], self.u[back], self.hkl, self.mean.copy(), sigma,
            self.count, self.knots, self.p.copy(), self.noise, e, z2[back],
        )  # fmt: skip


def _knots(data: Pool, order: np.ndarray, spacing: float) -> tuple[Knots, np.ndarray, np.ndarray]:
    """Knots of all sets; of each observation in ``order`` the knot before it and how far on it is to the next."""
    low, high = np.full(data.count, np.inf), np.full(data.count, -np.inf)
    np.minimum.at(low, data.dataset, data.phi)
    np.maximum.at(high, data.dataset, data.phi)
    empty = ~np.isfinite(low)
    low[empty], high[empty] = 0.0, 0.0
    span = high - low
    pieces = np.where(span > 0.5 * spacing, np.ceil(span / spacing), 0).astype(int)
    first = np.concatenate([[0], np.cumsum(pieces + 1)])
    angle = np.concatenate(
        [np.linspace(a, b, n + 1) if n else [0.5 * (a + b)] for a, b, n in zip(low, high, pieces)]
    )  # fmt: skip
    d = data.dataset[order]
    x = np.where(pieces[d] > 0, (data.phi[order] - low[d]) / np.maximum(span[d], 1e-9) * pieces[d], 0.0)
    whole = np.clip(np.floor(x), 0, np.maximum(pieces[d] - 1, 0)).astype(np.int64)
    return Knots(first, angle), first[:-1][d] + whole, np.clip(x - whole, 0, 1)


def _priors(knots: Knots, settings: ScalingSettings) -> list[tuple[np.ndarray, np.ndarray]]:
    """Diagonal (P,) and next to it (P,) of the prior precision of ln K and of B: random walks, and weakly nought."""
    inside = np.ones(len(knots.angle), dtype=bool)
    inside[knots.first[1:] - 1] = False
    out = []
    for step, spread in ((settings.step, 5.0), (settings.b_step, settings.b_spread)):
        link = np.where(inside, 1 / step**2, 0.0)
        size = np.repeat(np.diff(knots.first), np.diff(knots.first))
        out.append((link + np.concatenate([[0.0], link[:-1]]) + 1 / (size * spread**2), -link))
    return out


def _tridiagonal(diagonal: np.ndarray, off: np.ndarray, v: np.ndarray) -> np.ndarray:
    out = diagonal * v
    out[:-1] += off[:-1] * v[1:]
    out[1:] += off[:-1] * v[:-1]
    return out


def _blockwise(inverse: np.ndarray, at: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Each set's inverse times its own part of r (2, P)."""
    known = at >= 0
    part = np.where(known[None], r[:, at], 0.0).transpose(1, 0, 2).reshape(len(at), -1)
    y = np.einsum("dij,dj->di", inverse, part).reshape(len(at), 2, -1).transpose(1, 0, 2)
    out = np.zeros_like(r)
    out[:, at[known]] = y[:, known]
    return out
