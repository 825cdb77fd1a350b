"""One more cell among many that are sorted already, in a time that grows with their number and not with its square."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from credo.kernels.strain import least_strained_from
from credo.merge.cell_clusters import ELSEWHERE, CellClusters, cell_of_centre
from credo.merge.mixture import rows_about
from credo.merge.spread import Noise, density, log_strain, tensor
from credo.merge.strain import CAP, Lattice, aliases, reduce_lattice
from credo.model import Cell

__all__ = ["Added", "Centre", "SortedCells", "add"]


@dataclass(frozen=True)
class Centre:
    """A cluster: ``metric`` (3, 3) on reduced axes that are (axes of the first member) ``basis``; ``information``
    (6, 6),
    the inverse covariance of its strain; how many members."""

    first: Cell
    basis: np.ndarray
    metric: np.ndarray
    information: np.ndarray
    noise: Noise
    count: int

    @property
    def lattice(self) -> Lattice:
        return Lattice(self.first, self.basis, self.metric)

    @property
    def cell(self) -> Cell:
        """The mean with its covariance, on the axes of the first member."""
        return cell_of_centre(self.metric, self.information, self.basis)


@dataclass(frozen=True)
class SortedCells:
    """What :func:`add` needs: ``inverse`` O⁻¹ (n, 3, 3) of all reduced cells, ``labels`` (n,) from 1, the centres."""

    inverse: np.ndarray
    labels: np.ndarray
    centres: tuple[Centre, ...]

    @classmethod
    def empty(cls) -> SortedCells:
        return cls(np.empty((0, 3, 3)), np.empty(0, dtype=int), ())

    @classmethod
    def of(cls, cells: list[Cell], centrings: list[str], found: CellClusters) -> SortedCells:
        """After :func:`credo.merge.cell_clusters.cluster_cells`."""
        inverse = np.array([reduce_lattice(c, k).inverse for c, k in zip(cells, centrings, strict=True)])
        centres = tuple(
            Centre(c.centre.cell, c.centre.basis, c.centre.metric, c.information, c.noise, len(c.members))
            for c in found.clusters
        )
        return cls(inverse, found.labels, centres)


@dataclass(frozen=True)
class Added:
    """``label`` of the cluster, a new one included; ``posterior`` of it; ``reindex`` P (3, 3) with (a, b, c) P on the
    axes of the cluster's first member; ``distance`` (n,): strains to all earlier cells."""

    label: int
    posterior: float
    reindex: np.ndarray
    distance: np.ndarray


def add(
    state: SortedCells, cell: Cell, centring: str = "P", direction: np.ndarray | None = None
) -> tuple[SortedCells, Added]:
    """The state with one more cell, which goes to the likeliest centre and moves it, or begins a cluster.

    Nothing already sorted is sorted anew: clusters are not parted or united. For that, and for super- and sublattices,
    :func:`credo.merge.cell_clusters.cluster_cells` is run again from time to time.
    """
    lattice = reduce_lattice(cell, centring)
    u = aliases(lattice.metric)
    metrics = u.transpose(0, 2, 1) @ lattice.metric @ u
    n = len(state.labels)
    distance, best = np.empty(n), np.empty(n, dtype=np.int64)
    least_strained_from(state.inverse, metrics, CAP, distance, best)
    placed = [_placed(lattice, u, direction, c) for c in state.centres]
    log = [p[0] + np.log(c.count / (n + 1)) for p, c in zip(placed, state.centres)]
    log.append(-np.log(2 * (n + 1)) - 6 * np.log(ELSEWHERE) - 3 * np.log(2 * np.pi))
    posterior = np.exp(np.array(log) - np.logaddexp.reduce(log))
    k, centres = int(np.argmax(posterior)), list(state.centres)
    if k < len(centres):
        _, basis, v, precision = placed[k]
        reindex = basis @ np.linalg.inv(centres[k].basis)
        centres[k] = _drawn(centres[k], v, precision)
    else:
        noise, reindex = Noise(), np.eye(3)
        centres.append(Centre(cell, lattice.basis, lattice.metric, np.eye(6) / noise.bad**2, noise, 1))
    inverse, labels = np.append(state.inverse, lattice.inverse[None], axis=0), np.append(state.labels, k + 1)
    return SortedCells(inverse, labels, tuple(centres)), Added(k + 1, float(posterior[k]), reindex, distance)


def _placed(lattice: Lattice, u: np.ndarray, direction: np.ndarray | None, centre: Centre):
    """(log density, basis, strain, precision) of the basis that suits a centre best."""
    rows = rows_about(centre.lattice, [lattice], [direction], [u])
    o = centre.lattice.inverse
    v = log_strain(o, rows.metric)
    found = density(v, rows.spreads(o), centre.noise)
    r = int(np.argmax(found.log))
    return float(found.log[r]), rows.basis[r], v[r], found.precision[r]


def _drawn(centre: Centre, v: np.ndarray, precision: np.ndarray) -> Centre:
    """The centre moved by one member's strain, as much as that counts."""
    information = centre.information + precision
    values, vectors = np.linalg.eigh(tensor(np.linalg.solve(information, precision @ v)))
    o = np.linalg.cholesky(centre.metric).T
    metric = o.T @ (vectors * np.exp(2 * values)) @ vectors.T @ o
    return replace(centre, metric=metric, information=information, count=centre.count + 1)
