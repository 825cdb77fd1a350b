"""Phases with the symmetry of a space group imposed in every iteration: far fewer unknowns than in P1, one origin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.fft

from credo.kernels.flip import average_orbits, eliminate_low_density, flip, impose_moduli
from credo.physics.symmetry import Operations, unique_reflections
from credo.solve.normalise import PhasingData
from credo.solve.phasing import PhasingSettings, Recipe, half_complex_index, pose, transform_at
from credo.solve.space_group import GroupFit

__all__ = ["GroupPhasing", "Orbits"]


class Orbits:
    """The reflections of a half-complex transform of ``shape`` in orbits of a group's operations (primitive basis)."""

    def __init__(self, hkl: np.ndarray, operations: Operations, shape: tuple[int, int, int]) -> None:
        """hkl (n, 3): all that is averaged, a set that the operations map upon itself."""
        unique, _ = unique_reflections(hkl, operations.rot)
        images = np.einsum("ni,oij->noj", unique, operations.rot)
        n = images.shape[:2]
        flat = images.reshape(-1, 3)
        index, conj = half_complex_index(flat, shape)
        mate, _ = half_complex_index(-flat, shape)
        self._row, self._conj = index.reshape(n), conj.reshape(n)
        # on the plane l = 0 both mates are stored
        self._mate = np.where(flat[:, 2] == 0, mate, -1).reshape(n)
        self._turn = np.exp(-2j * np.pi * (unique @ operations.trans.T)).astype(np.complex64)

    def __call__(self, g: np.ndarray) -> None:
        """Average a flat complex64 transform in place: G(h) = e^(−2πi h·t) G(h R)."""
        average_orbits(g, self._row, self._mate, self._conj, self._turn)


class GroupPhasing:
    """One group's phases on one grid: from random starts, or from phases that a trial in P1 found."""

    def __init__(self, data: PhasingData, fit: GroupFit, recipe: Recipe, settings: PhasingSettings) -> None:
        self._data, self._fit, self._recipe, self._settings = data, fit, recipe, settings
        posed = pose(data, recipe, settings)
        absent = absent_in(data, fit)
        modulus = posed.modulus.copy()
        # what dynamical scattering puts where the group allows nothing must not come into the map
        for h in (data.hkl, -data.hkl):
            index, conj = half_complex_index(h, posed.shape)
            modulus[index[~conj & absent]] = 0
        self._posed = replace(posed, modulus=modulus)
        self._orbits = Orbits(posed.sphere, fit.operations, posed.shape)

    def trial(self, rng: np.random.Generator, flipping: int, elimination: int) -> tuple[np.ndarray, np.ndarray]:
        """From random phases: the transform (n,) at the data's reflections and the map."""
        phase = rng.random(len(self._posed.status), dtype=np.float32) * np.float32(2 * np.pi)
        return self._run((self._posed.modulus * np.exp(1j * phase)).astype(np.complex64), flipping, elimination)

    def improved(self, transform: np.ndarray, cycles: int) -> tuple[np.ndarray, np.ndarray]:
        """From P1 phases (n,), moved to the group's origin here, by low-density elimination."""
        g = np.zeros(len(self._posed.status), dtype=np.complex64)
        moved = transform * np.exp(2j * np.pi * (self._data.hkl @ self._fit.shift))
        for h, v in ((self._data.hkl, moved), (-self._data.hkl, moved.conj())):
            index, conj = half_complex_index(h, self._posed.shape)
            g[index[~conj]] = v[~conj]
        return self._run(g, 0, cycles)

    def _run(self, g: np.ndarray, flipping: int, elimination: int) -> tuple[np.ndarray, np.ndarray]:
        p = self._posed
        half = (*p.shape[:2], p.shape[2] // 2 + 1)
        for n in range(flipping + elimination + 1):
            self._orbits(g)
            averaged = g.copy() if n == flipping + elimination else g
            flips = 0 < n <= flipping
            impose_moduli(g, p.modulus, p.status, self._settings.missing if flips else 1.0, flips)
            rho = np.asarray(scipy.fft.irfftn(g.reshape(half), s=p.shape))
            if n == flipping + elimination:
                break
            if n < flipping:
                flip(rho.reshape(-1), self._recipe.threshold)
            else:
                eliminate_low_density(rho.reshape(-1), 0.4)
            g = np.asarray(scipy.fft.rfftn(rho, overwrite_x=True)).reshape(-1)
        return transform_at(self._data.hkl, averaged, p.shape), rho


def absent_in(data: PhasingData, fit: GroupFit) -> np.ndarray:
    """(n,) bool: reflections that the group's glides and screws forbid: h R = h with h·t not whole."""
    out = np.zeros(len(data.hkl), dtype=bool)
    for r, t in zip(fit.operations.rot, fit.operations.trans):
        phase = data.hkl @ t
        out |= np.all(data.hkl @ r == data.hkl, axis=1) & (np.abs(phase - np.rint(phase)) > 1e-3)
    return out
