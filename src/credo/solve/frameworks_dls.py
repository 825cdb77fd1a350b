"""Distance least squares: oxygens put between the T sites of a net, and all moved to the distances of silicates.

Ch. Baerlocher, A. Hepp & W. M. Meier, DLS-76 (ETH Zürich, 1978). The cell is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from credo.model import Atom, CannotDo, Structure
from credo.physics.symmetry import Operations, all_operations
from credo.solve.frameworks_net import Net
from credo.solve.refine.connectivity import Site
from credo.solve.sites import SiteSymmetry, site_symmetry

Equations = Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]]

__all__ = ["Distances", "Geometry", "distance_least_squares"]

#: T–O, O…O of a tetrahedron and T…T (a T–O–T angle of 145°) [Å], and how far they may well be off.
TARGETS = {"T-O": (1.61, 0.02), "O-O": (2.63, 0.06), "T-T": (3.07, 0.12)}
#: Starts from oxygens pushed off the straight line in other directions; their push [Å].
_STARTS, _PUSH = 4, 0.5


@dataclass(frozen=True, eq=False)
class Distances:
    """Pairs of atoms whose distance is known: ``a`` as listed, ``b`` an image; ``target`` and ``sigma`` [Å]."""

    kind: tuple[str, ...]
    a: np.ndarray
    b: tuple[Site, ...]
    target: np.ndarray
    sigma: np.ndarray

    def pairs(self, kind: str) -> tuple[tuple[Site, Site], ...]:
        """Of one kind, as restraints take them."""
        return tuple((Site.own(int(a)), b) for k, a, b in zip(self.kind, self.a, self.b) if k == kind)


@dataclass(frozen=True, eq=False)
class Geometry:
    """A framework with oxygens: ``rms`` [Å] of T–O from 1.61, ``misfit``: root mean square of all deviations/σ,
    ``angle``: the smallest T–O–T [°]."""

    structure: Structure
    distances: Distances
    rms: float
    misfit: float
    angle: float


def distance_least_squares(net: Net, element: str = "Si", seed: int = 0) -> Geometry:
    """The best of some starts. The net must be complete."""
    if not len(net.xyz) or np.any(net.degrees != 4):
        raise CannotDo("not every T site of the net has four neighbours", "give a complete net")
    start, distances, symmetry = _with_oxygen(net)
    rng = np.random.default_rng(seed)
    tries = [_descend(net, start, distances, symmetry, rng) for _ in range(_STARTS)]
    _, xyz = min(tries, key=lambda t: t[0])
    d = _lengths(xyz, distances, net.cell.O)
    bonds = np.array([k == "T-O" for k in distances.kind])
    count, atoms = {element: 0, "O": 0}, []
    for i, x in enumerate(xyz):
        kind = element if i < len(net.xyz) else "O"
        count[kind] += 1
        atoms.append(Atom(f"{kind}{count[kind]}", kind, symmetry[i].xyz + (x - symmetry[i].xyz), 1.0, 0.02))
    off = d - distances.target
    far = np.array([k == "T-T" for k in distances.kind])
    shortest = np.clip(d[far].min() / (2 * d[bonds].mean()), 0, 1)
    return Geometry(
        Structure(net.cell, net.group.xhm(), tuple(atoms)), distances, float(np.sqrt(np.mean(off[bonds] ** 2))),
        float(np.sqrt(np.mean((off / distances.sigma) ** 2))), float(2 * np.degrees(np.arcsin(shortest))),
    )  # fmt: skip


def _with_oxygen(net: Net) -> tuple[np.ndarray, Distances, list[SiteSymmetry]]:
    """T sites and one oxygen in the middle of each independent link; every distance that matters; site symmetries."""
    rot, trans = all_operations(net.group)
    oxygens: list[np.ndarray] = []
    legs: list[list[Site]] = []  # of each T, its four oxygens
    for i, links in enumerate(net.links):
        mine = []
        for link in links:
            middle = 0.5 * (net.xyz[i] + link.rotation @ net.xyz[link.b] + link.translation)
            mine.append(_placed(middle, oxygens, rot, trans, net, len(net.xyz)))
        legs.append(mine)
    start = np.vstack([net.xyz, np.array(oxygens).reshape(-1, 3)])
    rows: list[tuple[str, int, Site]] = []
    for i, links in enumerate(net.links):
        rows += [("T-O", i, leg) for leg in legs[i]]
        rows += [("T-T", i, Site(link.b, link.rotation, link.translation)) for link in links]
        rows += [_between(legs[i][p], legs[i][q]) for p in range(4) for q in range(p)]
    kinds = tuple(r[0] for r in rows)
    distances = Distances(
        kinds, np.array([r[1] for r in rows]), tuple(r[2] for r in rows),
        np.array([TARGETS[k][0] for k in kinds]), np.array([TARGETS[k][1] for k in kinds]),
    )  # fmt: skip
    operations = Operations(rot, trans)
    return start, distances, [site_symmetry(x, operations, np.zeros((1, 3)), net.cell) for x in start]


def _placed(middle: np.ndarray, oxygens: list[np.ndarray], rot, trans, net: Net, first: int) -> Site:
    """The oxygen at ``middle`` as an image of a listed one, listed now if it is new."""
    for n, x in enumerate(oxygens):
        gap = middle - (rot @ x + trans)
        whole = np.rint(gap)
        far = np.linalg.norm((gap - whole) @ net.cell.O.T, axis=1)
        m = int(far.argmin())
        if far[m] < 0.1:
            return Site(first + n, rot[m], trans[m] + whole[m])
    oxygens.append(middle)
    return Site.own(first + len(oxygens) - 1)


def _between(p: Site, q: Site) -> tuple[str, int, Site]:
    """The distance of two images as that of an atom as listed to an image of the other."""
    back = np.linalg.inv(p.rotation)
    return "O-O", p.atom, Site(q.atom, back @ q.rotation, back @ (q.translation - p.translation))


def _lengths(xyz: np.ndarray, distances: Distances, o: np.ndarray) -> np.ndarray:
    far = np.array([b.at(xyz) for b in distances.b])
    return np.linalg.norm((far - xyz[distances.a]) @ o.T, axis=1)


def _descend(net: Net, start: np.ndarray, distances: Distances, symmetry: list[SiteSymmetry], rng) -> tuple:
    """(cost, xyz) of least squares from oxygens pushed off their links."""
    o, n = net.cell.O, len(start)
    columns = np.cumsum([0] + [s.shifts.shape[1] for s in symmetry])
    spread = np.zeros((3 * n, columns[-1]))
    for i, s in enumerate(symmetry):
        spread[3 * i : 3 * i + 3, columns[i] : columns[i + 1]] = s.shifts
    origin = np.array([s.xyz for s in symmetry])
    push = np.zeros((n, 3))
    push[len(net.xyz) :] = rng.normal(size=(n - len(net.xyz), 3)) * _PUSH @ np.linalg.inv(o).T
    u0 = np.linalg.lstsq(spread, (start - origin + push).reshape(-1), rcond=None)[0]
    turn = np.array([b.rotation for b in distances.b], dtype=float)
    move = np.array([b.translation for b in distances.b])
    other = np.array([b.atom for b in distances.b])

    def gaps(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        xyz = origin + (spread @ u).reshape(-1, 3)
        gap = (np.einsum("nij,nj->ni", turn, xyz[other]) + move - xyz[distances.a]) @ o.T
        return gap, np.maximum(np.linalg.norm(gap, axis=1), 1e-6)

    def equations(u: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """½χ², its gradient and JᵀJ."""
        gap, r = gaps(u)
        off = (r - distances.target) / distances.sigma
        unit = gap / (r * distances.sigma)[:, None] @ o
        full = np.zeros((len(r), n, 3))
        rows = np.arange(len(r))
        np.add.at(full, (rows, other), np.einsum("ni,nij->nj", unit, turn))
        np.add.at(full, (rows, distances.a), -unit)
        jacobian = full.reshape(len(r), -1) @ spread
        return 0.5 * float(off @ off), jacobian.T @ off, jacobian.T @ jacobian

    cost, u = _minimised(equations, u0)
    return cost, origin + (spread @ u).reshape(-1, 3)


def _minimised(equations: Equations, u: np.ndarray, cycles: int = 60) -> tuple[float, np.ndarray]:
    """Levenberg's and Marquardt's descent."""
    cost, gradient, normal = equations(u)
    damping = 1e-2
    for _ in range(cycles if len(u) else 0):
        step = linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-6), -gradient, assume_a="pos")
        new = equations(u + step)
        if new[0] > cost:
            damping *= 10
            if damping > 1e6:
                break
            continue
        gain, u, damping = cost - new[0], u + step, max(damping / 5, 1e-7)
        cost, gradient, normal = new
        if gain < 1e-5 * cost:
            break
    return cost, u
