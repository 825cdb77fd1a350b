"""Eq. 6 and edtools's metrics against numbers worked out by hand."""

import numpy as np
import pytest

from credo.merge.cells import by_size, cell_distances, cut_tree, tree
from credo.model import Cell, UnreadableInput

CELLS = [Cell(10, 11, 12, 90, 90, 90), Cell(13, 11, 16, 90, 102, 90), Cell(12, 11, 10, 90, 90, 90)]


def test_eq_6():
    assert cell_distances(CELLS)[0, 1] == pytest.approx(np.sqrt(9 + 16 + 144))


def test_sorted_axes_make_settings_alike():
    assert cell_distances(CELLS, ordered=True)[0, 2] == 0 < cell_distances(CELLS)[0, 2]


def test_volume_and_lcv():
    cells = [Cell(3, 4, 12, 90, 90, 90), Cell(3, 4, 24, 90, 90, 90)]
    assert cell_distances(cells, "volume")[0, 1] == pytest.approx(144)
    assert cell_distances(cells, "lcv")[0, 1] == pytest.approx(np.sqrt(9 + 576) / np.sqrt(9 + 144) - 1)


def test_an_unknown_metric_is_named():
    with pytest.raises(UnreadableInput, match="ncdist"):
        cell_distances(CELLS, "ncdist")


def test_average_linkage_and_names_by_size():
    x = np.array([0.0, 5.0, 5.1, 5.3])
    joins = tree(np.abs(x[:, None] - x))
    assert joins[1, 2] == pytest.approx(0.25)
    assert cut_tree(joins, 1.0).tolist() == [2, 1, 1, 1]
    assert by_size(np.array([7, 3, 3, 7, 1])).tolist() == [1, 2, 2, 1, 3]
