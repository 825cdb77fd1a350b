"""SHELX instructions (.ins, .res): cell, wavelength, symmetry and contents; written for SHELXT and SHELXL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from credo.io.merged import cell_or_none, without_geometry
from credo.io.text import at_line, head, number, read_text, write_text
from credo.model import Cell, Experiment
from credo.model.errors import CannotDo, UnreadableInput

__all__ = ["ShelxIns", "experiment_of_ins", "instructions", "read_ins", "sniff_ins", "symmetry_lines", "write_ins"]

_LATTICE = {1: "P", 2: "I", 3: "R", 4: "F", 5: "A", 6: "B", 7: "C"}
#: Centring translations in 24ths.
_CENTRING = {
    "P": [(0, 0, 0)], "I": [(0, 0, 0), (12, 12, 12)], "R": [(0, 0, 0), (16, 8, 8), (8, 16, 16)],
    "F": [(0, 0, 0), (0, 12, 12), (12, 0, 12), (12, 12, 0)], "A": [(0, 0, 0), (0, 12, 12)],
    "B": [(0, 0, 0), (12, 0, 12)], "C": [(0, 0, 0), (12, 12, 0)],
}  # fmt: skip


@dataclass(frozen=True)
class ShelxIns:
    """What an .ins or .res says about the crystal. ``latt``: SHELX's number, negative without a centre of symmetry;
    ``symm``: the SYMM lines; ``contents``: element -> atoms in the cell (UNIT); ``space_group``: found from the
    operations, None if they are no tabulated group."""

    title: str
    wavelength: float
    cell: Cell
    z: float
    latt: int
    symm: tuple[str, ...]
    contents: dict[str, float]
    space_group: gemmi.SpaceGroup | None
    hklf: int | None


def sniff_ins(path: Path) -> bool:
    """Whether a file is a SHELX .ins or .res."""
    if path.suffix.lower() not in (".ins", ".res"):
        return False
    return any(line[:4].upper().strip() in ("TITL", "CELL") for line in head(path).split("\n"))


def read_ins(path: Path) -> ShelxIns:
    """The instructions before the atoms; lines that end with ``=`` go on in the next one."""
    title, latt, hklf = "", 1, None
    cell: Cell | None = None
    wavelength, z = 0.0, 0.0
    symm: list[str] = []
    elements: list[str] = []
    unit: list[float] = []
    constants: list[float] = []
    for i, line in instructions(read_text(path, 2**26)):
        key, words = line[:4].upper().strip(), line[4:].split()
        if key == "TITL":
            title = line[4:].strip()
        elif key == "CELL":
            values = _values(path, i, words, 7)
            wavelength, constants = values[0], values[1:]
            cell = cell_or_none(constants)
            if cell is None:
                at_line(path, i, f"CELL {' '.join(words)[:60]} spans no volume")
        elif key == "ZERR":
            values = _values(path, i, words, 7)
            z, cell = values[0], cell_or_none(constants, values[1:]) or cell
        elif key == "LATT":
            latt = int(_values(path, i, words, 1)[0])
            if abs(latt) not in _LATTICE:
                at_line(path, i, f"LATT {latt} is not 1 to 7 or -1 to -7")
        elif key == "SYMM":
            symm.append(line[4:].strip())
        elif key == "SFAC" and words:
            more = words[:1] if len(words) > 1 and _is_number(words[1]) else words
            elements += [w.strip("$").capitalize() for w in more]
        elif key == "UNIT":
            unit += _values(path, i, words, len(words))
        elif key == "HKLF":
            hklf = int(_values(path, i, words[:1], 1)[0]) if words else 4
        elif key == "END":
            break
    if cell is None:
        raise UnreadableInput(f"{path}: has no CELL", "give an .ins or .res of SHELX")
    group = _space_group(path, latt, symm)
    contents = dict(zip(elements, unit))
    return ShelxIns(title, wavelength, cell, z, latt, tuple(symm), contents, group, hklf)


def instructions(text: str) -> list[tuple[int, str]]:
    """(line number, instruction), continued lines joined, remarks left out."""
    out: list[tuple[int, str]] = []
    going = False
    for i, raw in enumerate(text.split("\n"), start=1):
        line = raw.split("!")[0].rstrip()
        if going and out:
            out[-1] = (out[-1][0], out[-1][1] + " " + line.rstrip("= "))
        elif line.strip() and not line.upper().startswith("REM") and line[0] != " ":
            out.append((i, line.rstrip("= ") if line.endswith("=") else line))
        going = line.endswith("=") and not line.upper().startswith(("REM", "TITL"))
    return out


def _values(path: Path, line: int, words: list[str], count: int) -> list[float]:
    try:
        values = [number(w) for w in words[:count]]
    except ValueError as error:
        at_line(path, line, str(error))
    if len(values) < count:
        at_line(path, line, f"{count} numbers expected")
    return values


def _is_number(word: str) -> bool:
    try:
        number(word)
    except ValueError:
        return False
    return True


def _space_group(path: Path, latt: int, symm: list[str]) -> gemmi.SpaceGroup | None:
    """From the operations: those of SYMM, the centring and, for positive LATT, the inversion."""
    if len(symm) > 192:
        raise UnreadableInput(f"{path}: {len(symm)} SYMM lines", "no space group has so many operations")
    try:
        operations = [gemmi.Op(), *(gemmi.Op(s.lower().replace(" ", "")) for s in symm)]
    except (RuntimeError, ValueError) as error:
        raise UnreadableInput(f"{path}: SYMM {error}", "correct the line") from None
    if latt > 0:
        operations += [gemmi.Op("-x,-y,-z") * op for op in operations]
    operations = [op.translated(list(v)).wrap() for op in operations for v in _CENTRING[_LATTICE[abs(latt)]]]
    try:
        return gemmi.find_spacegroup_by_ops(gemmi.GroupOps(operations))
    except RuntimeError:
        return None


def experiment_of_ins(path: Path) -> Experiment:
    """The crystal of an .ins as an experiment without geometry."""
    ins = read_ins(path)
    return without_geometry(ins.cell, ins.space_group, ins.wavelength, source=str(path), kind="SHELX")


def write_ins(
    path: Path,
    experiment: Experiment,
    contents: dict[str, float] | None = None,
    z: float | None = None,
    title: str = "",
) -> None:
    """Instructions for SHELXT (no atoms yet). contents: element -> atoms in the cell, else a guess from its volume."""
    if not experiment.crystals:
        raise CannotDo(f"{path}: an .ins needs a cell", "index the data first")
    crystal = experiment.crystal
    group = gemmi.find_spacegroup_by_name(crystal.space_group) if crystal.space_group else None
    esd = crystal.cell.esd or (0.0,) * 6
    contents = contents or _guess(crystal.cell.volume)
    lines = [
        f"TITL {(title or 'credo')[:60]}" + (f" in {group.xhm()}" if group else ""),
        "CELL " + " ".join([f"{experiment.beam.wavelength:.6f}", *(f"{x:.5f}" for x in crystal.cell.parameters)]),
        "ZERR " + " ".join([f"{z or 1:g}", *(f"{x:.5f}" for x in esd)]),
        *symmetry_lines(group, crystal.centring),
        "SFAC " + " ".join(contents),
        "UNIT " + " ".join(f"{n:g}" for n in contents.values()),
        "HKLF 4",
        "END",
    ]
    write_text(path, "\n".join(lines) + "\n")


def _guess(volume: float) -> dict[str, float]:
    """Atoms of carbon and oxygen that would fill a cell at 18 Å³ each; SHELXT only needs the elements."""
    n = max(1, round(volume / 18))
    return {"C": max(1, round(0.75 * n)), "H": n, "O": max(1, round(0.25 * n))}


def symmetry_lines(group: gemmi.SpaceGroup | None, centring: str) -> list[str]:
    """LATT and SYMM: with a centre at the origin only half of the operations are listed."""
    letters = {v: k for k, v in _LATTICE.items()}
    if group is None:
        return [f"LATT {-letters.get(centring, 1)}"]
    ops = group.operations()
    centre = group.is_centrosymmetric() and gemmi.Op("-x,-y,-z") in list(ops)
    letter = letters["P" if group.ext == "R" else group.centring_type()]
    listed: list[gemmi.Op] = []
    for op in ops.sym_ops:
        inverse = (gemmi.Op("-x,-y,-z") * op).wrap()
        if op != gemmi.Op() and not (centre and any(_same(inverse, o, ops) for o in [gemmi.Op(), *listed])):
            listed.append(op)
    return [f"LATT {letter if centre else -letter}", *(f"SYMM {op.triplet().upper()}" for op in listed)]


def _same(a: gemmi.Op, b: gemmi.Op, ops: gemmi.GroupOps) -> bool:
    """Equal up to the centring vectors."""
    if a.rot != b.rot:
        return False
    d = np.subtract(a.tran, b.tran) % gemmi.Op.DEN
    return any(np.array_equal(d, np.array(v) % gemmi.Op.DEN) for v in ops.cen_ops)
