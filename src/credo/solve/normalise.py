"""From merged intensities to normalised structure factors |E| on a primitive P1 basis, ready for phasing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

from credo.model import Cell, UnreadableInput
from credo.physics.symmetry import laue_rotations, primitive_basis, unique_reflections

__all__ = ["PhasingData", "normalise"]


@dataclass(frozen=True)
class PhasingData:
    """What phasing works on. ``cell``: primitive; ``basis`` P (3, 3): its columns on the given axes;
    ``hkl`` (n, 3): all of P1's half sphere that was measured, on the primitive basis; ``e`` (n,): |E|;
    ``i_over_sigma`` (n,); ``unique`` (n,): which merged reflection each came from; ``d_min`` [Å];
    ``merged``: indices (m, 3) on the conventional axes, intensity (m,) and sigma (m,)."""

    cell: Cell
    basis: np.ndarray
    hkl: np.ndarray
    e: np.ndarray
    f: np.ndarray
    i_over_sigma: np.ndarray
    unique: np.ndarray
    rotations: np.ndarray
    d_min: float
    merged: tuple[np.ndarray, np.ndarray, np.ndarray]


def normalise(
    cell: Cell, centring: str, laue_group: str, hkl: np.ndarray, intensity: np.ndarray, sigma: np.ndarray,
    fewest: int = 20,
) -> PhasingData:  # fmt: skip
    """Merge in the Laue class, turn intensities into |E|, and expand to P1 on a primitive basis.

    cell, hkl (n, 3): the conventional setting. Weak and negative intensities count: the mean of the posterior under
    Wilson's acentric prior in their resolution shell (French & Wilson 1978, here a truncated normal in closed form).
    """
    good = np.isfinite(intensity) & np.isfinite(sigma) & (sigma > 0) & np.any(hkl != 0, axis=1)
    if good.sum() < fewest:
        raise UnreadableInput(
            f"only {int(good.sum())} usable reflections", f"at least {fewest} with finite I and σ > 0 are needed"
        )
    rotations = laue_rotations(laue_group)
    unique, group = unique_reflections(hkl[good], rotations)
    i, s = _weighted_mean(intensity[good], sigma[good], group, len(unique))
    merged = (unique, i, s)
    d = cell.d_spacing(unique)
    fine = d >= phasing_limit(cell, centring, d)
    unique, i, s, d = unique[fine], i[fine], s[fine], d[fine]
    mean = _shell_mean(i, 1 / d**2)
    i_true = _posterior_mean(i, s, mean)
    p = primitive_basis(centring)
    images = np.einsum("ni,rij->nrj", unique, np.concatenate([rotations, -rotations])).reshape(-1, 3)
    parent = np.repeat(np.arange(len(unique)), 2 * len(rotations))
    on_p = images @ p
    whole = np.rint(on_p).astype(int)
    allowed = np.abs(on_p - whole).max(axis=1) < 1e-6
    whole, parent = whole[allowed], parent[allowed]
    upper = _half_space(whole)
    whole, first = np.unique(whole[upper], axis=0, return_index=True)
    parent = parent[upper][first]
    pcell = cell.reindexed(p)
    return PhasingData(
        pcell, p, whole, np.sqrt(i_true / mean)[parent], np.sqrt(i_true)[parent], (i / s)[parent], parent,
        np.rint(np.linalg.inv(p) @ rotations @ p).astype(int), float(d.min()), merged,
    )  # fmt: skip


def phasing_limit(cell: Cell, centring: str, d: np.ndarray, enough: float = 0.8, fewest: int = 3000) -> float:
    """Where phasing stops looking [Å]: atoms are resolved at ``enough`` and finer data only cost time, unless the cell
    is so small that fewer than ``fewest`` reflections of the sphere would remain."""
    volume = cell.volume * float(np.linalg.det(primitive_basis(centring)))
    small = (4 / 3 * np.pi * volume / fewest) ** (1 / 3)
    return float(max(d.min(), min(enough, small)))


def _half_space(h: np.ndarray) -> np.ndarray:
    return (h[:, 2] > 0) | ((h[:, 2] == 0) & ((h[:, 1] > 0) | ((h[:, 1] == 0) & (h[:, 0] > 0))))


def _weighted_mean(i: np.ndarray, s: np.ndarray, group: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    w = 1 / s**2
    sw = np.bincount(group, w, n)
    return np.bincount(group, w * i, n) / sw, 1 / np.sqrt(sw)


def _shell_mean(i: np.ndarray, s2: np.ndarray) -> np.ndarray:
    """⟨I⟩ at each reflection: means over shells of equal number, interpolated in ln⟨I⟩ against 1/d²."""
    n_shells = int(np.clip(len(i) // 60, 1, 25))
    order = np.array_split(np.argsort(s2), n_shells)
    x = np.array([s2[o].mean() for o in order])
    y = np.array([i[o].mean() for o in order])
    floor = 1e-3 * max(float(y.max()), np.finfo(float).tiny)
    return np.exp(np.interp(s2, x, np.log(np.maximum(y, floor))))


def _posterior_mean(i: np.ndarray, s: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """E[J | I] for J ≥ 0 with prior exp(−J/⟨I⟩)/⟨I⟩ and I ~ N(J, σ²): a normal about I − σ²/⟨I⟩, cut at nought."""
    mu = i - s**2 / mean
    z = mu / s
    hazard = np.exp(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(z))
    return np.maximum(mu + s * hazard, 1e-6 * mean)
