"""Lists in XSCALE's layout are read back by gemmi and by credo; its input names the files."""

import gemmi
import numpy as np
import pytest

from credo.io.reflection_files import read_any
from credo.io.xscale import write_scaled, write_xscale_inp
from credo.model import Cell, Reflections

CELL = Cell(9.1, 11.7, 14.3, 90, 90, 90)


@pytest.fixture
def table():
    return Reflections(h=[1, 0, 2], k=[0, 2, 1], l=[3, -1, 0], intensity=[10.5, -2.0, 3e6], sigma=[1.0, 2.0, 3.0],
                       dataset=[0, 1, 1], phi=[5.0, -3.0, 7.0], rejected=[False, False, True])  # fmt: skip


def test_gemmi_and_credo_read_it_back(tmp_path, table):
    path = tmp_path / "XDS_ASCII.HKL"
    write_scaled(path, CELL, 16, 0.02508, table, ["a b/first.HKL", "second.HKL"])
    xds = gemmi.read_xds_ascii(str(path))
    assert len(xds.iobs_array) == 3 and xds.cell_constants[0] == pytest.approx(9.1)
    assert "! ISET=     2 INPUT_FILE=second.HKL" in path.read_text()
    assert sorted(xds.zd_array.tolist()) == pytest.approx([0, 0, 10])
    assert sorted(xds.iset_array.tolist()) == [1, 2, 2]
    _, back = read_any(path)
    order = np.argsort(back["intensity"])
    assert back["intensity"][order] == pytest.approx([-2.0, 10.5, 3e6])
    assert back["rejected"][order].tolist() == [False, False, True]


def test_the_input_names_every_file(tmp_path):
    write_xscale_inp(tmp_path / "XSCALE.INP", ["1_XDS_ASCII.HKL", "2_XDS_ASCII.HKL"], CELL, 16, 0.9)
    text = (tmp_path / "XSCALE.INP").read_text()
    assert text.count("INPUT_FILE=") == 2 and "SPACE_GROUP_NUMBER= 16" in text
    assert "INCLUDE_RESOLUTION_RANGE= 50 0.900" in text
