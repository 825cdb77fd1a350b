"""A density of known symmetry as few numbers: its points in the asymmetric unit, its waves, and a matrix between."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import gemmi
import numpy as np

from credo.kernels.waves import neighbours, orbits, symmetric_waves
from credo.model import CannotDo, Cell
from credo.physics.symmetry import all_operations, unique_reflections

#: Independent points beyond which tables of pairs of them take more than 400 MB.
MOST_POINTS = 20_000

__all__ = ["Waves", "waves_of"]


@dataclass(frozen=True)
class Waves:
    """An orthonormal real basis of the densities of one group to one resolution: ρ = C a, a = Cᵀ W ρ.

    Far cheaper than transforms of the whole cell where the order is high, and one matrix product does many trials.
    ``shape``: of the grid over the conventional cell; ``points`` (p, 3) fractions, one of each orbit, with ``weight``
    (p,): points in it; ``around`` (p, 26): the orbits of the grid's neighbours; ``hkl`` (n, 3) unique, allowed, the
    first (0 0 0); ``columns`` (n, 2): where each one's coefficients are, twice the same where its phase has two values
    only; ``parent`` (c,): the reflection of each column; ``turn`` (n,) complex: what makes those real; ``basis``
    (p, c) float32; ``norm`` (c,): by which waves were divided; ``multiplicity`` (n,): equivalents with Friedel mates.
    """

    cell: Cell
    group: gemmi.SpaceGroup
    rot: np.ndarray
    trans: np.ndarray
    shape: tuple[int, int, int]
    points: np.ndarray
    weight: np.ndarray
    around: np.ndarray
    hkl: np.ndarray
    columns: np.ndarray
    parent: np.ndarray
    turn: np.ndarray
    basis: np.ndarray
    norm: np.ndarray
    multiplicity: np.ndarray

    @property
    def s2(self) -> np.ndarray:
        """(n,) (sin θ/λ)² [Å⁻²]."""
        return np.einsum("ij,ij->i", self.hkl @ self.cell.B.T, self.hkl @ self.cell.B.T) / 4

    def at(self, xyz: np.ndarray) -> np.ndarray:
        """(m, c): the basis at any fractional positions (m, 3)."""
        s = symmetric_waves(np.asarray(xyz, float).reshape(-1, 3), self.hkl, self.rot, self.trans) * self.turn
        return _real_columns(s, self.columns, len(self.parent)) / self.norm

    def amplitude(self, a: np.ndarray) -> np.ndarray:
        """|F| (…, n) √multiplicity of coefficients (…, c)."""
        first, second = a[..., self.columns[:, 0]], a[..., self.columns[:, 1]]
        return np.sqrt(first**2 + np.where(self.columns[:, 0] == self.columns[:, 1], 0, second**2))


def waves_of(cell: Cell, group: gemmi.SpaceGroup, d_min: float, per_d: float = 3.0) -> Waves:
    """The basis to the resolution d_min [Å] on a grid of at most d_min/``per_d``."""
    rot, trans = all_operations(group)
    shape = _grid(cell, rot, trans, d_min / per_d)
    if np.prod(np.array(shape, dtype=float)) / len(rot) > MOST_POINTS:
        raise CannotDo(
            f"{group.xhm()}: {np.prod(shape) // len(rot)} independent points of the cell are too many for this search",
            "give a space group of higher symmetry",
        )
    which, first = orbits(shape, rot, trans * np.array(shape))
    points = np.stack(np.unravel_index(first, shape), axis=1) / np.array(shape)
    weight = np.bincount(which).astype(np.float32)
    hkl, multiplicity = _reflections(cell, rot, d_min)
    s = symmetric_waves(points, hkl, rot, trans)
    power = weight @ np.abs(s) ** 2 / (len(which) * len(rot))
    s, hkl, multiplicity = s[:, power > 1e-3], hkl[power > 1e-3], multiplicity[power > 1e-3]
    turn, restricted = _restriction(hkl, rot, trans)
    columns = np.empty((len(hkl), 2), dtype=np.int64)
    columns[:, 0] = np.cumsum(np.where(restricted, 1, 2)) - np.where(restricted, 1, 2)
    columns[:, 1] = columns[:, 0] + ~restricted
    n = int(columns[-1, 1]) + 1
    basis = _real_columns(s * turn, columns, n)
    norm = np.sqrt(weight @ basis**2)
    parent = np.empty(n, dtype=np.int64)
    parent[columns[:, 1]] = parent[columns[:, 0]] = np.arange(len(hkl))
    return Waves(
        cell, group, rot, trans, shape, points, weight, neighbours(shape, which, first), hkl, columns, parent, turn,
        np.ascontiguousarray(basis / norm, dtype=np.float32), norm, multiplicity,
    )  # fmt: skip


def _grid(cell: Cell, rot: np.ndarray, trans: np.ndarray, step: float) -> tuple[int, int, int]:
    """Numbers of points that the group maps onto each other, and that have points on all its special positions."""
    least = np.ceil(np.array(cell.lengths) / step).astype(int)
    # x' = −x + t has its centre at t/2, and a threefold axis lies at a third
    unit = [2 * lcm(*(Fraction(float(t)).limit_denominator(24).denominator for t in trans[:, i])) for i in range(3)]
    unit = [lcm(u, 6) if np.any(np.count_nonzero(rot[:, i], axis=1) > 1) else u for i, u in enumerate(unit)]
    for _ in range(3):  # axes that a rotation exchanges or mixes have one number
        for i in range(3):
            for j in range(3):
                if np.any(rot[:, i, j] != 0):
                    unit[i] = unit[j] = lcm(unit[i], unit[j])
                    least[i] = least[j] = max(least[i], least[j])
    x, y, z = (int(u * max(-(-int(n) // u), -(-6 // u))) for n, u in zip(least, unit))
    return x, y, z


def _reflections(cell: Cell, rot: np.ndarray, d_min: float) -> tuple[np.ndarray, np.ndarray]:
    """(unique hkl (n, 3), (0 0 0) first, multiplicity (n,)) of the sphere."""
    top = np.floor(np.array(cell.lengths) / d_min).astype(int)
    axes = [np.arange(-t, t + 1) for t in top]
    hkl = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    q = np.linalg.norm(hkl @ cell.B.T, axis=1)
    unique, row = unique_reflections(hkl[q <= (1 + 1e-9) / d_min], np.unique(rot, axis=0))
    order = np.argsort(np.any(unique != 0, axis=1), kind="stable")
    return unique[order], np.bincount(row)[order]


def _restriction(hkl: np.ndarray, rot: np.ndarray, trans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(turn (n,), restricted (n,) bool): where h R = −h, S(x) exp(−πi h·t) is real."""
    turn, restricted = np.ones(len(hkl), dtype=np.complex64), np.zeros(len(hkl), dtype=bool)
    for r, t in zip(rot, trans):
        new = np.all(hkl @ r == -hkl, axis=1) & ~restricted
        turn[new] = np.exp(-1j * np.pi * (hkl[new] @ t))
        restricted |= new
    return turn, restricted


def _real_columns(s: np.ndarray, columns: np.ndarray, n: int) -> np.ndarray:
    """(p, c) float32 from complex waves (p, n): imaginary parts only where phases are free."""
    out = np.empty((len(s), n), dtype=np.float32)
    out[:, columns[:, 1]] = np.imag(s)
    out[:, columns[:, 0]] = np.real(s)
    return out
