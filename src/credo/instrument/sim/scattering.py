"""What is not Bragg spots: the smooth scattering around the direct beam, and the rings of a gold film."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from credo.instrument.sim.lattice import lattice_of, structure_of

__all__ = ["CRYSTAL_PATH_UM", "FILM_PATH_UM", "Q_TOP", "TABLE", "diffuse_profile", "gold_profile", "gold_share"]

#: Tables of radial profiles reach to this [Å⁻¹], with so many entries.
Q_TOP, TABLE = 4.0, 4001
#: Mean free paths [µm] for the scattering that the profile describes: carbon film, crystals (200 kV).
FILM_PATH_UM, CRYSTAL_PATH_UM = 0.17, 0.22


@lru_cache(maxsize=64)
def diffuse_profile(core: float, tail: float = 0.80, reach: float = 1.1) -> np.ndarray:
    """Density per Å⁻² (``TABLE``,) of scattered electrons at |q|, normalised to one electron.

    (q² + core²)^−tail · exp(−(q/reach)²/(1 + q/reach)): inelastic core, thermal and amorphous scattering beyond. Its
    exponents were fitted to the radial medians of measured patterns (docs/simulator.md).
    """
    q = np.linspace(0, Q_TOP, TABLE)
    value = (q**2 + core**2) ** -tail * np.exp(-((q / reach) ** 2) / (1 + q / reach))
    return value / (2 * np.pi * np.trapezoid(value * q, q))


@lru_cache(maxsize=16)
def gold_share(wavelength: float) -> float:
    """Share of the beam that goes into the rings of :func:`gold_profile`."""
    q = np.linspace(0, Q_TOP, TABLE)
    return float(2 * np.pi * np.trapezoid(gold_profile(wavelength) * q, q))


@lru_cache(maxsize=16)
def gold_profile(wavelength: float, thickness_nm: float = 4.0, width: float = 0.004) -> np.ndarray:
    """Electrons per Å⁻² (``TABLE``,) of randomly oriented gold grains, per electron of the beam.

    A node of a grain in any orientation crosses the sphere with density 1/2q in s: ring = π² t/ξ² / 2q, spread over its
    circumference and a Gaussian of rms ``width`` [Å⁻¹], which grains of about 9 nm give. The table is of tan 2θ/λ,
    which a flat detector sees, as it does for spots.
    """
    gold = lattice_of(structure_of("gold"), 0.45)
    total = gold.strength(1e-3 * thickness_nm, wavelength, 0.0, 0)
    q = np.linspace(0, Q_TOP, TABLE)
    out = np.zeros(TABLE)
    radius, which = np.unique(np.round(np.sqrt(gold.q2), 6), return_inverse=True)
    ring = np.bincount(which, total) / (2 * radius)
    for q0, share in zip(np.tan(2 * np.arcsin(0.5 * wavelength * radius)) / wavelength, ring):
        peak = np.exp(-0.5 * ((q - q0) / width) ** 2) / (width * np.sqrt(2 * np.pi))
        out += share * peak / (2 * np.pi * q0)
    return out
