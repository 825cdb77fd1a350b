"""Superflip and EDMA: charge flipping in P1, symmetry derived from the density, atoms from its peaks.

Keywords: L. Palatinus, Superflip user manual (2007) chapter 4; EDMA user manual (2006) chapter 4; the options are those
of A. van der Lee, C. Dumas and L. Palatinus for small molecules (J. Appl. Cryst. 40 (2007) 786; 41 (2008) 975). Both
programs read one keyword file each. Superflip lists "Centering vectors" and "Symmetry operations" in NAME.sflog; EDMA
exports the atoms as a SHELX .ins. The phases need no scattering factors; EDMA tells elements by the charge of peaks.
"""

from __future__ import annotations

import re
from pathlib import Path

import gemmi
import numpy as np

from credo.io.shelx_ins import symmetry_lines
from credo.io.shelx_res import read_res
from credo.io.text import read_text, write_text
from credo.model import CannotDo, CredoError, Structure
from credo.physics.symmetry import LAUE_CLASSES
from credo.solve.adapters.outcome import Outcome, Ranked, Task, cleared, r1_of
from credo.solve.adapters.program import Program
from credo.solve.least_squares import atoms_from_sites

__all__ = ["EDMA", "SUPERFLIP", "derived_group", "solve_with_superflip", "write_edma", "write_superflip"]

_HOME = "http://superflip.fzu.cz"
SUPERFLIP = Program("Superflip", ("superflip",), _HOME)
EDMA = Program("EDMA", ("edma", "EDMA"), _HOME)
_NAME, _ATOMS = "credo", "credo_atoms"
_THIRD = {0.333: 1 / 3, 0.667: 2 / 3, 0.167: 1 / 6, 0.833: 5 / 6}


def solve_with_superflip(
    task: Task,
    folder: Path,
    executable: Path | None = None,
    edma: Path | None = None,
    seconds: float = 600,
    trials: int = 1,
) -> Outcome:
    """The structure of the best density; R1 is credo's, with only the scale fitted.

    Raises CannotDo where a program is absent, takes longer than ``seconds`` or leaves no symmetry or no atoms.
    """
    folder = cleared(folder, [f"{_NAME}.m81", f"{_NAME}.sflog", f"{_ATOMS}.*"])
    write_superflip(task, folder, trials)
    flip = SUPERFLIP.find(executable, folder)
    # the two are handed out together
    beside = (flip.with_name(c + flip.suffix) for c in EDMA.commands)
    extract = EDMA.find(edma or next((p for p in beside if p.is_file()), None), folder)
    said = SUPERFLIP.run(flip, (f"{_NAME}.inflip",), folder, seconds)
    log = folder / f"{_NAME}.sflog"
    if not log.exists() or not (folder / f"{_NAME}.m81").exists():
        raise SUPERFLIP.failed(folder, "there is no density credo.m81 with its credo.sflog", said)
    text = read_text(log, 2**26)
    group = derived_group(text, folder)
    write_edma(task, group, folder)
    said = EDMA.run(extract, (f"{_ATOMS}.inflip",), folder, seconds)
    result = folder / f"{_ATOMS}.ins"
    if not result.exists():
        raise EDMA.failed(folder, f"there is no {result.name}", said)
    structure = _structure(task, group, result)
    r1 = r1_of(structure, task)
    successes = re.findall(r"Number of successes\D*(\d+)", text)
    notes = ("Superflip says that it did not converge.",) if successes and int(successes[-1]) == 0 else ()
    ranked = (Ranked(structure.space_group, r1, result),)
    return Outcome("Superflip", structure, r1, "credo", result, folder / f"{_NAME}.hkl", ranked, notes)


def write_superflip(task: Task, folder: Path, trials: int = 1) -> None:
    """credo.inflip and credo.hkl: equivalents are those of the Laue class, the space group is left to be derived."""
    operations = gemmi.SpaceGroup(LAUE_CLASSES[task.laue_group]).operations()
    lines = [
        f"title {task.name[:60]}",
        *_crystal(task, operations.sym_ops, _centres(task.centring)),
        "voxel AUTO",
        f"lambda {task.wavelength:.6f}",
        "weakratio 0.2",
        "biso 0.0",
        "normalize local",
        "missing bound 0.4 4",
        "maxcycles 10000",
        f"repeatmode {trials}",
        "searchsymmetry average",
        "derivesymmetry use",
        f"outputfile {_NAME}.m81",
        "terminal no",
        "dataformat shelx",
        f"fbegin {_NAME}.hkl",
        "endf",
    ]
    write_text(folder / f"{_NAME}.inflip", "\n".join(lines) + "\n")
    task.write_hkl(folder / f"{_NAME}.hkl")


def write_edma(task: Task, group: gemmi.SpaceGroup, folder: Path) -> None:
    """credo_atoms.inflip: the peaks of credo.m81 in this group, with elements by their charge."""
    operations = group.operations()
    centres = [tuple(x / gemmi.Op.DEN for x in v) for v in operations.cen_ops]
    lines = [
        f"title {task.name[:60]}",
        *_crystal(task, operations.sym_ops, centres),
        f"inputfile {_NAME}.m81",
        f"outputbase {_ATOMS}",
        f"export {_ATOMS}.ins",
        "numberofatoms 0",
        "composition " + " ".join(e for e in task.elements("EDMA") if e not in ("H", "D")),
        "maxima all",
        "fullcell no",
        "scale fractional",
        "plimit 1.5 sigma",
        "centerofcharge yes",
        "chlimit 0.25",
    ]
    write_text(folder / f"{_ATOMS}.inflip", "\n".join(lines) + "\n")


def _crystal(task: Task, operations, centres) -> list[str]:
    """Cell, operations as ``x1 x2 x3`` separated by blanks, centring vectors."""
    named = [op.triplet().replace("x", "x1").replace("y", "x2").replace("z", "x3") for op in operations]
    return [
        "cell " + " ".join(f"{x:.5f}" for x in task.cell.parameters),
        "symmetry", *(n.replace(",", " ") for n in named), "endsymmetry",
        "centers", *(" ".join(f"{x:.8f}" for x in v) for v in centres), "endcenters",
    ]  # fmt: skip


def _centres(letter: str) -> list[tuple[float, ...]]:
    half = 0.5
    more = {
        "P": [], "A": [(0, half, half)], "B": [(half, 0, half)], "C": [(half, half, 0)], "I": [(half, half, half)],
        "F": [(0, half, half), (half, 0, half), (half, half, 0)], "R": [(2 / 3, 1 / 3, 1 / 3), (1 / 3, 2 / 3, 2 / 3)],
    }  # fmt: skip
    return [(0.0, 0.0, 0.0), *more[letter]]


def derived_group(log: str, folder: Path) -> gemmi.SpaceGroup:
    """The tabulated group of the last list of operations in a .sflog, with the centring vectors before it."""
    before, found, after = log.rpartition("Symmetry operations:")
    if not found:
        raise SUPERFLIP.failed(folder, "credo.sflog lists no symmetry operations")
    try:
        operations = [_operation(line) for line in _block(after)]
        _, centred, vectors = before.rpartition("Centering vectors")
        centres = [_shift(line) for line in _block(vectors)] if centred else []
        every = {op.translated(list(v)).wrap() for op in operations for v in [*centres, [0, 0, 0]]}
        group = gemmi.find_spacegroup_by_ops(gemmi.GroupOps(list(every)))
    except (RuntimeError, ValueError) as error:
        raise SUPERFLIP.failed(folder, f"the operations in credo.sflog were not understood ({error})") from error
    if group is None:
        raise CannotDo(
            f"Superflip: the operations in {folder / 'credo.sflog'} are no tabulated space group in this setting",
            "solve with credo's own engine, or take the density credo.m81 on by hand",
        )
    return group


def _block(text: str) -> list[str]:
    """The lines after the first up to an empty one."""
    lines = [line.strip() for line in text.split("\n")[1:]]
    end = next((i for i, line in enumerate(lines) if i and not line), len(lines))
    return [line for line in lines[:end] if line]


def _operation(line: str) -> gemmi.Op:
    """``  2:  -x1  1/2+x2  -x3`` with or without its number."""
    words = re.sub(r"^\d+:?\s+(?=\S+\s+\S+\s+\S+$)", "", line).split()
    for digit, letter in zip("123", "xyz"):
        words = [w.replace(f"x{digit}", letter) for w in words]
    return gemmi.Op(",".join(words))


def _shift(line: str) -> list[int]:
    values = [float(w) for w in line.split()[-3:]]
    return [round(gemmi.Op.DEN * _THIRD.get(round(v, 3), v)) for v in values]


def _structure(task: Task, group: gemmi.SpaceGroup, path: Path) -> Structure:
    """EDMA's atoms in our cell: it writes no wavelength, and its occupancies are not to be relied on."""
    kept = [x for x in read_text(path, 2**26).split("\n") if x[:4].upper() not in ("CELL", "ZERR", "LATT", "SYMM")]
    head = ["CELL " + " ".join([f"{task.wavelength:.6f}", *(f"{x:.5f}" for x in task.cell.parameters)])]
    clean = path.with_suffix(".res")
    write_text(clean, "\n".join([*head, *symmetry_lines(group, group.centring_type()), *kept]))
    try:
        atoms = read_res(clean).atoms
    except CredoError as error:
        raise EDMA.failed(path.parent, error.reason) from error
    if not atoms:
        raise EDMA.failed(path.parent, f"{path.name} has no atoms")
    xyz = np.array([a.coded[:3] for a in atoms])
    xyz = np.where(np.abs(xyz) > 5, xyz - 10, xyz)
    return Structure(task.cell, group.xhm(), atoms_from_sites(xyz % 1.0, [a.element for a in atoms]), task.name)
