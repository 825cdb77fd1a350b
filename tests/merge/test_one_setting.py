"""Sets indexed in either of two settings come into one, and the merge is as good as if they had been so."""

import numpy as np
import pytest

from credo.merge.common_axes import on_axes
from credo.merge.one_setting import one_setting
from credo.model import Cell

SWAP = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])


@pytest.mark.parametrize("width", [8, 20])
def test_exchanged_axes_are_exchanged_back(wedges, width):
    scene = wedges(5, n=24, cell=Cell(12.4, 12.4, 9.3, 90, 90, 90), laue_group="4/m", widths=(width, width + 1))
    swapped = np.random.default_rng(1).random(24) < 0.5
    tables = [on_axes(t, SWAP) if s else t for t, s in zip(scene.tables, swapped)]
    changes = one_setting(tables, scene.cell, "4/m", "P", 0.02)
    # the other setting turns the fourfold axis round
    turned = np.array([t[2, 2] < 0 for t in changes])
    assert np.mean(turned == swapped) in (0.0, 1.0)


def test_where_nothing_is_ambiguous_nothing_is_changed(wedges):
    scene = wedges(6, n=3)
    assert all(np.array_equal(t, np.eye(3)) for t in one_setting(scene.tables, scene.cell, "mmm", "P", 0.02))
