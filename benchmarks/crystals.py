"""Simulated crystals of known space groups: random structures, one rotation each, errors as 3D ED has them."""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
from scipy.spatial.transform import Rotation

from credo.model import Beam, Cell, Crystal, Detector, Experiment, Goniometer, Reflections, Scan
from credo.model.structure import Atom, Structure
from credo.physics.ewald import miller_indices, predict
from credo.physics.structure_factors import structure_factors
from credo.physics.symmetry import laue_rotations, unique_reflections

__all__ = ["GROUPS", "Sample", "crystal", "laue_of"]

#: Twenty groups, of minerals and of organic crystals, with a cell each.
GROUPS = {
    "P -1": (7.1, 9.4, 12.8, 83, 97, 104), "P 1": (6.8, 8.9, 11.3, 95, 102, 88),
    "P 1 21/c 1": (8.3, 12.6, 14.9, 90, 103, 90), "P 1 21 1": (7.7, 9.9, 13.2, 90, 98, 90),
    "C 1 2/c 1": (18.2, 9.1, 13.4, 90, 112, 90), "C 1 2 1": (16.9, 8.2, 12.1, 90, 107, 90),
    "P b c a": (9.6, 12.4, 17.8, 90, 90, 90), "P 21 21 21": (8.4, 11.9, 15.2, 90, 90, 90),
    "P n a 21": (15.8, 10.7, 9.3, 90, 90, 90), "P n m a": (14.2, 9.6, 11.1, 90, 90, 90),
    "C m c m": (13.8, 17.2, 9.9, 90, 90, 90), "I 41/a": (13.4, 13.4, 12.2, 90, 90, 90),
    "P 41 21 2": (10.2, 10.2, 18.7, 90, 90, 90), "P -4 21 m": (12.4, 12.4, 9.2, 90, 90, 90),
    "R -3": (17.6, 17.6, 10.3, 90, 90, 120), "P 63/m": (13.2, 13.2, 9.6, 90, 90, 120),
    "P 63/m m c": (13.8, 13.8, 16.9, 90, 90, 120), "I a -3 d": (17.1, 17.1, 17.1, 90, 90, 90),
    "P m -3 m": (15.2, 15.2, 15.2, 90, 90, 90), "I -4 3 m": (14.8, 14.8, 14.8, 90, 90, 90),
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """``table``: unmerged observations on the axes of ``cell``; ``completeness`` in the true Laue group."""

    group: gemmi.SpaceGroup
    cell: Cell
    table: Reflections
    completeness: float


def crystal(symbol: str, seed: int, d_min: float = 0.95, error: float = 0.28, violation: float = 0.03) -> Sample:
    """One crystal over a rotation that covers 60-100 % of its Laue group.

    Every intensity is that of the structure plus what multiple scattering brings, exponential with a mean of
    ``violation`` of the mean intensity; then a lognormal error of 28 %, 3 % outliers and counting noise. The cell is
    0.3 % off in each length and 0.2° in each angle.
    """
    rng = np.random.default_rng([seed, sum(map(ord, symbol))])
    group = gemmi.SpaceGroup(symbol)
    cell = Cell(*GROUPS[symbol])
    laue = laue_of(group)
    for _ in range(100):
        e = _experiment(rng, cell, group)
        p = predict(e, e.crystal, d_min)
        p = p.select(p["lorentz"] < 10)
        share = _completeness(p.hkl, cell, laue, group, d_min)
        if share >= 0.6:
            break
    truth = np.abs(structure_factors(_structure(rng, cell, group), p.hkl)) ** 2
    s2 = 0.25 / cell.d_spacing(p.hkl) ** 2
    fall = np.exp(-2 * s2)
    level = float(np.mean(truth)) * fall / fall.mean()
    i = 400 * (truth + violation * level * rng.exponential(size=len(truth))) / np.mean(truth)
    i = i * np.exp(rng.normal(0, error, len(i)))
    i = i * np.where(rng.random(len(i)) < 0.03, np.exp(rng.uniform(-2.3, 2.3, len(i))), 1)
    sigma = np.sqrt(i + 30)
    # as indexing leaves it
    lengths = np.array(cell.lengths) * (1 + rng.normal(0, 0.003, 3))
    angles = np.array(cell.angles) + rng.normal(0, 0.2, 3)
    table = p.with_columns(intensity=i + rng.normal(0, sigma), sigma=sigma, lattice=np.zeros(len(i), dtype=int))
    return Sample(group, Cell(*lengths, *angles), table, share)


def laue_of(group: gemmi.SpaceGroup) -> str:
    name = group.laue_str()
    return name if name != "-3m" else "-31m" if "31m" in group.point_group_hm() else "-3m1"


def _experiment(rng: np.random.Generator, cell: Cell, group: gemmi.SpaceGroup) -> Experiment:
    width = float(rng.uniform(30, 140))
    scan = Scan.regular(round(width / 0.5), -width / 2, 0.5)
    u = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    found = Crystal(cell, u, centring=group.centring_type() if group.centring_type() != "H" else "R")
    detector = Detector((512, 512), 0.005, (256.0, 256.0))
    return Experiment(Beam(0.02508), detector, Goniometer.in_plane(40.0), scan, (found,))


def _completeness(hkl: np.ndarray, cell: Cell, laue: str, group: gemmi.SpaceGroup, d_min: float) -> float:
    rotations = laue_rotations(laue)
    possible, _ = unique_reflections(miller_indices(cell.B, d_min, group.centring_type()), rotations)
    return len(unique_reflections(hkl, rotations)[0]) / len(possible) if len(hkl) else 0.0


def _structure(rng: np.random.Generator, cell: Cell, group: gemmi.SpaceGroup) -> Structure:
    """As many atoms as fill the cell at 18 Å³ each, anywhere."""
    n = max(1, round(cell.volume / 18 / len(list(group.operations()))))
    atoms = tuple(
        Atom(f"A{k}", str(rng.choice(["C", "C", "N", "O", "Si"])), rng.random(3), u_iso=float(rng.uniform(0.01, 0.04)))
        for k in range(n)
    )
    return Structure(cell, group.xhm(), atoms)
