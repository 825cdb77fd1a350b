"""Kinematical electron structure factors of a structure, all atoms of the cell, in one matrix product per block."""

from __future__ import annotations

import gemmi
import numpy as np

from credo.model import Structure, UnreadableInput
from credo.physics.symmetry import group_operations

__all__ = ["electron_factor", "structure_factors"]


def electron_factor(element: str, s2: np.ndarray) -> np.ndarray:
    """f_e (n,) [Å] at (sin θ/λ)² = s2 [Å⁻²]: Int. Tables C, 4.3.2.2 (Peng), as gemmi holds them; D is H."""
    kind = gemmi.Element("H" if element == "D" else element)
    if kind.atomic_number == 0 or kind.c4322 is None:
        raise UnreadableInput(f"{element!r} is not an element with electron scattering factors")
    c = np.array(kind.c4322.get_coefs())
    return np.exp(-np.outer(s2, c[5:])) @ c[:5]


def structure_factors(structure: Structure, hkl: np.ndarray, block: int = 20_000) -> np.ndarray:
    """F (n,) complex [Å]: Σ over atoms and operations of occ f T exp(2πi h·x), for indices (n, 3)."""
    group = gemmi.SpaceGroup(structure.space_group)
    ops = group_operations(group)
    centrings = np.array(list(group.operations().cen_ops), dtype=float) / gemmi.Op.DEN
    s2 = 0.25 / structure.cell.d_spacing(hkl) ** 2
    h = np.asarray(hkl, dtype=float)
    star = np.linalg.norm(structure.cell.B, axis=0)
    factors = {e: electron_factor(e, s2) for e in {a.element for a in structure.atoms}}
    total = np.zeros(len(h), dtype=complex)
    for start in range(0, len(h), block):
        part = slice(start, start + block)
        for atom in structure.atoms:
            order = _site_order(atom.xyz, ops.rot, ops.trans, centrings)
            f = atom.occupancy / order * factors[atom.element][part]
            for r, t in zip(ops.rot, ops.trans):
                hr = h[part] @ r
                phase = np.exp(2j * np.pi * (hr @ atom.xyz + h[part] @ t))
                total[part] += f * _thermal(atom, hr * star, s2[part]) * phase
        total[part] *= np.exp(2j * np.pi * (h[part] @ centrings.T)).sum(axis=1)
    return total


def _thermal(atom, hs: np.ndarray, s2: np.ndarray) -> np.ndarray:
    """exp(−8π² U s²), or exp(−2π² Σ U_ij a*_i a*_j h_i h_j)."""
    if atom.u_aniso is None:
        return np.exp(-8 * np.pi**2 * atom.u_iso * s2)
    u = atom.u_aniso
    x, y, z = hs.T
    q = u[0] * x * x + u[1] * y * y + u[2] * z * z + 2 * (u[3] * x * y + u[4] * x * z + u[5] * y * z)
    return np.exp(-2 * np.pi**2 * q)


def _site_order(xyz: np.ndarray, rot: np.ndarray, trans: np.ndarray, centrings: np.ndarray) -> int:
    """Operations that leave a position where it is, within 0.002 of a cell edge."""
    images = ((rot @ xyz + trans)[:, None] + centrings[None]).reshape(-1, 3) - xyz
    images -= np.rint(images)
    return max(1, int(np.sum(np.abs(images).max(axis=1) < 2e-3)))
