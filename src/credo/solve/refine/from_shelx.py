"""A model from SHELXL's .ins or .res: coded parameters, AFIX groups, and what the file says of the data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from credo.io.shelx_res import Instruction, ResAtom, ShelxRes, read_res
from credo.model import Atom, CannotDo, Structure, UnreadableInput
from credo.physics.symmetry import group_operations
from credo.solve.refine.data import Merge
from credo.solve.refine.instructions import apply_instructions
from credo.solve.refine.model import Model, Riding, RigidGroup, Tie, Twin, UTie, Weights
from credo.solve.sites import site_symmetry

__all__ = ["DataOptions", "Prepared", "model_of_res", "prepared_from_res"]

#: SHELXL's order of a displacement tensor, U11 U22 U33 U23 U13 U12, in ours.
_U_ORDER = (0, 1, 2, 5, 4, 3)


@dataclass(frozen=True)
class DataOptions:
    """What an .ins says of its data: HKLF's scale and matrix (rows), OMIT, SHEL, MERG; ``cycles`` of L.S."""

    scale: float = 1.0
    matrix: np.ndarray | None = None
    omit: tuple[tuple[int, int, int], ...] = ()
    d_min: float = 0.0
    d_max: float = np.inf
    merge: Merge | None = None
    cycles: int | None = None


@dataclass(frozen=True)
class Prepared:
    """A model ready to refine; ``source``: the .res it came from; ``notes``: what of it has no effect."""

    model: Model
    wavelength: float
    options: DataOptions = field(default_factory=DataOptions)
    source: ShelxRes | None = None
    notes: tuple[str, ...] = ()
    z: float = 0.0


def prepared_from_res(path: Path, nuclear: bool = True) -> Prepared:
    """Read and understand an .ins or .res."""
    res = read_res(path)
    if not res.atoms:
        raise UnreadableInput(f"{path}: has no atoms", "give the .res of a solved structure, or a CIF")
    model, notes = model_of_res(res, nuclear)
    options, more = _data_options(path, res)
    return Prepared(model, res.header.wavelength, options, res, (*notes, *more), res.header.z)


def model_of_res(res: ShelxRes, nuclear: bool = True) -> tuple[Model, list[str]]:
    """The model of a parsed .res, and notes."""
    group = res.header.space_group
    if group is None:
        raise UnreadableInput("LATT and SYMM are not those of a space group", "correct SYMM")
    ops = group_operations(group)
    centrings = np.array(list(group.operations().cen_ops), dtype=float) / 24
    decoder = _Decoder(res)
    atoms = []
    for i, a in enumerate(res.atoms):
        xyz, sof, u = decoder.atom(i, a)
        order = site_symmetry(np.array(xyz), ops, centrings, res.header.cell).order
        u_aniso = None if len(u) == 1 else np.array(u)[list(_U_ORDER)]
        u_iso = u[0] if len(u) == 1 else float(np.mean(u[:3]))
        atoms.append(Atom(a.label, a.element, np.array(xyz), sof * order, max(u_iso, 1e-3), u_aniso))
    structure = Structure(res.header.cell, group.xhm(), tuple(atoms), res.header.title)
    riding, rigid = _groups(res.atoms)
    model = Model(
        structure, tuple(a.part for a in res.atoms), frozenset(decoder.fixed), tuple(decoder.ties),
        tuple(res.fvar[1:]), u_ties=tuple(decoder.u_ties), riding=riding, rigid=rigid,
        extinction=_first(res.last("EXTI"), 0.0), solvent=_solvent(res.last("SWAT")), weights=_weights(res),
        factors=tuple(res.factors.items()),
    )  # fmt: skip
    model, notes = _with_twin(model, res)
    model, more = apply_instructions(_anisotropic(model, res), list(res.instructions), nuclear)
    return model, notes + more


class _Decoder:
    """Coded parameters to values, and what they say about fixing and tying."""

    def __init__(self, res: ShelxRes) -> None:
        self.res = res
        self.fixed: set[tuple[int, int]] = set()
        self.ties: list[Tie] = []
        self.u_ties: list[UTie] = []
        self._parent = 0

    def atom(self, i: int, a: ResAtom) -> tuple[list[float], float, list[float]]:
        if a.element not in ("H", "D"):
            self._parent = i
        values = [self._value(i, k, v) for k, v in enumerate(a.coded[:4])]
        u = list(a.coded[4:])
        if len(u) == 1 and -5 < u[0] < -0.5:
            self.u_ties.append(UTie(i, self._parent, -u[0]))
            return values[:3], values[3], [0.05]
        order = [0] if len(u) == 1 else list(_U_ORDER)
        return values[:3], values[3], [self._value(i, 4 + k, v) for k, v in zip(order, u)]

    def _value(self, atom: int, parameter: int, coded: float) -> float:
        m = int(np.floor(abs(coded) / 10 + 0.5)) * (1 if coded > 0 else -1)
        p = coded - 10 * m
        if m == 0:
            return coded
        if m in (1, -1):
            self.fixed.add((atom, parameter))
            return p
        k = abs(m) - 2
        variables = self.res.fvar[1:]
        if k >= len(variables):
            raise UnreadableInput(
                f"atom {self.res.atoms[atom].label} uses free variable {abs(m)}, FVAR gives {len(self.res.fvar)}",
                "add it to FVAR",
            )
        constant = 0.0 if m > 0 else -p
        self.ties.append(Tie(atom, parameter, k, p, constant))
        return constant + p * variables[k]


def _groups(atoms: tuple[ResAtom, ...]) -> tuple[tuple[Riding, ...], tuple[RigidGroup, ...]]:
    """Riding groups (n = 3, 4, 7, 8) and rigid ones (n = 6, 9, continued by n = 5) of AFIX."""
    riding: list[Riding] = []
    rigid: list[list[int]] = []
    scales: list[bool] = []
    parent, group = -1, -1
    for i, a in enumerate(atoms):
        m, n = divmod(abs(a.afix), 10)
        new = a.group != group
        if n in (3, 4, 7, 8) and a.element in ("H", "D"):
            if parent < 0:
                raise UnreadableInput(f"{a.label} rides on no atom", "put it after its parent")
            if new:
                distance = a.afix_values[0] if a.afix_values and a.afix_values[0] > 0 else None
                riding.append(Riding(parent, (i,), m if m < 17 else 0, distance, n in (7, 8)))
            else:
                riding[-1] = Riding(**{**vars(riding[-1]), "atoms": (*riding[-1].atoms, i)})
        else:
            if n in (6, 9) and new:
                rigid.append([i])
                scales.append(n == 9)
            elif n in (5, 6, 9) and rigid:
                rigid[-1].append(i)
            if a.element not in ("H", "D"):
                parent = i
        group = a.group
    return tuple(riding), tuple(RigidGroup(tuple(g), s) for g, s in zip(rigid, scales) if len(g) > 2)


def _numbers(i: Instruction | None) -> list[float]:
    return [] if i is None else i.split()[0]


def _first(i: Instruction | None, default: float) -> float | None:
    """The first number of an instruction, ``default`` where it has none, None where there is no instruction."""
    if i is None:
        return None
    values = _numbers(i)
    return values[0] if values else default


def _solvent(i: Instruction | None) -> tuple[float, float] | None:
    if i is None:
        return None
    values = [*_numbers(i), *(0.0, 2.0)[len(_numbers(i)) :]]
    return values[0], values[1]


def _weights(res: ShelxRes) -> Weights:
    found = [i for i in res.all("WGHT") if i.words]
    if not found:
        return Weights()
    a, b, c, d, e, f = [*_numbers(found[0]), *(0.1, 0.0, 0.0, 0.0, 0.0, 1 / 3)[len(_numbers(found[0])) :]][:6]
    if c:
        raise CannotDo("WGHT with c is not supported", "set its third number to 0")
    return Weights(a, b, d, e, f if abs(f - 0.33333) > 1e-3 else 1 / 3)


def _anisotropic(model: Model, res: ShelxRes) -> Model:
    """ANIS: all atoms but hydrogens, or those named or counted."""
    from credo.solve.refine.crystal import isotropic_tensor

    structure = model.structure
    chosen: set[int] = set()
    for i in res.all("ANIS"):
        numbers, names = i.split()
        if names:
            chosen |= {k for k, a in enumerate(structure.atoms) for n in names if _matches(a, n)}
        else:
            chosen |= set(range(int(numbers[0])) if numbers else range(len(structure.atoms)))
    if not chosen:
        return model
    atoms = [
        a.replace(u_aniso=isotropic_tensor(structure.cell, a.u_iso))
        if k in chosen and a.u_aniso is None and a.element not in ("H", "D") else a
        for k, a in enumerate(structure.atoms)
    ]  # fmt: skip
    return model.replace(structure=structure.replace(atoms=tuple(atoms)))


def _matches(atom: Atom, name: str) -> bool:
    return atom.element.upper() == name[1:].upper() if name.startswith("$") else atom.label.upper() == name.upper()


def _with_twin(model: Model, res: ShelxRes) -> tuple[Model, list[str]]:
    twin = res.last("TWIN")
    fractions = _numbers(res.last("BASF"))
    if twin is None:
        notes = ["BASF without TWIN has no effect"] if fractions else []
        return model, notes
    values = _numbers(twin)
    rotation = np.array(values[:9]).reshape(3, 3) if len(values) >= 9 else -np.eye(3)
    count = abs(int(values[9])) if len(values) > 9 else 2
    if np.allclose(rotation, -np.eye(3)):
        return model, ["TWIN by inversion has no effect: electrons scatter Friedel mates equally"]
    if not 2 <= count <= 12:
        raise UnreadableInput(f"TWIN in line {twin.line}: {count} components", "give 2 to 12")
    rotations = [np.linalg.matrix_power(rotation, k) for k in range(1, count)]
    fractions = [*fractions, *[1 / count] * count][: count - 1]
    return model.replace(twin=Twin(np.array(rotations), tuple(fractions))), []


def _data_options(path: Path, res: ShelxRes) -> tuple[DataOptions, list[str]]:
    notes: list[str] = []
    hklf = res.last("HKLF")
    values = _numbers(hklf)
    if values and int(abs(values[0])) not in (3, 4):
        raise CannotDo(f"{path}: HKLF {values[0]:g} is not supported", "give HKLF 4 data; merohedral twins by TWIN")
    if values and int(abs(values[0])) == 3:
        raise CannotDo(f"{path}: HKLF 3 (amplitudes) is not supported", "give Fo² as HKLF 4")
    matrix = np.array(values[2:11]).reshape(3, 3) if len(values) >= 11 else None
    omit, d_min, d_max = [], 0.0, np.inf
    for i in res.all("OMIT"):
        v = _numbers(i)
        if len(v) >= 3:
            omit.append((int(v[0]), int(v[1]), int(v[2])))
        elif len(v) == 2 and 0 < v[1] < 180:
            d_min = max(d_min, res.header.wavelength / (2 * np.sin(np.radians(v[1] / 2))))
    for i in res.all("SHEL"):
        v = _numbers(i)
        if len(v) >= 2:
            d_max, d_min = max(v[:2]), max(d_min, min(v[:2]))
    merge = _numbers(res.last("MERG"))
    how: dict[int, Merge] = {0: "none", 1: "point group", 2: "point group", 3: "laue", 4: "laue"}
    cycles = _numbers(res.last("L.S.") or res.last("CGLS"))
    return DataOptions(
        values[1] if len(values) > 1 and values[1] > 0 else 1.0, matrix, tuple(omit), d_min, d_max,
        how.get(int(merge[0])) if merge else None, int(cycles[0]) if cycles else None,
    ), notes  # fmt: skip
