"""Cells sorted into lattices: a tree of strains first, then a mixture that knows how badly each cell is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from credo.merge.cells import by_size, cut_tree, tree
from credo.merge.mixture import Mixture, Rows, fit, one, rows_about, two
from credo.merge.spread import Noise, density, log_strain, tensor
from credo.merge.strain import CAP, Lattice, aliases, gap_cut, reduce_lattice, relation, strains
from credo.model import Cell

__all__ = ["CellCluster", "CellClusters", "cell_of_centre", "cluster_cells"]

#: Rms strain per component of a lattice that is none of the clusters'.
ELSEWHERE = 0.2
#: Cells that make a lattice of their own against a larger one that would take them.
_LATTICE = 3
#: Rounds of placing every cell anew.
_ROUNDS = 6


@dataclass(frozen=True)
class CellCluster:
    """``members`` by position; ``reindex[i]``: P (3, 3) with (a', b', c') = (a, b, c) P on the axes of ``reference``;
    ``cell``: the mean there, weighted by what is known of each member, with its covariance (None: a single cell without
    one); ``index``: of the super- or sublattice each member is, 1 for the lattice itself; ``posterior[i]`` that the
    member belongs here and not to another cluster or to none; ``strain[i]`` of the member from the mean; ``noise``: how
    well a cell is known; ``centre``: the mean as a lattice on reduced axes, and ``information`` (6, 6): the inverse
    covariance of its strain."""

    members: tuple[int, ...]
    reference: int
    cell: Cell
    reindex: tuple[np.ndarray, ...]
    index: tuple[int, ...]
    posterior: tuple[float, ...]
    strain: tuple[float, ...]
    noise: Noise
    centre: Lattice
    information: np.ndarray


@dataclass(frozen=True)
class CellClusters:
    """``labels`` (n,) from 1; ``distance`` (n, n) strains; ``joins``: the tree; ``cut``: where it was cut; ``parted``:
    how many clusters the mixture made from one of the tree's, and ``united``: the other way round, single cells that
    a lattice took among them."""

    labels: np.ndarray
    clusters: tuple[CellCluster, ...]
    distance: np.ndarray
    joins: np.ndarray
    cut: float
    parted: int = 0
    united: int = 0


@dataclass
class _Sorting:
    """What all steps share: lattices, their bases and badly known directions, the strains and their bases."""

    lattices: list[Lattice]
    aliases: list[np.ndarray]
    directions: list[np.ndarray | None]
    distance: np.ndarray
    bases: np.ndarray
    known: dict[bytes, tuple[Mixture, np.ndarray]] = field(default_factory=dict)

    def single(self, group: np.ndarray) -> tuple[Mixture, np.ndarray]:
        """The one centre of a group (rising) and its symmetry, fitted once."""
        key = group.tobytes()
        if key not in self.known:
            head = self.head(group)
            self.known[key] = one(self.rows(head, group), self.lattices[head])
        return self.known[key]

    def head(self, group: np.ndarray) -> int:
        return int(group[np.argmin(self.distance[np.ix_(group, group)].sum(axis=1))])

    def rows(self, head: int, group: np.ndarray) -> Rows:
        pick = lambda x: [x[i] for i in group]  # noqa: E731
        return rows_about(self.lattices[head], pick(self.lattices), pick(self.directions), pick(self.aliases))


def cluster_cells(
    cells: Sequence[Cell],
    centrings: Sequence[str] | None = None,
    cut: float | None = None,
    max_index: int = 3,
    directions: Sequence[np.ndarray | None] | None = None,
) -> CellClusters:
    """Sort cells into lattices.

    cut: strain at which the tree of average linkage is cut; where it is not given it is found, and the clusters are
    parted or united where a mixture of lattices, each cell with its covariance, its badly known direction
    (``directions``, fractions of its axes) or one that may be any, explains the cells better by Bayes's information
    criterion.
    A cluster of a tenth of another's size, or a single cell, joins it when its middle cell is a sub- or superlattice of
    it of index up to ``max_index``, within the cut: an accident of indexing. Larger ones stay, since real phases are so
    related (LTA and FAU, by 2).
    """
    lattices = [reduce_lattice(c, k) for c, k in zip(cells, centrings or ["P"] * len(cells), strict=True)]
    distance, bases = strains(lattices)
    near = [aliases(x.metric) for x in lattices]
    s = _Sorting(lattices, near, list(directions or [None] * len(cells)), distance, bases)
    joins = tree(distance)
    height = gap_cut(joins) if cut is None else cut
    labels = cut_tree(joins, height)
    groups = [np.flatnonzero(labels == k) for k in range(1, labels.max() + 1)]
    parted = [p for g in groups for p in _parted(s, g)] if cut is None else groups
    settled = _settled(s, _united(s, parted)) if cut is None else parted
    labels, clusters = _described(s, settled, height, max_index)
    changes = len(parted) - len(groups), len(parted) - len(settled)
    return CellClusters(labels, clusters, distance, joins, height, *changes)


def _described(
    s: _Sorting, groups: list[np.ndarray], height: float, max_index: int
) -> tuple[np.ndarray, tuple[CellCluster, ...]]:
    """Labels with the accidents of indexing put where they belong, and the clusters, the largest first."""
    lattices, labels = s.lattices, np.empty(len(s.lattices), dtype=int)
    heads = [s.head(g) for g in groups]
    joined = _accidents(lattices, groups, heads, height, max_index)
    for k, g in enumerate(groups):
        labels[g] = joined.get(k, k)
    labels = by_size(labels)
    kept = sorted((k for k in range(len(groups)) if k not in joined), key=lambda k: labels[heads[k]])
    fits = [s.single(groups[k])[0] for k in kept]
    belongs = _posteriors(s, [heads[k] for k in kept], fits, [len(groups[k]) for k in kept])
    clusters = tuple(
        _cluster(s, np.flatnonzero(labels == labels[heads[k]]), groups[k], heads[k], f, belongs[:, i], max_index)
        for i, (k, f) in enumerate(zip(kept, fits))
    )
    return labels, clusters


def _parted(s: _Sorting, group: np.ndarray) -> list[np.ndarray]:
    """The group, or the lattices that it holds."""
    if len(group) < 8:
        return [group]
    pair = two(s.rows(s.head(group), group), *s.single(group))
    if pair is None:
        return [group]
    side = pair.posterior.argmax(axis=1)
    return [p for k in (0, 1) for p in _parted(s, group[side == k])]


def _united(s: _Sorting, groups: list[np.ndarray]) -> list[np.ndarray]:
    """Groups that one centre explains as well as two do are joined, the nearest first."""
    groups = sorted(groups, key=len, reverse=True)
    tested: set[tuple[int, int, int]] = set()
    while True:
        heads = [s.head(g) for g in groups]
        pairs = sorted(
            (s.distance[heads[i], heads[j]], i, j)
            for i in range(len(groups)) for j in range(i) if s.distance[heads[i], heads[j]] < CAP / 2
        )  # fmt: skip
        pairs = [(i, j) for _, i, j in pairs if (len(groups[i]), heads[i], heads[j]) not in tested][:40]
        for i, j in pairs:
            tested.add((len(groups[i]), heads[i], heads[j]))
            if _one_lattice(s, groups[i], groups[j]):
                both = np.sort(np.concatenate([groups[i], groups[j]]))
                groups = [g for k, g in enumerate(groups) if k not in (i, j)] + [both]
                groups.sort(key=len, reverse=True)
                break
        else:
            return groups


def _one_lattice(s: _Sorting, a: np.ndarray, b: np.ndarray) -> bool:
    """Whether one centre explains both groups at least as well as two by the criterion, the noise being that of two."""
    whole = np.sort(np.concatenate([a, b]))
    if len(whole) < 4:
        return False
    large = a if len(a) >= len(b) else b
    head = s.head(large)
    rows = s.rows(head, whole)
    middle = np.flatnonzero(np.isin(whole, [s.head(b if large is a else a)]))[0]
    other = rows.metric[rows.starts[middle]]
    single, images = s.single(whole) if head == s.head(whole) else one(rows, s.lattices[head])
    pair = fit(rows, np.stack([s.lattices[head].metric, other]), images=images)
    return single.evidence >= pair.evidence


def _settled(s: _Sorting, groups: list[np.ndarray]) -> list[np.ndarray]:
    """Every cell where it is likeliest to belong, all centres standing beside each other.

    A tree's cut parts a cell far out in the noise from its own, and by the mean distance a cluster may get one that is
    another's. Cells of a group too small to be a lattice stay where they are only if no lattice would have them.
    """
    for _ in range(_ROUNDS):
        large = [g for g in groups if len(g) >= _LATTICE]
        if not large:
            break
        fits = [s.single(g)[0] for g in large]
        p = _posteriors(s, [s.head(g) for g in large], fits, [len(g) for g in large])
        nowhere = 1 - p.sum(axis=1)
        at, stays = p.argmax(axis=1), p.max(axis=1) <= nowhere
        for k, g in enumerate(large):
            # far from all centres is no reason to leave
            at[g] = np.where(stays[g], k, at[g])
        small = [h for g in groups if len(g) < _LATTICE if len(h := g[stays[g]])]
        free = np.concatenate(small) if small else np.empty(0, dtype=int)
        at[free] = -1
        moved = [*(np.flatnonzero(at == k) for k in range(len(large))), *small]
        moved = [g for g in moved if len(g)]
        if sorted(g.tobytes() for g in moved) == sorted(g.tobytes() for g in groups):
            break
        groups = moved
    return groups


def _accidents(lattices, groups, heads, height: float, max_index: int) -> dict[int, int]:
    """Which small group is a sub- or superlattice of which large one (nearest first)."""
    joined: dict[int, int] = {}
    for small, group in enumerate(groups):
        large = [k for k, g in enumerate(groups) if len(g) > 1 and len(group) <= max(1, len(g) // 10) and k != small]
        found = [(relation(lattices[heads[small]], lattices[heads[k]], max_index), k) for k in large if max_index > 1]
        near = min(((d, k) for (d, n, _), k in found if d < height), default=None)
        if near is not None and near[1] not in joined:
            joined[small] = near[1]
    return joined


def _posteriors(s: _Sorting, heads: list[int], fits: list[Mixture], sizes: list[int]) -> np.ndarray:
    """(n, k): how probably each cell belongs to each centre rather than to another or to none."""
    n = len(s.lattices)
    log = np.full((n, len(fits) + 1), -np.inf)
    log[:, -1] = -np.log(2 * n) - 6 * np.log(ELSEWHERE) - 3 * np.log(2 * np.pi)
    for k, (head, f, size) in enumerate(zip(heads, fits, sizes)):
        near = np.flatnonzero(s.distance[head] < CAP)
        rows = s.rows(head, near)
        inverse = np.linalg.inv(np.linalg.cholesky(f.metrics[0])).T
        p = density(log_strain(inverse, rows.metric), rows.spreads(inverse), f.noise).log
        log[near, k] = np.maximum.reduceat(p, rows.starts) + np.log(size / n)
    log -= log.max(axis=1, keepdims=True)
    return (np.exp(log) / np.exp(log).sum(axis=1, keepdims=True))[:, :-1]


def _cluster(s: _Sorting, members, own, head: int, f: Mixture, belongs, max_index: int) -> CellCluster:
    """Every member on the axes of the head, and the mean."""
    lattices, back = s.lattices, np.linalg.inv(s.lattices[head].basis)
    rows = s.rows(head, own)
    basis = {int(j): rows.basis[r] for j, r in zip(own, f.row)}
    turn = np.linalg.inv(basis[head])
    operators, index, strain = [], [], []
    inverse = np.linalg.inv(np.linalg.cholesky(f.metrics[0])).T
    for j in map(int, members):
        # the head's own axes stay, whichever of its images the mean suits best
        if j in basis:
            n, p = 1, basis[j] @ turn @ lattices[head].basis
        else:
            _, n, p = relation(lattices[j], lattices[head], max_index)
        operators.append(p @ back)
        index.append(n)
        g = p.T @ lattices[j].cell.metric @ p
        strain.append(float(np.linalg.norm(log_strain(inverse, g[None])[0])))
    single = lattices[head].cell if len(own) == 1 else None
    centre = Lattice(lattices[head].cell, basis[head], f.metrics[0])
    cell = single or cell_of_centre(f.metrics[0], f.information[0], basis[head])
    return CellCluster(
        tuple(map(int, members)), head, cell, tuple(operators), tuple(index),
        tuple(float(belongs[j]) if j in basis else 1.0 for j in members), tuple(strain), f.noise, centre,
        f.information[0],
    )  # fmt: skip


def cell_of_centre(metric: np.ndarray, information: np.ndarray, basis: np.ndarray) -> Cell:
    """The cell (with covariance) of axes (a, b, c) where a centre's ``metric`` belongs to (a, b, c) ``basis``;
    ``information`` (6, 6): the inverse covariance of its strain."""
    o, back = np.linalg.cholesky(metric).T, np.linalg.inv(basis)

    def constants(v: np.ndarray) -> np.ndarray:
        f = (np.eye(3) + tensor(v)) @ o @ back
        return np.array(Cell.from_metric(f.T @ f).parameters)

    step = 1e-5
    j = np.stack([(constants(step * d) - constants(-step * d)) / (2 * step) for d in np.eye(6)], axis=1)
    covariance = j @ np.linalg.inv(information + 1e-9 * np.eye(6)) @ j.T
    return Cell(*constants(np.zeros(6)), covariance=covariance)
