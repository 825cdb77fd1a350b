"""The weighting scheme of SHELXL, and the search for a and b that make the fit equally good everywhere."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from credo.solve.refine.model import Weights

__all__ = ["bins_of_goodness", "optimised_weights", "weights_of"]


def weights_of(
    f2: np.ndarray, sigma: np.ndarray, fc2: np.ndarray, k: float, s: np.ndarray, scheme: Weights
) -> np.ndarray:
    """w (n,) of residuals Fo² − k Fc² on the scale of Fo²: the scheme is on that of Fc², w(Fo²) = w/k².

    s (n,) = sin θ/λ [Å⁻¹].
    """
    p = scheme.f * np.maximum(f2 / k, 0) + (1 - scheme.f) * fc2
    variance = (sigma / k) ** 2 + (scheme.a * p) ** 2 + scheme.b * p + scheme.d + scheme.e * s
    return 1 / np.maximum(variance, 1e-30) / k**2


def bins_of_goodness(chi2: np.ndarray, fc2: np.ndarray, n_parameters: int, n_bins: int = 10) -> np.ndarray:
    """Goodness of fit (n_bins,) of equally many reflections each, from weak Fc² to strong."""
    parts = np.array_split(np.argsort(fc2), n_bins)
    spare = len(fc2) / max(len(fc2) - n_parameters, 1)
    return np.sqrt([spare * chi2[p].mean() if len(p) else 1.0 for p in parts])


def optimised_weights(
    f2: np.ndarray, sigma: np.ndarray, fc2: np.ndarray, k: float, s: np.ndarray, n_parameters: int, start: Weights
) -> Weights:
    """a and b that bring the goodness of fit of ten classes of Fc² nearest to 1: least Σ ln² GooF, a < 0.5, b ≥ 0."""
    typical = max(float(np.median(fc2)), 1e-12)
    n_bins = int(np.clip(len(f2) // 20, 2, 10))

    def scheme(x: np.ndarray) -> Weights:
        a, b = 0.5 * np.sin(x[0]) ** 2, typical * x[1] ** 2
        return Weights(float(a), float(b), start.d, start.e, start.f)

    def unevenness(x: np.ndarray) -> float:
        w = weights_of(f2, sigma, fc2, k, s, scheme(x))
        goodness = bins_of_goodness(w * (f2 - k * fc2) ** 2, fc2, n_parameters, n_bins)
        return float(np.sum(np.log(np.maximum(goodness, 1e-6)) ** 2))

    starts = [(0.3, 0.1), (0.6, 0.5), (0.1, 1.0), (0.8, 0.05)]
    found = [minimize(unevenness, x, method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-6}) for x in starts]
    best = scheme(min(found, key=lambda r: r.fun).x)
    return Weights(round(best.a, 4), round(best.b, 4), start.d, start.e, start.f)
