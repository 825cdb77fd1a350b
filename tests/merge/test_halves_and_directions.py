"""CC½ by crystals, and completeness by direction."""

import numpy as np
import pytest

from credo.merge.directions import completeness_by_direction
from credo.merge.halves import cc_half_by_crystals
from credo.merge.scale import pool, scale_sets
from credo.model import Cell
from credo.physics.ewald import miller_indices


def test_halves_of_crystals_agree_as_far_as_the_truth_goes(wedges):
    scene = wedges(21, n=16)
    data = pool(scene.tables)
    s = scale_sets(data, scene.cell, scene.laue_group)
    every = np.arange(len(s.hkl))
    whole, none = cc_half_by_crystals(data, s, [every, every[:3]])
    assert 0.8 < whole < 1 and np.isnan(none)
    one = data.select(data.dataset == 0)
    assert np.isnan(cc_half_by_crystals(one, s, [every])[0])


def test_a_missing_cone_is_seen():
    cell = Cell(8, 9, 10, 90, 90, 90)
    hkl = miller_indices(cell.B, 0.8)
    q = hkl @ cell.B.T
    along = np.abs(q[:, 2]) / np.linalg.norm(q, axis=1)
    directions, share = completeness_by_direction(hkl[along < 0.7], cell, "-1", "P", 0.8)
    assert np.linalg.norm(directions, axis=1) == pytest.approx(1)
    assert np.nanmin(share[directions[:, 2] < 0.6]) > 0.9
    assert np.nanmax(share[directions[:, 2] > 0.8]) < 0.1
    _, full = completeness_by_direction(hkl[np.all(hkl >= 0, axis=1)], cell, "mmm", "P", 0.8)
    assert np.nanmin(full) == 1
