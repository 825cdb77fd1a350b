"""How far to trust a fit: two halves of the reflections fitted apart, and what their difference says of the errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.orient.observations import Observations
from credo.orient.rocking import RockingFit, fit_rocking

__all__ = ["HalfSets", "half_of", "half_set_factor", "half_sets", "mean_error_deg"]

#: Median of χ² with two degrees of freedom.
_MEDIAN_CHI2 = 2 * np.log(2)


@dataclass(frozen=True, eq=False)
class HalfSets:
    """``factor``: by which the fits' own standard uncertainties must be multiplied to explain how the halves differ;
    ``error_deg``: the mean error of a frame of the whole fit that follows."""

    factor: float
    error_deg: float


def half_sets(obs: Observations, fit: RockingFit, axis: np.ndarray, start: np.ndarray) -> HalfSets:
    """Both halves begin at ``start`` (f, 3), as the whole did: neither has seen the other's answer."""
    first = half_of(obs.hkl)
    parts = [obs.select(part) for part in (first, ~first)]
    fits = [fit_rocking(part, start, axis, fit, iterations=20) for part in parts]
    gap = fits[0].zone - fits[1].zone
    difference = np.stack([np.einsum("fi,fi->f", gap, t) for t in (fit.first, fit.second)], axis=1)
    own = fits[0].covariance + fits[1].covariance
    known = np.isfinite(own[:, 0, 0]) & np.isfinite(fit.covariance[:, 0, 0])
    if known.sum() < 5:
        return HalfSets(float("inf"), float("inf"))
    factor = half_set_factor(difference[known], own[known])
    spread = np.sqrt(np.trace(fit.covariance[known], axis1=1, axis2=2)) * factor
    return HalfSets(factor, mean_error_deg(spread))


def half_set_factor(difference: np.ndarray, covariance: np.ndarray) -> float:
    """By which standard uncertainties must be multiplied to explain differences (f, 2) of ``covariance`` (f, 2, 2)."""
    chi2 = np.einsum("fi,fij,fj->f", difference, np.linalg.inv(covariance), difference)
    return float(np.sqrt(np.median(chi2) / _MEDIAN_CHI2))


def mean_error_deg(spread: np.ndarray) -> float:
    """Of rms lengths (f,) [rad]: the mean length of a vector of two equal normal components is √(π/4) of its rms."""
    return float(np.degrees(np.mean(spread)) * np.sqrt(np.pi / 4))


def half_of(hkl: np.ndarray) -> np.ndarray:
    """Whether a reflection (n,) is in the first half: by a hash of its index, the same for both Friedel mates."""
    code = hkl @ np.array([73_856_093, 19_349_663, 83_492_791])
    code = np.abs(code)
    code ^= code >> 13
    return (code * 1_274_126_177 >> 7) % 2 == 0
