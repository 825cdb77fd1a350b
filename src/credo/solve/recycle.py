"""From phases in a space group to atoms: density modification with the symmetry imposed, then peaks as sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft

from credo.kernels.flip import FLOATING, MISSING, OBSERVED, OUTSIDE, eliminate_low_density, impose_moduli
from credo.kernels.peaks import map_peaks
from credo.solve.normalise import PhasingData
from credo.solve.phasing import grid_shape, half_complex_index, transform_at
from credo.solve.space_group import GroupFit, symmetrise

__all__ = ["Sites", "recycle", "sites_of_map"]


@dataclass(frozen=True)
class Sites:
    """Independent sites on the primitive basis, origin of the group: ``xyz`` (n, 3), ``height`` (n,),
    ``multiplicity`` (n,) in the primitive cell."""

    xyz: np.ndarray
    height: np.ndarray
    multiplicity: np.ndarray


def recycle(
    data: PhasingData, g: np.ndarray, fit: GroupFit, cycles: int = 12, per_d: float = 3.0
) -> tuple[np.ndarray, np.ndarray]:
    """Low-density elimination with the group's symmetry imposed each cycle.

    Returns the transform (n,) at ``data.hkl`` and the map, origin at the group's.
    """
    shape = grid_shape(np.array(data.cell.lengths), data.d_min, per_d)
    half = (*shape[:2], shape[2] // 2 + 1)
    modulus, status = _known(data, shape)
    values = symmetrise(data, g, fit)
    at_origin = GroupFit(fit.group, fit.operations, np.zeros(3), fit.agreement, fit.worst)
    rho = np.empty(0, dtype=np.float32)
    for n in range(cycles):
        phased = data.e * np.exp(1j * np.angle(values))
        flat = np.zeros(int(np.prod(half)), dtype=np.complex64)
        for h, v in ((data.hkl, phased), (-data.hkl, phased.conj())):
            index, conj = half_complex_index(h, shape)
            flat[index[~conj]] = v[~conj]
        if n:
            float_ = status == MISSING
            flat[float_] = 0.9 * last[float_]  # noqa: F821 - set by the cycle before
        rho = scipy.fft.irfftn(flat.reshape(half), s=shape)
        work = rho.copy()
        eliminate_low_density(work.reshape(-1), 0.4)
        last = scipy.fft.rfftn(work).reshape(-1)
        impose_moduli(last, modulus, status, 1.0, False)
        values = symmetrise(data, transform_at(data.hkl, last, shape), at_origin)
    return values, rho


def _known(data: PhasingData, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    nx, ny, nz = shape
    axes = [np.rint(np.fft.fftfreq(nx) * nx), np.rint(np.fft.fftfreq(ny) * ny), np.arange(nz // 2 + 1)]
    q = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3) @ data.cell.B.T
    status = np.where(np.einsum("ij,ij->i", q, q) <= 1 / data.d_min**2 + 1e-9, MISSING, OUTSIDE).astype(np.int8)
    modulus = np.zeros(len(status), dtype=np.float32)
    for h in (data.hkl, -data.hkl):
        index, conj = half_complex_index(h, shape)
        status[index[~conj]], modulus[index[~conj]] = OBSERVED, data.e[~conj]
    status[0] = FLOATING
    return modulus, status


def sites_of_map(data: PhasingData, rho: np.ndarray, fit: GroupFit, most: int, reach: float = 0.5) -> Sites:
    """The highest peaks as independent sites: those nearer to a symmetry element than ``reach`` [Å] are put on it.

    ``most``: sites wanted in the primitive cell. A peak closer than 0.7 Å to a kept site is the same atom.
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
            if np.einsum("ij,jk,ik->i", gap, metric, gap).min() < 0.7**2:
                continue
        orbit = (fit.operations.rot @ centre + fit.operations.trans) % 1.0
        kept = np.concatenate([kept, orbit])
        xyz.append(centre)
        height.append(peak[3])
        mult.append(len(orbit) // int(near.sum()))
    return Sites(np.array(xyz).reshape(-1, 3), np.array(height), np.array(mult, dtype=int))
