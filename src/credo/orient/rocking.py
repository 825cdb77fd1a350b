"""All frames at once by maximum likelihood on the rocking curves, without calculated intensities.

A frame records K_f I_r p̄(s) of a reflection (kernels/rocking.py): its zone axis and scale, the intensity of every
passage and one profile for all are fitted together, intensities eliminated, under Student's t with a variance that the
residuals themselves tell. Nothing is smoothed: neighbouring frames are tied only by the reflections that both show.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve

from credo.kernels.rocking import (
    passage_intensities,
    profile_equations,
    schur_apply,
    schur_blocks,
    shares,
    student_loss,
    tilts,
)
from credo.model import CannotDo
from credo.orient.observations import Observations, Passages

__all__ = ["RockingFit", "fit_rocking"]

#: Degrees of freedom of Student's t that are tried: from wild to normal errors.
_NU = (3.0, 8.0, 40.0)
#: Prior rms of ln K, and most conjugate-gradient steps of one Gauss-Newton step.
_SCALE_PRIOR, _CG = 0.5, 60
#: Iterations after which it is clear which passages do not belong.
_SETTLED = 6


@dataclass(frozen=True, eq=False)
class RockingFit:
    """``zone`` (f, 3): unit vectors [HKL] in crystal axes; ``scale`` (f,); ``covariance`` (f, 2, 2) [rad²] of turns
    towards ``first`` and ``second`` (f, 3), infinite where a frame is not determined; ``profile`` (k,) at steps of
    ``knot`` [Å⁻¹]; ``kappa``: relative error of the model; ``loss``: −ln L for every row; ``foreign``: the share
    of passages left out since they are not centred on the sphere; ``iterations``."""

    zone: np.ndarray
    scale: np.ndarray
    covariance: np.ndarray
    first: np.ndarray
    second: np.ndarray
    profile: np.ndarray
    knot: float
    kappa: tuple[float, float]
    loss: float
    foreign: float
    iterations: int


@dataclass(frozen=True, eq=False)
class _Rows:
    """The observations sorted by passage, and only passages seen on two frames or more."""

    start: np.ndarray
    frame: np.ndarray
    point: np.ndarray
    value: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, obs: Observations) -> _Rows:
        passages = Passages.within(obs)
        count = np.diff(passages.start)
        rows = passages.order[np.repeat(count > 1, count)]
        if not len(rows):
            raise CannotDo("no reflection is on two frames", "give a series with finer steps, or use --method thesis")
        start = np.append(0, np.cumsum(count[count > 1]))
        value = obs.intensity[rows]
        top = float(np.quantile(value, 0.99))
        # rounding is the least error there can be
        variance = np.maximum(obs.sigma[rows] ** 2, (1e-5 * top) ** 2)
        return cls(start, obs.frame[rows], obs.points[rows], value, variance)

    def passages(self, keep: np.ndarray) -> _Rows:
        """Those of ``keep`` (m,) bool."""
        count = np.diff(self.start)
        rows = np.repeat(keep, count)
        start = np.append(0, np.cumsum(count[keep]))
        return _Rows(start, self.frame[rows], self.point[rows], self.value[rows], self.variance[rows])


@dataclass(frozen=True, eq=False)
class _Geometry:
    """Of one set of zone axes: tangents (f, 3), excitation errors (n,), their derivatives (n, 2), spans (n,)."""

    zone: np.ndarray
    first: np.ndarray
    second: np.ndarray
    s: np.ndarray
    slope: np.ndarray
    span: np.ndarray


@dataclass(frozen=True, eq=False)
class _State:
    """``kappa``: errors of the model, relative to a row's own mean and to its passage's intensity."""

    geometry: _Geometry
    log_scale: np.ndarray
    profile: np.ndarray
    intensity: np.ndarray
    kappa: np.ndarray
    nu: float


@dataclass(frozen=True, eq=False)
class _Model:
    """What a state foretells of every row (n,): the profile's share and its slope by s, gain K, I_r, μ, variance."""

    share: np.ndarray
    slope: np.ndarray
    gain: np.ndarray
    whole: np.ndarray
    mu: np.ndarray
    variance: np.ndarray
    nu: float


def fit_rocking(
    obs: Observations, zone: np.ndarray, axis: np.ndarray, knots: int | None = None, iterations: int = 40
) -> RockingFit:
    """The joint fit from starting directions ``zone`` (f, 3), good to about 0.1°; ``axis`` (3,): of the rotation, in
    crystal axes, used for the turn during a frame only."""
    return _Problem(obs, axis, zone, knots).run(iterations)


class _Problem:
    """The alternation: profile and intensities, variance, then a Gauss-Newton step of all frames."""

    def __init__(self, obs: Observations, axis: np.ndarray, zone: np.ndarray, knots: int | None) -> None:
        self.n, self.normal = obs.n_frames, np.linalg.svd(zone)[2][2]
        self.axis, self.width, self.radius = np.ascontiguousarray(axis), np.radians(obs.width_deg), obs.radius
        self.rows = _Rows.of(obs)
        known = len(self.rows.start) - 1
        self.rows = self.rows.passages(_centred(self.rows, self._geometry(zone).s))
        self.foreign = 1 - (len(self.rows.start) - 1) / known
        self.count = np.diff(self.rows.start)
        self.slope = _variance_slope(self.rows)
        self.begin = self._geometry(zone)
        # a frame that turns shows a reflection when any part of its path is inside the profile
        inside = np.maximum(np.abs(self.begin.s) - 0.5 * np.abs(self.begin.span), 0)
        self.reach = float(np.quantile(inside, 0.99)) * 1.1
        self.knots = knots or int(np.clip(6 * len(self.begin.s) / len(self.count), 9, 28))
        self.h = self.reach / (self.knots - 2)

    def _geometry(self, zone: np.ndarray) -> _Geometry:
        first, second = _tangents(zone, self.normal)
        rows = self.rows
        s, slope, rate = tilts(rows.frame, rows.point, zone, first, second, self.axis, self.radius)
        return _Geometry(zone, first, second, s, slope, rate * self.width)

    def run(self, iterations: int) -> RockingFit:
        state = self._start()
        before, done = np.inf, 0
        for done in range(1, iterations + 1):
            state = self._profile(state)
            if done < 4 or done % 3 == 0:
                state = self._variance(state)
            state, step = self._step(state)
            loss = self._loss(state)
            if step < 2e-7 and before - loss < 1e-4 * len(self.rows.value) and done > _SETTLED:
                break
            before = loss
            if done == _SETTLED:
                state, before = self._without_misfits(state), np.inf
        return self._result(state, done)

    def _without_misfits(self, state: _State) -> _State:
        """Passages whose curve is not the others' at all leave: they were wrong though near the sphere by chance."""
        m, rows = self._model(state), self.rows
        left = np.add.reduceat((rows.value - m.mu) ** 2 - m.variance, rows.start[:-1])
        misfit = left / np.maximum(np.add.reduceat(rows.value**2, rows.start[:-1]), 1e-300)
        keep = misfit < max(0.05, 10 * float(np.median(misfit)))
        self.foreign += (1 - self.foreign) * float(1 - keep.mean())
        self.rows = rows.passages(keep)
        self.count = np.diff(self.rows.start)
        return replace(state, geometry=self._geometry(state.geometry.zone), intensity=state.intensity[keep])

    def _start(self) -> _State:
        k = np.arange(self.knots) / (self.knots - 1)
        profile = np.where(k < 1, np.cos(0.5 * np.pi * k) ** 2, 0.0)
        share, _ = shares(self.begin.s, self.begin.span, profile, self.h)
        flat = 1 / (self.rows.variance + (0.1 * self.rows.value) ** 2)
        intensity = passage_intensities(self.rows.start, share, np.ones(len(share)), self.rows.value, flat)
        return _State(self.begin, np.zeros(self.n), profile, intensity, np.array([0.3, 0.02]), _NU[0])

    def _model(self, state: _State) -> _Model:
        share, slope = shares(state.geometry.s, state.geometry.span, state.profile, self.h)
        gain = np.exp(state.log_scale)[self.rows.frame]
        whole = np.repeat(state.intensity, self.count)
        mu = gain * whole * share
        return _Model(share, slope, gain, whole, mu, self._spread(whole, mu, state.kappa), state.nu)

    def _spread(self, whole: np.ndarray, mu: np.ndarray, kappa: np.ndarray) -> np.ndarray:
        """Of the count: the given one, moved from what was measured to what is expected; of the model: κ."""
        own = self.rows.variance + self.slope * (mu - self.rows.value)
        return np.maximum(own, 0.2 * self.rows.variance) + (kappa[0] * mu) ** 2 + (kappa[1] * whole) ** 2

    def _weight(self, m: _Model) -> np.ndarray:
        z2 = (self.rows.value - m.mu) ** 2 / m.variance
        return (m.nu + 1) / (m.nu + z2) / m.variance

    def _profile(self, state: _State) -> _State:
        """The profile's coefficients, and then the intensities."""
        m, g = self._model(state), state.geometry
        weight = self._weight(m)
        a, rhs = profile_equations(g.s, g.span, m.gain * m.whole, self.rows.value, weight, self.knots, self.h)
        state = replace(state, profile=_smooth_solution(a, rhs, state.profile))
        return self._intensities(state)

    def _intensities(self, state: _State) -> _State:
        m = self._model(state)
        weight = self._weight(m)
        return replace(state, intensity=passage_intensities(self.rows.start, m.share, m.gain, self.rows.value, weight))

    def _variance(self, state: _State) -> _State:
        """κ and ν of largest likelihood, on a grid about the present κ."""
        m = self._model(state)
        some = slice(None, None, max(1, len(m.mu) // 6000))
        value, mu, whole = self.rows.value[some], m.mu[some], m.whole[some]
        own = self._spread(m.whole, m.mu, np.zeros(2))[some]
        best, kappa, nu = np.inf, state.kappa, state.nu
        for f0 in (0.35, 0.6, 1.0, 1.6, 2.8):
            for f1 in (0.35, 0.6, 1.0, 1.6, 2.8):
                k = np.clip(state.kappa * [f0, f1], 1e-4, 1.0)
                for n in _NU:
                    loss = student_loss(value, mu, own + (k[0] * mu) ** 2 + (k[1] * whole) ** 2, n)
                    if loss < best:
                        best, kappa, nu = loss, k, n
        return replace(state, kappa=kappa, nu=nu)

    def _step(self, state: _State) -> tuple[_State, float]:
        blocks, rhs, apply = self._equations(state)
        move = _conjugate_gradients(apply, rhs, np.linalg.inv(blocks))
        limit = 0.3 * self.reach / float(np.quantile(np.linalg.norm(self.rows.point, axis=1), 0.9))
        size = np.linalg.norm(move[:, :2], axis=1)
        move[:, :2] *= np.minimum(1, limit / np.maximum(size, 1e-30))[:, None]
        move[:, 2] = np.clip(move[:, 2], -0.5, 0.5)
        return self._moved(state, move)

    def _equations(self, state: _State):
        """Diagonal blocks (f, 3, 3), right side (f, 3), and the product of the whole matrix with a vector (f, 3)."""
        m, g = self._model(state), state.geometry
        weight = self._weight(m)
        full = np.column_stack([g.slope * (m.gain * m.whole * m.slope)[:, None], m.mu])
        inner = m.gain * m.share
        start, frame = self.rows.start, self.rows.frame
        blocks, rhs, bottom = schur_blocks(start, frame, full, inner, weight, self.rows.value - m.mu, self.n)
        typical = float(np.median(blocks[:, 0, 0] + blocks[:, 1, 1])) + 1e-300
        # weak, so that what is not determined stays where it was
        prior = np.column_stack([np.full((self.n, 2), 1e-6 * typical), np.full(self.n, 1 / _SCALE_PRIOR**2)])
        rhs[:, 2] -= prior[:, 2] * state.log_scale
        blocks[:, range(3), range(3)] += prior

        def apply(x: np.ndarray) -> np.ndarray:
            out = prior * x
            schur_apply(start, frame, full, inner, weight, bottom, x, out)
            return out

        return blocks, rhs, apply

    def _moved(self, state: _State, move: np.ndarray) -> tuple[_State, float]:
        """The longest of the step, its half, … that does not worsen the misfit, the variances held as they are."""
        g, variance = state.geometry, self._model(state).variance

        def misfit(s: _State) -> float:
            prior = 0.5 * float(np.sum((s.log_scale / _SCALE_PRIOR) ** 2))
            return student_loss(self.rows.value, self._model(s).mu, variance, s.nu) + prior

        before = misfit(state)
        for factor in (1.0, 0.5, 0.25, 0.1, 0.03):
            turn = factor * move
            zone = g.zone + turn[:, :1] * g.first + turn[:, 1:2] * g.second
            zone /= np.linalg.norm(zone, axis=1, keepdims=True)
            tried = replace(state, geometry=self._geometry(zone), log_scale=state.log_scale + turn[:, 2])
            tried = self._intensities(tried)
            if misfit(tried) <= before + 1e-9:
                return tried, float(np.median(np.linalg.norm(turn[:, :2], axis=1)))
        return state, 0.0

    def _loss(self, state: _State) -> float:
        m = self._model(state)
        prior = 0.5 * float(np.sum((state.log_scale / _SCALE_PRIOR) ** 2))
        return student_loss(self.rows.value, m.mu, m.variance, m.nu) + prior

    def _result(self, state: _State, done: int) -> RockingFit:
        blocks, _, _ = self._equations(state)
        covariance = np.linalg.inv(blocks)[:, :2, :2]
        covariance[np.bincount(self.rows.frame, minlength=self.n) < 3] = np.inf
        g = state.geometry
        return RockingFit(
            g.zone, np.exp(state.log_scale), covariance, g.first, g.second, state.profile, self.h,
            (float(state.kappa[0]), float(state.kappa[1])), self._loss(state) / len(self.rows.value),
            self.foreign, done,
        )  # fmt: skip


def _tangents(zone: np.ndarray, normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors (f, 3) across every zone axis; the first along the series' motion, across ``normal``."""
    n, z = normal, zone
    first = np.stack(
        [n[1] * z[:, 2] - n[2] * z[:, 1], n[2] * z[:, 0] - n[0] * z[:, 2], n[0] * z[:, 1] - n[1] * z[:, 0]], axis=1
    )
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    second = np.stack([
        z[:, 1] * first[:, 2] - z[:, 2] * first[:, 1], z[:, 2] * first[:, 0] - z[:, 0] * first[:, 2],
        z[:, 0] * first[:, 1] - z[:, 1] * first[:, 0],
    ], axis=1)  # fmt: skip
    return first, second


def _centred(rows: _Rows, s: np.ndarray) -> np.ndarray:
    """Passages (m,) whose intensity is centred on the sphere; others have wrong indices or are another crystal's."""
    v = np.maximum(rows.value, 0) + 1e-30
    centre = np.add.reduceat(v * s, rows.start[:-1]) / np.add.reduceat(v, rows.start[:-1])
    limit = max(10 * 1.4826 * float(np.median(np.abs(centre))), 5e-4)
    return np.abs(centre) < limit


def _variance_slope(rows: _Rows) -> float:
    """Variance per count: the slope of σ² against the intensity; nought where the σ do not rise with it."""
    value, variance = rows.value, rows.variance
    strong = value > np.median(value)
    if strong.sum() < 20:
        return 0.0
    slope = np.median((variance[strong] - np.quantile(variance, 0.02)) / np.maximum(value[strong], 1e-30))
    return float(max(slope, 0.0))


def _smooth_solution(a: np.ndarray, rhs: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Coefficients (k,) of the normal equations with a light penalty on curvature, not negative, 1 at the middle."""
    k = len(rhs)
    curve = np.zeros((k, k))
    for i in range(k):
        curve[i, i] -= 2
        curve[i, abs(i - 1)] += 1
        if i + 1 < k:
            curve[i, i + 1] += 1
    strength = 1e-7 * np.trace(a) / k
    system = a + strength * curve.T @ curve + 1e-12 * np.trace(a) / k * np.eye(k)
    c = np.maximum(solve(system, rhs, assume_a="pos"), 0.0)
    top = (4 * c[0] + 2 * c[1]) / 6
    return c / top if top > 0 else before


def _conjugate_gradients(apply, rhs: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """x (f, 3) of the normal equations, preconditioned by the frames' own blocks."""
    x = np.zeros_like(rhs)
    r = rhs.copy()
    z = np.einsum("fij,fj->fi", inverse, r)
    p, rz = z.copy(), float(np.sum(r * z))
    end = 1e-6 * rz
    for _ in range(_CG):
        q = apply(p)
        step = rz / max(float(np.sum(p * q)), 1e-300)
        x += step * p
        r -= step * q
        z = np.einsum("fij,fj->fi", inverse, r)
        after = float(np.sum(r * z))
        if after < end:
            break
        p = z + after / rz * p
        rz = after
    return x
