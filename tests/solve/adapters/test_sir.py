"""SIR2014: the command file, and the atoms of whatever the run left."""

import sys

import gemmi
import pytest

from credo.model import CannotDo
from credo.solve.adapters.sir import solve_with_sir, write_sir

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scripts are no programs on Windows")


def test_input(chain_task, tmp_path):
    _, task = chain_task
    write_sir(task, gemmi.SpaceGroup("P 1 21/c 1"), tmp_path)
    lines = [x.strip() for x in (tmp_path / "credo.sir").read_text().split("\n")]
    assert lines[0] == "%structure credo"
    assert "electrons" in lines and "fosquare" in lines
    assert "spacegroup P 1 21/c 1" in lines
    contents = next(x for x in lines if x.startswith("contents")).split()[1:]
    atoms = dict(zip(contents[::2], map(int, contents[1::2])))
    assert set(atoms) == {"C", "N", "O"}
    assert sum(atoms.values()) == pytest.approx(task.cell.volume / 18, abs=2)
    assert atoms["C"] > atoms["O"] > atoms["N"]
    assert all(len(x) <= 80 for x in lines)


@pytest.mark.parametrize("name", ["credo.res", "other.ins"])
def test_solution(chain_task, fake, res_of, same_atoms, tmp_path, name):
    structure, task = chain_task
    fake(
        "sir2014",
        "assert '%phase' in pathlib.Path(name).read_text()\npathlib.Path('credo.cif').write_text('data_nothing')\n"
        f"pathlib.Path({name!r}).write_text({res_of(structure)!r})",
    )
    found = solve_with_sir(task, tmp_path / "run", space_group="P 21/c")
    assert found.space_group == "P 1 21/c 1" and same_atoms(found.structure, structure)
    assert 0 < found.r1 < 0.15


def test_no_group_no_run(chain_task, fake, tmp_path):
    fake("sir2014", "pathlib.Path('ran').write_text('')")
    for group in ("", "P 99 x"):
        with pytest.raises(CannotDo, match="told the space group"):
            solve_with_sir(chain_task[1], tmp_path / "run", space_group=group)
    assert not (tmp_path / "run" / "ran").exists()


def test_no_atoms_is_said(chain_task, fake, tmp_path):
    fake("sir2014", "print('no solution')")
    with pytest.raises(CannotDo, match="no solution"):
        solve_with_sir(chain_task[1], tmp_path / "run", space_group="P 21/c")


def test_absent_program_leaves_its_input(chain_task, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotDo, match="not on PATH"):
        solve_with_sir(chain_task[1], tmp_path / "run", space_group="P 21/c")
    assert (tmp_path / "run" / "credo.sir").exists()
