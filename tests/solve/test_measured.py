"""Measured data solved: the published structure comes out of the published intensities."""

import pytest

from credo.io.structure import read_structure
from credo.pipeline.solve import SolveFileSettings, read_reflections, solve_data, solve_file
from credo.solve.compare import compare

pytestmark = pytest.mark.data


def test_biotin_from_its_960_reflections(shared_data, tmp_path):
    """Every file is written; all sixteen atoms within 0.1 Å of the published model."""
    report = solve_file(
        shared_data / "biotin" / "biotin_talos.hkl", tmp_path / "out", SolveFileSettings(composition="C10 H16 N2 O3 S")
    )
    assert report["ok"] and report["space_group"] == "P 21 21 21" and report["n_atoms"] == 16
    assert report["r1"] < 0.2
    found = read_structure(tmp_path / "out" / "structure.cif")
    c = compare(found, read_structure(shared_data / "biotin" / "biotin_talos.cif"))
    assert c.same_structure(1.0) and c.max_deviation < 0.15
    made = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"structure.cif", "structure.res", "structure.hkl", "observed.ccp4", "report.html", "report.json"} <= made
    assert {"space_group", "figure_of_merit", "r1", "n_atoms", "atoms", "candidates"} <= report.keys()


def test_paracetamol_from_its_virtual_frames(shared_data):
    settings = SolveFileSettings(composition="C8 H9 N O2", space_group="P b c a", seconds=12)
    data = read_reflections(shared_data / "cif_pets" / "APAP_dyn_reference.cif_pets", settings)
    found, laue = solve_data(data, settings)
    assert laue == "mmm" and found.solved
    assert compare(found.best.structure, read_structure(shared_data / "cif_pets" / "paracetamol.cif")).same_structure()


def test_cinchonine_ab_initio(shared_data):
    """All 22 atoms from 70 % of the reflections to 0.98 Å."""
    settings = SolveFileSettings(composition="C19 H22 N2 O")
    found, _ = solve_data(read_reflections(shared_data / "cinchonine" / "shelxl" / "shelxl.hkl", settings), settings)
    reference = read_structure(shared_data / "cinchonine" / "shelxl" / "shelxl.cif")
    c = compare(found.best.structure, reference)
    assert found.solved and c.same_structure() and c.rms_deviation < 0.1
