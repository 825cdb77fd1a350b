"""SHELXT: dual-space solution and space group from .ins and .hkl.

Files and command: https://shelx.uni-goettingen.de/shelxt_keywords.php; G. M. Sheldrick, Acta Cryst. A71 (2015) 3-8.
``shelxt name`` reads name.hkl and name.ins (Laue group from SYMM, elements from SFAC; the scattering factors are its
own, of X-rays) and leaves name_a.res, name_b.res ... with name_a.hkl ..., each with remarks of R1, Rweak and Alpha.
"""

from __future__ import annotations

import re
from pathlib import Path

from credo.io.text import read_text, write_text
from credo.model import CredoError, Structure
from credo.solve.adapters.outcome import Outcome, Ranked, Task, cleared
from credo.solve.adapters.program import Program
from credo.solve.refine.from_shelx import prepared_from_res

__all__ = ["SHELXT", "read_solution", "solve_with_shelxt", "write_shelxt"]

SHELXT = Program("SHELXT", ("shelxt", "xt"), "https://shelx.uni-goettingen.de")
_NAME = "credo"
_R1 = re.compile(r"^REM.*?\bR1\s*=?\s*(\d*\.\d+)\s*,\s*Rweak", re.MULTILINE)


def write_shelxt(task: Task, folder: Path) -> None:
    """credo.ins and credo.hkl. The numbers of UNIT are atoms per formula: SHELXT does not use them."""
    formula = task.elements("SHELXT")
    esd = task.cell.esd or (0.0,) * 6
    lines = [
        f"TITL {task.name[:60]}",
        "CELL " + " ".join([f"{task.wavelength:.6f}", *(f"{x:.5f}" for x in task.cell.parameters)]),
        "ZERR 1 " + " ".join(f"{x:.5f}" for x in esd),
        *task.laue_lines(),
        "SFAC " + " ".join(formula),
        "UNIT " + " ".join(f"{n:g}" for n in formula.values()),
        "HKLF 4",
        "END",
    ]
    write_text(folder / f"{_NAME}.ins", "\n".join(lines) + "\n")
    task.write_hkl(folder / f"{_NAME}.hkl")


def solve_with_shelxt(task: Task, folder: Path, executable: Path | None = None, seconds: float = 600) -> Outcome:
    """SHELXT's first solution that can be read, with the others ranked as SHELXT does.

    Raises CannotDo where it is absent, takes longer than ``seconds``, or leaves no solution.
    """
    folder = cleared(folder, [f"{_NAME}_?.res", f"{_NAME}_?.hkl", f"{_NAME}.lxt"])
    write_shelxt(task, folder)
    said = SHELXT.run(SHELXT.find(executable, folder), (_NAME,), folder, seconds)
    found: list[tuple[Structure, Ranked]] = []
    why = "there is no credo_a.res"
    for path in sorted(folder.glob(f"{_NAME}_?.res")):
        try:
            structure, r1 = read_solution(path)
        except CredoError as error:
            why = error.reason
            continue
        found.append((structure, Ranked(structure.space_group, r1, path)))
    if not found:
        raise SHELXT.failed(folder, why, said)
    structure, best = found[0]
    data = best.path.with_suffix(".hkl")
    if not data.exists():
        data = folder / f"{_NAME}.hkl"
    return Outcome("SHELXT", structure, best.r1, "SHELXT", best.path, data, tuple(r for _, r in found))


def read_solution(path: Path) -> tuple[Structure, float]:
    """Structure and R1 of one of SHELXT's .res."""
    remark = _R1.search(read_text(path, 2**26))
    if remark is None:
        raise SHELXT.failed(path.parent, f"{path.name} has no remark with R1 and Rweak")
    return prepared_from_res(path).model.structure, float(remark[1])
