"""The reflection table: columns, their types, rows picked and joined, never edited in place."""

import numpy as np
import pytest

from credo.model import Reflections


def table(n=4):
    return Reflections(
        h=np.arange(n), k=-np.arange(n), l=np.ones(n), x=np.linspace(0, 1, n), y=np.zeros(n), rejected=np.zeros(n)
    )


def test_columns_get_their_types_and_are_frozen_copies():
    mine = np.arange(3.0)
    r = Reflections(x=mine, h=mine, rejected=mine, extra=mine)
    assert (r["x"].dtype, r["h"].dtype, r["rejected"].dtype) == (np.float64, np.int32, np.bool_)
    mine[0] = 7
    assert r["x"][0] == r["extra"][0] == 0
    with pytest.raises(ValueError, match="read-only"):
        r["x"][0] = 1


def test_length_truth_and_missing_columns():
    assert len(table(5)) == 5
    assert not Reflections()
    assert not Reflections(x=[])
    assert table(1)
    assert "x" in table()
    assert "sigma" not in table()
    with pytest.raises(KeyError, match=r"no column 'sigma'; there are h, k, l, x"):
        table()["sigma"]
    with pytest.raises(ValueError, match="differ in length"):
        Reflections(x=[1.0], y=[1.0, 2.0])


def test_select_with_columns_and_views():
    r = table()
    assert r.hkl.tolist() == [[0, 0, 1], [1, -1, 1], [2, -2, 1], [3, -3, 1]]
    assert r.xy.shape == (4, 2)
    assert r.select(r["h"] > 1)["h"].tolist() == [2, 3]
    assert r.select(np.array([3, 0]))["h"].tolist() == [3, 0]
    new = r.with_columns(hkl=np.full((4, 3), 9), sigma=np.ones(4))
    assert new.hkl.tolist() == [[9, 9, 9]] * 4
    assert "sigma" in new
    assert "sigma" not in r
    assert r["h"][1] == 1


def test_concatenate_keeps_what_all_have():
    joined = Reflections.concatenate([table(2), Reflections(), table(3).with_columns(sigma=np.ones(3))])
    assert len(joined) == 5
    assert "sigma" not in joined
    assert joined["h"].tolist() == [0, 1, 0, 1, 2]
    assert len(Reflections.concatenate([])) == 0


def test_equality_and_repr():
    assert table() == table()
    assert table() != table(3)
    assert table() != table().with_columns(sigma=np.ones(4))
    assert Reflections(x=[np.nan]) == Reflections(x=[np.nan])
    assert repr(table(2)) == "Reflections(2 rows: h, k, l, x, y, rejected)"
