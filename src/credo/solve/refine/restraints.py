"""Restraints with SHELXL's definitions: each gives rows of value, target, sigma and gradient.

Definitions: G. M. Sheldrick, Acta Cryst. C71 (2015) 3-8 and the SHELXL manual (DFIX, DANG, SADI, FLAT, SIMU, DELU,
ISOR, SUMP); A. Thorn, B. Dittrich & G. M. Sheldrick, Acta Cryst. A68 (2012) 448-451 (RIGU). The sum of all
(value − target)²/σ² joins the sum over reflections, multiplied by the mean square S² of the latter, so that the σ of a
restraint is on an absolute scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from credo.model import Cell
from credo.solve.refine.connectivity import Site
from credo.solve.refine.crystal import AtomParameters, equivalent_u

__all__ = [
    "Distance", "Flat", "IsotropicLike", "RestraintRow", "RigidBond", "SameDistance", "Scene", "SimilarU",
    "SumOfVariables",
]  # fmt: skip

_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


@dataclass(frozen=True, eq=False)
class RestraintRow:
    """``columns`` index the flat parameters (10 per atom, then the free variables), ``gradient``: d value/d those."""

    kind: str
    atoms: tuple[int, ...]
    value: float
    target: float
    sigma: float
    columns: np.ndarray
    gradient: np.ndarray


class Scene:
    """What restraints look at: parameters, free variables and the cell's matrices."""

    def __init__(self, cell: Cell, p: AtomParameters, variables: np.ndarray) -> None:
        self.o, self.p, self.variables = cell.O, p, variables
        self.n_atoms = len(p.xyz)
        self._equivalent = equivalent_u(cell)
        self._to_cartesian = _cartesian_map(cell)

    def point(self, site: Site) -> np.ndarray:
        """Cartesian position [Å]."""
        return self.o @ site.at(self.p.xyz)

    def back(self, site: Site, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From d/d(Cartesian site) to the columns of the atom and d/d(its x y z)."""
        return 10 * site.atom + np.arange(3), site.rotation.T @ self.o.T @ gradient

    def u_cartesian(self, atom: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """U11 … U23 on Cartesian axes (6,), the columns it depends on, and its gradient (6, columns)."""
        if self.p.aniso[atom]:
            return self._to_cartesian @ self.p.u[atom], 10 * atom + np.arange(4, 10), self._to_cartesian
        ball = np.array([1.0, 1, 1, 0, 0, 0])
        return ball * self.p.u[atom, 0], np.array([10 * atom + 4]), ball[:, None]

    def u_equivalent(self, atom: int) -> tuple[float, np.ndarray, np.ndarray]:
        """U_eq, its columns and gradient."""
        if self.p.aniso[atom]:
            return float(self._equivalent @ self.p.u[atom]), 10 * atom + np.arange(4, 10), self._equivalent
        return float(self.p.u[atom, 0]), np.array([10 * atom + 4]), np.ones(1)


def _cartesian_map(cell: Cell) -> np.ndarray:
    """(6, 6): U_cart = A U Aᵀ, A = O diag(a*, b*, c*)."""
    a = cell.O @ np.diag(np.linalg.norm(cell.B, axis=0))
    out = np.zeros((6, 6))
    for k, (i, j) in enumerate(_PAIRS):
        u = np.zeros((3, 3))
        u[i, j] = u[j, i] = 1.0
        turned = a @ u @ a.T
        out[:, k] = [turned[m, n] for m, n in _PAIRS]
    return out


def _merged(kind, atoms, value, target, sigma, parts) -> RestraintRow:
    columns = np.concatenate([c for c, _ in parts])
    gradient = np.concatenate([g for _, g in parts])
    return RestraintRow(kind, atoms, float(value), float(target), float(sigma), columns, gradient)


def _distance(scene: Scene, a: Site, b: Site) -> tuple[float, list]:
    gap = scene.point(a) - scene.point(b)
    d = float(np.linalg.norm(gap))
    unit = gap / max(d, 1e-9)
    return d, [scene.back(a, unit), scene.back(b, -unit)]


@dataclass(frozen=True, eq=False)
class Distance:
    """DFIX and DANG: the distance is ``target`` [Å]; a negative one is only a lower limit."""

    pairs: tuple[tuple[Site, Site], ...]
    target: float
    sigma: float = 0.02
    kind: str = "DFIX"

    def rows(self, scene: Scene) -> Iterator[RestraintRow]:
        for a, b in self.pairs:
            d, parts = _distance(scene, a, b)
            if self.target >= 0 or d < -self.target:
                yield _merged(self.kind, (a.atom, b.atom), d, abs(self.target), self.sigma, parts)


@dataclass(frozen=True, eq=False)
class SameDistance:
    """SADI: all distances are equal, each restrained to their mean."""

    pairs: tuple[tuple[Site, Site], ...]
    sigma: float = 0.02
    kind: str = "SADI"

    def rows(self, scene: Scene) -> Iterator[RestraintRow]:
        found = [_distance(scene, a, b) for a, b in self.pairs]
        mean = float(np.mean([d for d, _ in found]))
        n = len(found)
        for i, (a, b) in enumerate(self.pairs):
            parts = [(c, g * ((i == k) - 1 / n)) for k, (_, own) in enumerate(found) for c, g in own]
            yield _merged(self.kind, (a.atom, b.atom), found[i][0] - mean, 0.0, self.sigma, parts)


@dataclass(frozen=True, eq=False)
class Flat:
    """FLAT: tetrahedra of the atoms have no volume; value: the triple product of three edges [Å³], as of CHIV. Three
    atoms far apart are the base of all n − 3 tetrahedra."""

    sites: tuple[Site, ...]
    sigma: float = 0.1
    kind: str = "FLAT"

    def rows(self, scene: Scene) -> Iterator[RestraintRow]:
        points = [scene.point(s) for s in self.sites]
        base = _widest(points)
        a, b, c = (self.sites[k] for k in base)
        x, y, z = (points[k] for k in base)
        for k, site in enumerate(self.sites):
            if k in base:
                continue
            p, q, r = y - x, z - x, points[k] - x
            parts = [(b, np.cross(q, r)), (c, np.cross(r, p)), (site, np.cross(p, q))]
            parts.append((a, -np.sum([g for _, g in parts], axis=0)))
            atoms = (a.atom, b.atom, c.atom, site.atom)
            yield _merged(self.kind, atoms, p @ np.cross(q, r), 0.0, self.sigma, [scene.back(s, g) for s, g in parts])


def _widest(points: list[np.ndarray]) -> tuple[int, int, int]:
    """The three points that span the largest triangle."""
    best, area = (0, 1, 2), -1.0
    for i in range(len(points)):
        for j in range(i + 1, len(points)):
            for k in range(j + 1, len(points)):
                new = float(np.linalg.norm(np.cross(points[j] - points[i], points[k] - points[i])))
                if new > area + 1e-6:
                    best, area = (i, j, k), new
    return best


@dataclass(frozen=True, eq=False)
class SimilarU:
    """SIMU: atoms (i, j, σ) have the same U_ij on Cartesian axes, or the same U_eq where one of them is isotropic."""

    pairs: tuple[tuple[int, int, float], ...]
    kind: str = "SIMU"

    def rows(self, scene: Scene) -> Iterator[RestraintRow]:
        for i, j, sigma in self.pairs:
            if scene.p.aniso[i] and scene.p.aniso[j]:
                (u, c, g), (v, d, h) = scene.u_cartesian(i), scene.u_cartesian(j)
                for k in range(6):
                    yield _merged(self.kind, (i, j), u[k] - v[k], 0.0, sigma, [(c, g[k]), (d, -h[k])])
            else:
                (u, c, g), (v, d, h) = scene.u_equivalent(i), scene.u_equivalent(j)
                yield _merged(self.kind, (i, j), u - v, 0.0, sigma, [(c, g), (d, -h)])


@dataclass(frozen=True, eq=False)
class RigidBond:
    """RIGU: with z along i–j, U33, U13 and U23 of both atoms agree; DELU (``full`` False): only U33. Pairs (i, j, σ).

    The direction is taken as given in a cycle: its gradient is not part of the row, as in SHELXL."""

    pairs: tuple[tuple[int, int, float], ...]
    full: bool = True

    @property
    def kind(self) -> str:
        return "RIGU" if self.full else "DELU"

    def rows(self, scene: Scene) -> Iterator[RestraintRow]:
        for i, j, sigma in self.pairs:
            if not (scene.p.aniso[i] and scene.p.aniso[j]):
                continue
            (u, c, g), (v, d, h) = scene.u_cartesian(i), scene.u_cartesian(j)
            for s in _bond_products(scene.o @ (scene.p.xyz[j] - scene.p.xyz[i]), self.full):
                yield _merged(self.kind, (i, j), s @ (u - v), 0.0, sigma, [(c, s @ g), (d, -(s @ h))])


def _bond_products(bond: np.ndarray, full: bool) -> list[np.ndarray]:
    """(6,) weights of Cartesian U11 … U23 that give U33, U13, U23 on axes with z along ``bond``."""
    z = bond / np.linalg.norm(bond)
    x = np.cross(z, np.eye(3)[np.argmin(np.abs(z))])
    x /= np.linalg.norm(x)
    pairs = [(z, z), (x, z), (np.cross(z, x), z)] if full else [(z, z)]
    return [np.array([p[i] * q[j] + (p[j] * q[i] if i != j else 0) for i, j in _PAIRS]) for p, q in pairs]


@dataclass(frozen=True, eq=False)
class IsotropicLike:
    """ISOR: on Cartesian axes U_ij is near U_eq δ_ij. Atoms (i, σ)."""

    atoms: tuple[tuple[int, float], ...]
    kind: str = "ISOR"

    def rows(self, scene: Scene) -> Iterator[RestraintRow]:
        ball = np.array([1.0, 1, 1, 0, 0, 0])
        for i, sigma in self.atoms:
            if not scene.p.aniso[i]:
                continue
            u, c, g = scene.u_cartesian(i)
            mean, mean_g = u[:3].mean(), g[:3].mean(axis=0)
            for k in range(6):
                yield _merged(self.kind, (i,), u[k] - mean * ball[k], 0.0, sigma, [(c, g[k] - mean_g * ball[k])])


@dataclass(frozen=True, eq=False)
class SumOfVariables:
    """SUMP: Σ coefficient · free variable (0-based) = target."""

    target: float
    sigma: float
    terms: tuple[tuple[float, int], ...]
    kind: str = "SUMP"

    def rows(self, scene: Scene) -> Iterator[RestraintRow]:
        value = sum(c * scene.variables[k] for c, k in self.terms)
        columns = np.array([10 * scene.n_atoms + k for _, k in self.terms])
        gradient = np.array([c for c, _ in self.terms])
        yield RestraintRow(self.kind, (), float(value), self.target, self.sigma, columns, gradient)
