"""The full symmetry of a framework found in a subgroup: its T sites moved to the higher group's origin."""

from __future__ import annotations

import gemmi
import numpy as np

from credo.model import Structure
from credo.physics.structure_factors import structure_factors
from credo.physics.symmetry import all_operations
from credo.solve.normalise import PhasingData
from credo.solve.space_group import rank_groups

__all__ = ["higher_groups"]

#: Agreement of the phases with every operation, and how far [Å] T sites may lie from their images' places.
_OBEYED, _REACH = 0.6, 0.8


def higher_groups(
    structure: Structure, data: PhasingData, laue_group: str, centring: str
) -> list[tuple[gemmi.SpaceGroup, np.ndarray]]:
    """(group, its independent T sites (n, 3)) for each group of higher order in the same Laue class that all T obey."""
    rot, trans = all_operations(gemmi.SpaceGroup(structure.space_group))
    hkl = np.rint(data.hkl @ np.linalg.inv(data.basis)).astype(int)
    # maps are sums of G exp(+2πi h·x), so that G is the conjugate of F
    phases = data.f * np.exp(-1j * np.angle(structure_factors(structure, hkl)))
    t = np.array([a.xyz for a in structure.atoms if a.element != "O"])
    every = (np.einsum("rij,nj->nri", rot, t) + trans).reshape(-1, 3)
    found = []
    for fit in rank_groups(data, phases, laue_group, centring):
        operations = all_operations(fit.group)
        if len(operations[0]) <= len(rot) or fit.worst < _OBEYED:
            continue
        sites = _symmetric(every - data.basis @ fit.shift, *operations, structure.cell.O)
        if sites is not None:
            found.append((fit.group, sites))
    return found


def _symmetric(every: np.ndarray, rot: np.ndarray, trans: np.ndarray, o: np.ndarray) -> np.ndarray | None:
    """The independent among sites (n, 3), each put where its images agree; None where one has no image near a site."""
    back = np.linalg.inv(rot)
    kept = np.empty((0, 3))
    images = np.empty((0, 3))
    for x in every:
        if len(images) and _nearest(images, x, o)[1] < _REACH:
            continue
        shift = np.zeros(3)
        for r, t, b in zip(rot, trans, back):
            gap, far = _nearest(every, r @ x + t, o)
            if far > _REACH:
                return None
            shift += b @ gap / len(rot)
        kept = np.vstack([kept, x + shift])
        images = np.vstack([images, rot @ (x + shift) + trans])
    return kept


def _nearest(sites: np.ndarray, x: np.ndarray, o: np.ndarray) -> tuple[np.ndarray, float]:
    """(gap (3,) to it, distance [Å]) of the site nearest to x."""
    gap = sites - x
    gap -= np.rint(gap)
    far = np.linalg.norm(gap @ o.T, axis=1)
    n = int(far.argmin())
    return gap[n], float(far[n])
