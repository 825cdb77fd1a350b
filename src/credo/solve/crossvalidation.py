"""R1 of reflections that had no part in the least squares: what tells a right structure from a flexible one."""

from __future__ import annotations

import numpy as np

from credo.model import CredoError, Structure
from credo.physics.structure_factors import structure_factors
from credo.solve.least_squares import FitState, LeastSquaresSettings, Observed, fit_structure

__all__ = ["left_out_r1"]

#: Without the reflections left out, least squares forgets them within so many cycles.
_CYCLES = 6


def left_out_r1(
    structure: Structure, observed: Observed, wavelength: float, folds: int = 4, weight_a: float = 0.2
) -> float:
    """Σ|Fo − Fc|/ΣFo over all Fo² > 2σ, each Fc from least squares without its part of the data; inf where that fails.

    Each reflection is left out once (Geisser 1975). Wrong atoms follow the data that they were fitted to and no others.
    """
    settings = LeastSquaresSettings(cycles=_CYCLES, weight_a=weight_a, converged=0.05, quick=True, extinction=True)
    part = np.random.default_rng(0).permutation(len(observed.f2)) % folds
    gap = total = 0.0
    for n in range(folds):
        kept, out = part != n, (part == n) & (observed.f2 > 2 * observed.sigma)
        try:
            fit = fit_structure(
                structure, Observed(observed.hkl[kept], observed.f2[kept], observed.sigma[kept]), wavelength, settings
            )
        except CredoError:
            return float("inf")
        fo = np.sqrt(observed.f2[out] / fit.k)
        h = observed.hkl[out]
        fc = _extinguished(np.abs(structure_factors(fit.structure, h)), fit, h, wavelength)
        gap += float(np.abs(fo - fc).sum())
        total += float(fo.sum())
    return gap / total if total > 0 else float("inf")


def _extinguished(fc: np.ndarray, fit: FitState, hkl: np.ndarray, wavelength: float) -> np.ndarray:
    """Fc/(1 + 0.001 x Fc² λ³/sin 2θ)^¼ (n,)."""
    sine = 0.5 * wavelength / fit.structure.cell.d_spacing(hkl)
    sin2 = 2 * sine * np.sqrt(1 - sine**2)
    return fc * (1 + 1e-3 * fit.extinction * fc**2 * wavelength**3 / sin2) ** -0.25
