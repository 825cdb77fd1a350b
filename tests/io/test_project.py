"""experiment.json and reflections.h5: round trips, and files that are whole or not there."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from credo.io.atomic import atomic_write
from credo.io.project import read_experiment, read_reflections, write_experiment, write_json, write_reflections
from credo.model import Cell, Crystal, Reflections
from credo.model.errors import CannotDo, CredoError, UnreadableInput


def test_experiment_round_trip(tmp_path, small) -> None:
    cell = Cell(10, 11, 12, 90, 95, 90, np.eye(6) * 1e-6)
    e = small(numbers=[1, 2, 5]).replace(crystals=(Crystal(cell, np.eye(3), "C", "2/m"),), problems=("ä Å",))
    e = e.replace(scan=e.scan.replace(misset_deg=np.full((3, 3), 0.01), beam_shift=np.ones((3, 2))))
    write_experiment(tmp_path / "experiment.json", e)
    assert read_experiment(tmp_path / "experiment.json") == e


def test_reflections_round_trip(tmp_path) -> None:
    rng = np.random.default_rng(1)
    for n in (0, 5, 3000):
        r = Reflections(
            h=rng.integers(-5, 5, n), x=rng.normal(size=n), rejected=rng.random(n) > 0.5, extra=np.full(n, np.nan)
        )
        write_reflections(tmp_path / "reflections.h5", r)
        assert read_reflections(tmp_path / "reflections.h5") == r
    with h5py.File(tmp_path / "reflections.h5") as file:
        assert file["columns/x"].attrs["units"] == "px"


def test_json_has_no_nan(tmp_path) -> None:
    write_json(tmp_path / "a.json", {"a": float("nan"), "b": np.float64(2), "c": np.arange(2), "d": (Path("x"), True)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": None, "b": 2.0, "c": [0, 1], "d": ["x", True]}


class _Stop(BaseException):
    """Ctrl-C."""


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), _Stop()])
def test_a_full_disk_or_an_interruption_keeps_the_old_file(tmp_path, error) -> None:
    path = tmp_path / "experiment.json"
    path.write_text("old")
    with pytest.raises((CannotDo, _Stop)) as caught, atomic_write(path) as stream:
        stream.write(b"half of the n")
        raise error
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["experiment.json"]
    if isinstance(error, OSError):
        assert "No space left" in str(caught.value)


def test_a_real_full_disk(small) -> None:
    """/dev/full says "no space" at the first write."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(CannotDo), atomic_write(Path("/dev/full/x")) as stream:
        stream.write(b"x")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 10000), st.integers(0, 255)), min_size=1, max_size=5))
def test_damaged_files_are_refused_clearly(tmp_path, small, flips) -> None:
    write_experiment(tmp_path / "e.json", small())
    write_reflections(tmp_path / "r.h5", Reflections(x=np.arange(5.0), h=np.arange(5)))
    for name, read in (("e.json", read_experiment), ("r.h5", read_reflections)):
        raw = bytearray((tmp_path / name).read_bytes())
        for place, value in flips:
            raw[place % len(raw)] = value
        changed = bytes(raw) != (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(bytes(raw))
        try:
            read(tmp_path / name)
        except CredoError as error:
            assert name in str(error)
        else:
            # HDF5 may hang on damage: it is never given any
            assert name == "e.json" or not changed


def test_reflections_without_a_seal_are_refused(tmp_path) -> None:
    with h5py.File(tmp_path / "r.h5", "w") as file:
        file.attrs["credo"] = "reflections"
    with pytest.raises(UnreadableInput, match=r"r\.h5.*process the data again|r\.h5"):
        read_reflections(tmp_path / "r.h5")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"credo": "experiment", "version": 99}', "nonsense"])
def test_other_json_is_refused(tmp_path, text) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UnreadableInput, match=r"x\.json"):
        read_experiment(tmp_path / "x.json")
