"""Many cells of one phase brought onto common axes, with the strain of each; what does not fit is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from credo.merge.strain import reduce_lattice, strains
from credo.model import Cell, Reflections

__all__ = ["CommonAxes", "common_axes", "mean_cell", "on_axes"]

#: Sets beyond this strain from the reference are of another lattice, unless their uncertainty allows it.
TOLERANCE = 0.06
#: A change of axes must bring as much to be made at all.
_WORTH = 0.005


@dataclass(frozen=True)
class CommonAxes:
    """``reference``: whose axes they are; ``change`` per set: P (3, 3) with (a, b, c) P on these axes, or None where
    the lattice is another; ``strain`` (n,) against the reference."""

    reference: int
    change: tuple[np.ndarray | None, ...]
    strain: np.ndarray


def common_axes(cells: Sequence[Cell], centrings: Sequence[str], weights: Sequence[float]) -> CommonAxes:
    """The axes of the set that most of the weight (observations) is nearest to; others are reindexed onto them."""
    lattices = [reduce_lattice(c, letter) for c, letter in zip(cells, centrings)]
    n = len(lattices)
    if n == 1:
        return CommonAxes(0, (np.eye(3),), np.zeros(1))
    # of hundreds of sets, the reference is sought among the heaviest
    some = np.argsort(-np.asarray(weights, dtype=float), kind="stable")[:150]
    distance, _ = strains([lattices[i] for i in some])
    near = (distance < TOLERANCE) * np.asarray(weights, dtype=float)[some][None]
    closeness = near.sum(axis=1) - 1e-3 * near.sum() * np.median(distance, axis=1)
    reference = int(some[np.argmax(closeness)])
    changes, sizes = [], np.zeros(n)
    for i, lattice in enumerate(lattices):
        d, bases = strains([lattice, lattices[reference]])
        p = lattice.basis @ np.linalg.inv(bases[0, 1]) @ np.linalg.inv(lattices[reference].basis)
        sizes[i] = d[0, 1]
        as_it_is = _strain(cells[i], cells[reference])
        if centrings[i] == centrings[reference] and as_it_is < sizes[i] + _WORTH:
            p, sizes[i] = np.eye(3), as_it_is
        changes.append(_tidy(p) if sizes[i] < TOLERANCE else None)
    return CommonAxes(reference, tuple(changes), sizes)


def _strain(a: Cell, b: Cell) -> float:
    o = np.linalg.inv(b.O)
    return float(np.linalg.norm(0.5 * np.log(np.linalg.eigvalsh(o.T @ a.metric @ o))))


def _tidy(p: np.ndarray) -> np.ndarray:
    """Twelfths to within rounding, exactly."""
    return np.rint(p * 12) / 12 + 0.0


def on_axes(table: Reflections, p: np.ndarray) -> Reflections:
    """Reflections with h' = Pᵀ h; indices that are not whole on the new axes are left out."""
    if np.array_equal(p, np.eye(3)):
        return table
    hkl = table.hkl @ p
    whole = np.all(np.abs(hkl - np.rint(hkl)) < 1e-6, axis=1)
    return table.select(whole).with_columns(hkl=np.rint(hkl[whole]).astype(int))


def mean_cell(cells: Sequence[Cell], rotations: np.ndarray) -> Cell:
    """The cell of the mean metric, symmetrised by rotations (m, 3, 3); covariance of the mean from the scatter.

    Constants farther than 4.5 robust widths from the median count as the median.
    """
    table = np.array([c.parameters for c in cells])
    middle = np.median(table, axis=0)
    width = 1.483 * np.median(np.abs(table - middle), axis=0) + 1e-9
    clipped = np.clip(table, middle - 4.5 * width, middle + 4.5 * width)
    metrics = np.array([_symmetric(Cell(*row), rotations) for row in clipped])
    mean = Cell.from_metric(metrics.mean(axis=0))
    if len(cells) < 3:
        return mean
    each = np.array([Cell.from_metric(g).parameters for g in metrics])
    return mean.replace(covariance=np.cov(each.T) / len(cells))


def _symmetric(cell: Cell, rotations: np.ndarray) -> np.ndarray:
    return np.mean([r.T @ cell.metric @ r for r in rotations], axis=0)
