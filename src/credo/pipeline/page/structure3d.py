"""The structure in three dimensions: one cell of whole molecules or of the framework, for a canvas to draw."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import gemmi
import numpy as np
from scipy.spatial import KDTree

from credo.model import Atom, Structure
from credo.physics.symmetry import all_operations
from credo.pipeline.page.markup import data_block, esc, figure, section
from credo.solve.refine.connectivity import SLACK

__all__ = ["cell_atoms", "colour_of", "structure_data", "structure_figure", "structure_section"]

#: Colours that chemists expect; others get one by their atomic number.
_COLOURS = {
    "H": "#d8dde1", "D": "#d8dde1", "C": "#6b747c", "N": "#3b62d0", "O": "#d63a2f", "F": "#57b94a", "Na": "#9a6bd1",
    "Mg": "#5c9a3c", "Al": "#b9a3a8", "Si": "#d7a76a", "P": "#e88a1a", "S": "#d9be1c", "Cl": "#3bb143", "K": "#8d4cc4",
    "Ca": "#4fa36a", "Ti": "#9aa0a6", "Fe": "#c8642a", "Co": "#d8789a", "Ni": "#4aa06a", "Cu": "#b8713c",
    "Zn": "#7d80b0", "Ga": "#c28f8f", "Ge": "#668f8f", "Zr": "#79b8bd", "Br": "#9c3a2e", "I": "#7a1f8a",
    "Au": "#d6a91f",
}  # fmt: skip

#: More are not drawn: the page would be slow, and nothing could be seen.
MOST = 4000


def structure_section(structure: Structure) -> str:
    """The figure as a section of a page; nothing without atoms."""
    return section("structure", "Structure", structure_figure(structure)) if structure.atoms else ""


def structure_figure(structure: Structure, name: str = "structure") -> str:
    """A canvas with buttons; its data lie beside it as JSON. The page must run turn.js and structure.js."""
    data = structure_data(structure)
    buttons = "".join(f'<button type="button" data-view="{k}">along {k}</button>' for k in "abc")
    buttons += '<button type="button" data-toggle="whole" aria-pressed="true">whole cell</button>'
    buttons += '<button type="button" data-toggle="names" aria-pressed="false">names</button>'
    buttons += '<button type="button" data-near="1.25" aria-label="closer">+</button>'
    buttons += '<button type="button" data-near="0.8" aria-label="further">−</button>'
    label = "The structure in three dimensions. Arrow keys turn it, plus and minus zoom."
    canvas = (
        f'<div class="structure"><div class="tools">{buttons}</div>'
        f'<canvas width="1100" height="680" tabindex="0" role="img" aria-label="{label}"></canvas>'
        f"{data_block(data)}</div>"
    )
    names = sorted({a.element for a in structure.atoms}, key=lambda e: -gemmi.Element(e).atomic_number)
    key = ", ".join(f'<span style="color:{colour_of(e)}">●</span> {esc(e)}' for e in names)
    left_out = "" if data["complete"] else f" Only {MOST} atoms of the cell are drawn."
    return figure(name, canvas, f"{key}. Drag to turn, Ctrl + wheel zooms.{left_out}")


def structure_data(structure: Structure) -> dict[str, Any]:
    """Cartesian atoms [Å] with element, radius and colour, bonds as pairs, cell edges as rows; ``listed`` marks the
    atoms of the asymmetric unit, in place."""
    drawn = _Drawn.of(structure)
    keep = min(len(drawn.xyz), MOST)
    kinds = sorted(set(drawn.element.tolist()))
    xyz = drawn.xyz[:keep] @ structure.cell.O.T
    return {
        "xyz": np.round(xyz, 3).tolist(),
        "kind": [kinds.index(e) for e in drawn.element[:keep].tolist()],
        "kinds": [{"r": round(0.22 + 0.22 * gemmi.Element(e).covalent_r, 3), "colour": colour_of(e)} for e in kinds],
        "names": [structure.atoms[i].label for i in drawn.atom[:keep]],
        "listed": drawn.listed[:keep].astype(int).tolist(),
        "bonds": _bonds(xyz, drawn.element[:keep]),
        "cell": np.round(structure.cell.O.T, 4).tolist(),
        "complete": keep == len(drawn.xyz),
    }


def cell_atoms(structure: Structure) -> list[Atom]:
    """All atoms of one cell, in [0, 1)."""
    xyz, atom = _cell_contents(structure)
    return [structure.atoms[i].replace(xyz=x) for x, i in zip(xyz, atom)]


def colour_of(element: str) -> str:
    """A colour as #rrggbb or hsl()."""
    return _COLOURS.get(element) or f"hsl({gemmi.Element(element).atomic_number * 47 % 360} 35% 50%)"


@dataclass(frozen=True)
class _Drawn:
    """``xyz`` (n, 3) fractional, ``atom`` (n,) rows of the structure, ``listed`` (n,): the listed atoms themselves."""

    xyz: np.ndarray
    atom: np.ndarray
    element: np.ndarray
    listed: np.ndarray

    @classmethod
    def of(cls, s: Structure) -> _Drawn:
        """The listed atoms, then the rest of the cell: molecules with their centre in it, networks cut at its faces."""
        xyz, atom = _cell_contents(s)
        element = np.array([a.element for a in s.atoms])
        xyz, atom = _arranged(s, xyz, atom, element)
        own = np.array([a.xyz for a in s.atoms])
        far = KDTree(own @ s.cell.O.T).query(xyz @ s.cell.O.T)[0] > 0.05
        xyz = np.concatenate([own, xyz[far]])
        atom = np.concatenate([np.arange(len(own)), atom[far]])
        return cls(xyz, atom, element[atom], np.arange(len(xyz)) < len(own))


def _cell_contents(s: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Every atom of one cell once: (n, 3) in [0, 1), and the listed atom it is an image of."""
    rot, trans = all_operations(gemmi.SpaceGroup(s.space_group))
    places, owners = [], []
    for i, a in enumerate(s.atoms):
        images = (rot @ a.xyz + trans) % 1.0
        kept: list[np.ndarray] = []
        for x in images:
            gap = np.array(kept).reshape(-1, 3) - x
            gap -= np.rint(gap)
            if not kept or np.linalg.norm(gap @ s.cell.O.T, axis=1).min() > 0.1:
                kept.append(x)
        places += kept
        owners += [i] * len(kept)
        if len(places) > 4 * MOST:
            break
    return np.array(places), np.array(owners)


def _arranged(s: Structure, xyz: np.ndarray, atom: np.ndarray, element: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Molecules moved together; atoms of endless networks shown on every face that they lie on."""
    links = _links(s, xyz, element[atom])
    out, owner = [], []
    done = np.zeros(len(xyz), dtype=bool)
    for start in range(len(xyz)):
        if done[start]:
            continue
        shift, endless, queue = {start: np.zeros(3)}, False, [start]
        while queue:
            i = queue.pop()
            for j, step in links.get(i, ()):
                there = shift[i] + step
                if j not in shift:
                    shift[j] = there
                    queue.append(j)
                elif np.any(shift[j] != there):
                    endless = True
        members = np.array(list(shift))
        done[members] = True
        if endless:
            for i in members:
                faces = _faces(xyz[i])
                out += faces
                owner += [atom[i]] * len(faces)
        else:
            whole = np.array([xyz[i] + shift[i] for i in members])
            out += list(whole - np.floor(whole.mean(axis=0)))
            owner += atom[members].tolist()
    return np.array(out), np.array(owner)


def _faces(x: np.ndarray) -> list[np.ndarray]:
    """The position, and its images on the opposite faces where it lies on a face."""
    choices = [(v, v + 1.0) if v < 0.02 else (v, v - 1.0) if v > 0.98 else (v,) for v in x]
    return [np.array(c) for c in product(*choices)]


def _links(s: Structure, xyz: np.ndarray, element: np.ndarray) -> dict[int, list[tuple[int, np.ndarray]]]:
    """Bonded neighbours of every atom of the cell, with the lattice step [cells] to reach them."""
    steps = np.array(list(product((-1, 0, 1), repeat=3)))
    images = (xyz[:, None] + steps).reshape(-1, 3) @ s.cell.O.T
    first, second = _pairs(xyz @ s.cell.O.T, element, images, np.repeat(element, len(steps)))
    links: dict[int, list[tuple[int, np.ndarray]]] = {}
    for i, k in zip(first.tolist(), second.tolist()):
        links.setdefault(i, []).append((k // len(steps), steps[k % len(steps)].astype(float)))
    return links


def _bonds(xyz: np.ndarray, element: np.ndarray) -> list[tuple[int, int]]:
    first, second = _pairs(xyz, element, xyz, element)
    return [(i, j) for i, j in zip(first.tolist(), second.tolist()) if i < j]


def _pairs(a: np.ndarray, kind_a: np.ndarray, b: np.ndarray, kind_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a and of b (both Cartesian) that are bonded: up to the sum of the radii and 0.5 Å, as SHELXL has it;
    to hydrogen 0.3 Å, or two molecules would become one, and hydrogen never to hydrogen."""
    radius = {e: gemmi.Element(e).covalent_r for e in {*kind_a.tolist(), *kind_b.tolist()}}
    near = KDTree(a).sparse_distance_matrix(KDTree(b), 2 * max(radius.values()) + SLACK, output_type="ndarray")
    i, j, gap = near["i"], near["j"], near["v"]
    ra, rb = (np.array([radius[e] for e in kinds.tolist()]) for kinds in (kind_a[i], kind_b[j]))
    ha, hb = np.isin(kind_a[i], ("H", "D")), np.isin(kind_b[j], ("H", "D"))
    bonded = (gap > 0.3) & (gap < ra + rb + np.where(ha | hb, 0.3, SLACK)) & ~(ha & hb)
    return i[bonded], j[bonded]
