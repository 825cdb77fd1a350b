"""What is fitted: intensities with equivalents averaged as SHELXL does, without absences and beyond no limit set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import gemmi
import numpy as np

from credo.model import CannotDo, Cell, UnreadableInput
from credo.physics.symmetry import group_operations, unique_reflections

__all__ = ["Merge", "Merged", "Observed", "completeness", "merge_equivalents"]

Merge = Literal["laue", "point group", "none"]


@dataclass(frozen=True)
class Observed:
    """Merged data: ``hkl`` (n, 3), ``f2`` (n,) = Fo² on any scale, ``sigma`` (n,)."""

    hkl: np.ndarray
    f2: np.ndarray
    sigma: np.ndarray

    def __post_init__(self) -> None:
        bad = ~(np.isfinite(self.f2) & np.isfinite(self.sigma) & (self.sigma > 0))
        if bad.any():
            raise UnreadableInput(
                f"{int(bad.sum())} of {len(bad)} reflections have no finite intensity or no positive sigma",
                "remove them from the reflection file",
            )

    def __len__(self) -> int:
        return len(self.f2)


@dataclass(frozen=True)
class Merged:
    """``observed`` with how it came: reflections read, forbidden by the group, and R_int = Σ|I − ⟨I⟩|/ΣI of those with
    equivalents (None without any)."""

    observed: Observed
    read: int
    absent: int
    outside: int
    r_int: float | None


def merge_equivalents(
    hkl: np.ndarray,
    intensity: np.ndarray,
    sigma: np.ndarray,
    group: gemmi.SpaceGroup,
    cell: Cell,
    merge: Merge = "laue",
    d_min: float = 0.0,
    d_max: float = np.inf,
) -> Merged:
    """hkl (n, 3), intensity and sigma (n,). "laue" joins Friedel mates, whose kinematical intensities are equal for
    electrons; "point group" keeps them apart as SHELXL's MERG 2 does.

    Means with SHELXL's weights I/σ² (3/σ for I < 3σ); σ of a mean is the larger of that from the σ and that from the
    spread, Σ|I − ⟨I⟩|/(n √(n − 1)).
    """
    hkl = np.asarray(hkl, dtype=int)
    intensity, sigma = np.asarray(intensity, dtype=float), np.asarray(sigma, dtype=float)
    Observed(hkl, intensity, np.where(sigma > 0, sigma, np.nan))
    absent = np.asarray(group.operations().systematic_absences(hkl.astype(np.int32)), dtype=bool)
    absent |= ~np.any(hkl != 0, axis=1)
    d = cell.d_spacing(hkl)
    outside = (d < d_min - 1e-9) | (d > d_max + 1e-9)
    keep = ~absent & ~outside
    if not keep.any():
        raise CannotDo(f"none of {len(hkl)} reflections can be used", "check space group, cell and resolution limits")
    h, i, s = hkl[keep], intensity[keep], sigma[keep]
    counts = (len(hkl), int(absent.sum()), int((outside & ~absent).sum()))
    if merge == "none":
        return Merged(Observed(h, i, s), *counts, None)
    unique, which = _unique(h, group, merge)
    mean, error, r_int = _means(i, s, which, len(unique))
    return Merged(Observed(unique, mean, error), *counts, r_int)


def _unique(hkl: np.ndarray, group: gemmi.SpaceGroup, merge: Merge) -> tuple[np.ndarray, np.ndarray]:
    rotations = group_operations(group).rot
    if merge == "laue" or group.is_centrosymmetric():
        return unique_reflections(hkl, rotations)
    span = 6 * int(np.abs(hkl).max()) + 1
    images = np.einsum("ni,rij->rnj", hkl, rotations)
    best = np.argmax(images @ np.array([span * span, span, 1]), axis=0)
    unique, which = np.unique(images[best, np.arange(len(hkl))], axis=0, return_inverse=True)
    return unique, which.reshape(-1)


def _means(i: np.ndarray, s: np.ndarray, which: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, float | None]:
    weight = np.where(i > 3 * s, i / s**2, 3 / s)
    mean = np.bincount(which, weight * i, n) / np.bincount(which, weight, n)
    count = np.bincount(which, minlength=n)
    error = 1 / np.sqrt(np.bincount(which, 1 / s**2, n))
    spread = np.bincount(which, np.abs(i - mean[which]), n) / (count * np.sqrt(np.maximum(count - 1, 1)))
    several = count > 1
    top = float(np.abs(i - mean[which])[several[which]].sum())
    bottom = float(i[several[which]].sum())
    r_int = top / bottom if several.any() and bottom > 0 else None
    return mean, np.where(several, np.maximum(error, spread), error), r_int


def completeness(hkl: np.ndarray, group: gemmi.SpaceGroup, cell: Cell) -> float:
    """The share of the Laue class's reflections, absences left out, that ``hkl`` (n, 3) holds up to its resolution."""
    d_min = float(cell.d_spacing(hkl).min()) * (1 - 1e-6)
    every = gemmi.make_miller_array(gemmi.UnitCell(*cell.parameters), group, d_min, unique=True)
    allowed = np.asarray(every)[~np.asarray(group.operations().systematic_absences(every), dtype=bool)]
    rotations = group_operations(group).rot
    possible, _ = unique_reflections(allowed, rotations)
    have, _ = unique_reflections(np.asarray(hkl, dtype=int), rotations)
    return len(have) / max(len(possible), 1)
