"""Cells that come one by one are sorted as those that are there at once."""

import numpy as np

from credo.merge.cell_clusters import cluster_cells
from credo.merge.live_cells import SortedCells, add
from credo.model import Cell

MFI, MOR = Cell(20.09, 19.738, 13.142, 90, 90, 90), Cell(18.256, 20.534, 7.542, 90, 90, 90)
SETTING = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1.0]])


def _noisy(cell: Cell, rng) -> Cell:
    f = (np.eye(3) + 0.01 * rng.normal(size=(3, 3))) @ cell.O
    return Cell.from_metric(f.T @ f)


def test_from_nothing():
    rng, state, labels = np.random.default_rng(0), SortedCells.empty(), []
    for k in range(10):
        state, added = add(state, _noisy((MFI, MOR)[k % 2], rng), "PC"[k % 2])
        labels.append(added.label)
    assert labels == [1, 2] * 5 and state.labels.tolist() == labels
    assert [c.count for c in state.centres] == [5, 5] and len(added.distance) == 9
    assert abs(state.centres[0].cell.volume / MFI.volume - 1) < 0.05


def test_after_a_sorting_and_in_another_setting():
    rng = np.random.default_rng(1)
    cells, centrings = [_noisy(MFI, rng) for _ in range(6)] + [_noisy(MOR, rng) for _ in range(3)], list("PPPPPPCCC")
    state = SortedCells.of(cells, centrings, cluster_cells(cells, centrings))
    before = state.centres[0].information
    state, added = add(state, _noisy(MFI, rng).reindexed(SETTING))
    assert added.label == 1 and added.posterior > 0.99 and added.distance.argmin() < 6
    assert np.all(np.linalg.eigvalsh(state.centres[0].information - before) > 0)
    back = _noisy(MFI, rng).reindexed(SETTING).reindexed(added.reindex)
    assert np.allclose(back.lengths, state.centres[0].cell.lengths, rtol=0.08)
    state, added = add(state, Cell(5, 6, 30, 90, 101, 90))
    assert added.label == 3 and len(state.centres) == 3
