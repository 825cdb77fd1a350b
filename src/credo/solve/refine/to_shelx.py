"""A refined model as SHELXL's .res: parameters coded again, electron scattering factors spelt out for SHELXL."""

from __future__ import annotations

import re
from functools import cache

import gemmi
import numpy as np
from scipy.optimize import least_squares

from credo.io.shelx_ins import symmetry_lines
from credo.io.shelx_res import KEYWORDS, ShelxRes
from credo.model import CannotDo
from credo.physics.structure_factors import electron_factor
from credo.solve.refine.contents import cell_contents
from credo.solve.refine.model import Model
from credo.solve.refine.result import Refined

__all__ = ["four_gaussians", "res_text", "short_names"]

#: Instructions that are written anew, not copied from the model's source.
_OWN = ("FVAR", "BASF", "EXTI", "SWAT", "WGHT", "HKLF", "L.S.", "CGLS", "TWIN", "ANIS", "HFIX", "REM", "MOLE", "MERG")
_U_ORDER = (0, 1, 2, 5, 4, 3)


@cache
def four_gaussians(element: str) -> tuple[float, ...]:
    """a1 b1 … a4 b4 c of an electron scattering factor, fitted within 2 % to Int. Tables C 4.3.2.2, since
    SFAC takes four Gaussians and a constant."""
    s = np.linspace(0, 2.0, 201)
    f = electron_factor(element, s**2)

    def curve(x: np.ndarray) -> np.ndarray:
        return np.exp(-np.outer(s**2, np.exp(x[4:8]))) @ x[:4] + x[8]

    table = np.array(gemmi.Element("H" if element == "D" else element).c4322.get_coefs())
    order = np.argsort(table[5:])[1:]
    start = np.concatenate([table[:5][order], np.log(np.maximum(table[5:][order], 0.05)), [0.0]])
    x = least_squares(lambda x: (curve(x) - f) / (0.02 + f), start, max_nfev=400).x
    return tuple(float(v) for pair in zip(x[:4], np.exp(x[4:8])) for v in pair) + (float(x[8]),)


def res_text(
    refined: Refined,
    wavelength: float,
    z: float = 0.0,
    source: ShelxRes | None = None,
    extra: tuple[str, ...] = (),
    peaks: tuple[tuple[np.ndarray, float], ...] = (),
) -> str:
    """The .res; ``source``: instructions of the model's own .res are kept; ``extra``: more lines; ``peaks``: of the
    difference map as Q atoms (xyz, height)."""
    model, a = refined.model, refined.agreement
    lines = [*_head(model, wavelength, z, source), ""]
    kept = [] if source is None else [i for i in source.instructions if i.key not in _OWN]
    lines += ["L.S. 10", "MERG 0"]
    names = short_names(model)
    lines += [_renamed(f"{i.key}{'_' + i.suffix if i.suffix else ''} {' '.join(i.words)}".strip(), names) for i in kept]
    lines += ["BOND $H", "FMAP 2", "PLAN 20", "ACTA"] if source is None else []
    lines += [*(_renamed(x, names) for x in extra), *_factors_of_reflections(model)]
    lines += [
        _fvar(model),
        "",
        *_atoms(refined, _elements(model, source)),
        "",
        "HKLF 4",
        "",
        f"REM {model.structure.name or 'credo'}",
    ]
    lines += [
        f"REM {model.structure.name or 'credo'}",
        f"REM wR2 = {a.wr2:.4f}, GooF = S = {a.goof:.3f}, Restrained GooF = {a.goof_restrained:.3f} for all data",
        f"REM R1 = {a.r1:.4f} for {a.n_observed} Fo > 4sig(Fo) and {a.r1_all:.4f} for all {a.n_all} data",
        f"REM {refined.n_parameters} parameters refined using {len(refined.restraint_rows)} restraints",
        "", "END", "",
    ]  # fmt: skip
    lines += [
        f"Q{n}    1 {x[0]:9.4f} {x[1]:9.4f} {x[2]:9.4f} 11.00000 0.05 {h:7.2f}" for n, (x, h) in enumerate(peaks, 1)
    ]
    return "\n".join(_folded(lines)) + "\n"


def short_names(model: Model) -> dict[str, str]:
    """Label -> a name of SHELXL's: at most four letters and digits, each its own; the label itself where it is one."""
    fits = re.compile(r"[A-Za-z][A-Za-z0-9']{0,3}")
    labels = [a.label for a in model.structure.atoms]
    out = {x: x for x in labels if fits.fullmatch(x) and x.upper() not in KEYWORDS}
    taken = {x.upper() for x in out.values()}
    for atom in model.structure.atoms:
        if atom.label in out:
            continue
        free = (f"{atom.element}{n}" for n in range(1, 10_000))
        name = next((x for x in free if len(x) <= 4 and x.upper() not in taken | KEYWORDS), None)
        if name is None:
            raise CannotDo("more atoms than SHELXL has names for", "write the model as CIF only")
        out[atom.label] = name
        taken.add(name.upper())
    return out


def _renamed(line: str, names: dict[str, str]) -> str:
    """An instruction with the atoms' new names."""
    upper = {k.upper(): v for k, v in names.items()}
    head, *words = line.split()
    return " ".join([head, *(upper.get(w.upper(), w) for w in words)])


def _head(model: Model, wavelength: float, z: float, source: ShelxRes | None) -> list[str]:
    cell = model.structure.cell
    group = gemmi.SpaceGroup(model.structure.space_group)
    title = model.structure.name or "credo"
    elements = _elements(model, source)
    given = dict(model.factors)
    counts = _cell_contents(model)
    sfac = []
    for e in elements:
        c = given.get(e) or four_gaussians(e)
        info = gemmi.Element(e)
        numbers = " ".join(f"{v:.5f}" for v in c)
        sfac.append(f"SFAC {e} {numbers} 0 0 0 {info.covalent_r:.2f} {info.weight:.3f}")
    return [
        f"TITL {title[:60]} in {group.xhm()}",
        "CELL " + " ".join([f"{wavelength:.5f}", *(f"{x:.5f}" for x in cell.parameters)]),
        "ZERR " + " ".join([f"{z or 1:g}", *(f"{x:.5f}" for x in cell.esd or (0.0,) * 6)]),
        *symmetry_lines(group, group.centring_type()), *sfac,
        "UNIT " + " ".join(f"{counts.get(e, 0):g}" for e in elements),
    ]  # fmt: skip


def _elements(model: Model, source: ShelxRes | None) -> list[str]:
    listed = list(source.elements) if source is not None else []
    present = sorted({a.element for a in model.structure.atoms}, key=lambda e: (e != "C", e != "H", e))
    return listed + [e for e in present if e not in listed]


def _cell_contents(model: Model) -> dict[str, float]:
    """Atoms in the cell by element."""
    return {e: round(n, 2) for e, n in cell_contents(model.structure).items()}


def _factors_of_reflections(model: Model) -> list[str]:
    w = model.weights
    lines = []
    if model.twin is not None:
        r = " ".join(f"{v:g}" for v in model.twin.rotations[0].ravel())
        lines += [
            f"TWIN {r} {len(model.twin.rotations) + 1}",
            "BASF " + " ".join(f"{f:.5f}" for f in model.twin.fractions),
        ]
    if model.extinction is not None:
        lines.append(f"EXTI {model.extinction:.6f}")
    if model.solvent is not None:
        lines.append(f"SWAT {model.solvent[0]:.5f} {model.solvent[1]:.4f}")
    return [*lines, f"WGHT {w.a:.6f} {w.b:.6f}"]


def _fvar(model: Model) -> str:
    return "FVAR " + " ".join(f"{v:.5f}" for v in (np.sqrt(model.scale or 1.0), *model.variables))


def _atoms(refined: Refined, elements: list[str]) -> list[str]:
    model = refined.model
    coder = _Coder(refined)
    rides = {h: r for r in model.riding for h in r.atoms}
    rigid = {a: g for g in model.rigid for a in g.atoms}
    order = _order(model)
    lines, part, afix = [], 0, 0
    for i in order:
        new = _afix(i, rides, rigid)
        if model.parts[i] != part or (new != afix and afix):
            if afix:
                lines.append("AFIX 0")
            afix = 0
        if model.parts[i] != part:
            part = model.parts[i]
            lines.append(f"PART {part}")
        if new != afix:
            lines.append(f"AFIX {new}")
            afix = new
        elif new and i in rides and rides[i].atoms[0] == i:
            lines.append(f"AFIX {new}")
        lines.append(coder.line(i, elements.index(model.structure.atoms[i].element) + 1))
    return lines + (["AFIX 0"] if afix else []) + (["PART 0"] if part else [])


def _order(model: Model) -> list[int]:
    """Hydrogens follow their parents, as AFIX wants them."""
    children = {r.parent: [*children_of(model, r.parent)] for r in model.riding}
    riding = {h for r in model.riding for h in r.atoms}
    return [k for i in range(len(model.structure.atoms)) if i not in riding for k in (i, *children.get(i, []))]


def children_of(model: Model, parent: int) -> list[int]:
    """The hydrogens that ride on an atom."""
    return [h for r in model.riding if r.parent == parent for h in r.atoms]


def _afix(i: int, rides: dict, rigid: dict) -> int:
    if i in rides:
        return 10 * rides[i].geometry + (7 if rides[i].turns else 3)
    if i in rigid:
        return (9 if rigid[i].scales else 6) if rigid[i].atoms[0] == i else 5
    return 0


class _Coder:
    """Parameters as SHELXL writes them: 10 added where fixed, 10 m + p where they follow free variable m."""

    def __init__(self, refined: Refined) -> None:
        self.refined, self.model = refined, refined.model
        self.names = short_names(self.model)
        self.ties = {(t.atom, t.parameter): t for t in self.model.ties}
        self.u_ties = {t.atom: t for t in self.model.u_ties}
        self.free = np.asarray(np.abs(refined.c).sum(axis=1)).ravel() > 1e-12

    def line(self, i: int, sfac: int) -> str:
        a = self.model.structure.atoms[i]
        sof = a.occupancy / self.refined.orders[i]
        values = [self._coded(i, k, v) for k, v in enumerate((*a.xyz, sof))]
        if i in self.u_ties:
            u = [-self.u_ties[i].factor]
        elif a.u_aniso is None:
            u = [self._coded(i, 4, a.u_iso)]
        else:
            u = [self._coded(i, 4 + k, float(a.u_aniso[k])) for k in _U_ORDER]
        return (
            f"{self.names[a.label]:<4s} {sfac} "
            + " ".join(f"{v:.6f}" for v in values)
            + " "
            + " ".join(f"{v:.5f}" for v in u)
        )

    def _coded(self, i: int, k: int, value: float) -> float:
        tie = self.ties.get((i, k))
        if tie is not None:
            m = 10 * (tie.variable + 2)
            return m + tie.multiplier if tie.constant == 0 else -(m - tie.multiplier)
        riding = any(i in r.atoms for r in self.model.riding) and k < 3
        return value if self.free[10 * i + k] or riding else 10 + value


def _folded(lines: list[str]) -> list[str]:
    """Lines of at most 79 characters; longer ones go on after ``=``."""
    out: list[str] = []
    for line in lines:
        while len(line) > 78:
            cut = line.rfind(" ", 0, 76)
            if cut <= 4 or line.startswith(("TITL", "REM")):
                break
            out.append(line[:cut] + " =")
            line = "  " + line[cut:].strip()
        out.append(line)
    return out
