"""Strong reflections that thick crystals damp: each crystal's thickness by |Fc| of a structure, and the damping undone.

A crystal of thickness t weakens a reflection by Blackman's B(A), A = π t/ξ ~ t |F| (physics/two_beam.py). Equivalents
do not tell of it, as all of one crystal are damped alike, and crystals of like thickness agree with each other; what is
seen without a structure, the difference between crystals and the distribution of intensities, leaves the common part
nearly free (benchmarks/RESULTS.md). So the structure is needed, and what is corrected depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar

from credo.merge.absences import intensity_levels
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
#: Correlation of |Eo| and |Ec| below which a structure says nothing.
_LIKE = 0.6


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
    none = np.ones(len(data))
    if (cc := _likeness(scaled, f2, cell)) < _LIKE:
        reason = f"the structure does not explain the data (correlation of |E| {cc:.2f})"
        return data, scaled, Damping(np.full(data.count, np.nan), np.zeros(data.count), 0.0, none, False, reason)
    phase = phase_per_amplitude(wavelength, cell.volume) * np.sqrt(np.where(np.isfinite(f2), f2, 0.0))
    crystals = _crystals(data, scaled, f2, phase, cell)
    gain = np.array([0.0 if c is None else c.gain() for c in crystals])
    thickness = _thicknesses(crystals)
    if not gain.sum() > _PAYS:
        reason = "held-out reflections are foretold no better with thicknesses of the crystals"
        return data, scaled, Damping(thickness, gain, 0.0, none, False, reason)
    first = scale_sets(corrected(data, _factors(thickness, data, scaled, phase)), cell, laue_group, settings, scaled)
    # once more, as the scales until now were of damped intensities
    thickness = _thicknesses(_crystals(data, first, f2, phase, cell))
    factor = _factors(thickness, data, scaled, phase)
    whole = corrected(data, factor)
    now = scale_sets(whole, cell, laue_group, settings, first)
    agreement = _by_others(whole, now, factor) - _by_others(data, scaled, none)
    if agreement < -_LOSS * len(np.unique(data.dataset)):
        reason = "the crystals agree less with each other after it"
        return data, scaled, Damping(thickness, gain, agreement, none, False, reason)
    reason = f"held-out reflections are foretold better (ln likelihood +{gain.sum():.0f})"
    return whole, now, Damping(thickness, gain, agreement, factor, True, reason)


def corrected(data: Pool, factor: np.ndarray) -> Pool:
    """Observations and their sigmas divided by the factors (n,)."""
    return replace(data, intensity=data.intensity / factor, sigma=data.sigma / factor)


def _likeness(scaled: Scaled, f2: np.ndarray, cell: Cell) -> float:
    """Correlation of |Eo| and |Ec|, amplitudes over those of like resolution."""
    known = np.isfinite(f2)
    if known.sum() < _FEW:
        return 0.0
    s2 = 0.25 / cell.d_spacing(scaled.hkl[known]) ** 2
    observed, calculated = (
        np.sqrt(np.maximum(x, 0) / intensity_levels(s2, x)) for x in (scaled.intensity[known], f2[known])
    )
    return float(np.corrcoef(observed, calculated)[0, 1])


def _factors(thickness: np.ndarray, data: Pool, scaled: Scaled, phase: np.ndarray) -> np.ndarray:
    """B (n,) of every observation; 1 where no thickness is known."""
    return blackman(np.nan_to_num(thickness)[data.dataset] * phase[scaled.of])


def _crystals(
    data: Pool, scaled: Scaled, f2: np.ndarray, phase: np.ndarray, cell: Cell
) -> list[_Crystal | None]:  # fmt: skip
    """The observations of every crystal, None where there are too few; ``phase`` (m,): A for each Å of thickness."""
    s2 = 0.25 / cell.d_spacing(scaled.hkl) ** 2
    known, b = np.isfinite(f2) & (f2 > 0), scaled.errors.relative(scaled.intensity)
    filled = np.zeros(len(f2))
    filled[known] = intensity_levels(s2[known], f2[known])
    out: list[_Crystal | None] = []
    for d in range(data.count):
        rows = np.flatnonzero((data.dataset == d) & known[scaled.of])
        rows = _telling(rows, f2[scaled.of[rows]])
        of, k = scaled.of[rows], scaled.scale[rows]
        out.append(None if len(rows) < _FEW else _Crystal(
            data.intensity[rows] / k, data.sigma[rows] / k, f2[of], filled[of], phase[of], s2[of],
            scaled.noise[d] * scaled.errors.a, b[of], of % 2 == 0,
        ))  # fmt: skip
    return out


def _thicknesses(crystals: list[_Crystal | None]) -> np.ndarray:
    """[Å] (d,)."""
    return np.array([np.nan if c is None else c.thickness(np.ones(len(c.i), dtype=bool)) for c in crystals])


def _telling(rows: np.ndarray, f2: np.ndarray) -> np.ndarray:
    """The strongest of the rows, which tell of damping, and as many of all others, which tell of the scale."""
    order = np.argsort(-f2, kind="stable")
    others = order[_ENOUGH // 2 :]
    return np.sort(rows[np.concatenate([order[: _ENOUGH // 2], others[:: max(1, 2 * len(others) // _ENOUGH)]])])


class _Crystal:
    """Observations (n,) of one crystal as K exp(−2 B s²) (|Fc|² B(A) + g L), A = t × phase: how likely that is.

    L: mean |Fc|² at that resolution. Multiple scattering brings all reflections a share g of it, and so, in effect, do
    the errors of a structure: left out, both would pass for damping.
    """

    def __init__(self, i, sigma, f2, filled, phase, s2, a: float, b: np.ndarray, half: np.ndarray) -> None:
        self.i, self.sigma, self.f2, self.filled, self.phase = i, sigma, f2, filled, phase
        self.s2, self.a, self.b, self.half = s2, a, b, half
        strong = f2 >= np.median(f2)
        self.start = np.log(max(float(np.median(i[strong] / f2[strong])), 1e-30))
        self.trials = np.append(0.0, min(_THICKEST, 30 / float(phase.max())) * np.geomspace(0.005, 1, _TRIALS))

    def gain(self) -> float:
        """ln of the likelihood of either ``half``, by the thickness that the other tells of, against that without."""
        both = ((self.half, ~self.half), (~self.half, self.half))
        return sum(self.score(self.thickness(x), x, y) - self.score(0.0, x, y) for x, y in both)

    def thickness(self, rows: np.ndarray) -> float:
        """The likeliest by some rows [Å]: among trials, then between the neighbours of the best."""
        best = int(np.argmax([self.score(t, rows, rows) for t in self.trials]))
        low, high = self.trials[max(best - 1, 0)], self.trials[min(best + 1, _TRIALS)]
        found = minimize_scalar(
            lambda t: -self.score(t, rows, rows), bounds=(low, high), method="bounded", options={"xatol": 2.0}
        )
        return float(found.x)

    def score(self, t: float, fitted: np.ndarray, held: np.ndarray) -> float:
        """ln of the likelihood of rows ``held``, K, B and g being fitted to rows ``fitted``."""
        y, x = self.f2 * blackman(t * self.phase), np.array([self.start, 0.0, 0.0])
        for _ in range(10):
            k, expected, v = self._expected(x, y, fitted)
            r = self.i[fitted] - expected
            w = (NU + 1) / (NU * v + r * r)
            a = np.stack([expected, -2 * self.s2[fitted] * expected, k * self.filled[fitted]], axis=1)
            step = np.clip(np.linalg.lstsq(a.T @ (a * w[:, None]), a.T @ (r * w), rcond=None)[0], -2, 2)
            x += step
            x[2] = max(x[2], 0.0)
            if np.abs(step).max() < 1e-3:
                break
        _, expected, v = self._expected(x, y, held)
        return _log_student(self.i[held] - expected, v)

    def _expected(self, x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        k = np.exp(np.clip(x[0] - 2 * x[1] * self.s2[rows], -60, 60))
        expected = k * (y[rows] + x[2] * self.filled[rows])
        return k, expected, self.a**2 * (self.sigma[rows] ** 2 + (self.b[rows] * expected) ** 2)


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
