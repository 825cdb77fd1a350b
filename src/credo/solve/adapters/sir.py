"""SIR2014: direct methods and VLD in a space group that it is told, from a command file and the intensities.

Commands and directives: those common to the SIR family (SIR97 user's manual, IRMEC Bari; M. C. Burla et al.,
J. Appl. Cryst. 48 (2015) 306-309 for SIR2014); ELECTRONS asks for electron scattering factors. Four letters of a word
count, case does not. How a release names what it exports differs: the newest SHELX or CIF file that the run left and
that holds atoms is taken. Written from the manual, never run against the program.
"""

from __future__ import annotations

from pathlib import Path

import gemmi

from credo.io.structure import read_structure
from credo.io.text import write_text
from credo.model import CannotDo, CredoError, Structure
from credo.solve.adapters.outcome import Outcome, Ranked, Task, cleared, r1_of
from credo.solve.adapters.program import Program
from credo.solve.refine.from_shelx import prepared_from_res

__all__ = ["SIR", "solve_with_sir", "write_sir"]

SIR = Program("SIR2014", ("sir2014", "Sir2014", "sir2019"), "https://www.ba.ic.cnr.it/softwareic/sir2014")
_NAME = "credo"
_LEFT = ("*.res", "*.ins", "*.cif")


def write_sir(task: Task, group: gemmi.SpaceGroup, folder: Path) -> None:
    """credo.sir and credo.hkl; contents are per cell, scaled to 18 Å³ for each atom but hydrogen."""
    formula = task.elements("SIR2014")
    heavy = sum(n for e, n in formula.items() if e not in ("H", "D"))
    per_cell = task.cell.volume / 18.0 / max(heavy, 1e-9)
    contents = " ".join(f"{e} {max(round(n * per_cell), 1)}" for e, n in formula.items())
    lines = [
        f"%structure {_NAME}",
        f"%job {task.name[:60]}",
        "%initialize",
        "%data",
        "    cell " + " ".join(f"{x:.5f}" for x in task.cell.parameters),
        f"    spacegroup {group.hm}",
        f"    contents {contents}",
        f"    wavelength {task.wavelength:.6f}",
        "    electrons",
        f"    reflections {_NAME}.hkl",
        "    format (3i4,2f8.2)",
        "    fosquare",
        "%phase",
        "%export",
        f"    shelx {_NAME}.res",
        "%end",
    ]
    write_text(folder / f"{_NAME}.sir", "\n".join(lines) + "\n")
    task.write_hkl(folder / f"{_NAME}.hkl")


def solve_with_sir(
    task: Task, folder: Path, executable: Path | None = None, seconds: float = 600, space_group: str = ""
) -> Outcome:
    """The structure that SIR2014 leaves; R1 is credo's, with only the scale fitted.

    Raises CannotDo without ``space_group``, where the program is absent, takes too long or leaves no atoms.
    """
    group = gemmi.find_spacegroup_by_name(space_group) if space_group else None
    if group is None:
        raise CannotDo("SIR2014 has to be told the space group", "give --space-group, for instance 'P 21 21 21'")
    folder = cleared(folder, [*_LEFT, f"{_NAME}.bin", f"{_NAME}.out"])
    write_sir(task, group, folder)
    said = SIR.run(SIR.find(executable, folder), (f"{_NAME}.sir",), folder, seconds)
    for path in sorted((p for e in _LEFT for p in folder.glob(e)), key=lambda p: -p.stat().st_mtime):
        structure = _read(path)
        if structure is not None and structure.atoms:
            r1 = r1_of(structure, task)
            ranked = (Ranked(structure.space_group, r1, path),)
            return Outcome("SIR2014", structure, r1, "credo", path, folder / f"{_NAME}.hkl", ranked)
    raise SIR.failed(folder, "there is no .res, .ins or .cif with atoms", said)


def _read(path: Path) -> Structure | None:
    try:
        return read_structure(path) if path.suffix == ".cif" else prepared_from_res(path).model.structure
    except CredoError:
        return None
