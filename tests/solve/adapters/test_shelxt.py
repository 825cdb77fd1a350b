"""SHELXT: what it is given, and what is read of what it leaves."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from credo.io.shelx import read_hkl
from credo.io.shelx_ins import read_ins
from credo.model import CannotDo
from credo.solve.adapters.shelxt import read_solution, solve_with_shelxt, write_shelxt

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scripts are no programs on Windows")

REMARKS = """REM Old TITL credo
REM SHELXT solution in P2(1)/c
REM R1 0.110,  Rweak 0.004,  Alpha 0.024,  Orientation as input
REM Formula found by SHELXT:  C5 N O3"""


def _leaves(res: str) -> str:
    return (
        "assert pathlib.Path(name + '.ins').exists() and pathlib.Path(name + '.hkl').exists()\n"
        f"pathlib.Path(name + '_a.res').write_text({res!r})\n"
        f"pathlib.Path(name + '_b.res').write_text({res.replace('R1 0.110', 'R1 0.105')!r})\n"
        "pathlib.Path(name + '_a.hkl').write_text(pathlib.Path(name + '.hkl').read_text())"
    )


@pytest.mark.parametrize(
    ("laue", "centring", "group"),
    [("2/m", "P", "P 1 2/m 1"), ("mmm", "F", "F m m m"), ("-3m1", "R", "R -3 m:H"), ("m-3m", "I", "I m -3 m"),
     ("-31m", "P", "P -3 1 m"), ("mmm", "A", "A m m m")],
)  # fmt: skip
def test_input(chain_task, tmp_path, laue, centring, group):
    task = replace(chain_task[1], laue_group=laue, centring=centring)
    write_shelxt(task, tmp_path)
    ins = read_ins(tmp_path / "credo.ins")
    assert ins.space_group is not None and ins.space_group.xhm() == group
    assert ins.contents == {"C": 5, "N": 1, "O": 3} and ins.hklf == 4
    assert np.allclose(ins.cell.parameters, task.cell.parameters, atol=1e-5)
    table = read_hkl(tmp_path / "credo.hkl")
    assert np.array_equal(table.hkl, task.hkl)
    ratio = table["intensity"] / task.intensity
    strong = task.intensity > task.intensity.mean()
    assert np.allclose(ratio[strong], ratio[strong][0], rtol=1e-3)


def test_solution(chain_task, fake, res_of, same_atoms, tmp_path):
    structure, task = chain_task
    fake("shelxt", _leaves(res_of(structure, REMARKS)))
    found = solve_with_shelxt(task, tmp_path / "run")
    assert found.space_group == "P 1 21/c 1" and found.r1 == pytest.approx(0.110) and found.r1_from == "SHELXT"
    assert same_atoms(found.structure, structure)
    assert [(c.path.name, c.r1) for c in found.candidates] == [("credo_a.res", 0.110), ("credo_b.res", 0.105)]
    assert found.reflections.name == "credo_a.hkl"


def test_solution_that_cannot_be_read_is_passed_over(chain_task, fake, res_of, tmp_path):
    structure, task = chain_task
    broken = "\npathlib.Path(name + '_a.res').write_text('TITL nothing in it')"
    fake("shelxt", _leaves(res_of(structure, REMARKS)) + broken)
    found = solve_with_shelxt(task, tmp_path / "run")
    assert found.result.name == "credo_b.res" and found.reflections.name == "credo.hkl"


def test_no_solution_and_no_stale_one(chain_task, fake, res_of, tmp_path):
    structure, task = chain_task
    path = fake("shelxt", _leaves(res_of(structure, REMARKS)))
    solve_with_shelxt(task, tmp_path / "run")
    path.write_text(f"#!{sys.executable}\nprint('** No solution **')\n")
    with pytest.raises(CannotDo, match=r"SHELXT gave no result in .*run.*No solution"):
        solve_with_shelxt(task, tmp_path / "run")


def test_absent_leaves_its_input(chain_task, fake, tmp_path):
    with pytest.raises(CannotDo, match="SHELXT is not on PATH"):
        solve_with_shelxt(chain_task[1], tmp_path / "run")
    assert (tmp_path / "run" / "credo.ins").exists()


def test_needs_elements(chain_task, tmp_path):
    with pytest.raises(CannotDo, match="SHELXT has to be told the elements"):
        write_shelxt(replace(chain_task[1], composition=""), tmp_path)


@pytest.mark.data
def test_remarks_of_a_real_run(shared_data):
    """A .res that began as SHELXT's: R1 stands on the line of the space group in SHELXT 2018."""
    path = shared_data / "lta_stw_xds" / "LTA_t1_CORRECT_run" / "shelx" / "shelx.res"
    structure, r1 = read_solution(path)
    assert r1 == pytest.approx(0.301) and structure.space_group == "P m -3 m"
