"""Where hydrogens ride: idealised positions by SHELXL's m of AFIX mn, at the distances of nuclei.

Distances between nuclei: F. H. Allen & I. J. Bruno, Acta Cryst. B66 (2010) 380-386. Electrons are scattered by the
electrostatic potential, whose maximum is at the nucleus, so these are the default; SHELXL's X-ray distances on request.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.model import Atom, CannotDo, Structure
from credo.solve.refine.connectivity import Bond, Site, bonds_of
from credo.solve.refine.model import PARAMETERS, Model, Riding, UTie

__all__ = ["GEOMETRIES", "Placement", "add_hydrogens", "placements", "with_hydrogens"]

#: m -> (hydrogens, heavy neighbours, {element: nuclear distance}, {element: X-ray distance}) [Å].
GEOMETRIES: dict[int, tuple[int, int, dict[str, float], dict[str, float]]] = {
    1: (1, 3, {"C": 1.099, "N": 1.036}, {"C": 0.98, "N": 0.91}),
    2: (2, 2, {"C": 1.092, "N": 1.036}, {"C": 0.97, "N": 0.90}),
    3: (3, 1, {"C": 1.077, "N": 1.036}, {"C": 0.96, "N": 0.89}),
    4: (1, 2, {"C": 1.083, "N": 1.015}, {"C": 0.93, "N": 0.86}),
    8: (1, 1, {"O": 0.967, "S": 1.338}, {"O": 0.82, "S": 1.20}),
    9: (2, 1, {"C": 1.083, "N": 1.013}, {"C": 0.93, "N": 0.86}),
    13: (3, 1, {"C": 1.077, "N": 1.036}, {"C": 0.96, "N": 0.89}),
    14: (1, 1, {"O": 0.967, "S": 1.338}, {"O": 0.82, "S": 1.20}),
    16: (1, 1, {"C": 1.055}, {"C": 0.93}),
}
_TETRAHEDRAL = np.arccos(-1 / 3)


@dataclass(frozen=True, eq=False)
class Placement:
    """A riding group and the sites its geometry is built on: neighbours of the parent, and one of the neighbour's."""

    riding: Riding
    neighbours: tuple[Site, ...]
    beyond: Site | None
    distance: float

    def positions(self, xyz: np.ndarray, o: np.ndarray, turn: float = 0.0) -> np.ndarray:
        """Fractional (h, 3) of the hydrogens for fractional ``xyz`` (a, 3) of all atoms; ``turn`` [rad] about the bond
        is added to the torsion they have in ``xyz``."""
        origin = o @ xyz[self.riding.parent]
        arms = [o @ s.at(xyz) - origin for s in self.neighbours]
        units = [a / np.linalg.norm(a) for a in arms]
        beyond = None if self.beyond is None else o @ self.beyond.at(xyz) - origin - arms[0]
        now = o @ xyz[self.riding.atoms[0]] - origin
        directions = _directions(self.riding.geometry, units, beyond, now, turn)
        return (origin + self.distance * directions) @ np.linalg.inv(o).T


def _directions(m: int, units: list[np.ndarray], beyond, now: np.ndarray, turn: float) -> np.ndarray:
    """(h, 3) unit vectors from the parent."""
    if m in (1, 4):
        return _unit(-np.sum(units, axis=0))[None]
    if m == 16:
        return -units[0][None]
    if m == 2:
        return _methylene(*units)
    axis = units[0]
    across = _across(axis, now, beyond, staggered=m in (3, 8, 13, 14))
    other = np.cross(axis, across)
    if m == 9:
        angle, torsions = np.radians(120.0), [0.0, np.pi]
        if beyond is not None:
            across = _unit(beyond - axis * (axis @ beyond))
    else:
        angle, torsions = _TETRAHEDRAL, [0.0] if m in (8, 14) else [0.0, 2 * np.pi / 3, 4 * np.pi / 3]
    t = np.array(torsions)[:, None] + turn
    return np.cos(angle) * axis + np.sin(angle) * (np.cos(t) * across + np.sin(t) * other)


def _across(axis: np.ndarray, now: np.ndarray, beyond, staggered: bool) -> np.ndarray:
    """The direction at right angles to the bond at which the first hydrogen is: the present one, else staggered."""
    if np.linalg.norm(now) > 0.3:
        flat = now - axis * (axis @ now)
        if np.linalg.norm(flat) > 0.1:
            return _unit(flat)
    if beyond is not None:
        flat = beyond - axis * (axis @ beyond)
        if np.linalg.norm(flat) > 0.1:
            return _unit(-flat if staggered else flat)
    return _unit(np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))]))


def _methylene(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Two hydrogens astride the bisector; their angle gives way to that of the neighbours, as in SHELXL."""
    open_angle = np.arccos(np.clip(a @ b, -1, 1))
    half = (_TETRAHEDRAL - 0.4 * (open_angle - _TETRAHEDRAL)) / 2
    back, normal = _unit(-(a + b)), _unit(np.cross(a, b))
    return np.array([np.cos(half) * back + np.sin(half) * normal, np.cos(half) * back - np.sin(half) * normal])


def _unit(v: np.ndarray) -> np.ndarray:
    return v / max(float(np.linalg.norm(v)), 1e-9)


def placements(model: Model, nuclear: bool = True) -> list[Placement]:
    """The sites of every riding group that has a geometry; raises CannotDo where the bonds do not fit it."""
    groups = [r for r in model.riding if r.geometry]
    if not groups:
        return []
    bonds = bonds_of(model.structure, model.parts)
    return [_placement(model, r, bonds, nuclear) for r in groups]


def _placement(model: Model, riding: Riding, bonds: list[list[Bond]], nuclear: bool) -> Placement:
    atoms = model.structure.atoms
    parent = atoms[riding.parent]
    if riding.geometry not in GEOMETRIES:
        raise CannotDo(f"AFIX {riding.geometry}n at {parent.label} is not supported", "use AFIX 0n to ride as placed")
    count, needed, near, xray = GEOMETRIES[riding.geometry]
    heavy = [b for b in bonds[riding.parent] if atoms[b.b.atom].element not in ("H", "D")]
    if len(heavy) < needed or len(riding.atoms) != count:
        raise CannotDo(
            f"{parent.label} has {len(heavy)} neighbours and {len(riding.atoms)} hydrogens where AFIX "
            f"{riding.geometry}n needs {needed} and {count}", "correct the AFIX or HFIX of this atom",
        )  # fmt: skip
    first = heavy[0].b
    second = [
        b for b in bonds[first.atom]
        if atoms[b.b.atom].element not in ("H", "D") and not _is(model, first, b.b, riding.parent)
    ]  # fmt: skip
    beyond = None if not second else _image(first, second[0].b)
    table = near if nuclear else xray
    distance = riding.distance or table.get(parent.element) or table.get("C", 1.0)
    return Placement(riding, tuple(b.b for b in heavy[:needed]), beyond, distance)


def _image(outer: Site, inner: Site) -> Site:
    """The image by ``outer`` of a site given relative to outer's atom as listed."""
    return Site(
        inner.atom, outer.rotation @ inner.rotation, outer.rotation @ inner.translation + outer.translation
    )  # fmt: skip


def _is(model: Model, outer: Site, inner: Site, atom: int) -> bool:
    """Whether the image of ``inner`` by ``outer`` is the listed ``atom``."""
    xyz = np.array([a.xyz for a in model.structure.atoms])
    return bool(np.linalg.norm(model.structure.cell.O @ (_image(outer, inner).at(xyz) - xyz[atom])) < 0.1)


def with_hydrogens(
    model: Model, parent: str, geometry: int, turns: bool = False, nuclear: bool = True, factor: float | None = None
) -> Model:
    """The model with the hydrogens of HFIX ``geometry`` on an atom, at idealised places, U = 1.2 or 1.5 U_eq."""
    if geometry not in GEOMETRIES:
        raise CannotDo(f"HFIX {geometry} is not supported", f"known are {', '.join(map(str, GEOMETRIES))}")
    i = model.index(parent)
    base = model.structure.atoms[i]
    n = len(model.structure.atoms)
    count = GEOMETRIES[geometry][0]
    labels = _free_labels(model.structure, base.label, count)
    factor = factor or (1.5 if geometry in (3, 8, 13, 14) else 1.2)
    new = tuple(Atom(x, "H", base.xyz, base.occupancy, factor * base.u_iso) for x in labels)
    riding = Riding(i, tuple(range(n, n + count)), geometry, turns=turns)
    grown = model.replace(
        structure=model.structure.replace(atoms=(*model.structure.atoms, *new)),
        parts=(*model.parts, *(model.parts[i],) * count),
        riding=(*model.riding, riding),
        u_ties=(*model.u_ties, *(UTie(n + k, i, factor) for k in range(count))),
        fixed=model.fixed | {(n + k, PARAMETERS.index("occ")) for k in range(count)},
    )
    place = _placement(grown, riding, bonds_of(model.structure, model.parts) + [[]] * count, nuclear)
    xyz = np.array([a.xyz for a in grown.structure.atoms])
    at = place.positions(xyz, model.structure.cell.O)
    atoms = list(grown.structure.atoms)
    for k in range(count):
        atoms[n + k] = atoms[n + k].replace(xyz=at[k])
    return grown.replace(structure=grown.structure.replace(atoms=tuple(atoms)))


def _free_labels(structure: Structure, parent: str, count: int) -> list[str]:
    """Names of at most four letters, SHELXL's limit, after the parent's where that is possible."""
    taken = {a.label.upper() for a in structure.atoms}
    suffix = parent.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") or parent
    ends = [""] if count == 1 else list("ABCDEF"[:count])
    stems = [f"H{suffix}", f"H{suffix.lstrip('0')}", *(f"H{k}" for k in range(1, 1000))]
    for stem in stems:
        names = [f"{stem}{e}" for e in ends]
        if len(stem) > 1 and all(len(x) <= 4 and x.upper() not in taken for x in names):
            return names
    raise CannotDo(f"no names are left for the hydrogens of {parent}", "rename atoms of the model")


def add_hydrogens(model: Model, nuclear: bool = True) -> Model:
    """Riding hydrogens where bond lengths and angles leave no doubt: on carbon, and on amide-like nitrogen. Atoms that
    have hydrogens already, or that are disordered, are left alone."""
    bonds = bonds_of(model.structure, model.parts)
    atoms = model.structure.atoms
    for i, atom in enumerate(atoms):
        if model.parts[i] or any(atoms[b.b.atom].element in ("H", "D") for b in bonds[i]):
            continue
        m = _guess(model.structure, i, bonds)
        if m:
            model = with_hydrogens(model, atom.label, m, turns=m == 13, nuclear=nuclear)
    return model


def _guess(structure: Structure, i: int, bonds: list[list[Bond]]) -> int:
    """m of the hydrogens on atom i, 0 for none."""
    element = structure.atoms[i].element
    xyz = np.array([a.xyz for a in structure.atoms])
    own = bonds[i]
    if element not in ("C", "N") or not own or any(structure.atoms[b.b.atom].element not in _LIGHT for b in own):
        return 0
    units = [structure.cell.O @ (b.b.at(xyz) - xyz[i]) / b.length for b in own]
    lengths = [b.length - (0.12 if structure.atoms[b.b.atom].element == "S" else 0) for b in own]
    if element == "N":
        planar = len(own) == 2 and np.degrees(np.arccos(np.clip(units[0] @ units[1], -1, 1))) < 150
        return 4 if planar and max(lengths) > 1.42 and min(lengths) > 1.29 else 0
    if len(own) == 3:
        return 0 if abs(np.linalg.det(np.array(units))) < 0.35 else 1
    if len(own) == 2:
        angle = np.degrees(np.arccos(np.clip(units[0] @ units[1], -1, 1)))
        return 0 if angle > 155 else 4 if min(lengths) < 1.43 and angle > 113.5 else 2
    if len(own) == 1:
        return 0 if lengths[0] < 1.25 else 9 if lengths[0] < 1.40 else 13
    return 0


_LIGHT = ("B", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I")
