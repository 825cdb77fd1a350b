"""Two-beam dynamical diffraction integrated over the rocking curve: how much weaker than kinematical it is."""

from __future__ import annotations

import numpy as np
from scipy.special import j0

from credo.physics.electron import relativistic_mass, voltage_kv

__all__ = ["blackman", "phase_per_amplitude"]

_X = np.linspace(0, 40, 8001)
_J0 = j0(2 * _X)
_INTEGRAL = np.concatenate([[0.0], np.cumsum(0.5 * (_J0[1:] + _J0[:-1]) * (_X[1] - _X[0]))])
_MEAN = np.concatenate([[1.0], _INTEGRAL[1:] / _X[1:]])


def blackman(a: np.ndarray) -> np.ndarray:
    """(1/A) ∫₀^A J₀(2x) dx (n,) for A (n,) = π t/ξ ≥ 0: M. Blackman, Proc. R. Soc. Lond. A 173 (1939) 68.

    1 − A²/3 for thin crystals; 1/2A for thick ones, where intensities go with |F| instead of |F|².
    """
    a = np.asarray(a, dtype=float)
    return np.where(a < _X[-1], np.interp(a, _X, _MEAN), 0.5 / np.maximum(a, 1.0))


def phase_per_amplitude(wavelength: float, volume: float) -> float:
    """A/(t |F|) = π/(ξ |F|) = λγ/V [1/(Å Å)] of a crystal of cell volume V [Å³], F [Å] in Born's approximation without
    γ, wavelength λ [Å], γ = m/m₀."""
    return wavelength * relativistic_mass(voltage_kv(wavelength)) / volume
