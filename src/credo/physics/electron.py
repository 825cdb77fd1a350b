"""Electrons: relativistic wavelength and voltage (CODATA 2018 constants)."""

from __future__ import annotations

import numpy as np

__all__ = ["interaction_constant", "relativistic_mass", "voltage_kv", "wavelength"]

#: h [J s], m [kg], e [C], c [m/s].
_H, _M, _E, _C = 6.62607015e-34, 9.1093837015e-31, 1.602176634e-19, 299792458.0


def wavelength(kilovolts: float) -> float:
    """λ [Å] = h / √(2 m e V (1 + eV/2mc²))."""
    ev = _E * kilovolts * 1e3
    return float(1e10 * _H / np.sqrt(2 * _M * ev * (1 + ev / (2 * _M * _C**2))))


def voltage_kv(wavelength_angstrom: float) -> float:
    """The inverse of :func:`wavelength` [kV]."""
    pc = _H * _C / (wavelength_angstrom * 1e-10)
    rest = _M * _C**2
    return float((np.sqrt(pc**2 + rest**2) - rest) / _E / 1e3)


def relativistic_mass(kilovolts: float) -> float:
    """m/m₀ = 1 + eV/m₀c²."""
    return float(1 + _E * kilovolts * 1e3 / (_M * _C**2))


def interaction_constant(kilovolts: float) -> float:
    """σ = 2π m_rel e λ / h² [1/(V Å)]."""
    ev = _E * kilovolts * 1e3
    mass = _M * (1 + ev / (_M * _C**2))
    return float(2 * np.pi * mass * _E * wavelength(kilovolts) * 1e-10 / _H**2 * 1e-10)
