"""Crystal structures from CIF: cell, space group and atoms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from credo.io.cif import cell_of_block, parse, space_group_of_block
from credo.io.frame_file import reading
from credo.model import Atom, Structure
from credo.model.errors import UnreadableInput

__all__ = ["read_structure"]

#: U of an atom without one [Å²].
_U_UNKNOWN = 0.02


def read_structure(path: Path | str) -> Structure:
    """The first structure of a CIF with a cell and atoms; U is 0.02 Å² where the file is silent.

    Raises UnreadableInput without cell, atoms or a space group that gemmi knows.
    """
    path = Path(path)
    for block in parse(path):
        if cell_of_block(block) is not None and block.find_loop("_atom_site_fract_x"):
            return _structure(path, block)
    raise UnreadableInput(f"{path}: no cell with atoms in it", "give the CIF of a structure")


def _structure(path: Path, block: Any) -> Structure:
    cell = cell_of_block(block)
    assert cell is not None
    group = space_group_of_block(block)
    if not isinstance(group, gemmi.SpaceGroup):
        raise UnreadableInput(f"{path}: space group {group or 'absent'} is not known", "write its Hermann-Mauguin name")
    with reading(path, "a CIF of a structure"):
        small = gemmi.make_small_structure_from_block(block)
        atoms = tuple(_atom(path, site) for site in small.sites)
    return Structure(cell, group.xhm(), atoms, block.name)


def _atom(path: Path, site: Any) -> Atom:
    xyz = np.array(site.fract.tolist())
    if not np.isfinite(xyz).all():
        raise UnreadableInput(f"{path}: atom {site.label} has no position", "remove it, or give its coordinates")
    if site.element.atomic_number == 0:
        raise UnreadableInput(f"{path}: atom {site.label} is of no known element", "correct its type symbol")
    u = site.aniso
    anisotropic = np.array([u.u11, u.u22, u.u33, u.u12, u.u13, u.u23]) if u.nonzero() else None
    return Atom(site.label, site.element.name, xyz, site.occ, site.u_iso or _U_UNKNOWN, anisotropic)
