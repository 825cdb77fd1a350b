"""Sigmas that the scatter of equivalents bears out: σ'² = a² (σ² + (b I)²), b itself a power of I."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

__all__ = ["NU", "chi_squares", "fit_error_model", "trimmed_chi2"]

#: Degrees of freedom of Student's t of a residual: a Gaussian with some per cent of outliers.
NU = 5.0
#: Residuals beyond are outliers to the estimate of the width [σ], and ⟨z²⟩ of a Gaussian cut there.
_CUT, _INSIDE = 3.5, 0.9920
#: More residuals teach nothing.
_MOST = 60_000


@dataclass(frozen=True)
class ErrorModel:
    """σ'² = a² (σ² + (b I)²) with b = ``b`` (I/``typical``)^``c``: dynamical scattering disturbs strong reflections
    more (c > 0) or less than in proportion."""

    a: float
    b: float
    c: float = 0.0
    typical: float = 1.0

    def relative(self, mean: np.ndarray) -> np.ndarray:
        """b at mean intensities (m,) on the common scale."""
        return self.b * np.clip(mean / self.typical, 0.02, 50.0) ** self.c

    def variance(self, sigma: np.ndarray, expected: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """σ'² (n,) of observations that are expected to be ``expected``, ``mean`` on the common scale."""
        return self.a**2 * (sigma**2 + (self.relative(mean) * np.maximum(expected, 0)) ** 2)


def fit_error_model(
    residual: np.ndarray,
    sigma: np.ndarray,
    expected: np.ndarray,
    mean: np.ndarray,
    share: np.ndarray,
    start: ErrorModel,
    exact: bool = False,
) -> ErrorModel:
    """The model for observations (n,) that differ by ``residual`` from what their equivalents lead one to expect.

    share: the part that an observation has in its own mean, by which its residual is too small. a, b, c make the
    likelihood under Student's t highest, without a cap; with ``exact`` they bring χ² near 1 in twelve bins of
    intensity.
    """
    pick = np.unique(np.linspace(0, len(residual) - 1, _MOST if exact else _MOST // 5).astype(int))
    r2 = residual[pick] ** 2 / np.maximum(1 - share[pick], 0.02)
    sigma, expected, mean = sigma[pick], expected[pick], mean[pick]
    typical = float(np.mean(np.maximum(mean, 0))) or 1.0
    bins = np.array_split(np.argsort(mean, kind="stable"), int(np.clip(len(mean) // 100, 1, 12)))

    def model(x: np.ndarray) -> ErrorModel:
        return ErrorModel(float(np.exp(x[0])), float(np.exp(x[1])), float(x[2]), typical)

    def unlikely(x: np.ndarray) -> float:
        v = model(x).variance(sigma, expected, mean)
        return float(np.mean(0.5 * np.log(v) + (NU + 1) / 2 * np.log1p(r2 / (NU * v)))) + 1e-3 * x[2] ** 2

    def uneven(x: np.ndarray) -> float:
        z2 = r2 / model(x).variance(sigma, expected, mean)
        return float(np.mean([np.log(trimmed_chi2(z2[k])) ** 2 for k in bins])) + 1e-3 * x[2] ** 2

    x = np.array([np.log(start.a), np.log(max(start.b, 0.01)), start.c])
    first = np.vstack([x, x + np.diag([0.2, 0.4, 0.3])])
    options = {"initial_simplex": first, "xatol": 5e-3, "fatol": 1e-6, "maxfev": 150}
    x = minimize(uneven if exact else unlikely, x, method="Nelder-Mead", options=options).x
    found = model(x)
    wide = 1.0 if exact else float(np.sqrt(trimmed_chi2(r2 / found.variance(sigma, expected, mean))))
    return ErrorModel(found.a * wide, found.b if found.b > 2e-3 else 0.0, found.c, typical)


def trimmed_chi2(z2: np.ndarray) -> float:
    """The scale v of z² (n,) such that those with z² < 3.5² v have the mean that a Gaussian's have."""
    if not len(z2):
        return 1.0
    v = max(float(np.median(z2)) / 0.455, 1e-12)
    for _ in range(12):
        inside = z2[z2 < _CUT**2 * v]
        v = max(float(inside.mean()) / _INSIDE, 1e-12)
    return v


def chi_squares(z2: np.ndarray, by: np.ndarray, bins: int = 10) -> list[tuple[float, float]]:
    """(mean of ``by``, χ²) in bins of equal numbers of rising ``by``; outliers are left out as above."""
    parts = np.array_split(np.argsort(by, kind="stable"), max(1, min(bins, len(by) // 30)))
    return [(float(by[p].mean()), trimmed_chi2(z2[p])) for p in parts if len(p)]
