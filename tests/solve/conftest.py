"""Small crystals with known answers, and their kinematical intensities with normal errors."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest

from credo.model import Atom, Cell, Structure
from credo.physics.ewald import miller_indices
from credo.physics.structure_factors import structure_factors
from credo.physics.symmetry import laue_rotations, unique_reflections

WAVELENGTH = 0.0250793


def _atoms(*sites: tuple[str, float, float, float], u: float = 0.02) -> tuple[Atom, ...]:
    return tuple(Atom(f"{e}{i + 1}", e, np.array([x, y, z]), u_iso=u) for i, (e, x, y, z) in enumerate(sites))


def make_chain(group: str = "P 21 21 21") -> Structure:
    """A zigzag of nine C, N, O with bonds of about 1.45 Å in a primitive orthorhombic or monoclinic cell."""
    beta = 104.0 if group.startswith("P 1 ") else 90.0
    cell = Cell(6.3, 7.9, 10.7, 90, beta, 90)
    steps = np.array([[1.2, 0.75, 0.2], [1.1, -0.8, 0.45], [0.3, 0.9, 1.1], [-0.9, 0.9, 0.7]])
    xyz = [np.array([0.8, 1.1, 1.3])]
    for n in range(8):
        xyz.append(xyz[-1] + steps[(n * n + n // 2) % 4])
    fractional = np.array(xyz) @ np.linalg.inv(cell.O).T
    return Structure(cell, group, _atoms(*((e, *x) for e, x in zip("CCNCCOCCO", fractional % 1.0))))


def make_garnet() -> Structure:
    """Grossular, Ca3 Al2 Si3 O12 in I a -3 d."""
    sites = (("Ca", 0.125, 0, 0.25), ("Al", 0, 0, 0), ("Si", 0.375, 0, 0.25), ("O", -0.0382, 0.0457, 0.1512))
    return Structure(Cell(11.845, 11.845, 11.845, 90, 90, 90), "I a -3 d", _atoms(*sites, u=0.006))


def simulate(structure: Structure, d_min: float, error: float = 0.05, seed: int = 0, keep: float = 1.0):
    """(hkl, I, σ): unique reflections with σ² = (error I)² + (0.01⟨I⟩)²; ``keep``: which share of them, at random."""
    rng = np.random.default_rng(seed)
    group = gemmi.SpaceGroup(structure.space_group)
    every = miller_indices(structure.cell.B, d_min, group.centring_type())
    hkl, _ = unique_reflections(every, laue_rotations(group.laue_str()))
    hkl = hkl[rng.random(len(hkl)) < keep]
    i = np.abs(structure_factors(structure, hkl)) ** 2
    sigma = np.sqrt((error * i) ** 2 + (0.01 * i.mean()) ** 2)
    return hkl, rng.normal(i, sigma), sigma


@pytest.fixture(scope="session")
def chain():
    """``chain("P 21 21 21")``: the structure in that group."""
    return make_chain


@pytest.fixture(scope="session")
def garnet() -> Structure:
    return make_garnet()


@pytest.fixture(scope="session")
def intensities():
    """``intensities(structure, d_min, error, seed, keep)``."""
    return simulate


@pytest.fixture(scope="session")
def wavelength() -> float:
    return WAVELENGTH
