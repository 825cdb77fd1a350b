"""``credo refine``, ``map`` and ``powder`` through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import gemmi
import numpy as np
import pytest

from credo.app.cli import run
from credo.io.shelx import write_hkl
from credo.io.text import write_text
from credo.model import Atom, Cell, Reflections, Structure
from credo.physics.structure_factors import structure_factors

CIF = """data_quartz
_cell_length_a 4.913
_cell_length_b 4.913
_cell_length_c 5.405
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_space_group_name_H-M_alt 'P 32 2 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_U_iso_or_equiv
Si1 Si 0.4680 0.0000 0.66667 0.010
O1 O 0.4150 0.2650 0.7870 0.012
"""


@pytest.fixture
def quartz(tmp_path: Path) -> tuple[str, str]:
    write_text(tmp_path / "quartz.cif", CIF)
    cell = Cell(4.913, 4.913, 5.405, 90, 90, 120)
    atoms = (
        Atom("Si1", "Si", [0.4697, 0, 2 / 3], u_iso=0.008),
        Atom("O1", "O", [0.4135, 0.2669, 0.7858], u_iso=0.014),
    )
    true = Structure(cell, "P 32 2 1", atoms)
    edges, group = gemmi.UnitCell(*cell.parameters), gemmi.SpaceGroup(true.space_group)
    hkl = np.asarray(gemmi.make_miller_array(edges, group, 0.6, unique=True))
    f2 = 80 * np.abs(structure_factors(true, hkl)) ** 2
    columns = {"h": hkl[:, 0], "k": hkl[:, 1], "l": hkl[:, 2], "intensity": f2, "sigma": 0.04 * f2 + 0.05}
    write_hkl(tmp_path / "quartz.hkl", Reflections(columns))
    return str(tmp_path / "quartz.cif"), str(tmp_path / "quartz.hkl")


def _report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def test_refine(quartz, tmp_path, capsys):
    words = ["refine", *quartz, "--out", str(tmp_path / "r"), "--anisotropic", "all", "--instruction", "RIGU"]
    assert run(words) == 0
    report = _report(tmp_path / "r")
    assert report["ok"] and report["r1_obs"] < 0.01 and report["n_restraints"] == 3
    # x of Si, four U on its twofold axis, nine of O, the scale
    assert report["n_parameters"] == 15
    assert "R1 0.00" in capsys.readouterr().out


def test_map(quartz, tmp_path, capsys):
    assert run(["map", *quartz, "--out", str(tmp_path / "m"), "--omit", "O1", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    # beside what is left at Si itself, the highest peak is the oxygen
    away = next(p for p in shown["difference_peaks"] if p["nearest_distance"] > 0.5)
    assert away["nearest_atom"] == "Si1" and away["nearest_distance"] == pytest.approx(1.61, abs=0.1)


def test_powder(quartz, tmp_path):
    words = ["powder", quartz[0], "--out", str(tmp_path / "p"), "--two-theta-max", "40", "--wavelength", "1.5406"]
    assert run(words) == 0
    rows = (tmp_path / "p" / "reflections.csv").read_text().split("\n")[1:-1]
    strongest = max(rows, key=lambda r: float(r.split(",")[-1]))
    # the 101 line of quartz
    assert float(strongest.split(",")[3]) == pytest.approx(26.65, abs=0.05)


def test_bad_arguments(quartz, tmp_path, capsys):
    assert run(["refine", quartz[0], str(tmp_path / "none.hkl"), "--out", str(tmp_path / "x")]) == 2
    assert run(["refine", *quartz, "--out", str(tmp_path / "y"), "--instruction", "DFIX 1.6 Si1"]) == 2
    assert run(["map", *quartz, "--out", str(tmp_path / "z"), "--omit", "X1"]) == 1
    assert "X1" in capsys.readouterr().err and not _report(tmp_path / "z")["ok"]


def test_compare_sets_refinements_side_by_side(quartz, tmp_path, capsys):
    """The start and its refinement: one row each, with the figures of its CIF and the atoms' way from start to end."""
    model, data = quartz
    assert run(["refine", model, data, "--out", str(tmp_path / "r")]) == 0
    capsys.readouterr()
    assert run(["compare", model, str(tmp_path / "r"), "--out", str(tmp_path / "c")]) == 0
    first, second = _report(tmp_path / "c")["structures"]
    assert first["r1_obs"] is None
    refined = _report(tmp_path / "r")
    assert second["r1_obs"] == pytest.approx(refined["r1_obs"], abs=1e-4)
    assert second["completeness"] == pytest.approx(1.0)
    assert second["resolution"] == pytest.approx(refined["resolution"], abs=1e-3)
    moved = second["comparison"]["deviation_angstrom"]
    assert 0.001 < moved["max"] < 0.05
    assert set(moved["by_element"]) == {"Si", "O"}
    table = (tmp_path / "c" / "table.csv").read_text(encoding="utf-8")
    assert table.startswith("Data set,Space group")
    assert "mean 0.0" in capsys.readouterr().out


def test_compare_keeps_what_does_not_fit(quartz, tmp_path):
    other = CIF.replace("4.913", "7.1").replace("data_quartz", "data_other")
    write_text(tmp_path / "other.cif", other)
    assert run(["compare", quartz[0], str(tmp_path / "other.cif"), "--out", str(tmp_path / "c")]) == 0
    report = _report(tmp_path / "c")
    assert report["structures"][1]["comparison"] is None
    assert "not of one lattice" in report["warnings"][0]


def test_compare_wants_two(quartz, tmp_path, capsys):
    assert run(["compare", quartz[0], "--out", str(tmp_path / "c")]) == 2
    assert "--reference" in capsys.readouterr().err


def test_map_leaves_a_page(quartz, tmp_path):
    assert run(["map", *quartz, "--out", str(tmp_path / "m")]) == 0
    page = (tmp_path / "m" / "report.html").read_text(encoding="utf-8")
    assert "Peaks of Fo − Fc" in page
    assert page.count("<canvas") == 2
