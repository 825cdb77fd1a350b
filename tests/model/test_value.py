"""Values: frozen arrays, equality by content, JSON form and back."""

import dataclasses
import json
from dataclasses import dataclass

import numpy as np
import pytest

from credo.model.value import Value, array_field


@dataclass(frozen=True, eq=False)
class Inner(Value):
    number: float = 1.0


@dataclass(frozen=True, eq=False)
class Outer(Value):
    data: np.ndarray = array_field()
    counts: np.ndarray | None = array_field(np.int64, default=None)
    inner: Inner = dataclasses.field(default_factory=Inner)
    many: tuple[Inner, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    note: str | None = None


def test_arrays_are_copied_typed_and_read_only():
    mine = np.array([1, 2, 3])
    value = Outer(mine)
    assert value.data.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        value.data[0] = 9
    mine[0] = 9
    assert value.data[0] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.note = "x"


def test_equality_is_by_content():
    a, b = Outer(np.array([1.0, np.nan])), Outer(np.array([1.0, np.nan]))
    assert a == b
    assert a != b.replace(note="other")
    assert a != Outer(np.array([1.0, 2.0]))
    assert a != a.replace(counts=np.array([1, 2]))
    assert a.replace(counts=np.array([1, 2])) != a
    assert a != "something else"
    with pytest.raises(TypeError, match="unhashable"):
        hash(a)


def test_json_and_back():
    value = Outer(np.eye(2), np.array([3, 4]), Inner(2.5), (Inner(1), Inner(2)), (7, 8.5), "n")
    text = json.dumps(value.to_dict(), allow_nan=False)
    again = Outer.from_dict(json.loads(text))
    assert again == value
    assert again.counts.dtype == np.int64
    assert again.pair == (7, 8.5)
    assert isinstance(again.many[1], Inner)


def test_none_is_left_out_and_unknown_keys_are_named():
    data = Outer(np.zeros(1)).to_dict()
    assert "note" not in data
    assert "counts" not in data
    with pytest.raises(ValueError, match=r"unknown key.*colour.*known are.*note"):
        Outer.from_dict({**data, "colour": 1})
