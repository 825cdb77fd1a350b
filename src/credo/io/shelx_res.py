"""A whole SHELXL model (.ins, .res): atoms with their coded parameters, and every other instruction in order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from credo.io.shelx_ins import ShelxIns, instructions, read_ins
from credo.io.text import at_line, number, read_text

__all__ = ["KEYWORDS", "Instruction", "ResAtom", "ShelxRes", "read_res"]

#: Four-letter words of SHELXL that begin an instruction and no atom.
KEYWORDS = frozenset(
    re.findall(
        r"\S+",
        """
        ABIN ACTA AFIX ANIS ANSC ANSR BASF BIND BLOC BOND BUMP CELL CGLS CHIV CONF CONN DAMP DANG DEFS DELU DFIX DISP
        EADP EGEN END EQIV ESEL EXTI EXYZ FEND FLAT FMAP FRAG FREE FVAR GRID HFIX HKLF HTAB INIT ISOR L.S. LATT LAUE
        LIST MERG MOLE MORE MOVE MPLA NCSY NEUT OMIT PART PATT PLAN PRIG REM RESI RIGU RTAB SADI SAME SFAC SHEL SIMU
        SIZE SPEC STIR SUMP SWAT SYMM TEMP TEXP TIME TITL TREF TWIN TWST UNIT WGHT WIGL WPDB XNPD ZERR
        """,
    )
)


@dataclass(frozen=True)
class ResAtom:
    """``coded``: x y z sof and U (one) or U11 U22 U33 U23 U13 U12 as SHELXL writes them. 10 + value: fixed;
    ±(10 m + p): free variable m; −0.5 to −5 for U: times that of the last atom that is not hydrogen. ``afix``: mn of
    the AFIX it stands under, ``group``: which AFIX that is, ``afix_values``: d, sof, U of it."""

    label: str
    element: str
    coded: tuple[float, ...]
    part: int
    afix: int
    group: int
    afix_values: tuple[float, ...]
    line: int


@dataclass(frozen=True)
class Instruction:
    """``key`` in capitals with its words; for ``DFIX_2`` the key is DFIX and ``suffix`` "2"."""

    key: str
    words: tuple[str, ...]
    line: int
    suffix: str = ""

    def split(self) -> tuple[list[float], list[str]]:
        """The numbers at the front, and the other words."""
        values: list[float] = []
        for i, word in enumerate(self.words):
            try:
                values.append(number(word))
            except ValueError:
                return values, list(self.words[i:])
        return values, []


@dataclass(frozen=True)
class ShelxRes:
    """``elements``: of SFAC, in order; ``factors``: element -> a1 b1 a2 b2 a3 b3 a4 b4 c of a long SFAC; ``fvar``: the
    overall scale, then the free variables."""

    header: ShelxIns
    elements: tuple[str, ...]
    factors: dict[str, tuple[float, ...]]
    atoms: tuple[ResAtom, ...]
    fvar: tuple[float, ...]
    instructions: tuple[Instruction, ...]

    def all(self, *keys: str) -> list[Instruction]:
        """The instructions of some kinds, in order."""
        return [i for i in self.instructions if i.key in keys]

    def last(self, key: str) -> Instruction | None:
        """The last of a kind: it is the one that counts."""
        found = self.all(key)
        return found[-1] if found else None


@dataclass
class _Reader:
    path: Path
    elements: list[str] = field(default_factory=list)
    factors: dict[str, tuple[float, ...]] = field(default_factory=dict)
    atoms: list[ResAtom] = field(default_factory=list)
    fvar: list[float] = field(default_factory=list)
    instructions: list[Instruction] = field(default_factory=list)
    part: int = 0
    part_sof: float | None = None
    afix: int = 0
    group: int = 0
    afix_values: tuple[float, ...] = ()
    residue: str = ""

    def instruction(self, line: int, key: str, suffix: str, words: list[str]) -> None:
        if key == "SFAC":
            self._sfac(line, words)
        elif key == "FVAR":
            self.fvar += self._numbers(line, words)
        elif key == "PART":
            values = self._numbers(line, words)
            self.part, self.part_sof = int(values[0]) if values else 0, values[1] if len(values) > 1 else None
        elif key == "AFIX":
            values = self._numbers(line, words)
            self.afix, self.afix_values = int(values[0]) if values else 0, tuple(values[1:])
            self.group += 1
        elif key == "RESI":
            numbers = [w for w in words if re.fullmatch(r"-?\d+", w)]
            self.residue = f"_{numbers[0]}" if numbers and int(numbers[0]) else ""
        elif key not in ("TITL", "CELL", "ZERR", "LATT", "SYMM", "UNIT", "END"):
            self.instructions.append(Instruction(key, tuple(words), line, suffix))

    def _sfac(self, line: int, words: list[str]) -> None:
        names = [w.strip("$").capitalize() for w in words if re.fullmatch(r"\$?[A-Za-z]{1,2}", w)]
        if len(words) > 1 and len(names) == 1:
            values = self._numbers(line, words[1:])
            if len(values) < 9:
                at_line(self.path, line, "SFAC with coefficients needs a1 b1 ... a4 b4 c")
            self.factors[names[0]] = tuple(values[:9])
        self.elements += names

    def _numbers(self, line: int, words: list[str]) -> list[float]:
        try:
            return [number(w) for w in words]
        except ValueError as error:
            at_line(self.path, line, str(error))

    def atom(self, line: int, words: list[str]) -> None:
        values = self._numbers(line, words[1:])
        if len(values) < 4:
            at_line(self.path, line, f"{words[0]!r} is neither an instruction of SHELXL nor an atom")
        kind = int(values[0])
        if not 1 <= kind <= len(self.elements):
            at_line(self.path, line, f"atom {words[0]} has scattering factor {kind} of {len(self.elements)}")
        coded = values[1:]
        if self.part_sof is not None:
            coded[3:4] = [self.part_sof]
        coded = coded[:10] if len(coded) >= 10 else coded[:5] if len(coded) >= 5 else [*coded[:4], 0.05]
        if not all(abs(v) < 1e5 for v in coded):
            at_line(self.path, line, f"atom {words[0]} has an absurd parameter")
        self.atoms.append(
            ResAtom(words[0] + self.residue, self.elements[kind - 1], tuple(coded), self.part, self.afix, self.group,
                    self.afix_values, line)
        )  # fmt: skip


def read_res(path: Path) -> ShelxRes:
    """The model up to HKLF or END; peaks (Q) after it are left out. Included files (+name) are refused."""
    header = read_ins(path)
    reader = _Reader(path)
    done = False
    for line, text in instructions(read_text(path, 2**26)):
        words = text.split()
        key, _, suffix = words[0].upper().partition("_")
        if key.startswith("+"):
            at_line(path, line, "included files are not read", "put its lines into this file")
        key = key[:4] if key[:4].strip() in KEYWORDS else key
        if key in KEYWORDS:
            reader.instruction(line, key, suffix, words[1:])
            done = done or key == "HKLF"
            if key == "END":
                break
        elif not done:
            reader.atom(line, words)
    return ShelxRes(
        header, tuple(reader.elements), reader.factors, tuple(reader.atoms), tuple(reader.fvar),
        tuple(reader.instructions),
    )  # fmt: skip
