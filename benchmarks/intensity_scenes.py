"""Scenes of many short rotation wedges with known answers: phases that share a cell, junk, agglomerates, settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.merge.ambiguity import changes_of_setting
from credo.model import Cell, Reflections
from credo.physics.ewald import crossing_angles, miller_indices
from credo.physics.symmetry import laue_rotations

WAVELENGTH = 0.0251
#: Wedges of 9, 13.5 and 27° to 0.8 Å share 5, 10 and 35 reflections in the middle.
TRICLINIC = Cell(6.5, 7.6, 8.9, 95.0, 102.0, 107.0)


@dataclass(frozen=True)
class Scene:
    """``sets``; ``truth`` (n,): phase from 1, 0 junk, −1 agglomerate; ``settings`` (n,): which change each had."""

    sets: list[Reflections]
    truth: np.ndarray
    settings: np.ndarray
    cell: Cell
    laue_group: str
    changes: np.ndarray


def intensities(hkl: np.ndarray, cell: Cell, atoms: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """|F|² (n,) of equal atoms (k, 3), B 1.5 Å², at all points equivalent by ``rotations`` (the inversion among them).

    The electron scattering factor is taken to fall off as exp(−6 s²), s² = 1/4d² [Å⁻²].
    """
    s2 = 0.25 / cell.d_spacing(hkl) ** 2
    amplitude = np.zeros(len(hkl))
    for r in rotations:
        amplitude += np.cos(2 * np.pi * (hkl @ r @ atoms.T)).sum(axis=1)
    return (amplitude / np.sqrt(len(rotations) * len(atoms)) * np.exp(-(6 + 1.5) * s2)) ** 2


def wedge(hkl: np.ndarray, cell: Cell, degrees: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows of ``hkl`` that a crystal in a random orientation shows within a rotation, and at what angle from start."""
    u = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    q = hkl @ (u * np.sign(np.linalg.det(u)) @ cell.B).T
    with np.errstate(invalid="ignore"):
        phi = np.degrees(np.array(crossing_angles(q, np.array([1.0, 0, 0]), WAVELENGTH))) % 360.0
    at = np.where(phi <= degrees, phi, np.nan)
    seen = np.any(np.isfinite(at), axis=0)
    return np.flatnonzero(seen), np.nanmin(at[:, seen], axis=0)


def measured(hkl, true, cell, degrees, rng, error=0.28, outliers=0.03) -> Reflections:
    """A wedge of intensities: lognormal error, a scale that drifts by ±0.6 in log, damage, counting, outliers."""
    rows, phi = wedge(hkl, cell, degrees, rng)
    s2 = 0.25 / cell.d_spacing(hkl[rows]) ** 2
    drift = 0.6 * np.sin(2 * np.pi * (phi / 60 + rng.random()))
    damage = np.exp(-2 * rng.uniform(0, 3) * s2 * phi / 60)
    mean = true[rows] * np.exp(drift + error * rng.normal(size=len(rows))) * damage
    wrong = rng.random(len(rows)) < outliers
    mean = np.where(wrong, rng.exponential(3, len(rows)) * np.exp(-15 * s2) + mean, mean)
    counts = mean * 10 ** rng.uniform(2.5, 3.5)
    background = 5.0
    sigma = np.sqrt(counts + background)
    i = counts + sigma * rng.normal(size=len(rows))
    h = hkl[rows]
    return Reflections(h=h[:, 0], k=h[:, 1], l=h[:, 2], intensity=i, sigma=np.sqrt(np.maximum(i, 0) + background))


def phases(kind: str, k: int, rng: np.random.Generator, atoms: int = 20) -> list[np.ndarray]:
    """Atoms (k times (atoms, 3)): ``unrelated``, or ``envelope``: three in four are the same in all."""
    common = rng.random((atoms, 3))
    keep = 0 if kind == "unrelated" else 3 * atoms // 4
    return [np.concatenate([common[:keep], rng.random((atoms - keep, 3))]) for _ in range(k)]


def mixture(
    kind: str, degrees: float, sizes: tuple[int, ...], seed: int, junk: float = 0.1, agglomerates: float = 0.0
) -> Scene:
    """Phases in one triclinic cell. Junk: half other structures, one each, half numbers without any structure."""
    rng = np.random.default_rng(seed)
    cell, rotations = TRICLINIC, laue_rotations("-1")
    hkl = miller_indices(cell.B, 0.8)
    true = [intensities(hkl, cell, a, rotations) for a in phases(kind, len(sizes), rng)]
    sets, truth = [], []
    for k, n in enumerate(sizes):
        sets += [measured(hkl, true[k], cell, degrees, rng) for _ in range(n)]
        truth += [k + 1] * n
    total = sum(sizes)
    for j in range(round(junk * total / (1 - junk))):
        s2 = 0.25 / cell.d_spacing(hkl) ** 2
        other = intensities(hkl, cell, rng.random((20, 3)), rotations)
        noise = rng.exponential(1, len(hkl)) * np.exp(-15 * s2)
        sets.append(measured(hkl, other if j % 2 else noise, cell, degrees, rng))
        truth.append(0)
    for _ in range(round(agglomerates * total)):
        share = rng.uniform(0.35, 0.65)
        sets.append(measured(hkl, share * true[0] + (1 - share) * true[1], cell, degrees, rng))
        truth.append(-1)
    order = rng.permutation(len(sets))
    n = len(sets)
    return Scene(
        [sets[i] for i in order], np.array(truth)[order], np.zeros(n, int), cell, "-1", np.eye(3, dtype=int)[None]
    )


def settings(
    cell: Cell, laue_group: str, degrees: float, n: int, seed: int, tolerance: float = 0.01, error: float = 0.28
) -> Scene:
    """One phase, each of n sets indexed in a random one of the settings that its lattice allows."""
    rng = np.random.default_rng(seed)
    rotations = laue_rotations(laue_group)
    changes = changes_of_setting(cell, laue_group, tolerance=tolerance).operators
    hkl = miller_indices(cell.B, 0.8)
    true = intensities(hkl, cell, rng.random((8, 3)), rotations)
    sets, which = [], rng.integers(0, len(changes), n)
    for w in which:
        one = measured(hkl, true, cell, degrees * rng.uniform(0.5, 1.5), rng, error)
        back = np.rint(np.linalg.inv(changes[w])).astype(int)
        sets.append(one.with_columns(hkl=one.hkl @ back))
    return Scene(sets, np.ones(n, int), which, cell, laue_group, changes)
