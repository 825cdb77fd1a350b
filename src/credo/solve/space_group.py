"""The space group from the phases: every group of the Laue class is tried at every origin, and all are ranked."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
import scipy.fft

from credo.kernels.flip import add_at
from credo.physics.symmetry import Operations, compatible_groups, group_operations
from credo.solve.normalise import PhasingData
from credo.solve.phasing import Lookup, fast_shape, friedel_pairs

__all__ = ["GroupFit", "Symmetriser", "likely_by_absences", "one_hand", "rank_groups", "symmetrise"]


#: The other of each enantiomorphic pair.
_FIRST_OF_PAIR = {78: 76, 95: 91, 96: 92, 145: 144, 153: 151, 154: 152, 170: 169, 172: 171, 179: 178, 181: 180,
                  213: 212}  # fmt: skip


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


def one_hand(group: gemmi.SpaceGroup) -> int:
    """The number of the group, or the lower one of its enantiomorphic pair."""
    number = group.number or 0
    return _FIRST_OF_PAIR.get(number, number)


def absence_evidence(data: PhasingData, operations: Operations) -> float:
    """Σ ln p(|E|² | forbidden) − ln p(|E|² | present) over the unique reflections that operations (primitive basis)
    forbid: both exponential, with means 0.1 (multiple scattering) and 1; one reflection counts −2 at most."""
    forbidden = np.zeros(len(data.hkl), dtype=bool)
    for r, t in zip(operations.rot, operations.trans):
        phase = data.hkl @ t
        forbidden |= (np.abs(phase - np.rint(phase)) > 1e-3) & np.all(data.hkl @ r == data.hkl, axis=1)
    _, first = np.unique(data.unique[forbidden], return_index=True)
    e2 = data.e[forbidden][first] ** 2
    return float(np.maximum(np.log(10) - 9 * e2, -2.0).sum())


def likely_by_absences(data: PhasingData, laue_group: str, centring: str, most: int = 6) -> list[GroupFit]:
    """Groups that explain what is absent, not laid over any phases; of each enantiomorphic pair and each two settings
    of one number with the same absences only the first."""
    found = []
    for group in compatible_groups(laue_group, centring):
        operations = group_operations(group).on_basis(data.basis)
        evidence = absence_evidence(data, operations)
        found.append((round(evidence, 6), len(operations), GroupFit(group, operations, np.zeros(3), 0.0, 0.0)))
    found.sort(key=lambda f: (-f[0], -f[1]))
    seen: set[tuple[float, int]] = set()
    kept = []
    for evidence, _, fit in found:
        key = (evidence, one_hand(fit.group))
        if key not in seen:
            seen.add(key)
            kept.append(fit)
    return kept[:most]


class _PhasePairs:
    """For each operation (R, t): k = h(R − I) of the strong h, one of each Friedel pair, and c = G*(h) G(hR) exp(−2πi
    h·t)/Σ|G*(h) G(hR)|, so that Σ Re c exp(2πi k·s) is how well the phases obey it about the origin s."""

    def __init__(self, data: PhasingData, g: np.ndarray, most: int) -> None:
        full, values = friedel_pairs(data.hkl, g)
        self._full, self._values, self._lookup = full, values, Lookup(full)
        self._strong = np.argsort(-np.abs(g))[:most]
        self._turned: dict[bytes, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._known: dict[tuple[bytes, bytes], tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, r: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        key = r.tobytes(), np.rint(24 * t).astype(int).tobytes()
        if key not in self._known:
            h, k, c = self._of_rotation(r)
            self._known[key] = k, c * np.exp(-2j * np.pi * (h @ t))
        return self._known[key]

    def _of_rotation(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        key = r.tobytes()
        if key not in self._turned:
            h = self._full[self._strong]
            j = self._lookup(h @ r)
            h, v, j = h[j >= 0], self._values[self._strong][j >= 0], j[j >= 0]
            # a map that has died away leaves moduli that single precision cannot divide
            c = v.conj().astype(complex) * self._values[j]
            total = float(np.abs(c).sum())
            self._turned[key] = h, h @ r - h, c / total if total > 1e-40 else 0 * c
        return self._turned[key]


def rank_groups(
    data: PhasingData, g: np.ndarray, laue_group: str, centring: str, pairs_wanted: int = 8000, per_d: float = 3.0
) -> list[GroupFit]:
    """All compatible groups, each at its best origin, by falling agreement (ties: higher order first).

    One FFT per group gives Σ_ops Re Σ_h G*(h) G(hR) exp(2πi[h(R−I)·s − h·t]) for all origins s at once.
    """
    # with many operations fewer reflections tell as much, but the strongest 150 of a garnet obey four origins alike
    pairs = _PhasePairs(data, g, int(np.clip(pairs_wanted / len(data.rotations), 500, 1000)))
    lengths = np.array(data.cell.lengths)
    shape = fast_shape(np.maximum(8, np.ceil(lengths * per_d / data.d_min)))
    fits = [
        _best_origin(group, group_operations(group).on_basis(data.basis), pairs, shape)
        for group in compatible_groups(laue_group, centring)
    ]
    # an origin between the grid's points loses up to two thirds (about an inversion, phases turn with 2h): only what
    # may still win is refined
    bound = 0.3 * max((f.worst for f in fits), default=0.0)
    fits = [_refine_origin(f, pairs) if f.worst >= bound else f for f in fits]
    return sorted(fits, key=lambda f: (-round(f.agreement, 3), -f.order))


def _terms(ops: Operations, pairs: _PhasePairs) -> list[tuple[np.ndarray, np.ndarray]]:
    """(k, c) of each operation but the identity."""
    return [pairs(r, t) for r, t in zip(ops.rot, ops.trans) if not np.array_equal(r, np.eye(3))]


def _best_origin(group: gemmi.SpaceGroup, ops: Operations, pairs: _PhasePairs, shape: tuple[int, ...]) -> GroupFit:
    """The best origin on the points of a grid."""
    terms = _terms(ops, pairs)
    if not terms:
        return GroupFit(group, ops, np.zeros(3), 0.5, 0.5)
    series = np.zeros(int(np.prod(shape)), dtype=np.complex64)
    for k, c in terms:
        add_at(series, k, c, shape)
    score = np.asarray(scipy.fft.ifftn(series.reshape(shape), overwrite_x=True)).real
    return _judged(group, ops, terms, np.array(np.unravel_index(int(np.argmax(score)), shape)) / shape)


def _refine_origin(fit: GroupFit, pairs: _PhasePairs, steps: int = 8) -> GroupFit:
    """The same between the points of the grid: Newton's steps uphill, shortened where they overshoot."""
    terms = _terms(fit.operations, pairs)
    if not terms:
        return fit
    k = np.concatenate([t[0] for t in terms]).astype(float)
    c = np.concatenate([t[1] for t in terms])
    shift, wave, longest = fit.shift, c * np.exp(2j * np.pi * (k @ fit.shift)), 0.05
    for _ in range(steps):
        slope = -2 * np.pi * (np.imag(wave) @ k)
        curve, axes = np.linalg.eigh(4 * np.pi**2 * (k.T * np.real(wave)) @ k)
        # along a polar axis nothing changes
        step = axes @ ((axes.T @ slope) / np.maximum(np.abs(curve), 1e-3 * np.abs(curve).max() + 1e-12))
        length = float(np.linalg.norm(step))
        step *= min(1.0, longest / max(length, 1e-12))
        moved = c * np.exp(2j * np.pi * (k @ (shift + step)))
        if np.real(moved).sum() > np.real(wave).sum():
            shift, wave = shift + step, moved
        else:
            longest = 0.3 * min(length, longest)
        if min(length, longest) < 3e-4:
            break
    return _judged(fit.group, fit.operations, terms, shift)


def _judged(group, ops, terms, shift: np.ndarray) -> GroupFit:
    each = [float((c * np.exp(2j * np.pi * (k @ shift))).real.sum()) for k, c in terms]
    return GroupFit(group, ops, shift % 1.0, float(np.mean(each)), float(np.min(each)))


class Symmetriser:
    """Averages values at ``data.hkl`` over a group's operations, the origin at the group's: G(h) = e^(−2πi h·t) G(hR).

    ``rows`` (ops, 2n) count both Friedel mates; reflections whose equivalent was not measured count as nought.
    """

    def __init__(self, data: PhasingData, fit: GroupFit) -> None:
        n = len(data.hkl)
        lookup = Lookup(np.concatenate([data.hkl, -data.hkl]))
        self._shift = data.hkl @ fit.shift
        self._rows, self._turn = [], []
        for r, t in zip(fit.operations.rot, fit.operations.trans):
            rows = lookup(data.hkl @ r)
            self._turn.append(np.where(rows >= 0, np.exp(-2j * np.pi * (data.hkl @ t)), 0) / len(fit.operations))
            self._rows.append(np.where(rows >= 0, rows, 2 * n - 1))
        self.rows, self.turn = np.array(self._rows), np.array(self._turn, dtype=np.complex64)

    def moved(self, g: np.ndarray) -> np.ndarray:
        """P1 values (n,) brought to the group's origin."""
        return g * np.exp(2j * np.pi * self._shift)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The average (n,) of values (n,) that are at the group's origin already."""
        both = np.concatenate([values, values.conj()]).astype(np.complex64)
        return np.einsum("on,on->n", both[self.rows], self.turn)


def symmetrise(data: PhasingData, g: np.ndarray, fit: GroupFit) -> np.ndarray:
    """P1 values (n,) moved to the group's origin and averaged over its operations."""
    average = Symmetriser(data, fit)
    return average(average.moved(g))
