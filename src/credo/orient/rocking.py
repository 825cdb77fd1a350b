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
    schur_blocks,
    schur_solve,
    shares,
    spread,
    student_loss,
    tilts,
)
from credo.model import CannotDo
from credo.orient.observations import Observations, Passages

__all__ = ["RockingFit", "fit_rocking", "strain_equations"]

#: Degrees of freedom of Student's t that are tried: from wild to normal errors.
_NU = (3.0, 8.0, 40.0)
#: By which the model's errors may change in one go.
_FACTORS = np.array([0.1, 0.35, 0.65, 1.0, 1.5, 2.8])
#: Prior rms of a turn away from the start [rad], 0.01° while the profile is still a guess and 0.1° afterwards; what a
#: frame tells is much more where it tells anything.
_START = (2e-4, 2e-3)
#: Prior rms of ln K, and most conjugate-gradient steps of one Gauss-Newton step.
_SCALE_PRIOR, _CG, _CG_LEFT = 0.5, 60, 1e-2
#: Iterations after which it is clear which passages do not belong, and the largest share that may leave then.
_SETTLED, _MOST_MISFITS = 6, 0.08
#: A fit is done when twice half the frames move by less than this share of their uncertainty, and the model's errors
#: change by less than that.
_STILL, _CALM = 0.05, 0.5


@dataclass(frozen=True, eq=False)
class RockingFit:
    """``zone`` (f, 3): unit vectors [HKL] in crystal axes; ``scale`` (f,); ``covariance`` (f, 2, 2) [rad²] of turns
    towards ``first`` and ``second`` (f, 3), infinite where a frame is not determined; ``profile`` (k,) at steps of
    ``knot`` [Å⁻¹]; ``kappa``: relative error of the model, ``nu``: degrees of freedom of Student's t; ``loss``: −ln L
    for every row; ``foreign``: the share of passages left out since they are not centred on the sphere;
    ``iterations``."""

    zone: np.ndarray
    scale: np.ndarray
    covariance: np.ndarray
    first: np.ndarray
    second: np.ndarray
    profile: np.ndarray
    knot: float
    kappa: tuple[float, float]
    nu: float
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


@dataclass(frozen=True, eq=False)
class _Equations:
    """Normal equations of a step with the intensities eliminated: diagonal ``blocks`` (f, 3, 3), ``rhs`` (f, 3), what
    the kernel makes the rest from, and the ``prior`` (f, 3) on the diagonal."""

    blocks: np.ndarray
    rhs: np.ndarray
    full: np.ndarray
    inner: np.ndarray
    weight: np.ndarray
    bottom: np.ndarray
    prior: np.ndarray


def fit_rocking(
    obs: Observations, zone: np.ndarray, axis: np.ndarray, like: RockingFit | None = None, iterations: int = 40
) -> RockingFit:
    """The joint fit from starting directions ``zone`` (f, 3), good to about 0.1°; ``axis`` (3,): of the rotation, in
    crystal axes, used for the turn during a frame only. ``like``: a fit to more of the same series, whose profile and
    errors of the model are where this one begins."""
    return _Problem(obs, axis, zone, like).run(iterations)


def strain_equations(
    obs: Observations, fit: RockingFit, axis: np.ndarray, basis: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Normal matrix (k, k) and right side (k,) of strains P → P + Σ ε_k basis_k P of reciprocal space, basis (k, 3, 3),
    at a fit's end, with all directions, scales and intensities eliminated."""
    return _Problem(obs, axis, fit.zone, fit).strain(fit.scale, basis)


class _Problem:
    """The alternation: profile and intensities, variance, then a Gauss-Newton step of all frames."""

    def __init__(self, obs: Observations, axis: np.ndarray, zone: np.ndarray, like: RockingFit | None) -> None:
        self.n, self.normal = obs.n_frames, np.linalg.svd(zone, full_matrices=False)[2][2]
        self.axis, self.width, self.radius = np.ascontiguousarray(axis), np.radians(obs.width_deg), obs.radius
        self.hold = _START[0]
        self.rows = _Rows.of(obs)
        known = len(self.rows.start) - 1
        self.rows = self.rows.passages(_centred(self.rows, self._geometry(zone).s, self.n))
        self.foreign = 1 - (len(self.rows.start) - 1) / known
        self.count = np.diff(self.rows.start)
        self.slope = _variance_slope(self.rows)
        self.begin = self._geometry(zone)
        # a frame that turns shows a reflection when any part of its path is inside the profile
        inside = np.maximum(np.abs(self.begin.s) - 0.5 * np.abs(self.begin.span), 0)
        self.reach = float(np.quantile(inside, 0.99)) * 1.1
        self.like = like
        # of the last state that was asked for, and of its geometry and profile
        self._last: tuple = (None, None)
        self._drawn: tuple = (None, None, None)
        self.knots = int(np.clip(6 * len(self.begin.s) / len(self.count), 9, 28)) if like is None else len(like.profile)
        self.h = self.reach / (self.knots - 2) if like is None else like.knot

    def _geometry(self, zone: np.ndarray) -> _Geometry:
        first, second = _tangents(zone, self.normal)
        rows = self.rows
        s, slope, rate = tilts(rows.frame, rows.point, zone, first, second, self.axis, self.radius)
        return _Geometry(zone, first, second, s, slope, rate * self.width)

    def run(self, iterations: int) -> RockingFit:
        state = self._start()
        before, done, still, calm = np.inf, 0, 0, False
        for done in range(1, iterations + 1):
            state = self._profile(state)
            if done < 4 or done % 3 == 0:
                kappa = state.kappa
                state = self._variance(state)
                calm = bool(np.all(np.abs(state.kappa / kappa - 1) < _CALM))
            state, step, esd = self._step(state)
            loss = self._loss(state)
            # the smallest change there is to tell, where errors are none
            still = still + 1 if step < max(_STILL * esd, 2e-7) and before - loss < 1e-3 * len(self.rows.value) else 0
            if still > 1 and calm and done > _SETTLED:
                break
            before = loss
            if done == _SETTLED:
                state, before, self.hold = self._without_misfits(state), np.inf, _START[1]
        return self._result(state, done)

    def _without_misfits(self, state: _State) -> _State:
        """Passages whose curve is not the others' at all leave: they were wrong though near the sphere by chance.
        Where they are many it is the model that is wrong (multiple scattering), and all stay."""
        m, rows = self._model(state), self.rows
        left = np.add.reduceat((rows.value - m.mu) ** 2 - m.variance, rows.start[:-1])
        misfit = left / np.maximum(np.add.reduceat(rows.value**2, rows.start[:-1]), 1e-300)
        keep = misfit < max(0.05, 10 * float(np.median(misfit)))
        if keep.mean() < 1 - _MOST_MISFITS:
            return state
        self.foreign += (1 - self.foreign) * float(1 - keep.mean())
        self.rows = rows.passages(keep)
        self.count = np.diff(self.rows.start)
        return replace(state, geometry=self._geometry(state.geometry.zone), intensity=state.intensity[keep])

    def _start(self) -> _State:
        if self.like is None:
            k = np.arange(self.knots) / (self.knots - 1)
            profile, kappa, nu = np.where(k < 1, np.cos(0.5 * np.pi * k) ** 2, 0.0), np.array([0.3, 0.02]), _NU[0]
        else:
            profile, kappa, nu = self.like.profile, np.array(self.like.kappa), self.like.nu
        share, _ = shares(self.begin.s, self.begin.span, profile, self.h)
        flat = 1 / (self.rows.variance + (0.1 * self.rows.value) ** 2)
        intensity = passage_intensities(self.rows.start, share, np.ones(len(share)), self.rows.value, flat)
        return _State(self.begin, np.zeros(self.n), profile, intensity, kappa, nu)

    def _model(self, state: _State) -> _Model:
        if self._last[0] is not state:
            self._last = (state, self._model_of(state))
        return self._last[1]

    def _model_of(self, state: _State) -> _Model:
        share, slope = self._shares(state)
        gain = np.exp(state.log_scale)[self.rows.frame]
        whole = np.repeat(state.intensity, self.count)
        mu = gain * whole * share
        k0, k1 = state.kappa
        variance = spread(self.rows.value, mu, whole, self.rows.variance, self.slope, k0, k1)
        return _Model(share, slope, gain, whole, mu, variance, state.nu)

    def _shares(self, state: _State) -> tuple[np.ndarray, np.ndarray]:
        g, profile, _ = self._drawn
        if g is not state.geometry or profile is not state.profile:
            found = shares(state.geometry.s, state.geometry.span, state.profile, self.h)
            self._drawn = (state.geometry, state.profile, found)
        return self._drawn[2]

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
        """κ and ν of largest likelihood, each in turn on a grid about the present one."""
        m = self._model(state)
        some = slice(None, None, max(1, len(m.mu) // 6000))
        value, mu2, whole2 = self.rows.value[some], m.mu[some] ** 2, m.whole[some] ** 2
        own = spread(value, m.mu[some], m.whole[some], self.rows.variance[some], self.slope, 0.0, 0.0)

        def loss(k0: float, k1: float, nu: float) -> float:
            return student_loss(value, m.mu[some], own + k0**2 * mu2 + k1**2 * whole2, nu)

        (k0, k1), nu = state.kappa, state.nu
        for _ in range(2):
            k0 = min(np.clip(k0 * _FACTORS, 1e-4, 1.0), key=lambda k: loss(k, k1, nu))
            k1 = min(np.clip(k1 * _FACTORS, 1e-4, 1.0), key=lambda k: loss(k0, k, nu))
            nu = min(_NU, key=lambda n: loss(k0, k1, n))
        return replace(state, kappa=np.array([k0, k1]), nu=nu)

    def _step(self, state: _State) -> tuple[_State, float, float]:
        """The state after a step, its median length and the median standard uncertainty [rad]."""
        e = self._equations(state)
        esd = float(np.sqrt(2 / max(np.median(e.blocks[:, 0, 0] + e.blocks[:, 1, 1]), 1e-300)))
        move = schur_solve(
            self.rows.start, self.rows.frame, e.full, e.inner, e.weight, e.bottom, e.prior, e.rhs,
            np.linalg.inv(e.blocks), _CG, _CG_LEFT,
        )  # fmt: skip
        limit = 0.3 * self.reach / float(np.quantile(np.linalg.norm(self.rows.point, axis=1), 0.9))
        size = np.linalg.norm(move[:, :2], axis=1)
        move[:, :2] *= np.minimum(1, limit / np.maximum(size, 1e-30))[:, None]
        move[:, 2] = np.clip(move[:, 2], -0.5, 0.5)
        return *self._moved(state, move), esd

    def _equations(self, state: _State) -> _Equations:
        m, g = self._model(state), state.geometry
        weight = self._weight(m)
        full = np.column_stack([g.slope * (m.gain * m.whole * m.slope)[:, None], m.mu])
        inner = m.gain * m.share
        residual = self.rows.value - m.mu
        blocks, rhs, bottom = schur_blocks(self.rows.start, self.rows.frame, full, inner, weight, residual, self.n)
        typical = float(np.median(blocks[:, 0, 0] + blocks[:, 1, 1])) + 1e-300
        # what is not determined stays where it was
        prior = np.tile([max(1 / self.hold**2, 1e-6 * typical)] * 2 + [1 / _SCALE_PRIOR**2], (self.n, 1))
        rhs -= np.array([1 / self.hold**2] * 2 + [1 / _SCALE_PRIOR**2]) * self._off_prior(state)
        blocks[:, range(3), range(3)] += prior
        return _Equations(blocks, rhs, full, inner, weight, bottom, prior)

    def _moved(self, state: _State, move: np.ndarray) -> tuple[_State, float]:
        """The longest of the step, its half, … that does not worsen the misfit, the variances held as they are."""
        g, variance = state.geometry, self._model(state).variance

        def misfit(s: _State) -> float:
            return student_loss(self.rows.value, self._model(s).mu, variance, s.nu) + self._prior_loss(s)

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

    def strain(self, scale: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # directions must be free to follow the cell
        self.hold = 1.0
        state = self._intensities(replace(self._start(), log_scale=np.log(scale)))
        e, m, rows = self._equations(state), self._model(state), self.rows
        out = self.radius * state.geometry.zone[rows.frame] - rows.point
        out /= np.linalg.norm(out, axis=1, keepdims=True)
        ds = np.einsum("ni,kij,nj->nk", out, basis, rows.point)
        a = (m.gain * m.whole * m.slope)[:, None] * ds
        over = np.where(e.bottom > 0, e.bottom, 1.0)
        first = rows.start[:-1]
        eliminated = np.add.reduceat((e.weight * e.inner)[:, None] * a, first) / over[:, None]
        a = a - e.inner[:, None] * np.repeat(eliminated, self.count, axis=0)
        inverse, wa = np.linalg.inv(e.blocks), e.weight[:, None] * a
        of_frames, taken = [], []
        for k in range(len(basis)):
            b = np.stack([np.bincount(rows.frame, wa[:, k] * e.full[:, c], self.n) for c in range(3)], axis=1)
            x = schur_solve(
                rows.start, rows.frame, e.full, e.inner, e.weight, e.bottom, e.prior, b, inverse, 5 * _CG, 1e-8
            )
            of_frames.append(b.ravel())
            taken.append(x.ravel())
        of_frames, taken = np.array(of_frames), np.array(taken)
        matrix = wa.T @ a - of_frames @ taken.T
        return 0.5 * (matrix + matrix.T), wa.T @ (rows.value - m.mu) - taken @ e.rhs.ravel()

    def _loss(self, state: _State) -> float:
        m = self._model(state)
        return student_loss(self.rows.value, m.mu, m.variance, m.nu) + self._prior_loss(state)

    def _off_prior(self, state: _State) -> np.ndarray:
        """(f, 3): turns [rad] from where the fit began, and ln K."""
        g, left = state.geometry, state.geometry.zone - self.begin.zone
        return np.stack([np.sum(left * g.first, axis=1), np.sum(left * g.second, axis=1), state.log_scale], axis=1)

    def _prior_loss(self, state: _State) -> float:
        off = self._off_prior(state)
        return 0.5 * float(np.sum(off[:, :2] ** 2) / self.hold**2 + np.sum(off[:, 2] ** 2) / _SCALE_PRIOR**2)

    def _result(self, state: _State, done: int) -> RockingFit:
        covariance = np.linalg.inv(self._equations(state).blocks)[:, :2, :2]
        covariance[np.bincount(self.rows.frame, minlength=self.n) < 3] = np.inf
        g = state.geometry
        return RockingFit(
            g.zone, np.exp(state.log_scale), covariance, g.first, g.second, state.profile, self.h,
            (float(state.kappa[0]), float(state.kappa[1])), state.nu, self._loss(state) / len(self.rows.value),
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


def _centred(rows: _Rows, s: np.ndarray, n_frames: int) -> np.ndarray:
    """Passages (m,) whose intensity is centred on the sphere; others have wrong indices or are another crystal's. Of
    those that an end of the series cuts, only that they are near it can be asked."""
    v = np.maximum(rows.value, 0) + 1e-30
    first = rows.start[:-1]
    centre = np.abs(np.add.reduceat(v * s, first) / np.add.reduceat(v, first))
    limit = max(10 * 1.4826 * float(np.median(centre)), 5e-4)
    cut = (rows.frame[first] == 0) | (rows.frame[rows.start[1:] - 1] == n_frames - 1)
    return centre < np.where(cut, max(limit, float(np.quantile(np.abs(s), 0.9))), limit)


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
