"""A phase as electrons see it: every node of its reciprocal lattice with its structure factor, and how a crystal of
some thickness scatters into it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import gemmi
import numpy as np

from credo.io.samples import SAMPLES, sample
from credo.io.structure import read_structure
from credo.model import Structure
from credo.physics.electron import voltage_kv
from credo.physics.ewald import miller_indices
from credo.physics.structure_factors import structure_factors
from credo.physics.symmetry import group_operations, unique_reflections
from credo.physics.two_beam import blackman

__all__ = ["Lattice", "lattice_of", "structure_of"]

#: Nodes at most: beyond, the resolution is cut.
_MOST = 600_000
#: Intensity that multiple scattering takes to every node, absent ones included: share of the mean of its shell.
_LEAK = 0.01


@dataclass(frozen=True)
class Lattice:
    """Nodes by growing |q|: ``hkl`` (n, 3); ``q`` (n, 3) [Å⁻¹] = B h; ``f2`` (n,) |F|² [Å²]; ``d_min`` [Å]."""

    structure: Structure
    hkl: np.ndarray
    q: np.ndarray
    q2: np.ndarray
    f2: np.ndarray
    d_min: float

    def strength(self, thickness_um: float, wavelength: float, dynamical: float, key: int) -> np.ndarray:
        """∫ (I_g/I_0) ds (n,) [Å⁻¹] of a crystal: kinematical π² t/ξ², ξ = π V/(λ γ |F|).

        ``dynamical`` > 0: times Blackman's two-beam factor (1/A)∫₀^A J₀(2x) dx, A = π t/ξ (Proc. R. Soc. A 173, 1939),
        plus what multiple scattering brings from all others, times a scatter of that relative rms, own to each node
        of the crystal ``key``.
        """
        t = 1e4 * thickness_um
        gamma = 1 + voltage_kv(wavelength) / 510.99895
        per_f = wavelength * gamma / (np.pi * self.structure.cell.volume)
        inverse2 = per_f**2 * self.f2
        kinematical = np.pi**2 * t * inverse2
        if dynamical <= 0:
            return kinematical
        out = kinematical * blackman(np.pi * t * np.sqrt(inverse2))
        out = (1 - _LEAK) * out + _LEAK * self._shell_mean(out)
        rms = np.sqrt(np.log1p(dynamical**2))
        rng = np.random.default_rng([key & 0x7FFFFFFF, key >> 31, 31])
        return out * np.exp(rms * rng.normal(size=len(out)) - 0.5 * rms**2)

    def _shell_mean(self, value: np.ndarray) -> np.ndarray:
        shell = np.minimum((np.sqrt(self.q2) * 20).astype(int), 199)
        mean = np.bincount(shell, value, 200) / np.maximum(np.bincount(shell, minlength=200), 1)
        return mean[shell]

    @cached_property
    def strongest(self) -> np.ndarray:
        """Rows of the 40 strongest nodes: they make the diffraction contrast of images."""
        return np.argsort(self.f2)[::-1][:40]


def structure_of(name: str) -> Structure:
    """A shipped sample, or the structure of a CIF."""
    return sample(name) if name in SAMPLES or not Path(name).exists() else read_structure(Path(name))


def lattice_of(structure: Structure, d_min: float) -> Lattice:
    """All nodes to ``d_min`` [Å] (less where there would be too many), with |F|² of one of each set of equivalents."""
    most = 4 / 3 * np.pi * structure.cell.volume / _MOST
    d_min = max(d_min, float(most ** (1 / 3)))
    centring = structure.space_group[0] if structure.space_group[0] in "PABCIFR" else "P"
    hkl = miller_indices(structure.cell.B, d_min, centring)
    group = gemmi.SpaceGroup(structure.space_group)
    unique, back = unique_reflections(hkl, group_operations(group).rot)
    f2 = np.abs(structure_factors(structure, unique)) ** 2
    q = hkl @ structure.cell.B.T
    q2 = np.einsum("ij,ij->i", q, q)
    order = np.argsort(q2, kind="stable")
    return Lattice(structure, hkl[order], q[order], q2[order], f2[back][order], d_min)
