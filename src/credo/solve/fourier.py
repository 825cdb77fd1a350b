"""Fourier maps of a refined structure: observed and difference, as arrays, CCP4 files and lists of peaks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import gemmi
import numpy as np

from credo.kernels.peaks import map_peaks
from credo.model import Structure
from credo.physics.symmetry import all_operations
from credo.solve.refine.data import Observed
from credo.solve.sites import distances

__all__ = ["Peak", "difference_peaks", "fourier_map", "peak_list", "write_ccp4"]

Kind = Literal["observed", "difference", "double"]


class Phased(Protocol):
    """What a map needs of a fit: k of Fo² = k Fc², and Fc (n,) complex."""

    @property
    def k(self) -> float: ...

    @property
    def f_calc(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Peak:
    """A maximum of a map: ``xyz`` fractional, ``height`` in the map's unit, ``sigma``: height/rms of the map,
    ``nearest`` [Å] to ``atom``, ``typical``: the height that the model's own atoms have (difference maps: in Fo)."""

    xyz: np.ndarray
    height: float
    sigma: float
    nearest: float
    atom: str
    typical: float = 0.0


def fourier_map(
    structure: Structure, fit: Phased, observed: Observed, kind: Kind = "difference", spacing: float = 0.25
) -> np.ndarray:
    """ρ (nx, ny, nz) over the conventional cell [Å⁻²]: Σ (m Fo − n Fc) exp(iφc) exp(−2πi h·x)/V.

    kind: "observed" Fo, "difference" Fo − Fc, "double" 2Fo − Fc, Fo on the scale of Fc; ``spacing`` [Å].
    """
    fo = np.sqrt(np.maximum(observed.f2, 0) / fit.k)
    fc = np.abs(fit.f_calc)
    amplitude = {"observed": fo, "difference": fo - fc, "double": 2 * fo - fc}[kind]
    group = gemmi.SpaceGroup(structure.space_group)
    cell = gemmi.UnitCell(*structure.cell.parameters)
    # gemmi wants its own asymmetric unit
    data = gemmi.ComplexAsuData(
        cell, group, observed.hkl.astype(np.int32), (amplitude * np.exp(1j * np.angle(fit.f_calc))).astype(np.complex64)
    )
    data.ensure_asu()
    data.ensure_sorted()
    size = [max(8, int(np.ceil(a / spacing))) for a in structure.cell.lengths]
    return np.array(data.transform_f_phi_to_map(min_size=size, exact_size=(0, 0, 0)).array, copy=True)


def peak_list(rho: np.ndarray, structure: Structure, most: int = 30, typical: float = 0.0) -> list[Peak]:
    """The highest independent maxima of a map over the conventional cell, each with its nearest atom."""
    rot, trans = all_operations(gemmi.SpaceGroup(structure.space_group))
    atoms, metric = np.array([a.xyz for a in structure.atoms]).reshape(-1, 3), structure.cell.metric
    rms = float(rho.std()) or 1.0
    found: list[Peak] = []
    taken = np.empty((0, 3))
    for x, y, z, height in map_peaks(rho, floor=rms)[: most * len(rot)]:
        xyz = np.array([x, y, z])
        if len(taken) and distances(taken, xyz, metric).min() < 0.3:
            continue
        images = rot @ xyz + trans
        taken = np.concatenate([taken, images])
        nearest, atom = np.inf, ""
        if len(atoms):
            apart = distances(images[:, None], atoms, metric)
            n, i = np.unravel_index(int(apart.argmin()), apart.shape)
            nearest, atom = apart[n, i], structure.atoms[i].label
            xyz = images[n] + np.rint(atoms[i] - images[n])
        found.append(Peak(xyz, float(height), float(height) / rms, float(nearest), atom, typical))
        if len(found) >= most:
            break
    return found


def difference_peaks(structure: Structure, fit: Phased, observed: Observed, most: int = 30) -> list[Peak]:
    """Peaks of Fo − Fc; ``typical`` is the median height of the model's atoms in the map of Fo.

    ``fit`` may hold more atoms than ``structure``: its phases are used as they are.
    """
    seen = fourier_map(structure, fit, observed, "observed")
    shape = np.array(seen.shape)
    at = [tuple(np.rint(a.xyz * shape).astype(int) % shape) for a in structure.atoms]
    typical = float(np.median([seen[i] for i in at])) if at else float(seen.max())
    return peak_list(fourier_map(structure, fit, observed), structure, most, typical)


def write_ccp4(path: Path, rho: np.ndarray, structure: Structure) -> None:
    """The map of one cell as CCP4 (mode 2)."""
    grid = gemmi.FloatGrid(np.ascontiguousarray(rho, dtype=np.float32))
    grid.set_unit_cell(gemmi.UnitCell(*structure.cell.parameters))
    grid.spacegroup = gemmi.SpaceGroup(structure.space_group)
    out = gemmi.Ccp4Map()
    out.grid = grid
    out.update_ccp4_header(2, True)
    out.write_ccp4_map(str(path))
