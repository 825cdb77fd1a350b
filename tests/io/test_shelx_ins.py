"""SHELX .ins and .res: the symmetry of every space group survives; cctbx reads ours in test_processing_peers."""

from __future__ import annotations

import gemmi
import pytest

from credo.io.merged import without_geometry
from credo.io.shelx_ins import read_ins, write_ins
from credo.model import Cell, UnreadableInput
from credo.model.errors import CannotDo

_CELLS = {
    "triclinic": (7, 8, 9, 83, 97, 104), "monoclinic": (7, 8, 9, 90, 97, 90), "orthorhombic": (7, 8, 9, 90, 90, 90),
    "tetragonal": (7, 7, 9, 90, 90, 90), "trigonal": (7, 7, 9, 90, 90, 120), "hexagonal": (7, 7, 9, 90, 90, 120),
    "cubic": (7, 7, 7, 90, 90, 90),
}  # fmt: skip


def test_every_space_group_is_found_again_from_its_operations(tmp_path) -> None:
    for number in range(1, 231):
        group = gemmi.find_spacegroup_by_number(number)
        cell = Cell(*map(float, _CELLS[group.crystal_system_str()]))
        write_ins(tmp_path / "a.ins", without_geometry(cell, group, 0.0251))
        back = read_ins(tmp_path / "a.ins")
        assert back.space_group is not None
        assert back.space_group.number == number
        assert (back.latt > 0) == (gemmi.Op("-x,-y,-z") in list(group.operations()))


def test_continued_lines_remarks_and_contents(tmp_path) -> None:
    (tmp_path / "a.res").write_text(
        "TITL x in P2(1)\nREM CELL 0 0 0\nCELL 0.0251 5.1 6.2 7.3 =\n   90 95.5 90\nZERR 2 .001 .002 .003 0 .02 0\n"
        "LATT -1\nSYMM -X, 0.5+Y, -Z\nSFAC C H\nSFAC Cu 1.0 2.0 =\n 3.0 4.0\nUNIT 10 20 =\n 2\nHKLF 4 1\n"
        "END\njunk 1 2\n"
    )
    ins = read_ins(tmp_path / "a.res")
    assert ins.cell.parameters == (5.1, 6.2, 7.3, 90.0, 95.5, 90.0)
    assert ins.cell.esd == pytest.approx((0.001, 0.002, 0.003, 0, 0.02, 0))
    assert ins.space_group is not None
    assert ins.space_group.number == 4
    assert ins.contents == {"C": 10, "H": 20, "Cu": 2}
    assert (ins.z, ins.hklf, ins.wavelength) == (2, 4, 0.0251)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("CELL 0.0251 5 6", "line 2"),
        ("CELL 0.0251 5 6 7 90 90 200", "volume"),
        ("LATT 9", "LATT 9"),
        ("SYMM X,Y", "SYMM"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, message) -> None:
    cell = "" if line.startswith("CELL") else "CELL 0.0251 5 6 7 90 90 90\n"
    (tmp_path / "a.ins").write_text(f"TITL x\n{cell}{line}\n")
    with pytest.raises(UnreadableInput, match=message):
        read_ins(tmp_path / "a.ins")


def test_a_cell_is_needed(tmp_path, indexed) -> None:
    (tmp_path / "a.ins").write_text("TITL x\n")
    with pytest.raises(UnreadableInput, match="no CELL"):
        read_ins(tmp_path / "a.ins")
    with pytest.raises(CannotDo, match="needs a cell"):
        write_ins(tmp_path / "b.ins", indexed()[0].replace(crystals=()))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "number"),
    [("biotin/biotin_talos.ins", 19), ("cinchonine/shelxl/shelxl.res", 4), ("lta_serial_ed/lta.ins", 226),
     ("lta_stw_xds/LTA_t1_CORRECT_run/shelx/shelx.ins", 221)],
)  # fmt: skip
def test_measured_files(shared_data, name, number) -> None:
    ins = read_ins(shared_data / name)
    assert ins.space_group is not None
    assert ins.space_group.number == number
