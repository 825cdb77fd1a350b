"""What chemistry allows: contacts between atoms, and which of them are too short for their elements."""

from __future__ import annotations

import gemmi
import numpy as np

from credo.model import Structure

__all__ = ["SHORT", "contacts", "impossible_share"]

#: No bond is shorter than this share of the sum of the covalent radii.
SHORT = 0.75


def contacts(structure: Structure, reach: float = 2.6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(i (m,), j (m,), d (m,) [Å]): every atom j within ``reach`` of site i, itself not counted."""
    cell, group = gemmi.UnitCell(*structure.cell.parameters), gemmi.SpaceGroup(structure.space_group)
    small = gemmi.SmallStructure()
    small.cell, small.spacegroup = cell, group
    for n, atom in enumerate(structure.atoms):
        site = gemmi.SmallStructure.Site()
        site.label, site.element, site.fract, site.occ = str(n), gemmi.Element("C"), gemmi.Fractional(*atom.xyz), 1.0
        small.add_site(site)
    small.setup_cell_images()
    search = gemmi.NeighborSearch(small, reach).populate()
    found = []
    for n, site in enumerate(small.sites):
        for mark in search.find_site_neighbors(site, min_dist=0.5, max_dist=reach):
            found.append((n, mark.atom_idx, search.dist(cell.orthogonalize(site.fract), mark.pos)))
    table = np.array(found, dtype=float).reshape(-1, 3)
    return table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2]


def impossible_share(structure: Structure) -> float:
    """The share of the atoms but hydrogen with a contact that no pair of their elements makes."""
    atoms = tuple(a for a in structure.atoms if a.element not in ("H", "D"))
    if not atoms:
        return 0.0
    i, j, d = contacts(structure.replace(atoms=atoms))
    r = np.array([gemmi.Element(a.element).covalent_r for a in atoms])
    return len(np.unique(i[d < SHORT * (r[i] + r[j])])) / len(atoms)
