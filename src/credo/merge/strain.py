"""The strain between lattices over all their nearly reduced bases, and the cut of its tree that suggests itself."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from credo.kernels.strain import least_strained
from credo.model import Cell
from credo.physics.symmetry import primitive_basis

__all__ = [
    "CAP",
    "Lattice",
    "aliases",
    "gap_cut",
    "reduce_lattice",
    "relation",
    "shortest",
    "strains",
    "sublattices",
]

#: Strain beyond which lattices have nothing to do with each other.
CAP = 0.5
#: How far nearly reduced vectors may be longer than the reduced ones.
_LONGER = 1.25
#: Rms strain between cells of one phase that no covariance tells of (camera length, ellipticity): no gap is
#: looked for below it.
_SYSTEMATIC = 0.01


@dataclass(frozen=True)
class Lattice:
    """``basis`` P (3, 3): reduced axes = (a, b, c) P; ``metric`` G (3, 3) [Å²] on them; ``cell``: as it was given."""

    cell: Cell
    basis: np.ndarray
    metric: np.ndarray

    @property
    def inverse(self) -> np.ndarray:
        """O⁻¹ (3, 3), upper triangular, of G = OᵀO [Å⁻¹]."""
        return np.linalg.inv(np.linalg.cholesky(self.metric)).T


def reduce_lattice(cell: Cell, centring: str = "P") -> Lattice:
    """The three shortest vectors of a lattice (Minkowski), right-handed, shortest first."""
    p = primitive_basis(centring)
    g = cell.metric
    return Lattice(cell, q := shortest(p, g), q.T @ g @ q)


def shortest(p: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Columns of P made as short as they can be under the metric G; the hand is kept."""
    p, hand = p.copy(), np.sign(np.linalg.det(p))
    steps = [s for s in itertools.product((-1, 0, 1), repeat=2) if any(s)]
    shortened = True
    while shortened:
        shortened = False
        for i in range(3):
            others = p[:, [(i + 1) % 3, (i + 2) % 3]]
            trials = p[:, [i]] + others @ np.array(steps, dtype=float).T
            sizes = np.einsum("ij,ik,kj->j", trials, g, trials)
            if sizes.min() < (p[:, i] @ g @ p[:, i]) * (1 - 1e-9):
                p[:, i] = trials[:, np.argmin(sizes)]
                shortened = True
    p = p[:, np.argsort(np.einsum("ij,ik,kj->j", p, g, p), kind="stable")]
    return p if np.sign(np.linalg.det(p)) == hand else -p


_VECTORS = np.array([v for v in itertools.product((-1, 0, 1), repeat=3) if any(v)])


@cache
def _unimodular() -> tuple[np.ndarray, np.ndarray]:
    """All U (t, 3, 3) with entries −1, 0, 1 and determinant 1, and which of the 26 vectors are the columns (t, 3)."""
    triples = np.array(list(itertools.permutations(range(26), 3)))
    v = _VECTORS[triples]
    keep = np.einsum("ti,ti->t", np.cross(v[:, 0], v[:, 1]), v[:, 2]) == 1
    return v[keep].transpose(0, 2, 1).astype(float), triples[keep]


def aliases(metric: np.ndarray, longer: float = _LONGER) -> np.ndarray:
    """Those U (k, 3, 3) that lead to nearly reduced bases of a reduced metric G, the first axis growing."""
    u, columns = _unimodular()
    sizes = np.einsum("vi,ij,vj->v", _VECTORS, metric, _VECTORS)[columns]
    low, middle, high = longer**2 * np.sort(np.diag(metric))
    inside = np.flatnonzero(np.all(sizes <= high, axis=1))
    ordered = np.sort(sizes[inside], axis=1)
    inside = inside[(ordered[:, 0] <= low) & (ordered[:, 1] <= middle)]
    return u[inside[np.argsort(sizes[inside, 0], kind="stable")]]


def strains(lattices: Sequence[Lattice]) -> tuple[np.ndarray, np.ndarray]:
    """Distances d (n, n) and bases U (n, n, 3, 3) int8: (reduced axes of j) U lie on the reduced axes of i, i < j.

    d = ‖½ ln(O_i⁻ᵀ UᵀG_jU O_i⁻¹)‖, no unit, at most :data:`CAP`, where there is no U and the identity stands.
    """
    n = len(lattices)
    found = [aliases(x.metric) for x in lattices]
    start = np.cumsum([0, *(len(u) for u in found)])
    g = np.concatenate([a.transpose(0, 2, 1) @ x.metric @ a for a, x in zip(found, lattices)])
    distance, best = np.zeros((n, n)), np.full((n, n), -1)
    least_strained(np.array([x.inverse for x in lattices]), g, start, CAP, distance, best)
    u = np.concatenate([*found, np.eye(3)[None]]).astype(np.int8)
    return distance + distance.T, u[best]


def relation(a: Lattice, b: Lattice, max_index: int = 3) -> tuple[float, int, np.ndarray]:
    """The least strain from lattice ``a`` to ``b`` or between one and a sublattice of the other: (d, index, P).

    P (3, 3): (a, b, c) of ``a`` times P lie on the reduced axes of ``b``, with fractions where a is the sublattice.
    """
    best = (CAP, 1, np.eye(3))
    for n in range(1, max_index + 1):
        for h in sublattices(n):
            for reverse in (False, True)[: 1 if n == 1 else 2]:
                fine, coarse = (a, b) if reverse else (b, a)
                s = shortest(h, fine.metric)
                d, u = strains([Lattice(fine.cell, fine.basis @ s, s.T @ fine.metric @ s), coarse])
                # coarse U = fine S, both on reduced axes
                p = s @ np.linalg.inv(u[0, 1]) if reverse else u[0, 1] @ np.linalg.inv(s)
                if d[0, 1] < best[0]:
                    best = (float(d[0, 1]), n, a.basis @ p)
    return best


@cache
def sublattices(n: int) -> tuple[np.ndarray, ...]:
    """All sublattices of index n, as upper triangular integer bases (Hermite)."""
    shapes = [(x, y, n // (x * y)) for x in range(1, n + 1) for y in range(1, n + 1) if n % (x * y) == 0]
    return tuple(
        np.array([[x, i, j], [0, y, k], [0, 0, z]], dtype=float)
        for x, y, z in shapes for i in range(x) for j in range(x) for k in range(y)
    )  # fmt: skip


def gap_cut(joins: np.ndarray) -> float:
    """The height amid the widest relative gap of a tree, among the upper half of its joins, s = 1 % and :data:`CAP`.

    Where the phases have two members or more on average, the lower half of the joins is within phases.
    """
    heights = np.sort(joins[:, 2]) if len(joins) else np.empty(0)
    lowest = max(_SYSTEMATIC, float(np.median(heights))) if len(heights) else _SYSTEMATIC
    levels = np.array([lowest, *heights[heights > lowest], CAP])
    widest = int(np.argmax(np.diff(np.log(levels))))
    return float(np.sqrt(levels[widest] * levels[widest + 1]))
