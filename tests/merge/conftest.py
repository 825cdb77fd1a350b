"""Many small sets of intensities with known answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from credo.merge.ambiguity import Changes, changes_of_setting
from credo.model import Cell, Reflections
from credo.physics.ewald import miller_indices
from credo.physics.symmetry import laue_rotations, unique_reflections

#: Where sets are made with.
TRICLINIC = Cell(6.5, 7.6, 8.9, 95.0, 102.0, 107.0)


def structure(cell: Cell, laue_group: str, seed: int, d_min: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """Unique reflections (m, 3) of a Laue group and centric intensities (m,) that fall off with resolution."""
    hkl, _ = unique_reflections(miller_indices(cell.B, d_min), laue_rotations(laue_group))
    rng = np.random.default_rng(seed)
    return hkl, 1000 * rng.normal(size=len(hkl)) ** 2 * np.exp(-2 / cell.d_spacing(hkl) ** 2)


def observed(hkl: np.ndarray, true: np.ndarray, n: int, rng: np.random.Generator, error: float = 0.25) -> Reflections:
    """n of the reflections with a scale, a lognormal error and counting noise."""
    rows = np.sort(rng.choice(len(hkl), min(n, len(hkl)), replace=False))
    mean = true[rows] * np.exp(error * rng.normal(size=len(rows)) + rng.normal())
    sigma = np.sqrt(mean + 10)
    h = hkl[rows]
    return Reflections(
        h=h[:, 0], k=h[:, 1], l=h[:, 2], intensity=mean + sigma * rng.normal(size=len(rows)), sigma=sigma
    )


@pytest.fixture
def mixed() -> Callable[..., tuple[list[Reflections], np.ndarray]]:
    """``mixed(sizes, n, junk, seed)``: sets of n reflections of as many phases as ``sizes`` has, and junk, with the
    truth: from 1, 0 for junk."""

    def make(sizes=(12, 8), n=120, junk=2, seed=0):
        rng = np.random.default_rng(seed)
        phases = [structure(TRICLINIC, "-1", 100 * seed + k + 1) for k in range(len(sizes))]
        sets = [observed(*phases[k], n, rng) for k, size in enumerate(sizes) for _ in range(size)]
        sets += [observed(*structure(TRICLINIC, "-1", 5000 + 10 * seed + j), n, rng) for j in range(junk)]
        return sets, np.array([k + 1 for k, size in enumerate(sizes) for _ in range(size)] + [0] * junk)

    return make


@pytest.fixture
def nothing() -> Reflections:
    """A set without any reflection."""
    return Reflections({k: np.empty(0) for k in ("h", "k", "l", "intensity", "sigma")})


@pytest.fixture
def indexed_at_random() -> Callable[..., tuple[list[Reflections], np.ndarray, Changes]]:
    """``indexed_at_random(cell, laue_group, sets, n)``: one structure whose sets were indexed in random settings; with
    the change that brings each back."""

    def make(cell, laue_group, sets, n, seed=0):
        rng = np.random.default_rng(seed)
        changes = changes_of_setting(cell, laue_group)
        hkl, true = structure(cell, laue_group, 77 + seed)
        which, out = rng.integers(0, len(changes.operators), sets), []
        for w in which:
            one = observed(hkl, true, n, rng)
            back = np.rint(np.linalg.inv(changes.operators[w])).astype(int)
            out.append(one.with_columns(hkl=one.hkl @ back))
        return out, which, changes

    return make
