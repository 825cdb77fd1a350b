"""SHELXL's restraints and constraints in a model: names resolved to atoms, defaults as SHELXL has them."""

from __future__ import annotations

from dataclasses import dataclass, field

import gemmi
import numpy as np

from credo.io.shelx_res import Instruction
from credo.model import CannotDo, UnreadableInput
from credo.solve.refine import restraints as r
from credo.solve.refine.connectivity import Bond, Site, bonds_of, second_neighbours
from credo.solve.refine.hydrogens import with_hydrogens
from credo.solve.refine.model import Model, SameParameters

__all__ = ["apply_instructions", "parse_instruction"]

#: What changes the model in SHELXL and is not known here: said in a note, never passed over in silence.
_UNKNOWN = (
    "SAME",
    "CHIV",
    "NCSY",
    "BUMP",
    "ABIN",
    "BIND",
    "FREE",
    "CONN",
    "FRAG",
    "PRIG",
    "TWST",
    "ANSC",
    "ANSR",
    "SPEC",
)


def parse_instruction(text: str, line: int = 0) -> Instruction:
    """One line of SHELXL, e.g. ``DFIX 1.61 0.02 Si1 O1``."""
    words = text.split()
    if not words:
        raise UnreadableInput("an empty instruction", "give e.g. --instruction 'RIGU'")
    key, _, suffix = words[0].upper().partition("_")
    return Instruction(key, tuple(words[1:]), line, suffix)


@dataclass
class _Names:
    """Atoms by name, with the symmetry operations of EQIV."""

    model: Model
    equivalents: dict[str, gemmi.Op] = field(default_factory=dict)

    def sites(self, words: list[str], where: Instruction) -> list[Site]:
        """C1, C1_$1, $C (all of an element), and ranges C1 > C5 or C5 < C1."""
        out: list[Site] = []
        i = 0
        while i < len(words):
            if words[i] in ("<", ">") and out and i + 1 < len(words):
                last = self.model.index(words[i + 1])
                step = 1 if words[i] == ">" else -1
                out += [Site.own(k) for k in range(out[-1].atom + step, last + step, step)]
                i += 2
                continue
            out += self._named(words[i], where)
            i += 1
        return out

    def _named(self, word: str, where: Instruction) -> list[Site]:
        atoms = self.model.structure.atoms
        if word.startswith("$") and len(word) > 1:
            return [Site.own(i) for i, a in enumerate(atoms) if a.element.upper() == word[1:].upper()]
        label, _, symmetry = word.partition("_$")
        suffix = f"_{where.suffix}" if where.suffix and "_" not in label else ""
        try:
            i = self.model.index(label + suffix)
        except CannotDo as error:
            raise CannotDo(f"{where.key} in line {where.line}: {error.reason}", error.remedy) from None
        if not symmetry:
            return [Site.own(i)]
        if f"${symmetry}" not in self.equivalents:
            raise CannotDo(f"{where.key} in line {where.line}: ${symmetry} has no EQIV", "add the EQIV instruction")
        op = self.equivalents[f"${symmetry}"]
        return [Site(i, np.array(op.rot) / gemmi.Op.DEN, np.array(op.tran) / gemmi.Op.DEN)]

    def atoms(self, words: list[str], where: Instruction) -> list[int]:
        """Listed atoms; all but hydrogen where none is named."""
        if not words:
            return [i for i, a in enumerate(self.model.structure.atoms) if a.element not in ("H", "D")]
        return [s.atom for s in self.sites(words, where)]


@dataclass
class _Defaults:
    """SHELXL's DEFS: σ of distances, of flatness, of DELU and of SIMU."""

    distance: float = 0.02
    flat: float = 0.1
    rigid: float = 0.01
    similar: float = 0.04


class _Builder:
    def __init__(self, model: Model, nuclear: bool) -> None:
        self.model, self.nuclear = model, nuclear
        self.names, self.defaults = _Names(model), _Defaults()
        self.found: list = []
        self.notes: list[str] = []
        self._bonds: list[list[Bond]] | None = None

    @property
    def bonds(self) -> list[list[Bond]]:
        if self._bonds is None:
            self._bonds = bonds_of(self.model.structure, self.model.parts)
        return self._bonds

    def add(self, i: Instruction) -> None:
        known = {
            "DEFS": self._defs, "EQIV": self._eqiv, "DFIX": self._distances, "DANG": self._distances,
            "SADI": self._sadi, "FLAT": self._flat, "SIMU": self._simu, "RIGU": self._rigu, "DELU": self._delu,
            "ISOR": self._isor, "SUMP": self._sump, "EXYZ": self._shared, "EADP": self._shared, "HFIX": self._hfix,
        }  # fmt: skip
        if i.key in known:
            known[i.key](i)
        elif i.key in _UNKNOWN:
            self.notes.append(f"{i.key} in line {i.line} is not known and has no effect")

    def _defs(self, i: Instruction) -> None:
        values, _ = i.split()
        for name, value in zip(("distance", "flat", "rigid", "similar"), values):
            setattr(self.defaults, name, value)

    def _eqiv(self, i: Instruction) -> None:
        try:
            self.names.equivalents[i.words[0]] = gemmi.Op("".join(i.words[1:]).lower())
        except (IndexError, RuntimeError, ValueError) as error:
            raise UnreadableInput(f"EQIV in line {i.line}: {error}", "give e.g. EQIV $1 -x, -y, -z") from None

    def _pairs(self, i: Instruction, names: list[str]) -> tuple[tuple[Site, Site], ...]:
        sites = self.names.sites(names, i)
        if len(sites) < 2 or len(sites) % 2:
            raise UnreadableInput(f"{i.key} in line {i.line} needs pairs of atoms", "name two atoms per distance")
        return tuple(zip(sites[::2], sites[1::2]))

    def _distances(self, i: Instruction) -> None:
        values, names = i.split()
        if not values or abs(values[0]) > 15:
            raise UnreadableInput(
                f"{i.key} in line {i.line} needs a distance", "free variables for d are not supported"
            )
        sigma = values[1] if len(values) > 1 else self.defaults.distance * (2 if i.key == "DANG" else 1)
        self.found.append(r.Distance(self._pairs(i, names), values[0], _positive(i, sigma), i.key))

    def _sadi(self, i: Instruction) -> None:
        values, names = i.split()
        sigma = _positive(i, values[0] if values else self.defaults.distance)
        self.found.append(r.SameDistance(self._pairs(i, names), sigma))

    def _flat(self, i: Instruction) -> None:
        values, names = i.split()
        sites = self.names.sites(names, i)
        if len(sites) < 4:
            raise UnreadableInput(f"FLAT in line {i.line} needs four atoms or more")
        self.found.append(r.Flat(tuple(sites), _positive(i, values[0] if values else self.defaults.flat)))

    def _simu(self, i: Instruction) -> None:
        values, names = i.split()
        sigma = values[0] if values else self.defaults.similar
        end = values[1] if len(values) > 1 else 2 * sigma
        reach = values[2] if len(values) > 2 else 2.0
        atoms, structure = self.names.atoms(names, i), self.model.structure
        xyz = structure.cell.O @ np.array([structure.atoms[a].xyz for a in atoms]).T
        pairs = []
        for n, a in enumerate(atoms):
            near = np.linalg.norm(xyz[:, n + 1 :].T - xyz[:, n], axis=1) < reach
            for b in np.array(atoms[n + 1 :], dtype=int)[near]:
                if self._together(a, int(b)):
                    pairs.append((a, int(b), _positive(i, end if self._ends(a) or self._ends(int(b)) else sigma)))
        self.found.append(r.SimilarU(tuple(pairs)))

    def _together(self, a: int, b: int) -> bool:
        p, q = self.model.parts[a], self.model.parts[b]
        return not (p and q and p != q)

    def _ends(self, atom: int) -> bool:
        """Whether an atom is bonded to one other at most, hydrogens not counted."""
        atoms = self.model.structure.atoms
        return sum(atoms[b.b.atom].element not in ("H", "D") for b in self.bonds[atom]) <= 1

    def _rigid(self, i: Instruction, default: float, full: bool) -> None:
        values, names = i.split()
        near = values[0] if values else default
        far = values[1] if len(values) > 1 else near
        chosen = set(self.names.atoms(names, i))
        first, second = second_neighbours(self.bonds)
        pairs = [(a, b, _positive(i, near)) for a, b in sorted(first) if a in chosen and b in chosen]
        pairs += [(a, b, _positive(i, far)) for a, b in sorted(second) if a in chosen and b in chosen]
        pairs = [p for p in pairs if self._together(p[0], p[1])]
        self.found.append(r.RigidBond(tuple(pairs), full))

    def _rigu(self, i: Instruction) -> None:
        self._rigid(i, 0.004, True)

    def _delu(self, i: Instruction) -> None:
        self._rigid(i, self.defaults.rigid, False)

    def _isor(self, i: Instruction) -> None:
        values, names = i.split()
        sigma = values[0] if values else 0.1
        end = values[1] if len(values) > 1 else 2 * sigma
        atoms = self.names.atoms(names, i)
        self.found.append(r.IsotropicLike(tuple((a, _positive(i, end if self._ends(a) else sigma)) for a in atoms)))

    def _sump(self, i: Instruction) -> None:
        values, _ = i.split()
        if len(values) < 4 or len(values) % 2:
            raise UnreadableInput(f"SUMP in line {i.line} needs c sigma c1 m1 [c2 m2 ...]")
        terms = tuple((c, int(m) - 2) for c, m in zip(values[2::2], values[3::2]))
        if any(not 0 <= k < len(self.model.variables) for _, k in terms):
            raise UnreadableInput(f"SUMP in line {i.line} names a free variable that FVAR does not give")
        self.found.append(r.SumOfVariables(values[0], _positive(i, values[1]), terms))

    def _shared(self, i: Instruction) -> None:
        what = "xyz" if i.key == "EXYZ" else "U"
        atoms = tuple(dict.fromkeys(s.atom for s in self.names.sites(list(i.words), i)))
        if len(atoms) < 2:
            raise UnreadableInput(f"{i.key} in line {i.line} needs two atoms or more")
        self.model = self.model.replace(same=(*self.model.same, SameParameters(what, atoms)))

    def _hfix(self, i: Instruction) -> None:
        values, names = i.split()
        if not values:
            raise UnreadableInput(f"HFIX in line {i.line} needs mn and atoms")
        geometry, n = divmod(int(values[0]), 10)
        factor = -values[1] if len(values) > 1 and -5 < values[1] < -0.5 else None
        for site in self.names.sites(names, i):
            label = self.model.structure.atoms[site.atom].label
            self.model = with_hydrogens(self.model, label, geometry, n in (7, 8), self.nuclear, factor)


def _positive(i: Instruction, sigma: float) -> float:
    if not 1e-6 < abs(sigma) < 1e3:
        raise UnreadableInput(f"{i.key} in line {i.line}: sigma {sigma:g} is not positive", "correct the line")
    return abs(sigma)


def apply_instructions(
    model: Model, instructions: tuple[Instruction, ...] | list[Instruction], nuclear: bool = True
) -> tuple[Model, list[str]]:
    """The model with the restraints, EXYZ, EADP and HFIX of some instructions; notes on what has no effect."""
    builder = _Builder(model, nuclear)
    first = [i for i in instructions if i.key in ("DEFS", "EQIV")]
    last = [i for i in instructions if i.key == "HFIX"]
    for i in [*first, *(x for x in instructions if x not in first and x not in last), *last]:
        builder.add(i)
    return builder.model.replace(restraints=(*model.restraints, *builder.found)), builder.notes
