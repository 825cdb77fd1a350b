"""Centring and Laue class of merged or unmerged intensities, where nobody says them."""

from __future__ import annotations

import numpy as np

from credo.model import Cell
from credo.physics.ewald import allowed_by_centring
from credo.physics.symmetry import laue_rotations, unique_reflections

__all__ = ["find_centring", "likely_laue_groups", "r_int"]

#: Laue classes in the order of their number of operations, with the conditions on a cell's metric.
_CLASSES = ("m-3m", "m-3", "6/mmm", "6/m", "-3m1", "-31m", "-3", "4/mmm", "4/m", "mmm", "2/m", "-1")


def find_centring(cell: Cell, hkl: np.ndarray, intensity: np.ndarray, sigma: np.ndarray) -> str:
    """The centring whose forbidden reflections are absent from the list or on average a fiftieth of the others'.

    Screws and glides forbid planes and rows only, so that a forbidden share of the whole list means centring.
    """
    letters = ["F", "I", "C", "A", "B"] + (["R"] if _fits(cell, "-3") else [])
    for letter in letters:
        ok = allowed_by_centring(hkl, letter)
        expected = {"F": 0.75, "R": 2 / 3}.get(letter, 0.5)
        if np.mean(~ok) < 0.02 * expected:
            return letter
        if np.mean(intensity[~ok]) < 0.02 * np.mean(intensity[ok]):
            return letter
    return "P"


def likely_laue_groups(
    cell: Cell, hkl: np.ndarray, intensity: np.ndarray, sigma: np.ndarray, limit: float = 0.42
) -> list[tuple[str, float | None]]:
    """(Laue class, R_int or None without equivalents) by falling symmetry: those the metric allows and whose
    equivalents agree to ``limit``, and to 0.2 more than the best of any: of intensities that have nothing to do with
    each other R_int is 0.5 (Wilson statistics, acentric). The last resort −1 is always in."""
    every = [(name, r_int(hkl, intensity, laue_rotations(name))) for name in _CLASSES if _fits(cell, name)]
    known = [r for _, r in every if r is not None]
    best = min(known) if known else limit
    return [(n, r) for n, r in every if n == "-1" or r is None or (r < limit and r < best + 0.2)]


def r_int(hkl: np.ndarray, intensity: np.ndarray, rotations: np.ndarray, fewest: int = 10) -> float | None:
    """Σ|I − ⟨I⟩|/Σ|I| of reflections with equivalents; None with fewer than ``fewest``."""
    _, group = unique_reflections(hkl, rotations)
    n = np.bincount(group)
    mean = np.bincount(group, intensity) / n
    several = n[group] > 1
    if several.sum() < fewest:
        return None
    return float(np.abs(intensity - mean[group])[several].sum() / np.abs(intensity[several]).sum())


def _fits(cell: Cell, laue: str, tolerance: float = 0.02) -> bool:
    """Whether the metric, to ``tolerance`` in lengths (and as many radians), is that of the class."""
    a, b, c = cell.lengths
    al, be, ga = np.radians(cell.angles)
    right = {n: abs(x - np.pi / 2) < tolerance for n, x in zip("abc", (al, be, ga))}
    same = lambda x, y: abs(x / y - 1) < tolerance  # noqa: E731
    if laue == "-1":
        return True
    if laue == "2/m":
        return right["a"] and right["c"]
    if laue in ("-3", "-31m", "-3m1", "6/m", "6/mmm"):
        return same(a, b) and right["a"] and right["b"] and abs(ga - 2 * np.pi / 3) < tolerance
    if not all(right.values()):
        return False
    if laue == "mmm":
        return True
    return same(a, b) and (laue in ("4/m", "4/mmm") or same(b, c))
