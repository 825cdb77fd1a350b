"""Superflip and EDMA: keyword files, symmetry from the log, atoms from the export."""

import sys

import gemmi
import pytest

from credo.model import CannotDo
from credo.solve.adapters.superflip import derived_group, solve_with_superflip, write_superflip

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="scripts are no programs on Windows")


def _log(group: gemmi.SpaceGroup, successes: int = 1) -> str:
    ops = group.operations()
    listed = [op.triplet().replace("x", "x1").replace("y", "x2").replace("z", "x3") for op in ops.sym_ops]
    return "\n".join([
        " Iteration # 1", " Centering vectors:", *("  ".join(f"{x / 24:.3f}" for x in v) for v in ops.cen_ops), "",
        " Symmetry operations:", *(f"  {n}:   {t.replace(',', '   ')}" for n, t in enumerate(listed, 1)), "",
        f" Number of successes: {successes}", "",
    ])  # fmt: skip


def _edma(structure, res: str) -> str:
    """EDMA's export: no wavelength, no operations that we would need, hydrogen-free."""
    lines = [x for x in res.split("\n") if x[:4] not in ("ZERR", "HKLF", "L.S.")]
    text = "\n".join("CELL 1 1 1 90 90 90" if x.startswith("CELL") else x for x in lines)
    return (
        "assert 'inputfile credo.m81' in pathlib.Path(name).read_text()\n"
        f"pathlib.Path('credo_atoms.ins').write_text({text!r})"
    )


def _superflip(log: str) -> str:
    return (
        "assert 'fbegin credo.hkl' in pathlib.Path(name).read_text() and pathlib.Path('credo.hkl').exists()\n"
        "pathlib.Path('credo.m81').write_bytes(b'density')\n"
        f"pathlib.Path('credo.sflog').write_text({log!r})"
    )


def test_edma_beside_superflip_is_found(chain_task, fake, res_of, tmp_path, monkeypatch):
    structure, task = chain_task
    flip = fake("superflip", _superflip(_log(gemmi.SpaceGroup(structure.space_group))))
    fake("EDMA", _edma(structure, res_of(structure)))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert solve_with_superflip(task, tmp_path / "run", flip).space_group == "P 1 21/c 1"


@pytest.mark.parametrize("successes", [0, 1])
def test_solution(chain_task, fake, res_of, same_atoms, tmp_path, successes):
    structure, task = chain_task
    fake("superflip", _superflip(_log(gemmi.SpaceGroup(structure.space_group), successes)))
    fake("edma", _edma(structure, res_of(structure)))
    found = solve_with_superflip(task, tmp_path / "run")
    assert found.space_group == "P 1 21/c 1" and same_atoms(found.structure, structure)
    assert 0 < found.r1 < 0.15 and found.r1_from == "credo"
    assert bool(found.notes) == (successes == 0)


def test_input(chain_task, tmp_path):
    _, task = chain_task
    write_superflip(task, tmp_path)
    lines = (tmp_path / "credo.inflip").read_text().split("\n")
    symmetry = lines[lines.index("symmetry") + 1 : lines.index("endsymmetry")]
    assert sorted(symmetry) == sorted(["x1 x2 x3", "-x1 x2 -x3", "-x1 -x2 -x3", "x1 -x2 x3"])
    assert lines[lines.index("centers") + 1].split() == ["0.00000000"] * 3
    cell = next(x for x in lines if x.startswith("cell"))
    assert [float(x) for x in cell.split()[1:]] == pytest.approx(task.cell.parameters, abs=1e-5)
    assert lines[-3:-1] == ["fbegin credo.hkl", "endf"]


@pytest.mark.parametrize("name", ["P 1", "P 1 21/n 1", "C 1 2/c 1", "F d d 2", "R -3 c:H", "I a -3 d", "P 61 2 2"])
def test_group_from_the_log(tmp_path, name):
    group = gemmi.SpaceGroup(name)
    log = _log(gemmi.SpaceGroup("P -1")) + _log(group)
    assert derived_group(log, tmp_path).xhm() == group.xhm()


def test_operations_with_decimals(tmp_path):
    log = " Symmetry operations:\n 1: x1 x2 x3\n 2: -x1 0.500+x2 0.500-x3\n 3: -x1 -x2 -x3\n 4: x1 0.5-x2 0.5+x3\n\n"
    assert derived_group(log, tmp_path).xhm() == "P 1 21/c 1"


@pytest.mark.parametrize("log", ["nothing", " Symmetry operations:\n 1: x1 rubbish x3\n\n"])
def test_log_not_understood(tmp_path, log):
    with pytest.raises(CannotDo, match=r"Superflip gave no result in .*credo\.sflog"):
        derived_group(log, tmp_path)


def test_operations_of_no_tabulated_group(tmp_path):
    log = " Symmetry operations:\n 1: x1 x2 x3\n 2: 1/8-x1 1/8-x2 -x3\n\n"
    with pytest.raises(CannotDo, match="no tabulated space group"):
        derived_group(log, tmp_path)


def test_needs_both_programs(chain_task, fake, tmp_path):
    fake("superflip", "raise SystemExit('must not run')")
    with pytest.raises(CannotDo, match="EDMA is not on PATH"):
        solve_with_superflip(chain_task[1], tmp_path / "run")
    assert not (tmp_path / "run" / "superflip.console").exists()


def test_no_density(chain_task, fake, tmp_path):
    fake("superflip", "print('error in keyword')")
    fake("edma", "pass")
    with pytest.raises(CannotDo, match=r"Superflip gave no result in .*error in keyword"):
        solve_with_superflip(chain_task[1], tmp_path / "run")


def test_no_atoms(chain_task, fake, res_of, tmp_path):
    structure, task = chain_task
    fake("superflip", _superflip(_log(gemmi.SpaceGroup(structure.space_group))))
    fake("edma", "pathlib.Path('credo_atoms.ins').write_text('TITL empty\\nSFAC C\\nEND\\n')")
    with pytest.raises(CannotDo, match=r"EDMA gave no result in .*has no atoms"):
        solve_with_superflip(task, tmp_path / "run")
