"""Which atoms are bonded: by covalent radii as in SHELXL, over symmetry, with the parts of a disorder kept apart."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from credo.model import Structure
from credo.physics.symmetry import group_operations

__all__ = ["Bond", "Site", "angles_of", "bonds_of", "second_neighbours"]

#: Added to the sum of two covalent radii [Å] (SHELXL's CONN).
SLACK = 0.5


@dataclass(frozen=True, eq=False)
class Site:
    """An image of an atom: x' = rotation · x + translation (3, 3), (3,)."""

    atom: int
    rotation: np.ndarray
    translation: np.ndarray

    @classmethod
    def own(cls, atom: int) -> Site:
        """The atom where it is listed."""
        return cls(atom, np.eye(3), np.zeros(3))

    @property
    def identity(self) -> bool:
        """Whether it is the listed atom itself."""
        return bool(np.array_equal(self.rotation, np.eye(3)) and not np.any(self.translation))

    def at(self, xyz: np.ndarray) -> np.ndarray:
        """Fractional position (3,) from those of all atoms (a, 3)."""
        return self.rotation @ xyz[self.atom] + self.translation


@dataclass(frozen=True, eq=False)
class Bond:
    """From atom ``a`` as listed to the image ``b``; ``length`` [Å]."""

    a: int
    b: Site
    length: float


def bonds_of(structure: Structure, parts: tuple[int, ...] = (), slack: float = SLACK) -> list[list[Bond]]:
    """For every atom its bonds, shortest first. Hydrogens have one bond, to the nearest other atom."""
    n = len(structure.atoms)
    xyz = np.array([a.xyz for a in structure.atoms])
    radius = np.array([gemmi.Element(a.element).covalent_r for a in structure.atoms])
    light = np.array([a.element in ("H", "D") for a in structure.atoms])
    parts = parts or (0,) * n
    rotations, translations = _operations(structure)
    images = np.einsum("rij,nj->nri", rotations, xyz) + translations
    out: list[list[Bond]] = []
    for i in range(n):
        limit = radius + radius[i] + slack
        limit[light & light[i]] = 0
        for j in range(n):
            if parts[i] and parts[j] and parts[i] != parts[j]:
                limit[j] = 0
        own_only = np.array([parts[i] < 0 or p < 0 for p in parts])
        found = _near(i, xyz, images, limit, own_only, rotations, translations, structure.cell.O)
        out.append(found[:1] if light[i] else found)
    for i in range(n):
        out[i] = [b for b in out[i] if not light[b.b.atom] or any(c.b.atom == i for c in out[b.b.atom])]
    return out


def _operations(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    group = gemmi.SpaceGroup(structure.space_group)
    ops = group_operations(group)
    centrings = np.array(list(group.operations().cen_ops), dtype=float) / gemmi.Op.DEN
    rotations = np.repeat(ops.rot.astype(float), len(centrings), axis=0)
    return rotations, (ops.trans[:, None] + centrings[None]).reshape(-1, 3)


_AROUND = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


def _near(i, xyz, images, limit, own_only, rotations, translations, o) -> list[Bond]:
    """Images within ``limit`` (a,) of atom i, each position once."""
    gap = images - xyz[i]
    whole = np.rint(gap)
    cart = (gap - whole) @ o.T
    # a corner of the reduced gap may be nearer through a neighbouring cell when the cell is oblique or small
    all_d = np.linalg.norm(cart[:, :, None] + _AROUND @ o.T, axis=3)
    hits = np.argwhere((all_d < limit[:, None, None]) & (all_d > 0.4))
    bonds: list[Bond] = []
    seen: list[np.ndarray] = []
    for j, r, w in sorted(hits.tolist(), key=lambda h: all_d[h[0], h[1], h[2]]):
        site = Site(j, rotations[r], translations[r] - whole[j, r] + _AROUND[w])
        at = site.at(xyz)
        if any(np.linalg.norm(o @ (at - s)) < 0.05 for s in seen) or (own_only[j] and not site.identity):
            continue
        seen.append(at)
        bonds.append(Bond(i, site, float(all_d[j, r, w])))
    return bonds


def angles_of(bonds: list[list[Bond]]) -> list[tuple[Site, int, Site]]:
    """All angles at every atom."""
    return [(p.b, i, q.b) for i, own in enumerate(bonds) for n, p in enumerate(own) for q in own[n + 1 :]]


def second_neighbours(bonds: list[list[Bond]]) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Pairs i < j of listed atoms that are bonded, and that share a bonded atom, no symmetry between them."""
    first = {(min(i, b.b.atom), max(i, b.b.atom)) for i, own in enumerate(bonds) for b in own if b.b.identity}
    second = set()
    for own in bonds:
        listed = sorted({b.b.atom for b in own if b.b.identity})
        second |= {(p, q) for n, p in enumerate(listed) for q in listed[n + 1 :]}
    return first, second - first
