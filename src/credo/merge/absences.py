"""Systematic absences and centres of symmetry weighed by likelihood, robust to what dynamical scattering fills in."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp
from scipy.stats import chi2

__all__ = ["Distribution", "absence_evidence", "centric_share", "intensity_levels"]

#: How strong "absent" reflections may be, relative to the mean of all: multiple scattering fills them.
VIOLATIONS = (0.002, 0.01, 0.03, 0.08, 0.2)
#: An absent reflection may still be anything, so that none settles the matter alone.
_WILD = 0.03
_QUANTILES = (np.arange(96) + 0.5) / 96
#: Intensities at these quantiles of Wilson's two distributions, of mean 1.
_LEVELS = {"acentric": -np.log1p(-_QUANTILES), "centric": np.asarray(chi2.ppf(_QUANTILES, 1))}


class Distribution:
    """Densities of z = I/⟨I⟩ (n,) measured with an additive error σ (n,) and a relative error (n,)."""

    def __init__(self, z: np.ndarray, sigma: np.ndarray, relative: np.ndarray) -> None:
        self.z, self.sigma, self.relative = z, sigma, relative

    def log_density(self, kind: str, mean: float = 1.0, filled: float = 0.0) -> np.ndarray:
        """ln p (n,): intensities of mean ``mean``, "acentric" (exponential) or "centric" (χ² of one degree).

        ``filled``: the part of every intensity that multiple scattering has brought, alike for all.
        """
        level = _LEVELS[kind]
        t = mean * ((1 - filled) * level + filled)
        # the levels stand for all that lies between them
        between = np.gradient(t)
        v = self.sigma[:, None] ** 2 + (self.relative[:, None] * t) ** 2 + between**2
        log = -0.5 * (self.z[:, None] - t) ** 2 / v - 0.5 * np.log(2 * np.pi * v)
        return logsumexp(log, axis=1) - np.log(len(t))


def intensity_levels(s2: np.ndarray, intensity: np.ndarray, n_shells: int = 20) -> np.ndarray:
    """⟨I⟩ (n,) at each reflection's resolution s2 (n,) [Å⁻²], interpolated between shells of equal numbers."""
    parts = np.array_split(np.argsort(s2, kind="stable"), int(np.clip(len(s2) // 40, 1, n_shells)))
    x = np.array([s2[p].mean() for p in parts])
    mean = np.array([max(float(intensity[p].mean()), 0.0) for p in parts])
    mean = np.maximum(mean, 0.01 * mean.max() + 1e-30)
    return np.exp(np.interp(s2, x, np.log(mean)))


def absence_evidence(present: np.ndarray, absent: np.ndarray) -> float:
    """ln of the likelihood that the reflections are absent against that they are not.

    present: (n,) ln p of each under an ordinary intensity; absent: (v, n) ln p for each strength of violation, all of
    which are equally likely beforehand; one of them holds for all n.
    """
    if not len(present):
        return 0.0
    mixed = np.logaddexp(np.log1p(-_WILD) + absent, np.log(_WILD) + present)
    return float(logsumexp((mixed - present).sum(axis=1)) - np.log(len(absent)))


def centric_share(data: Distribution) -> tuple[float, float]:
    """The share f of centric reflections, 0 to 1, and its standard deviation, whatever multiple scattering fills in."""
    f = np.linspace(0, 1, 101)
    log = []
    for filled in (0.0, 0.03, 0.07, 0.12, 0.2):
        acentric = data.log_density("acentric", filled=filled)
        ratio = np.exp(np.clip(data.log_density("centric", filled=filled) - acentric, -30, 30))
        log.append([float(np.log1p(x * (ratio - 1)).sum() + acentric.sum()) for x in f])
    curve = np.array(log)
    posterior = np.exp(curve - curve.max()).sum(axis=0)
    posterior /= posterior.sum()
    mean = float((f * posterior).sum())
    return mean, float(np.sqrt(((f - mean) ** 2 * posterior).sum()))
