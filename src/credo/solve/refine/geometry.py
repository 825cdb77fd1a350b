"""Bonds and angles with uncertainties from the full covariance of the atoms and from the cell's."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from credo.model import CannotDo, Cell
from credo.solve.refine.connectivity import Bond, Site, angles_of, bonds_of
from credo.solve.refine.result import Refined

__all__ = ["Angle", "Length", "angle_list", "bond_list", "cell_scaled_to", "site_code", "without_hydrogens"]


@dataclass(frozen=True)
class Length:
    """A bond [Å]; ``esd`` None where nothing in it was refined and the cell has none; ``code``: symmetry of b."""

    a: str
    b: str
    code: str
    value: float
    esd: float | None


@dataclass(frozen=True)
class Angle:
    """An angle a-centre-b [deg]; codes of the two ends."""

    a: str
    centre: str
    b: str
    codes: tuple[str, str]
    value: float
    esd: float | None


def bond_list(refined: Refined, bonds: list[list[Bond]] | None = None) -> list[Length]:
    """Every bond once: from the atom listed first, and those to images of earlier atoms too."""
    structure = refined.structure
    bonds = bonds_of(structure, refined.model.parts) if bonds is None else bonds
    out = []
    for i, own in enumerate(bonds):
        for bond in own:
            if bond.b.identity and bond.b.atom < i:
                continue
            value, esd = _measured(refined, (Site.own(i), bond.b), _distance)
            name = structure.atoms[bond.b.atom].label
            out.append(Length(structure.atoms[i].label, name, site_code(refined, bond.b), value, esd))
    return out


def angle_list(refined: Refined, bonds: list[list[Bond]] | None = None) -> list[Angle]:
    """Every angle at every atom."""
    structure = refined.structure
    bonds = bonds_of(structure, refined.model.parts) if bonds is None else bonds
    out = []
    for a, i, b in angles_of(bonds):
        value, esd = _measured(refined, (a, Site.own(i), b), _angle)
        names = [structure.atoms[s.atom].label for s in (a, b)]
        codes = (site_code(refined, a), site_code(refined, b))
        out.append(Angle(names[0], structure.atoms[i].label, names[1], codes, value, esd))
    return out


def without_hydrogens(refined: Refined) -> list[list[Bond]]:
    """The bonds between atoms heavier than hydrogen."""
    atoms = refined.structure.atoms
    heavy = [a.element not in ("H", "D") for a in atoms]
    bonds = bonds_of(refined.structure, refined.model.parts)
    return [[b for b in own if heavy[b.b.atom]] if heavy[i] else [] for i, own in enumerate(bonds)]


def _distance(points: list[np.ndarray]) -> tuple[float, list[np.ndarray]]:
    gap = points[0] - points[1]
    d = float(np.linalg.norm(gap))
    return d, [gap / d, -gap / d]


def _angle(points: list[np.ndarray]) -> tuple[float, list[np.ndarray]]:
    u, v = points[0] - points[1], points[2] - points[1]
    p, q = float(np.linalg.norm(u)), float(np.linalg.norm(v))
    c = float(np.clip(u @ v / (p * q), -1, 1))
    s = max(np.sqrt(1 - c * c), 1e-6)
    a = (c * u / p - v / q) / (p * s)
    b = (c * v / q - u / p) / (q * s)
    return float(np.degrees(np.arccos(c))), [np.degrees(a), -np.degrees(a + b), np.degrees(b)]


def _measured(refined: Refined, sites: tuple[Site, ...], what) -> tuple[float, float | None]:
    """Value and σ = √(gᵀ V g + jᵀ V_cell j)."""
    cell = refined.structure.cell
    xyz = np.array([a.xyz for a in refined.structure.atoms])
    fractional = [s.at(xyz) for s in sites]
    value, gradients = what([cell.O @ f for f in fractional])
    flat = np.zeros(refined.c.shape[0])
    for site, g in zip(sites, gradients):
        flat[10 * site.atom : 10 * site.atom + 3] += site.rotation.T @ cell.O.T @ g
    v = refined.c.T @ flat
    n = refined.c.shape[1]
    variance = float(v @ refined.covariance[:n, :n] @ v)
    if cell.covariance is not None:
        j = _cell_gradient(cell, fractional, what)
        variance += float(j @ cell.covariance @ j)
    return value, float(np.sqrt(variance)) if variance > 1e-16 else None


def _cell_gradient(cell: Cell, fractional: list[np.ndarray], what) -> np.ndarray:
    """d value/d(a b c α β γ) by differences, positions staying where they are in the cell."""
    x = np.array(cell.parameters)
    out = np.zeros(6)
    for k, step in enumerate([1e-5] * 3 + [1e-4] * 3):
        d = np.zeros(6)
        d[k] = step
        plus, minus = Cell(*(x + d)).O, Cell(*(x - d)).O
        out[k] = (what([plus @ f for f in fractional])[0] - what([minus @ f for f in fractional])[0]) / (2 * step)
    return out


def site_code(refined: Refined, site: Site) -> str:
    """CIF's ``n_klm`` of an image, "." for the atom itself: operation n of the list, then a translation of k − 5 …"""
    if site.identity:
        return "."
    for n, op in enumerate(gemmi.SpaceGroup(refined.structure.space_group).operations(), start=1):
        shift = site.translation - np.array(op.tran) / gemmi.Op.DEN
        same = np.array_equal(np.array(op.rot) / gemmi.Op.DEN, site.rotation)
        if same and np.allclose(shift, np.rint(shift), atol=1e-4):
            whole = np.rint(shift).astype(int)
            return f"{n}_{whole[0] + 5}{whole[1] + 5}{whole[2] + 5}" if np.all(np.abs(whole) < 5) else "?"
    return "?"


def cell_scaled_to(refined: Refined, first: str, second: str, length: float) -> tuple[Cell, float, int]:
    """The cell with a, b, c multiplied so that the mean bond first-second has ``length`` [Å] (thesis 4.3.1), the
    factor, and how many bonds it rests on: 3D ED's camera length is uncertain by a per cent, bond lengths are not."""
    elements = {a.label: a.element for a in refined.structure.atoms}
    pair = {first.capitalize(), second.capitalize()}
    found = [b.value for b in bond_list(refined) if {elements[b.a], elements[b.b]} == pair]
    if not found:
        raise CannotDo(f"the structure has no bond {first}-{second}", "name two elements that are bonded")
    factor = length / float(np.mean(found))
    if not 0.8 < factor < 1.25:
        raise CannotDo(f"the bonds {first}-{second} average {np.mean(found):.3f} Å", "check the target length")
    cell = refined.structure.cell
    scale = np.diag([factor] * 3 + [1.0] * 3)
    covariance = None if cell.covariance is None else scale @ cell.covariance @ scale
    a, b, c = (x * factor for x in cell.lengths)
    return Cell(a, b, c, *cell.angles, covariance=covariance), factor, len(found)
