"""Frame orientations from Bloch-wave intensities where the structure is known: zone axis, scale, thickness of each.

Each frame by itself, from the directions of the joint fit: Gauss-Newton on obs − K I(u, t), I the dynamical intensities
of a crystal whose thickness varies about t; the scale K is eliminated, t held near that of the whole crystal. Nothing
ties neighbours. The Bloch waves do not know the turn about the beam.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from credo.kernels.rotation import rotation_matrix
from credo.kernels.sphere import tangents
from credo.model import CannotDo, Structure
from credo.orient.halves import half_of, half_set_factor, mean_error_deg
from credo.orient.observations import Observations
from credo.orient.setting import structure_axes
from credo.physics.bloch_rotation import fine_step_deg, sum_orientations, thickness_shares
from credo.physics.bloch_waves import Potential, scattering_potential
from credo.physics.electron import voltage_kv

__all__ = ["DynamicalFit", "fit_dynamical"]

#: Beams that interact [Å⁻¹]; mean thicknesses [Å] and relative spreads that are tried.
_S_MAX = 0.01
_THICKNESS, _SPREADS = np.geomspace(60, 2400, 38), (0.0, 0.1, 0.2, 0.3)
#: Frames on which thickness is found; reflections that a frame must show.
_FRAMES, _FEWEST = 16, 5
#: Steps of the derivatives: turns [rad] and ln t; prior rms of ln t about the crystal's, and of a turn [rad].
_TURN, _RELATIVE = 3e-5, 0.01
_PRIOR = np.array([2e-3, 2e-3, 0.15])
#: Longest turn of one step [rad]: the curves of thick crystals are narrow.
_LONGEST = 3e-4
#: Relative error of a calculated intensity before the residuals tell it; degrees of freedom of Student's t.
_KAPPA, _NU = 0.1, 4.0


@dataclass(frozen=True, eq=False)
class DynamicalFit:
    """``zone`` (f, 3), that of the start where a frame shows too little; ``covariance`` (f, 2, 2) [rad²] of turns
    towards the tangents of the start, calibrated by half sets, infinite where not fitted; ``scale``, ``thickness`` [Å]
    (f,), NaN there; ``spread`` of the thickness, relative; ``r1`` of all amplitudes, each frame on its scale;
    ``kappa``: relative error of the model; ``factor`` of the half sets, ``error_deg``: the mean error of a frame that
    follows; ``inverted``: misfit of the mirror image by that of the structure, 1 where nothing tells them apart;
    ``setting`` (3, 3): h of the structure = h of the data · setting."""

    zone: np.ndarray
    covariance: np.ndarray
    scale: np.ndarray
    thickness: np.ndarray
    spread: float
    r1: float
    kappa: float
    factor: float
    error_deg: float
    inverted: float
    setting: np.ndarray


@dataclass(frozen=True, eq=False)
class _Crystal:
    """What intensities are made from: the potential, the cell's B in the data's axes, and how the crystal turns."""

    potential: Potential
    b: np.ndarray
    setting: np.ndarray
    axis: np.ndarray
    width_deg: float
    spread: float

    def intensities(self, rows: np.ndarray, zone: np.ndarray, t: np.ndarray) -> np.ndarray:
        """(n_t, n) of the beams ``rows`` for mean thicknesses ``t`` (n_t,), averaged over the frame."""
        nodes, mix = thickness_shares(t, self.spread)
        step = fine_step_deg(float(nodes.max()), self.potential.d_min)
        n = int(np.clip(np.ceil(self.width_deg / step), 1, 60))
        phi = np.radians(((np.arange(n) + 0.5) / n - 0.5) * self.width_deg)
        to_structure = np.linalg.inv(self.setting).T
        ub = np.stack([_lying(u) @ self.b @ to_structure for u in rotation_matrix(self.axis, phi) @ zone])
        return sum_orientations(self.potential, ub, np.full(n, 1 / n), nodes, mix, _S_MAX, 1e-4)[:, rows]


def _lying(zone: np.ndarray) -> np.ndarray:
    """A rotation (3, 3) of the crystal that lays the sphere's centre at −z, where the beam comes from."""
    a, b = tangents(zone)
    return np.stack([b, a, -zone])


@dataclass(frozen=True, eq=False)
class _Frame:
    """One frame's observations, and what was fitted."""

    rows: np.ndarray
    value: np.ndarray
    sigma: np.ndarray
    half: np.ndarray
    first: np.ndarray
    second: np.ndarray
    start: np.ndarray
    turn: np.ndarray
    log_t: float
    cost: float = np.inf

    @property
    def zone(self) -> np.ndarray:
        u = self.start + self.turn[0] * self.first + self.turn[1] * self.second
        return u / np.linalg.norm(u)


def fit_dynamical(
    obs: Observations, structure: Structure, starts: tuple[np.ndarray, ...], axis: np.ndarray,
    first: np.ndarray, second: np.ndarray,
) -> DynamicalFit:  # fmt: skip
    """``starts``: directions (f, 3) of all frames, good to some hundredths of a degree, of which each frame takes the
    best; ``axis`` (3,) of the rotation, ``first`` and ``second`` (f, 3) across the zone axes, all in crystal axes."""
    d_min = float(obs.cell.d_spacing(obs.hkl).min()) * 0.999
    potential = scattering_potential(structure, voltage_kv(obs.wavelength), d_min)
    setting = structure_axes(obs, structure)
    crystal = _Crystal(potential, obs.cell.B, setting, axis, obs.width_deg, 0.0)
    frames = _frames(obs, crystal, starts[0], first, second)
    if not frames:
        raise CannotDo(f"no frame shows {_FEWEST} reflections", "give reflections to higher resolution")
    some = _best(frames)
    crystal, log_t = _thickness(crystal, frames, some, starts)
    inverted = _inverted(crystal, frames, some, starts, log_t)
    kappa = _KAPPA
    fitted = {
        j: _fit_frame(crystal, _begun(crystal, f, [s[j] for s in starts], log_t), log_t, kappa)
        for j, f in frames.items()
    }
    log_t = float(np.median([f.log_t for f in fitted.values()]))
    kappa = _model_error(crystal, fitted)
    fitted = {j: _again(crystal, j, fitted, log_t, kappa) for j in fitted}
    return _result(obs, crystal, fitted, starts[0], log_t, kappa, inverted)


def _frames(
    obs: Observations, crystal: _Crystal, start: np.ndarray, first: np.ndarray, second: np.ndarray
) -> dict[int, _Frame]:
    rows = crystal.potential.rows(obs.hkl @ crystal.setting)
    half, edge = half_of(obs.hkl), obs.start
    least = 1e-4 * float(np.quantile(obs.intensity, 0.99))
    out = {}
    for j in range(obs.n_frames):
        mine = np.arange(edge[j], edge[j + 1])
        mine = mine[rows[mine] > 0]
        if len(mine) >= _FEWEST:
            out[j] = _Frame(
                rows[mine], obs.intensity[mine], np.maximum(obs.sigma[mine], least), half[mine], first[j], second[j],
                start[j], np.zeros(2), 0.0,
            )  # fmt: skip
    return out


def _best(frames: dict[int, _Frame]) -> list[int]:
    """Frames with many reflections, from all parts of the series."""
    parts = np.array_split(np.array(sorted(frames)), min(_FRAMES, len(frames)))
    return [int(max(part, key=lambda j: len(frames[j].rows))) for part in parts]


def _thickness(
    crystal: _Crystal, frames: dict[int, _Frame], some: list[int], starts: tuple[np.ndarray, ...]
) -> tuple[_Crystal, float]:
    """The thickness and its spread of least misfit: a grid at the starting directions, then fits of a few."""
    wide = replace(crystal, spread=0.2)
    total = np.zeros(len(_THICKNESS))
    for j in some:
        costs = []
        for start in starts:
            calc = wide.intensities(frames[j].rows, start[j], _THICKNESS)
            costs.append([_amplitude_misfit(frames[j], c) for c in calc])
        total += np.min(costs, axis=0)
    peaks = [k for k in np.argsort(total) if total[k] <= total[max(0, k - 1) : k + 2].min()][:3]
    tries = [(_fitted_cost(wide, frames, some, starts, float(np.log(_THICKNESS[k]))), k) for k in peaks]
    (_, log_t), _ = min(tries)
    spreads = [(_fitted_cost(replace(crystal, spread=s), frames, some, starts, log_t), s) for s in _SPREADS]
    (_, log_t), spread = min(spreads)
    return replace(crystal, spread=spread), log_t


def _fitted_cost(
    crystal: _Crystal, frames: dict[int, _Frame], some: list[int], starts: tuple[np.ndarray, ...], log_t: float
) -> tuple[float, float]:
    """(misfit of some frames, each fitted; median of their ln t)."""
    done = [_fit_frame(crystal, _begun(crystal, frames[j], [s[j] for s in starts], log_t), log_t, _KAPPA) for j in some]
    return float(sum(f.cost for f in done)), float(np.median([f.log_t for f in done]))


def _inverted(
    crystal: _Crystal, frames: dict[int, _Frame], some: list[int], starts: tuple[np.ndarray, ...], log_t: float
) -> float:
    """Misfit of the mirror image over that of the structure."""
    if not crystal.potential.im.size:
        return 1.0
    mirror = replace(crystal, potential=replace(crystal.potential, im=-crystal.potential.im))
    costs = [_fitted_cost(c, frames, some, starts, log_t)[0] for c in (mirror, crystal)]
    return costs[0] / max(costs[1], 1e-300)


def _amplitude_misfit(f: _Frame, calc: np.ndarray) -> float:
    """R1 of one frame on its scale."""
    a, c = np.sqrt(np.maximum(f.value, 0)), np.sqrt(calc)
    return float(np.abs(a - (a @ c) / max(float(c @ c), 1e-300) * c).sum() / max(float(a.sum()), 1e-300))


def _begun(crystal: _Crystal, f: _Frame, starts: list[np.ndarray], log_t: float) -> _Frame:
    """The frame at the best of its starting directions (3,)."""
    tries = []
    for start in starts:
        left = start - f.start
        turn = np.array([left @ f.first, left @ f.second])
        here = replace(f, turn=turn, log_t=log_t)
        calc = crystal.intensities(f.rows, here.zone, np.array([np.exp(log_t)]))[0]
        tries.append((_amplitude_misfit(f, calc), here))
    return min(tries, key=lambda t: t[0])[1]


@dataclass(frozen=True, eq=False)
class _Point:
    """At one setting of the parameters: I (n,) and its derivatives (n, 3) by two turns and ln t; K; weights (n,)."""

    calc: np.ndarray
    slope: np.ndarray
    scale: float
    weight: np.ndarray
    cost: float


def _point(crystal: _Crystal, f: _Frame, log_t: float, kappa: float, derivatives: bool = True) -> _Point:
    t = np.exp(f.log_t + np.array([0.0, _RELATIVE]))
    both = crystal.intensities(f.rows, f.zone, t if derivatives else t[:1])
    calc = both[0]
    variance = f.sigma**2 + (kappa * np.maximum(f.value, 0)) ** 2
    scale = _scale(f.value, calc, 1 / variance)
    for _ in range(3):
        z2 = (f.value - scale * calc) ** 2 / variance
        weight = (_NU + 1) / (_NU + z2) / variance
        scale = _scale(f.value, calc, weight)
    z2 = (f.value - scale * calc) ** 2 / variance
    off = np.array([*f.turn, f.log_t - log_t]) / _PRIOR
    cost = 0.5 * (_NU + 1) * float(np.log1p(z2 / _NU).sum()) + 0.5 * float(off @ off)
    slope = np.zeros((len(calc), 3))
    if derivatives:
        for k in range(2):
            turned = replace(f, turn=f.turn + _TURN * np.eye(2)[k])
            slope[:, k] = (crystal.intensities(f.rows, turned.zone, t[:1])[0] - calc) / _TURN
        slope[:, 2] = (both[1] - calc) / _RELATIVE
    return _Point(calc, slope, scale, (_NU + 1) / (_NU + z2) / variance, cost)


def _scale(value: np.ndarray, calc: np.ndarray, weight: np.ndarray) -> float:
    return float((weight * value) @ calc / max(float((weight * calc) @ calc), 1e-300))


def _normal(
    f: _Frame, p: _Point, log_t: float, rows: np.ndarray | slice = slice(None)
) -> tuple[np.ndarray, np.ndarray]:
    """Normal matrix (3, 3) and right side (3,) of some rows, the scale eliminated."""
    w, g, a = p.weight[rows], p.calc[rows], p.scale * p.slope[rows]
    a = a - np.outer(g, (w * g) @ a / max(float((w * g) @ g), 1e-300))
    left = f.value[rows] - p.scale * g
    off = np.array([*f.turn, f.log_t - log_t])
    return (a.T * w) @ a + np.diag(1 / _PRIOR**2), (a.T * w) @ left - off / _PRIOR**2


def _fit_frame(crystal: _Crystal, start: _Frame, log_t: float, kappa: float, turns: int = 8) -> _Frame:
    """Gauss-Newton with shortened steps."""
    here, p = start, _point(crystal, start, log_t, kappa)
    for _ in range(turns):
        move = np.linalg.solve(*_normal(here, p, log_t))
        move *= min(1.0, _LONGEST / max(float(np.hypot(*move[:2])), 1e-300), 0.15 / max(abs(float(move[2])), 1e-300))
        for factor in (1.0, 0.4, 0.1):
            tried = replace(here, turn=here.turn + factor * move[:2], log_t=here.log_t + factor * float(move[2]))
            cost = _point(crystal, tried, log_t, kappa, derivatives=False).cost
            if cost < p.cost:
                break
        else:
            break
        gain, here = p.cost - cost, tried
        if gain < 0.01:
            p = replace(p, cost=cost)
            break
        p = _point(crystal, here, log_t, kappa)
    return replace(here, cost=p.cost)


def _again(crystal: _Crystal, j: int, fitted: dict[int, _Frame], log_t: float, kappa: float) -> _Frame:
    """A second fit with the model's error known, and from where its neighbours say if the first fits badly."""
    mine = _fit_frame(crystal, fitted[j], log_t, kappa)
    near = [fitted[k] for k in range(j - 5, j + 6) if k != j and k in fitted]
    typical = float(np.median([f.cost / len(f.rows) for f in near])) if near else np.inf
    if mine.cost / len(mine.rows) <= 1.5 * typical:
        return mine
    turn = np.median([f.turn for f in near], axis=0)
    return min(mine, _fit_frame(crystal, replace(mine, turn=turn, log_t=log_t), log_t, kappa), key=lambda f: f.cost)


def _model_error(crystal: _Crystal, fitted: dict[int, _Frame]) -> float:
    """Relative error of calculated intensities that reflections above 10σ tell."""
    ratios = []
    for f in fitted.values():
        calc = crystal.intensities(f.rows, f.zone, np.array([np.exp(f.log_t)]))[0]
        strong = f.value > 10 * f.sigma
        if strong.sum() >= _FEWEST:
            k = _scale(f.value, calc, 1 / (f.sigma**2 + (_KAPPA * f.value) ** 2))
            ratios.append((f.value - k * calc)[strong] / f.value[strong])
    if not ratios:
        return _KAPPA
    return float(np.clip(1.4826 * np.median(np.abs(np.concatenate(ratios))), 0.005, 0.5))


def _result(
    obs: Observations, crystal: _Crystal, fitted: dict[int, _Frame], start: np.ndarray, log_t: float, kappa: float,
    inverted: float,
) -> DynamicalFit:  # fmt: skip
    n = obs.n_frames
    zone, covariance = start.copy(), np.full((n, 2, 2), np.inf)
    scale, thickness = np.full(n, np.nan), np.full(n, np.nan)
    apart, own = [], []
    misfit = np.zeros(2)
    for j, f in fitted.items():
        p = _point(crystal, f, log_t, kappa)
        zone[j], scale[j], thickness[j] = f.zone, p.scale, np.exp(f.log_t)
        covariance[j] = np.linalg.inv(_normal(f, p, log_t)[0])[:2, :2]
        a, c = np.sqrt(np.maximum(f.value, 0)), np.sqrt(p.calc)
        misfit += [np.abs(a - (a @ c) / (c @ c) * c).sum(), a.sum()]
        if min(f.half.sum(), (~f.half).sum()) >= _FEWEST:
            halves = [_normal(f, p, log_t, rows) for rows in (f.half, ~f.half)]
            moves = [np.linalg.solve(*h)[:2] for h in halves]
            apart.append(moves[0] - moves[1])
            own.append(sum(np.linalg.inv(h[0])[:2, :2] for h in halves))
    factor = half_set_factor(np.array(apart), np.array(own)) if len(own) >= 5 else float("inf")
    covariance *= factor**2
    known = np.isfinite(covariance[:, 0, 0])
    spread = np.sqrt(np.trace(covariance[known], axis1=1, axis2=2))
    return DynamicalFit(
        zone, covariance, scale, thickness, crystal.spread, float(misfit[0] / max(misfit[1], 1e-300)), kappa, factor,
        mean_error_deg(spread), inverted, crystal.setting,
    )  # fmt: skip
