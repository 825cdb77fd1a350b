"""``credo solve`` as a function: bad input refused with a remedy, an unsolved structure leaves its best trial."""

import numpy as np
import pytest

from credo.io.shelx import write_hkl
from credo.model import Reflections, UnreadableInput
from credo.pipeline.solve import SolveFileSettings, read_reflections, solve_file


@pytest.fixture
def noise(tmp_path):
    """Intensities of nothing, as a SHELX .hkl without an .ins."""
    rng = np.random.default_rng(0)
    h = np.stack(np.meshgrid(*[np.arange(0, 7)] * 3, indexing="ij"), -1).reshape(-1, 3)[1:]
    i = rng.exponential(100.0, len(h))
    path = tmp_path / "noise.hkl"
    write_hkl(path, Reflections({"h": h[:, 0], "k": h[:, 1], "l": h[:, 2], "intensity": i, "sigma": 0.1 * i + 1}))
    return path


CELL = (8.0, 9.0, 10.0, 90.0, 90.0, 90.0)


def test_without_a_cell(noise, tmp_path):
    with pytest.raises(UnreadableInput, match="--cell"):
        solve_file(noise, tmp_path / "out")


def test_odd_spelling_of_a_group_and_an_unknown_one(noise):
    known = read_reflections(noise, SolveFileSettings(cell=CELL, space_group="p212121"))
    assert known.laue_groups == ("mmm",) and known.centring == "P"
    with pytest.raises(UnreadableInput, match="not known"):
        read_reflections(noise, SolveFileSettings(cell=CELL, space_group="Q 7 7"))


def test_flat_cell_and_missing_file(noise, tmp_path):
    with pytest.raises(UnreadableInput, match="no volume"):
        read_reflections(noise, SolveFileSettings(cell=(8, 9, 10, 10, 10, 170)))
    with pytest.raises(UnreadableInput, match="no such file"):
        read_reflections(tmp_path / "absent.hkl", SolveFileSettings(cell=CELL))


def test_not_solved_is_an_answer(noise, tmp_path):
    settings = SolveFileSettings(cell=CELL, laue_group="mmm", composition="C O", trials=1, seconds=3)
    report = solve_file(noise, tmp_path / "out", settings)
    assert not report["ok"] and not report["solved"]
    assert "not solved after 1 trials" in report["reason"]
    assert report["candidates"] and (tmp_path / "out" / "report.html").exists()
