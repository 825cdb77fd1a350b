"""``credo solve --engine`` and ``credo refine --engine``: from a reflection file to a folder with a report."""

import json
import sys
from pathlib import Path

import pytest

from credo.io.structure import read_structure
from credo.model import CannotDo, UnreadableInput
from credo.pipeline.outside import refine_outside, solve_outside
from credo.pipeline.solve import SolveFileSettings
from credo.solve.refine.prepare import RefineSettings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scripts are no programs on Windows")

SETTINGS = SolveFileSettings(laue_group="2/m", centring="P", composition="C5 N1 O3")
REMARKS = "REM SHELXT solution in P2(1)/c\nREM R1 0.110,  Rweak 0.004,  Alpha 0.024,  Orientation as input"


@pytest.fixture
def data(chain_task, res_of, tmp_path) -> Path:
    """known.hkl with known.res, its structure, beside it."""
    structure, task = chain_task
    task.write_hkl(tmp_path / "known.hkl")
    (tmp_path / "known.res").write_text(res_of(structure))
    return tmp_path / "known.hkl"


def test_solve_with_shelxt(chain_task, data, fake, res_of, same_atoms, tmp_path):
    structure, _ = chain_task
    fake("shelxt", f"pathlib.Path(name + '_a.res').write_text({res_of(structure, REMARKS)!r})")
    report = solve_outside(data, tmp_path / "out", "shelxt", SETTINGS)
    assert report["ok"] and report["engine"] == "SHELXT" and report["r1"] == pytest.approx(0.11)
    assert report["space_group"] == "P 1 21/c 1" and report["n_atoms"] == len(structure.atoms)
    # refined by credo from there, against 2 % errors
    assert same_atoms(read_structure(tmp_path / "out" / "structure.cif"), structure, 0.003)
    assert (tmp_path / "out" / "shelxt" / "credo_a.res").exists()


def test_absent_program_ends_with_a_report_and_its_input(data, fake, tmp_path):
    with pytest.raises(CannotDo, match="Superflip is not on PATH"):
        solve_outside(data, tmp_path / "out", "superflip", SETTINGS)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert not report["ok"] and "Superflip" in report["reason"] and report["remedy"]
    assert (tmp_path / "out" / "superflip" / "credo.inflip").exists()


def test_refine_with_shelxl(data, fake, tmp_path):
    listing = (
        " wR2 =  0.1229, GooF = S =   1.023, Restrained GooF =    1.023  for all data\n"
        " R1 =  0.0465 for     868 Fo > 4sig(Fo)  and  0.0513 for all    1234 data\n"
    )
    fake(
        "shelxl",
        "pathlib.Path(name + '.res').write_text(pathlib.Path(name + '.ins').read_text())\n"
        f"pathlib.Path(name + '.lst').write_text({listing!r})",
    )
    report = refine_outside(data.with_suffix(".res"), data, tmp_path / "out")
    assert (report["r1_obs"], report["r1_all"], report["wr2"], report["goof"]) == (0.0465, 0.0513, 0.1229, 1.023)
    assert report["space_group"] == "P 1 21/c 1"
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"refined.res", "refined.lst", "report.json", "shelxl"}


def test_what_shelxl_is_not_asked(data, tmp_path):
    with pytest.raises(UnreadableInput, match="optimise weights"):
        refine_outside(data.with_suffix(".res"), data, tmp_path / "out", RefineSettings(optimise_weights=True))
