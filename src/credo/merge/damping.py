"""Strong reflections that thick crystals damp: each crystal's thickness from |Fc| of a structure, and the damping undone.

A crystal of thickness t weakens a reflection by Blackman's B(A), A = π t/ξ ~ t |F| (physics/two_beam.py). Equivalents do
not tell of it, as all of one crystal are damped alike, and crystals of like thickness agree with each other; what is
seen without a structure, the difference between crystals and the distribution of intensities, leaves the common part
nearly free (benchmarks/RESULTS.md). So the structure is needed, and what is corrected depends on it.
"""  # noqa: E501

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar

from credo.merge.error_model import NU
from credo.merge.scale import Pool, Scaled, ScalingSettings, scale_sets
from credo.model import Cell
from credo.physics.two_beam import blackman, phase_per_amplitude

__all__ = ["Damping", "corrected", "undamped"]

#: No crystal that electrons pass is thicker [Å]; trial thicknesses; reflections of a crystal that are enough, and few.
_THICKEST, _TRIALS, _ENOUGH, _FEW = 1e4, 18, 6000, 50
#: ln of the likelihood that held-out reflections must gain in all, and what the crystals may lose among each other,
#: for each of them.
_PAYS, _LOSS = 10.0, 2.0


@dataclass(frozen=True)
class Damping:
    """``thickness`` (d,) [Å] of each crystal, NaN where too few reflections were measured; ``gain`` (d,): how much ln
    of the likelihood of held-out reflections grows with it; ``crystals``: how much that of all observations grows, each
    crystal's by the means of the others; ``factor`` (n,): B of every observation; ``applied`` or not, and the
    ``reason``."""

    thickness: np.ndarray
    gain: np.ndarray
    crystals: float
    factor: np.ndarray
    applied: bool
    reason: str


def undamped(
    data: Pool, scaled: Scaled, f2: np.ndarray, cell: Cell, laue_group: str, wavelength: float,
    settings: ScalingSettings | None = None,
) -> tuple[Pool, Scaled, Damping]:  # fmt: skip
    """The observations divided by their B and scaled anew, where the data bear that out; else as they were.

    f2 (m,): |Fc|² [Å²] of the unique reflections of ``scaled``, NaN where unknown (these stay as they are); wavelength
    [Å]. Applied where the thicknesses foretell reflections that were not used for them, and where the crystals agree no
    less among each other.
    """
    phase = phase_per_amplitude(wavelength, cell.volume) * np.sqrt(np.where(np.isfinite(f2), f2, 0.0))
    now, none = scaled, np.ones(len(data))
    # twice, as the first scales are of damped intensities
    for step in range(2):
        thickness, gain = _thicknesses(data, now, f2, phase, cell)
        if step == 0 and not gain.sum() > _PAYS:
            reason = "held-out reflections are foretold no better with thicknesses of the crystals"
            return data, scaled, Damping(thickness, gain, 0.0, none, False, reason)
        factor = blackman(np.nan_to_num(thickness)[data.dataset] * phase[scaled.of])
        now = scale_sets(corrected(data, factor), cell, laue_group, settings, near=now)
    whole = corrected(data, factor)
    crystals = _by_others(whole, now, factor) - _by_others(data, scaled, none)
    if crystals < -_LOSS * len(np.unique(data.dataset)):
        reason = "the crystals agree less with each other after it"
        return data, scaled, Damping(thickness, gain, crystals, none, False, reason)
    reason = f"held-out reflections are foretold better (ln likelihood +{gain.sum():.0f})"
    return whole, now, Damping(thickness, gain, crystals, factor, True, reason)


def corrected(data: Pool, factor: np.ndarray) -> Pool:
    """Observations and their sigmas divided by the factors (n,)."""
    return replace(data, intensity=data.intensity / factor, sigma=data.sigma / factor)


def _thicknesses(
    data: Pool, scaled: Scaled, f2: np.ndarray, phase: np.ndarray, cell: Cell
) -> tuple[np.ndarray, np.ndarray]:
    """Thickness (d,) [Å] of each crystal and what it gains (d,); ``phase`` (m,): A for each Å of thickness."""
    s2 = 0.25 / cell.d_spacing(scaled.hkl) ** 2
    known, b = np.isfinite(f2) & (f2 > 0), scaled.errors.relative(scaled.intensity)
    thickness, gain = np.full(data.count, np.nan), np.zeros(data.count)
    for d in range(data.count):
        rows = np.flatnonzero((data.dataset == d) & known[scaled.of])
        rows = _telling(rows, f2[scaled.of[rows]])
        if len(rows) < _FEW:
            continue
        of, k = scaled.of[rows], scaled.scale[rows]
        fit = _Crystal(data.intensity[rows] / k, data.sigma[rows] / k, f2[of], phase[of], s2[of],
                       scaled.noise[d] * scaled.errors.a, b[of])  # fmt: skip
        all_, half = np.ones(len(rows), dtype=bool), of % 2 == 0
        gain[d] = sum(fit.gain(one, ~one) for one in (half, ~half))
        thickness[d] = fit.thickness(all_)
    return thickness, gain


def _telling(rows: np.ndarray, f2: np.ndarray) -> np.ndarray:
    """The strongest of the rows, which tell of damping, and as many of all others, which tell of the scale."""
    order = np.argsort(-f2, kind="stable")
    others = order[_ENOUGH // 2 :]
    return np.sort(rows[np.concatenate([order[: _ENOUGH // 2], others[:: max(1, 2 * len(others) // _ENOUGH)]])])


class _Crystal:
    """Observations (n,) of one crystal as K exp(−2 B s²) |Fc|² B(A), A = t × phase, perhaps with another power of |Fc|:
    how likely that is."""

    def __init__(self, i, sigma, f2, phase, s2, a: float, b: np.ndarray) -> None:
        self.i, self.sigma, self.f2, self.phase, self.a, self.b = i, sigma, f2, phase, a, b
        strong = f2 >= np.median(f2)
        level = float(np.median(f2[strong]))
        self.design = np.stack([np.ones(len(i)), -2 * s2, np.log(f2 / level)], axis=1)
        self.start = np.log(max(float(np.median(i[strong])), 1e-30) / level)
        self.trials = np.append(0.0, min(_THICKEST, 30 / float(phase.max())) * np.geomspace(0.005, 1, _TRIALS))

    def gain(self, fitted: np.ndarray, held: np.ndarray) -> float:
        """How much likelier ``held`` rows are with the thickness of the ``fitted`` than without, any power of |Fc|
        being allowed in both: errors of a structure flatten what it foretells, for strong and weak alike."""
        return self.score(self.thickness(fitted, True), fitted, held, True) - self.score(0.0, fitted, held, True)

    def thickness(self, rows: np.ndarray, power: bool = False) -> float:
        """The likeliest by some rows [Å]: among trials, then between the neighbours of the best."""
        best = int(np.argmax([self.score(t, rows, rows, power) for t in self.trials]))
        low, high = self.trials[max(best - 1, 0)], self.trials[min(best + 1, _TRIALS)]
        found = minimize_scalar(
            lambda t: -self.score(t, rows, rows, power), bounds=(low, high), method="bounded", options={"xatol": 2.0}
        )
        return float(found.x)

    def score(self, t: float, fitted: np.ndarray, held: np.ndarray, power: bool = False) -> float:
        """ln of the likelihood of rows ``held``, K and B (and the power) being fitted to rows ``fitted``."""
        y, design = self.f2 * blackman(t * self.phase), self.design[:, : 3 if power else 2]
        x = np.zeros(design.shape[1])
        x[0] = self.start
        for _ in range(6):
            expected, v = self._expected(design @ x, y, fitted)
            r = self.i[fitted] - expected
            w = (NU + 1) / (NU * v + r * r)
            a = design[fitted] * expected[:, None]
            normal = a.T @ (a * w[:, None])
            x += np.clip(np.linalg.lstsq(normal, a.T @ (r * w), rcond=None)[0], -2, 2)
        expected, v = self._expected(design @ x, y, held)
        return _log_student(self.i[held] - expected, v)

    def _expected(self, log_k: np.ndarray, y: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        expected = np.exp(np.clip(log_k[rows], -60, 60)) * y[rows]
        return expected, self.a**2 * (self.sigma[rows] ** 2 + (self.b[rows] * expected) ** 2)


def _log_student(r: np.ndarray, v: np.ndarray) -> float:
    """Σ ln p, but for a constant, of residuals r (n,) of variances v."""
    return -float((0.5 * np.log(v) + (NU + 1) / 2 * np.log1p(r * r / (NU * v))).sum())


def _by_others(data: Pool, scaled: Scaled, factor: np.ndarray) -> float:
    """ln of the likelihood of the observations as they were measured, by the means of all other crystals."""
    m, d = len(scaled.hkl), data.count
    i, w = data.intensity / scaled.scale, scaled.u / scaled.sigma_scaled**2
    pair = scaled.of.astype(np.int64) * d + data.dataset
    _, at = np.unique(pair, return_inverse=True)
    other = np.bincount(scaled.of, w, m)[scaled.of] - np.bincount(at, w)[at]
    shared = other > 1e-6 * w
    top = np.bincount(scaled.of, w * i, m)[scaled.of] - np.bincount(at, w * i)[at]
    mean = top[shared] / other[shared]
    v = scaled.sigma_scaled[shared] ** 2 + 1 / other[shared]
    # densities are per unit of the intensity as it was measured
    return _log_student(i[shared] - mean, v) - float(np.log(scaled.scale[shared] * factor[shared]).sum())
