"""The wavelength of electrons from the high tension, and back."""

from __future__ import annotations

import math

__all__ = ["voltage_of", "wavelength_of"]

# CODATA 2018: h / sqrt(2 m e) in Å √V, and e / (2 m c²) in 1/V
_H = 12.264259660
_R = 0.97847554e-6


def wavelength_of(kilovolt: float) -> float:
    """λ [Å] = h / sqrt(2 m e V (1 + e V / 2 m c²)) of electrons at ``kilovolt`` [kV]."""
    volt = 1e3 * kilovolt
    return _H / math.sqrt(volt * (1 + _R * volt))


def voltage_of(wavelength: float) -> float:
    """High tension [kV] of electrons of ``wavelength`` [Å]: the positive root of R V² + V − (H/λ)² = 0."""
    c = (_H / wavelength) ** 2
    return 1e-3 * (math.sqrt(1 + 4 * _R * c) - 1) / (2 * _R)
