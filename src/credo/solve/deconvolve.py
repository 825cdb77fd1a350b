"""Sites from phased amplitudes, each taken away with all its ripples before the next is looked for.

A map of what was measured shows every atom convoluted with the transform of the measured region; at 1.2 Å, or with a
missing wedge, side maxima of strong atoms are higher than weak atoms. Högbom's CLEAN (1974), with least squares.
"""

from __future__ import annotations

import numpy as np
import scipy.fft

from credo.kernels.peaks import map_peaks
from credo.kernels.structure_factors import point_factors, point_factors_with_slopes
from credo.solve.group_phasing import absent_in
from credo.solve.normalise import PhasingData
from credo.solve.phasing import grid_shape, half_complex_index
from credo.solve.recycle import Sites
from credo.solve.sites import distances
from credo.solve.space_group import GroupFit

__all__ = ["deconvolved_sites"]

#: Peaks of the residual map down to this share of its highest are taken in one pass, and sites of less than this share
#: of the median weight are given up.
_TAKEN, _KEPT = 0.85, 0.4
#: Nearer to each other than this are only ripples [Å]; images of a site nearer than this are one atom [Å].
_APART, _REACH = 0.8, 0.75


def deconvolved_sites(data: PhasingData, fit: GroupFit, phases: np.ndarray, n_atoms: float, passes: int = 25) -> Sites:
    """phases (n,) complex at ``data.hkl``, at the group's origin; ``n_atoms`` wanted in the primitive cell."""
    work = _Work(data, fit, phases)
    xyz = np.empty((0, 3))
    for n in range(passes):
        more = work.peaks(xyz, n_atoms)
        if not len(more):
            break
        xyz = np.concatenate([xyz, more])
        xyz = work.refined(xyz)
        weight = work.weights(xyz)
        xyz = xyz[weight > _KEPT * np.median(weight)]
        if n == passes - 1 or work.multiplicity(xyz).sum() >= n_atoms:
            break
    weight = work.weights(xyz) if len(xyz) else np.empty(0)
    order = np.argsort(-weight)
    return Sites(xyz[order], weight[order], work.multiplicity(xyz[order]))


class _Work:
    def __init__(self, data: PhasingData, fit: GroupFit, phases: np.ndarray) -> None:
        self._data, self._fit = data, fit
        self._rot, self._trans = fit.operations.rot, fit.operations.trans
        self._metric = data.cell.metric
        self._shape = grid_shape(np.array(data.cell.lengths), data.d_min, 3.0)
        self._all = np.where(absent_in(data, fit), 0.0, data.e) * np.exp(1j * np.angle(phases))
        _, first = np.unique(data.unique, return_index=True)
        self._hkl, self._target = data.hkl[first].astype(float), self._all[first]

    def _images(self, xyz: np.ndarray) -> np.ndarray:
        """(n, operations, 3) of sites (n, 3)."""
        return (np.einsum("rij,nj->nri", self._rot, xyz) + self._trans) % 1.0

    def snapped(self, xyz: np.ndarray) -> np.ndarray:
        """(n, 3): the middle of the images that are one atom."""
        gap = self._images(xyz) - xyz[:, None]
        gap -= np.rint(gap)
        near = np.einsum("nrj,nrj->nr", gap @ self._metric, gap) < _REACH**2
        return (xyz + np.einsum("nr,nrj->nj", near, gap) / near.sum(axis=1)[:, None]) % 1.0

    def multiplicity(self, xyz: np.ndarray) -> np.ndarray:
        """(n,) images of each site in the primitive cell."""
        same = distances(self._images(xyz), xyz[:, None], self._metric) < 0.3
        return len(self._rot) // same.sum(axis=1)

    def _columns(self, hkl: np.ndarray, xyz: np.ndarray) -> np.ndarray:
        """(n, a) contribution of a unit atom at each site and all its images."""
        share = self.multiplicity(xyz) / len(self._rot)
        # a map is made from the other sign of the transform: G(h) = Σ ρ(x) exp(−2πi h·x)
        return point_factors(hkl, self._rot.astype(float), self._trans, xyz, share).conj().astype(complex)

    def _slopes(self, xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same for the target's reflections, and its derivatives (n, a, 3)."""
        share = self.multiplicity(xyz) / len(self._rot)
        total, slope = point_factors_with_slopes(self._hkl, self._rot.astype(float), self._trans, xyz, share)
        return total.conj(), slope.conj()

    def weights(self, xyz: np.ndarray) -> np.ndarray:
        """(a,) least-squares weights of the sites together."""
        return self._weights(self._columns(self._hkl, xyz))

    def _weights(self, c: np.ndarray) -> np.ndarray:
        normal = np.real(c.conj().T @ c)
        normal[np.diag_indices(len(normal))] *= 1.01
        return np.linalg.solve(normal, np.real(c.conj().T @ self._target))

    def refined(self, xyz: np.ndarray, steps: int = 2) -> np.ndarray:
        """Positions moved by damped Gauss-Newton steps, 0.2 Å at most each."""
        lengths = np.array(self._data.cell.lengths)
        for _ in range(steps):
            c, slope = self._slopes(xyz)
            w = self._weights(c)
            j = (slope * w[None, :, None]).reshape(len(c), -1)
            normal = np.real(j.conj().T @ j)
            normal[np.diag_indices(len(normal))] += 0.05 * np.mean(np.diag(normal)) + 1e-12
            step = np.linalg.solve(normal, np.real(j.conj().T @ (self._target - c @ w))).reshape(-1, 3)
            step = np.clip(step, -0.2 / lengths, 0.2 / lengths)
            xyz = self.snapped(xyz + step)
        return xyz

    def peaks(self, xyz: np.ndarray, n_atoms: float) -> np.ndarray:
        """(m, 3): the next sites, from the map of what those so far leave unexplained."""
        residual = self._all.copy()
        if len(xyz):
            residual -= self._columns(self._data.hkl.astype(float), xyz) @ self.weights(xyz)
        half = (*self._shape[:2], self._shape[2] // 2 + 1)
        flat = np.zeros(int(np.prod(half)), dtype=np.complex64)
        for h, v in ((self._data.hkl, residual), (-self._data.hkl, residual.conj())):
            index, conj = half_complex_index(h, self._shape)
            flat[index[~conj]] = v[~conj]
        rho = np.asarray(scipy.fft.irfftn(flat.reshape(half), s=self._shape))
        kept = self._images(xyz).reshape(-1, 3)
        count, new = float(self.multiplicity(xyz).sum()), []
        found = map_peaks(rho, floor=float(rho.std()))
        for peak in found:
            if count >= n_atoms or peak[3] < _TAKEN * found[0, 3]:
                break
            x = self.snapped(peak[None, :3])
            if len(kept) and distances(kept, x, self._metric).min() < _APART:
                continue
            new.append(x[0])
            kept = np.concatenate([kept, self._images(x)[0]])
            count += int(self.multiplicity(x)[0])
        return np.array(new).reshape(-1, 3)
