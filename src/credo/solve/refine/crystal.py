"""From atoms to |F|²: operations, scattering factors and the derivatives to every atom's parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace

import gemmi
import numpy as np

from credo.kernels.structure_factors import calculate, calculate_with_derivatives
from credo.model import Cell, Structure
from credo.physics.structure_factors import electron_factor
from credo.physics.symmetry import Operations, group_operations

__all__ = ["AtomParameters", "Crystal", "equivalent_u", "isotropic_tensor"]


@dataclass(frozen=True)
class AtomParameters:
    """Arrays of the atoms: xyz (a, 3), occ (a,) = occupancy/order, u (a, 6), ``aniso`` (a,) bool."""

    xyz: np.ndarray
    occ: np.ndarray
    u: np.ndarray
    aniso: np.ndarray

    @classmethod
    def of(cls, structure: Structure, orders: np.ndarray) -> AtomParameters:
        """orders (a,): of the sites."""
        atoms = structure.atoms
        u = np.array([np.r_[a.u_iso, np.zeros(5)] if a.u_aniso is None else a.u_aniso for a in atoms])
        occ = np.array([a.occupancy for a in atoms]) / orders
        return cls(np.array([a.xyz for a in atoms]), occ, u, np.array([a.u_aniso is not None for a in atoms]))

    def flat(self) -> np.ndarray:
        """(10 a,): x y z occ U11 … U23 of each atom."""
        return np.concatenate([self.xyz, self.occ[:, None], self.u], axis=1).reshape(-1)

    def moved(self, flat: np.ndarray) -> AtomParameters:
        """With the values of ``flat`` (10 a,)."""
        p = flat.reshape(-1, 10)
        return replace(self, xyz=p[:, :3].copy(), occ=p[:, 3].copy(), u=p[:, 4:].copy())


class Crystal:
    """What does not change while atoms move. ``used`` (p,): which of the 10 a flat parameters have derivatives: all of
    an anisotropic atom's, x y z occ U of the others'."""

    def __init__(
        self,
        structure: Structure,
        hkl: np.ndarray,
        aniso: np.ndarray,
        factors: dict[str, tuple[float, ...]] | None = None,
    ) -> None:
        group = gemmi.SpaceGroup(structure.space_group)
        self.group, self.cell = group, structure.cell
        self.operations: Operations = group_operations(group)
        self.centrings = np.array(list(group.operations().cen_ops), dtype=float) / gemmi.Op.DEN
        self.star = np.linalg.norm(structure.cell.B, axis=0)
        self.hkl = np.ascontiguousarray(hkl, dtype=float)
        self.s2 = 0.25 / structure.cell.d_spacing(hkl) ** 2
        self._rot, self._trans, self._centric = _half(self.operations)
        elements = sorted({a.element for a in structure.atoms})
        self._kind = np.array([elements.index(a.element) for a in structure.atoms])
        self._f = np.array([_factor(e, self.s2, factors or {}) for e in elements])
        count = np.where(aniso, 10, 5)
        self._start = np.concatenate([[0], np.cumsum(count)[:-1]])
        self.used = np.concatenate([10 * i + np.arange(c) for i, c in enumerate(count)])

    def __len__(self) -> int:
        return len(self.hkl)

    def _arguments(self, p: AtomParameters, rows: slice) -> tuple:
        f = np.ascontiguousarray(self._f[:, rows])
        head = (self.hkl[rows], self.s2[rows], self._rot, self._trans, self._centric, self.star)
        return (*head, f, self._kind, p.xyz, p.occ, p.u, p.aniso)

    def amplitudes(self, p: AtomParameters, rows: slice = slice(None)) -> np.ndarray:
        """F (n,) complex [Å] of some rows."""
        return len(self.centrings) * calculate(*self._arguments(p, rows))

    def derivatives(self, p: AtomParameters, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """F (n,) and d|F|² to the used parameters (n, p) of some rows."""
        head = self._arguments(p, rows)
        jac = np.empty((len(head[0]), len(self.used)))
        arguments: list = [*head, self._start, jac]
        f = calculate_with_derivatives(*arguments)
        n = len(self.centrings)
        if n > 1:
            jac *= n * n
        return n * f, jac


def _half(operations: Operations) -> tuple[np.ndarray, np.ndarray, bool]:
    """One half of the operations where the other half is their inverse through the origin."""
    rot, trans = operations.rot.astype(float), operations.trans
    apart = trans[:, None] + trans
    apart -= np.rint(apart)
    mates = (np.abs(rot[:, None] + rot).max(axis=(2, 3)) < 0.5) & (np.abs(apart).max(axis=2) < 1e-6)
    # of each pair the first
    kept = np.flatnonzero(~np.tril(mates, -1).any(axis=1))
    if 2 * len(kept) == len(rot):
        return np.ascontiguousarray(rot[kept]), np.ascontiguousarray(trans[kept]), True
    return np.ascontiguousarray(rot), np.ascontiguousarray(trans), False


def _factor(element: str, s2: np.ndarray, given: dict[str, tuple[float, ...]]) -> np.ndarray:
    """f (n,) at (sin θ/λ)²: Σ a exp(−b s²) + c of SHELX's SFAC where it is given, else Int. Tables C 4.3.2.2."""
    if element not in given:
        return electron_factor(element, s2)
    c = np.array(given[element])
    return np.exp(-np.outer(s2, c[1:8:2])) @ c[0:8:2] + c[8]


def isotropic_tensor(cell: Cell, u_iso: float) -> np.ndarray:
    """U11 … U23 of a sphere in the CIF convention: U_ij = U_iso (a*_i · a*_j)/(|a*_i| |a*_j|)."""
    unit = cell.B / np.linalg.norm(cell.B, axis=0)
    g = unit.T @ unit * u_iso
    return g[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]


def equivalent_u(cell: Cell) -> np.ndarray:
    """(6,): U_eq = ⅓ Σ U_ij a*_i a*_j (a_i · a_j) as weights of U11 … U23."""
    star = np.linalg.norm(cell.B, axis=0)
    w = np.outer(star, star) * cell.metric / 3
    return np.array([w[0, 0], w[1, 1], w[2, 2], 2 * w[0, 1], 2 * w[0, 2], 2 * w[1, 2]])
