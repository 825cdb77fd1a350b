"""Data sets are judged by the others: foreign ones go, noisy ones count less, every set has a reason."""

import numpy as np
import pytest

from credo.merge.members import same_data, scale_members
from credo.merge.scale import pool
from credo.model import CannotDo, Cell, Reflections


def judged(scene, tables=None, names=()):
    return scale_members(pool(tables or scene.tables), scene.cell, scene.laue_group, names=names)


@pytest.mark.parametrize("junk", [2, 8])
def test_foreign_sets_are_left_out_and_no_others(wedges, junk):
    scene = wedges(11, n=20, junk=junk)
    _, _, members = judged(scene)
    assert [m.kept for m in members] == [True] * (20 - junk) + [False] * junk
    assert all("not those of the others" in m.reason for m in members[-junk:])
    assert min(m.posterior for m in members[:-junk]) > 0.99 > 0.05 > max(m.posterior for m in members[-junk:])


def test_a_noisy_set_is_kept_at_less_weight(wedges):
    scene = wedges(12, n=15)
    rng = np.random.default_rng(1)
    worse = scene.tables[0]
    worse = worse.with_columns(intensity=worse["intensity"] * rng.lognormal(0, 0.6, len(worse)))
    _, _, members = judged(scene, [worse, *scene.tables[1:]])
    assert members[0].kept and members[0].noise > 1.4
    assert "of the weight" in members[0].reason
    assert max(m.noise for m in members[1:]) < 1.3


def test_the_same_set_twice_counts_once(wedges):
    scene = wedges(13, n=8)
    order = np.random.default_rng(0).permutation(len(scene.tables[2]))
    tables = [*scene.tables, scene.tables[2].select(order)]
    assert same_data(pool(tables)) == {8: 2}
    _, _, members = judged(scene, tables, names=[f"set {i}" for i in range(9)])
    assert not members[8].kept and members[8].reason == "holds the same observations as set 2"


def test_a_set_without_contact_is_told_apart(wedges):
    scene = wedges(14, n=8)
    few = Reflections({n: scene.tables[0][n][:5] for n in scene.tables[0]})
    empty = Reflections({n: scene.tables[0][n][:0] for n in scene.tables[0]})
    _, _, members = judged(scene, [*scene.tables, few, empty])
    assert not members[8].kept and "cannot be brought to their scale" in members[8].reason
    assert not members[9].kept and members[9].reason == "has no usable observation"
    assert all(m.kept for m in members[:8])


def test_one_set_is_merged_by_itself(wedges):
    scene = wedges(15, n=1, widths=(60, 61))
    _, _, members = judged(scene)
    assert members[0].kept and members[0].reason == "the only data set" and np.isnan(members[0].posterior)


def test_all_junk_is_no_merge(wedges):
    scene = wedges(16, n=8, junk=8)
    with pytest.raises(CannotDo, match="no two data sets agree") as error:
        judged(scene)
    assert len(error.value.numbers["rejected"]) == 8
    assert all(r["reason"] for r in error.value.numbers["rejected"])


def test_in_low_symmetry_with_few_common_reflections_good_sets_stay(wedges):
    scene = wedges(17, n=15, laue_group="-1", widths=(5, 15), cell=Cell(8.1, 9.7, 10.3, 85, 95, 100))
    _, _, members = judged(scene)
    assert all(m.kept for m in members) and min(m.common for m in members) < 150
