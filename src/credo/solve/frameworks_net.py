"""A net from T sites: which are joined through an oxygen, and whether every one has four neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from credo.model import Cell
from credo.physics.symmetry import all_operations

__all__ = ["Link", "Net", "net_of_sites"]


@dataclass(frozen=True, eq=False)
class Link:
    """From T site ``a`` as listed to the image x' = rotation · x_b + translation of site ``b``; ``length`` [Å]."""

    a: int
    b: int
    rotation: np.ndarray
    translation: np.ndarray
    length: float


@dataclass(frozen=True, eq=False)
class Net:
    """``xyz`` (n, 3) independent T sites with ``multiplicity`` (n,) in the cell; ``links`` of each.

    The whole cell: ``every`` (m, 3) fractions, of site ``owner`` (m,), with ``neighbours``: lists of (number, shift).
    """

    cell: Cell
    group: gemmi.SpaceGroup
    xyz: np.ndarray
    multiplicity: np.ndarray
    links: list[list[Link]]
    every: np.ndarray
    owner: np.ndarray
    neighbours: list[list[tuple[int, tuple[int, int, int]]]]

    @property
    def degrees(self) -> np.ndarray:
        """(n,) neighbours of each independent site."""
        return np.array([len(x) for x in self.links])

    @property
    def complete(self) -> bool:
        """Whether every T has just four neighbours, and all of the net hangs together in three directions."""
        return len(self.xyz) > 0 and bool(np.all(self.degrees == 4)) and self._dimensions() == 3

    @property
    def density(self) -> float:
        """T per 1000 Å³."""
        return 1000 * len(self.every) / self.cell.volume

    def _dimensions(self) -> int:
        """Independent lattice translations along which one walk from the first atom comes back to it; −1: in pieces."""
        seen: dict[int, np.ndarray] = {0: np.zeros(3, int)}
        loops, todo = [], [0]
        while todo:
            a = todo.pop()
            for b, shift in self.neighbours[a]:
                at = seen[a] + np.array(shift)
                if b not in seen:
                    seen[b] = at
                    todo.append(b)
                elif np.any(seen[b] != at):
                    loops.append(at - seen[b])
        if len(seen) < len(self.every):
            return -1
        return int(np.linalg.matrix_rank(np.array(loops))) if loops else 0


def net_of_sites(
    cell: Cell, group: gemmi.SpaceGroup, xyz: np.ndarray, nearest: float = 2.5, farthest: float = 3.7,
    same: float = 0.2,
) -> Net:  # fmt: skip
    """Sites (n, 3) joined where they are ``nearest`` to ``farthest`` [Å] apart; images within ``same`` are one atom."""
    rot, trans = all_operations(group)
    places: list[tuple[np.ndarray, int, np.ndarray, np.ndarray]] = []
    multiplicity = []
    for i, x in enumerate(xyz):
        images = rot @ x + trans
        kept: list[int] = []
        for m, y in enumerate(images):
            gap = images[kept] - y
            if not kept or np.linalg.norm((gap - np.rint(gap)) @ cell.O.T, axis=1).min() > same:
                kept.append(m)
        multiplicity.append(len(kept))
        places += [(images[m], i, rot[m], trans[m]) for m in kept]
    every = np.array([p[0] for p in places]).reshape(-1, 3)
    owner = np.array([p[1] for p in places], dtype=int)
    neighbours = [_around(every, a, cell, nearest, farthest) for a in every]
    links = []
    for i in range(len(xyz)):
        k = int(np.flatnonzero(owner == i)[0])
        # the listed site itself is its first image
        back = np.asarray(xyz[i]) - every[k]
        mine = []
        for b, shift in neighbours[k]:
            _, j, r, t = places[b]
            at = t + np.array(shift) + back
            length = float(np.linalg.norm(cell.O @ (r @ xyz[j] + at - xyz[i])))
            mine.append(Link(i, j, r, at, length))
        links.append(mine)
    return Net(cell, group, np.asarray(xyz, float), np.array(multiplicity), links, every, owner, neighbours)


_CELLS = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


def _around(every: np.ndarray, x: np.ndarray, cell: Cell, nearest: float, farthest: float):
    """(number, shift) of atoms in the shell about x, and shift as whole cells added to them."""
    base = -np.rint(every - x)
    gap = (every - x + base)[:, None] + _CELLS[None]
    r = np.linalg.norm(gap @ cell.O.T, axis=2)
    found = np.argwhere((r >= nearest) & (r <= farthest))
    shifts = base[found[:, 0]] + _CELLS[found[:, 1]]
    return [(int(b), (int(i), int(j), int(k))) for b, (i, j, k) in zip(found[:, 0], shifts)]
