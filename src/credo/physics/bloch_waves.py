"""Dynamical diffraction: the waves behind a crystal plate by Bloch's theorem, exactly or in a Krylov space.

potential = scattering_potential(structure, kilovolts=200, d_min=0.8)
pattern = diffract(potential, ub, thickness=np.array([300.0, 600.0]))     # hkl, s, intensity (2, n)

High-energy, forward-scattering approximation (Humphreys 1979, Rep. Prog. Phys. 42, 1825): ψ(t) = exp(iπ t A/K) ψ(0),
A_gg = 2 K s_g, A_gh = U_{g−h}, ψ(0) = 1 for the direct beam. Lengths in Å, U = 2 m e V/h² in Å⁻². The thickness is
the path along the beam; terms of order g_n/K, which a surface across the beam makes small, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from credo.kernels.bloch import couple, near_sphere, propagate
from credo.model import Cell, Structure, UnreadableInput
from credo.physics.electron import relativistic_mass, wavelength
from credo.physics.ewald import miller_indices
from credo.physics.structure_factors import structure_factors

__all__ = [
    "Pattern",
    "Potential",
    "diffract",
    "kinematical_intensities",
    "near_beams",
    "scattering_potential",
    "waves",
    "waves_exact",
]

#: Largest table of Fourier coefficients and largest number of beams: what fits into memory and time.
_MOST_COEFFICIENTS, _MOST_BEAMS = 40_000_000, 6000


@dataclass(frozen=True)
class Potential:
    """Fourier coefficients of a crystal's scattering potential: V(r) ∝ Σ U_g exp(2πi g·r).

    ``re``, ``im``: U_g [Å⁻²] by index, the origin in the middle (``im`` empty where the origin is a centre of symmetry
    and U is real); ``beams`` (n, 3): indices to ``d_min`` [Å], 000 first; ``wavenumber``: K = √(1/λ² + U_0) [Å⁻¹].
    """

    cell: Cell
    re: np.ndarray
    im: np.ndarray
    beams: np.ndarray
    d_min: float
    wavelength: float

    @property
    def mean(self) -> float:
        """U_0 [Å⁻²], the mean inner potential."""
        return float(self.re[tuple(n // 2 for n in self.re.shape)])

    @property
    def wavenumber(self) -> float:
        """K in the crystal [Å⁻¹]."""
        return float(np.sqrt(1 / self.wavelength**2 + self.mean))

    def rows(self, hkl: np.ndarray) -> np.ndarray:
        """Where indices (n, 3) stand in ``beams``; −1 for those that do not."""
        half = np.array(self.re.shape) // 2
        at = np.full(self.re.shape, -1)
        at[tuple((self.beams + half).T)] = np.arange(len(self.beams))
        inside = np.all(np.abs(hkl) <= half, axis=1)
        return np.where(inside, at[tuple((np.where(inside[:, None], hkl, 0) + half).T)], -1)

    def coefficients(self, hkl: np.ndarray) -> np.ndarray:
        """U_g (n,) complex [Å⁻²] of indices (n, 3) within the table."""
        at = tuple((np.asarray(hkl) + np.array(self.re.shape) // 2).T)
        return self.re[at] + (1j * self.im[at] if self.im.size else 0j)


@dataclass(frozen=True)
class Pattern:
    """One orientation: ``hkl`` (n, 3) with 000 first, excitation errors ``s`` (n,) [Å⁻¹], positive inside the Ewald
    sphere, ``intensity`` (n_thicknesses, n) as shares of the incident beam."""

    hkl: np.ndarray
    s: np.ndarray
    intensity: np.ndarray


def scattering_potential(structure: Structure, kilovolts: float, d_min: float) -> Potential:
    """The potential with beams to ``d_min`` [Å], and so coefficients to d_min/2.

    U_g = m/m₀ · F_{−g}/(π V), F [Å] with Debye-Waller factors: crystallography's F_g = Σ f exp(+2πi g·r) is the
    coefficient of exp(−2πi g·r), hence the sign.
    """
    group = gemmi.SpaceGroup(structure.space_group)
    centring = "P" if group.ext == "R" else group.centring_type()
    half = 2 * np.maximum(np.floor(np.array(structure.cell.lengths) / d_min).astype(int), 1)
    shape = tuple(2 * half + 1)
    if np.prod(shape) > _MOST_COEFFICIENTS:
        raise UnreadableInput(
            f"a cell of {structure.cell.volume:.0f} Å³ has too many coefficients to {d_min:g} Å for Bloch waves",
            "give a larger d_min",
        )
    beams, g = (miller_indices(structure.cell.B, d, centring) for d in (d_min, d_min / 2))
    upper = (g[:, 2] > 0) | ((g[:, 2] == 0) & ((g[:, 1] > 0) | ((g[:, 1] == 0) & (g[:, 0] > 0))))
    g = np.concatenate([np.zeros((1, 3), dtype=int), g[upper & np.all(np.abs(g) <= half, axis=1)]])
    u = relativistic_mass(kilovolts) * structure_factors(structure, g) / (np.pi * structure.cell.volume)
    re, im = np.zeros(shape), np.zeros(shape)
    plus, minus = tuple((g + half).T), tuple((half - g).T)
    re[plus] = re[minus] = u.real
    im[plus], im[minus] = -u.imag, u.imag
    if np.abs(im).max() < 1e-9 * np.abs(re).max():
        im = np.zeros((0, 0, 0))
    beams = np.concatenate([np.zeros((1, 3), dtype=int), beams]).astype(np.int64)
    return Potential(structure.cell, re, im, beams, d_min, wavelength(kilovolts))


def near_beams(potential: Potential, ub: np.ndarray, s_max: float) -> tuple[np.ndarray, np.ndarray]:
    """(hkl (n, 3), s (n,) [Å⁻¹]) of the direct beam and all within ``s_max`` [Å⁻¹] of the Ewald sphere, for UB (3, 3)
    of the crystal as it lies, the beam along +z."""
    rows, s = np.empty(len(potential.beams), dtype=np.int64), np.empty(len(potential.beams))
    n = near_sphere(potential.beams, np.ascontiguousarray(ub, dtype=float), potential.wavenumber, s_max, rows, s)
    if n > _MOST_BEAMS:
        raise UnreadableInput(f"{n} beams within {s_max:g} Å⁻¹ are too many for Bloch waves", "give a smaller s_max")
    return potential.beams[rows[:n]], s[:n]


def _structure_matrix(potential: Potential, hkl: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = len(hkl)
    a = np.zeros((n, n))
    b = np.zeros((n, n) if potential.im.size else (1, 1))
    couple(np.asarray(hkl, dtype=np.int64), s, potential.wavenumber, potential.re, potential.im, a, b)
    return a, b


def waves(
    potential: Potential, hkl: np.ndarray, s: np.ndarray, thickness: np.ndarray, error: float = 1e-4
) -> np.ndarray:
    """ψ_g(t) (n_t, n) complex of beams hkl (n, 3), 000 first, without absorption: in a Krylov space, whose size is
    raised until the norm of what leaves it is below ``error``. Its slow equivalent is :func:`waves_exact`."""
    a, b = _structure_matrix(potential, hkl, s)
    tau = np.pi * np.asarray(thickness, dtype=float) / potential.wavenumber
    spread = 2 * potential.wavenumber * float(np.ptp(s))
    return propagate(a, b, len(hkl), potential.im.size == 0, tau, spread, error)


def waves_exact(
    potential: Potential, hkl: np.ndarray, s: np.ndarray, thickness: np.ndarray, absorption: float = 0.0
) -> np.ndarray:
    """ψ_g(t) (n_t, n) complex by eigenvectors of the whole matrix.

    ``absorption`` κ: an imaginary potential in proportion, U → (1 + iκ) U, U_0 included (Hashimoto, Howie & Whelan
    1962, Proc. R. Soc. A 269, 80); A is then not Hermitian.
    """
    a, b = _structure_matrix(potential, hkl, s)
    matrix = a + 1j * b if potential.im.size else a
    tau = np.pi * np.asarray(thickness, dtype=float) / potential.wavenumber
    if absorption:
        coupling = matrix - np.diag(np.diag(matrix)) + potential.mean * np.eye(len(hkl))
        values, vectors = np.linalg.eig(matrix + 1j * absorption * coupling)
        start = np.linalg.solve(vectors, np.eye(len(hkl))[0])
    else:
        values, vectors = np.linalg.eigh(matrix)
        start = vectors[0].conj()
    return (np.exp(1j * np.outer(tau, values)) * start) @ vectors.T


def diffract(
    potential: Potential, ub: np.ndarray, thickness: np.ndarray, s_max: float = 0.01, absorption: float = 0.0
) -> Pattern:
    """The pattern of a crystal with UB (3, 3) as it lies, the beam along +z, for every thickness (n_t,) [Å]."""
    hkl, s = near_beams(potential, ub, s_max)
    psi = waves_exact(potential, hkl, s, thickness, absorption) if absorption else waves(potential, hkl, s, thickness)
    return Pattern(hkl, s, np.abs(psi) ** 2)


def kinematical_intensities(potential: Potential, hkl: np.ndarray, s: np.ndarray, thickness: np.ndarray) -> np.ndarray:
    """(π t |U_g|/K)² sinc²(t s) (n_t, n): the limit of thin crystals; of the direct beam, nought."""
    t = np.asarray(thickness, dtype=float)[:, None]
    u = np.abs(potential.coefficients(hkl)) * np.any(hkl != 0, axis=1)
    return (np.pi * t * u / potential.wavenumber * np.sinc(t * s)) ** 2
