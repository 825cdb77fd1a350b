"""Known phases as people give them."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from credo.io.merged import without_geometry
from credo.model import Cell, Reflections, UnreadableInput
from credo.pipeline.cluster_input import badly_known
from credo.pipeline.cluster_known import identified, known_phases
from credo.pipeline.cluster_output import operator
from credo.pipeline.data_set import DataSet


def test_a_cif_and_a_cell():
    cif, cell, bare = known_phases(
        [
            str(Path(str(files("credo.io.samples"))) / "grossular.cif"),
            "LTA=11.92,11.92,11.92,90,90,90",
            "5,6,7,90,95,90,C",
        ]
    )
    assert (cif.name, cif.centring) == ("grossular", "I") and cif.cell.a == pytest.approx(11.8, abs=0.2)
    assert (cell.name, cell.centring) == ("LTA", "P") and bare.centring == "C" and bare.cell.beta == 95


def test_two_of_one_name():
    with pytest.raises(UnreadableInput, match="'A'"):
        known_phases(["A=5,6,7,90,95,90", "A=5,6,8,90,95,90"])


def test_an_open_case_without_spots_stays_open():
    phases = known_phases(["a=10,11,12,90,90,90", "b=10.3,11,12,90,90,90"])
    member = DataSet("x", without_geometry(Cell(10.15, 11, 12, 90, 90, 90)), Reflections())
    (entry,) = identified([member], phases)["identity"]
    assert 0.2 < entry["probability"]["a"] < 0.8 and "strained by" in entry["reason"]
    assert badly_known(member.experiment) is None


def test_axes_in_words():
    assert operator([[1, 0, 0], [0, 1, 0.5], [-1, 0, 0.5]]) == "a-c, b, 1/2b+1/2c"
    assert operator(np.diag([2, 1 / 3, -1])) == "2a, 1/3b, -c"
