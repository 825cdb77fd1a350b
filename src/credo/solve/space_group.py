"""The space group from the phases: every group of the Laue class is tried at every origin, and all are ranked."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
import scipy.fft
from scipy.optimize import minimize

from credo.physics.symmetry import Operations, group_operations, laue_rotations
from credo.solve.normalise import PhasingData
from credo.solve.phasing import Lookup, friedel_pairs

__all__ = ["GroupFit", "compatible_groups", "rank_groups", "symmetrise"]


@dataclass(frozen=True)
class GroupFit:
    """One space-group setting laid over P1 phases: ``shift`` (3,) is where its origin lies (primitive fractions);
    ``agreement`` (mean) and ``worst`` (of a single operation) of the phases, 1 for perfect symmetry."""

    group: gemmi.SpaceGroup
    operations: Operations
    shift: np.ndarray
    agreement: float
    worst: float

    @property
    def symbol(self) -> str:
        return self.group.xhm()

    @property
    def order(self) -> int:
        """Operations per primitive cell."""
        return len(self.operations)


def compatible_groups(laue_group: str, centring: str) -> list[gemmi.SpaceGroup]:
    """Every tabulated setting whose rotations make up just this Laue class on these axes, with this centring."""
    wanted = {r.tobytes() for r in laue_rotations(laue_group)}
    found = []
    for group in gemmi.spacegroup_table():
        if group.centring_type() != centring or (centring == "R" and group.ext == "R"):
            continue
        rot = group_operations(group).rot
        if {r.tobytes() for r in np.concatenate([rot, -rot])} == wanted:
            found.append(group)
    # origin choice 2 of a group is the same group: keep the first origin that the table gives
    seen: dict[str, gemmi.SpaceGroup] = {}
    for group in found:
        seen[group.hm] = group  # the table lists origin 1 before 2, and 2 has the inversion at the origin
    return list(seen.values())


class _PhasePairs:
    """For each rotation R: the strong h, k = h(R − I), c = G*(h) G(hR) and Σ|c|."""

    def __init__(self, data: PhasingData, g: np.ndarray, most: int) -> None:
        full, values = friedel_pairs(data.hkl, g)
        self._full, self._values, self._lookup = full, values, Lookup(full)
        self._strong = np.argsort(-np.abs(values))[:most]
        self._known: dict[bytes, tuple[np.ndarray, np.ndarray, np.ndarray, float]] = {}

    def __call__(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        key = r.tobytes()
        if key not in self._known:
            h = self._full[self._strong]
            j = self._lookup(h @ r)
            h, v, j = h[j >= 0], self._values[self._strong][j >= 0], j[j >= 0]
            c = v.conj() * self._values[j]
            self._known[key] = (h, h @ r - h, c, float(np.abs(c).sum()) or 1.0)
        return self._known[key]


def rank_groups(
    data: PhasingData, g: np.ndarray, laue_group: str, centring: str, most: int = 2000, per_d: float = 3.0
) -> list[GroupFit]:
    """All compatible groups, each at its best origin, by falling agreement (ties: higher order first).

    One FFT per group gives Σ_ops Re Σ_h G*(h) G(hR) exp(2πi[h(R−I)·s − h·t]) for all origins s at once.
    """
    pairs = _PhasePairs(data, g, most)
    lengths = np.array(data.cell.lengths)
    shape = tuple(scipy.fft.next_fast_len(max(8, int(np.ceil(a * per_d / data.d_min)))) for a in lengths)
    fits = []
    for group in compatible_groups(laue_group, centring):
        ops = group_operations(group).on_basis(data.basis)
        fits.append(_fit_origin(group, ops, pairs, shape))
    return sorted(fits, key=lambda f: (-round(f.agreement, 3), -f.order))


def _fit_origin(group: gemmi.SpaceGroup, ops: Operations, pairs: _PhasePairs, shape: tuple[int, ...]) -> GroupFit:
    terms = [
        (k, c * np.exp(-2j * np.pi * (h @ t)) / norm)
        for r, t in zip(ops.rot, ops.trans)
        if not np.array_equal(r, np.eye(3))
        for h, k, c, norm in [pairs(r)]
    ]
    if not terms:
        return GroupFit(group, ops, np.zeros(3), 0.5, 0.5)
    k = np.concatenate([t[0] for t in terms])
    c = np.concatenate([t[1] for t in terms])
    flat = np.ravel_multi_index(tuple((k % shape).T), shape)
    size = int(np.prod(shape))
    series = np.bincount(flat, c.real, size) + 1j * np.bincount(flat, c.imag, size)
    score = scipy.fft.ifftn(series.reshape(shape).astype(np.complex64)).real
    start = np.array(np.unravel_index(int(np.argmax(score)), shape)) / shape

    def negative(s: np.ndarray) -> tuple[float, np.ndarray]:
        wave = c * np.exp(2j * np.pi * (k @ s))
        return -float(wave.real.sum()), 2 * np.pi * (wave.imag @ k)

    shift = minimize(negative, start, jac=True, method="BFGS", options={"maxiter": 12}).x
    each = [float((ct * np.exp(2j * np.pi * (kt @ shift))).real.sum()) for kt, ct in terms]
    return GroupFit(group, ops, shift % 1.0, float(np.mean(each)), float(np.min(each)))


def symmetrise(data: PhasingData, g: np.ndarray, fit: GroupFit) -> np.ndarray:
    """Values (n,) moved to the group's origin and averaged over its operations: G(h) = exp(−2πi h·t) G(hR)."""
    full, values = friedel_pairs(data.hkl, g * np.exp(2j * np.pi * (data.hkl @ fit.shift)))
    lookup = Lookup(full)
    total = np.zeros(len(data.hkl), dtype=complex)
    for r, t in zip(fit.operations.rot, fit.operations.trans):
        j = lookup(data.hkl @ r)
        total += np.where(j >= 0, values[j], 0) * np.exp(-2j * np.pi * (data.hkl @ t))
    return total / len(fit.operations)
