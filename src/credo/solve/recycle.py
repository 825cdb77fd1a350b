"""From phases in a space group to atoms: density modification with the symmetry imposed, then peaks as sites."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft

from credo.kernels.flip import FLOATING, MISSING, OBSERVED, OUTSIDE, eliminate_low_density, flip, impose_moduli
from credo.kernels.peaks import map_peaks
from credo.solve.normalise import PhasingData
from credo.solve.phasing import grid_shape, half_complex_index, transform_at
from credo.solve.space_group import GroupFit, Symmetriser

__all__ = ["Sites", "absent_in", "recycle", "sites_of_map"]


@dataclass(frozen=True)
class Sites:
    """Independent sites on the primitive basis, origin of the group: ``xyz`` (n, 3), ``height`` (n,),
    ``multiplicity`` (n,) in the primitive cell."""

    xyz: np.ndarray
    height: np.ndarray
    multiplicity: np.ndarray


def recycle(
    data: PhasingData, g: np.ndarray, fit: GroupFit, cycles: int = 12, per_d: float = 3.0, flipping: int = 0,
    threshold: float = 1.1,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """``flipping`` cycles of charge flipping at ``threshold`` σ, then ``cycles`` of low-density elimination, with the
    symmetry imposed in each.

    g (n,): P1 values, moved to the group's origin here. Returns the transform (n,) at ``data.hkl`` and the map.
    """
    shape = grid_shape(np.array(data.cell.lengths), data.d_min, per_d)
    half = (*shape[:2], shape[2] // 2 + 1)
    absent = absent_in(data, fit)
    modulus, status = _known(data, shape, absent)
    average = Symmetriser(data, fit)
    values = average(average.moved(g))
    # what dynamical scattering puts where the group allows nothing must not come into the map
    e = np.where(absent, 0.0, data.e)
    weak = e <= np.quantile(e, 0.3)
    places = [(half_complex_index(h, shape), h is not data.hkl) for h in (data.hkl, -data.hkl)]
    flat = np.zeros(int(np.prod(half)), dtype=np.complex64)
    floating = (status == MISSING) | (status == FLOATING)
    rho = np.empty(0, dtype=np.float32)
    for n in range(flipping + cycles + 1):
        turned = np.exp(1j * np.angle(values))
        phased = e * turned
        if n < flipping:
            phased = np.where(weak, 1j * values, phased)
        for (index, conj), mate in places:
            flat[index[~conj]] = (phased.conj() if mate else phased)[~conj]
        rho = np.asarray(scipy.fft.irfftn(flat.reshape(half), s=shape))
        if n == flipping + cycles:
            break
        work = rho.copy()
        if n < flipping:
            flip(work.reshape(-1), threshold)
        else:
            eliminate_low_density(work.reshape(-1), 0.4)
        last = np.asarray(scipy.fft.rfftn(work, overwrite_x=True)).reshape(-1)
        impose_moduli(last, modulus, status, 1.0, False) if n >= flipping else None
        flat[floating] = last[floating] * (0.9 if n else 1.0)
        values = average(transform_at(data.hkl, last, shape))
    return values, rho


def absent_in(data: PhasingData, fit: GroupFit) -> np.ndarray:
    """(n,) bool: reflections that the group's glides and screws forbid: h R = h with h·t not whole."""
    out = np.zeros(len(data.hkl), dtype=bool)
    for r, t in zip(fit.operations.rot, fit.operations.trans):
        phase = data.hkl @ t
        out |= np.all(data.hkl @ r == data.hkl, axis=1) & (np.abs(phase - np.rint(phase)) > 1e-3)
    return out


def _known(data: PhasingData, shape: tuple[int, int, int], absent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    nx, ny, nz = shape
    axes = [np.rint(np.fft.fftfreq(nx) * nx), np.rint(np.fft.fftfreq(ny) * ny), np.arange(nz // 2 + 1)]
    q = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3) @ data.cell.B.T
    status = np.where(np.einsum("ij,ij->i", q, q) <= 1 / data.d_min**2 + 1e-9, MISSING, OUTSIDE).astype(np.int8)
    modulus = np.zeros(len(status), dtype=np.float32)
    for h in (data.hkl, -data.hkl):
        index, conj = half_complex_index(h, shape)
        status[index[~conj]], modulus[index[~conj]] = OBSERVED, np.where(absent, 0, data.e)[~conj]
    status[0] = FLOATING
    return modulus, status


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
