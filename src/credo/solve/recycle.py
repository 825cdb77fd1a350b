"""From phases in a space group to atoms: density modification with the symmetry imposed, then peaks as sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.kernels.peaks import map_peaks
from credo.solve.group_phasing import GroupPhasing
from credo.solve.normalise import PhasingData
from credo.solve.phasing import PhasingSettings, Recipe
from credo.solve.space_group import GroupFit

__all__ = ["Sites", "recycle", "sites_of_map"]

_RECYCLING = Recipe()


@dataclass(frozen=True)
class Sites:
    """Independent sites on the primitive basis, origin of the group: ``xyz`` (n, 3), ``height`` (n,),
    ``multiplicity`` (n,) in the primitive cell."""

    xyz: np.ndarray
    height: np.ndarray
    multiplicity: np.ndarray


def recycle(data: PhasingData, g: np.ndarray, fit: GroupFit, cycles: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """``cycles`` of low-density elimination, the symmetry imposed in each.

    g (n,): P1 values, moved to the group's origin here. Returns the transform (n,) at ``data.hkl`` and the map.
    """
    return GroupPhasing(data, fit, _RECYCLING, PhasingSettings(grid_per_d=3.0)).improved(g, cycles)


def sites_of_map(
    data: PhasingData, rho: np.ndarray, fit: GroupFit, most: int, reach: float = 0.75, apart_by: float = 1.05
) -> Sites:
    """The highest peaks as independent sites; those whose images are nearer than ``reach`` [Å] are put between them.

    ``most``: sites wanted in the primitive cell. Nearer than ``apart_by`` [Å] to a higher site is only hydrogen, the
    same atom or a ripple: C≡O, the shortest bond without hydrogen, has 1.13 Å.
    """
    peaks = map_peaks(rho, floor=float(rho.std()))
    metric = data.cell.metric
    xyz, height, mult = [], [], []
    kept = np.empty((0, 3))
    for peak in peaks[: 3 * most]:
        if sum(mult) >= most:
            break
        images = (fit.operations.rot @ peak[:3] + fit.operations.trans) % 1.0
        apart = images - peak[:3]
        apart -= np.rint(apart)
        near = np.einsum("ij,jk,ik->i", apart, metric, apart) < reach**2
        centre = (peak[:3] + apart[near].mean(axis=0)) % 1.0
        if len(kept):
            gap = kept - centre
            gap -= np.rint(gap)
            if np.einsum("ij,jk,ik->i", gap, metric, gap).min() < apart_by**2:
                continue
        orbit = (fit.operations.rot @ centre + fit.operations.trans) % 1.0
        kept = np.concatenate([kept, orbit])
        xyz.append(centre)
        height.append(peak[3])
        mult.append(len(orbit) // int(near.sum()))
    return Sites(np.array(xyz).reshape(-1, 3), np.array(height), np.array(mult, dtype=int))
