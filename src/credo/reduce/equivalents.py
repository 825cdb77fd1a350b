"""Symmetry equivalents brought together: which observations belong to one unique reflection, and their means."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np

from credo.model import Reflections
from credo.physics.ewald import allowed_by_centring
from credo.physics.symmetry import group_operations, laue_rotations, unique_reflections

__all__ = ["Groups", "group_equivalents", "merge_equivalents", "systematically_absent"]


@dataclass(frozen=True)
class Groups:
    """Per unique reflection: index ``hkl`` (m, 3), ``count``, weighted ``mean`` and its ``sigma`` by counting,
    ``variance`` of the mean by scatter, ``spread`` Σ|I − Ī|, ``total`` ΣI; per observation: ``of`` (n,) its group."""

    hkl: np.ndarray
    of: np.ndarray
    count: np.ndarray
    mean: np.ndarray
    sigma: np.ndarray
    variance: np.ndarray
    spread: np.ndarray
    total: np.ndarray


def group_equivalents(reflections: Reflections, laue_group: str, weighted: bool = True) -> Groups:
    """Means over equivalents in a Laue group (Friedel mates joined), weights 1/σ² or 1.

    The variance of a mean comes from the scatter: Σ w (I − Ī)² / ((n − 1) Σw); 0 for single observations.
    """
    hkl, of = unique_reflections(reflections.hkl, laue_rotations(laue_group))
    m = len(hkl)
    i, sigma = reflections["intensity"], reflections["sigma"]
    w = 1 / np.maximum(sigma, 1e-30) ** 2 if weighted else np.ones(len(i))

    def per(values: np.ndarray) -> np.ndarray:
        return np.bincount(of, values, m)

    count, weight = np.bincount(of, minlength=m), per(w)
    mean = per(w * i) / weight
    delta = i - mean[of]
    scatter = per(w * delta**2) / (np.maximum(count - 1, 1) * weight)
    counting = np.sqrt(per((w * sigma) ** 2)) / weight
    return Groups(hkl, of, count, mean, counting, scatter, per(np.abs(delta)), per(i))


def merge_equivalents(reflections: Reflections, laue_group: str) -> Reflections:
    """One row per unique reflection: h k l intensity sigma d, ``multiplicity``.

    Weighted means of the rows that are neither rejected nor overloaded; σ is the larger of what counting and the
    scatter of equivalents say, the latter trusted as far as there are observations. The index is the representative of
    its equivalents (gemmi's asymmetric unit differs only in convention: any program accepts either).
    """
    keep = reflections["sigma"] > 0
    for name in ("rejected", "overloaded"):
        if name in reflections:
            keep &= ~reflections[name]
    table = reflections.select(keep)
    if not len(table):
        return Reflections({k: np.empty(0) for k in ("h", "k", "l", "intensity", "sigma", "d", "multiplicity")})
    g = group_equivalents(table, laue_group)
    first = np.zeros(len(g.hkl), dtype=np.int64)
    first[g.of[::-1]] = np.arange(len(g.of))[::-1]
    # a prior of two degrees of freedom keeps two observations that happen to agree from looking exact
    prior = 2.0
    sigma = np.sqrt((prior * g.sigma**2 + (g.count - 1) * g.variance) / (prior + g.count - 1))
    merged = Reflections(
        h=g.hkl[:, 0], k=g.hkl[:, 1], l=g.hkl[:, 2], intensity=g.mean, sigma=np.maximum(sigma, g.sigma),
        multiplicity=g.count,
    )  # fmt: skip
    return merged.with_columns(d=table["d"][first]) if "d" in table else merged


def systematically_absent(hkl: np.ndarray, space_group: str | None, centring: str = "P") -> np.ndarray:
    """Mask (n,): absent by the centring, or by a glide plane or screw axis of the space group if one is given.

    A reflection is absent when an operation leaves it alone, h R = h, but shifts its phase, h·t not whole.
    """
    hkl = np.asarray(hkl)
    absent = ~allowed_by_centring(hkl, centring)
    group = gemmi.find_spacegroup_by_name(space_group) if space_group else None
    if group is None:
        return absent
    ops = group_operations(group)
    for r, t in zip(ops.rot, ops.trans):
        same = np.all(hkl @ r == hkl, axis=1)
        phase = hkl @ t
        absent |= same & (np.abs(phase - np.rint(phase)) > 1e-3)
    return absent | ~allowed_by_centring(hkl, group.centring_type() if group.centring_type() != "H" else "P")
