"""Small structures with simulated data, that refinement must bring back."""

from __future__ import annotations

from collections.abc import Callable

import gemmi
import numpy as np
import pytest

from credo.model import Atom, Cell, Structure
from credo.physics.structure_factors import structure_factors
from credo.solve.refine.crystal import isotropic_tensor
from credo.solve.refine.data import Observed


@pytest.fixture
def molecule() -> Callable[..., Structure]:
    """``molecule(group)``: six light atoms in a monoclinic cell, isotropic or anisotropic."""

    def make(group: str = "P 1 21/c 1", aniso: bool = False) -> Structure:
        cell = Cell(6.1, 7.3, 8.2, 90, 103, 90)
        xyz = np.array([
            [0.10, 0.22, 0.13], [0.29, 0.13, 0.22], [0.46, 0.27, 0.27], [0.44, 0.46, 0.20], [0.25, 0.53, 0.11],
            [0.63, 0.58, 0.26],
        ])  # fmt: skip
        atoms = []
        for i, (e, x) in enumerate(zip("OCCNCO", xyz)):
            u = 0.02 + 0.004 * i
            tensor = isotropic_tensor(cell, u) + 0.2 * u * np.array([1, -1, 0.5, 0.4, -0.3, 0.6]) if aniso else None
            atoms.append(Atom(f"{e}{i + 1}", e, x, u_iso=u, u_aniso=tensor))
        return Structure(cell, group, tuple(atoms), "molecule")

    return make


@pytest.fixture
def measure() -> Callable[..., Observed]:
    """``measure(structure, d_min, error, f2)``: unique reflections with F² of the structure (or ``f2(hkl)``)."""

    def make(structure: Structure, d_min: float = 0.9, error: float = 0.0, f2=None, seed: int = 0) -> Observed:
        cell, group = gemmi.UnitCell(*structure.cell.parameters), gemmi.SpaceGroup(structure.space_group)
        hkl = np.asarray(gemmi.make_miller_array(cell, group, d_min, unique=True))
        value = np.abs(structure_factors(structure, hkl)) ** 2 if f2 is None else f2(hkl)
        sigma = 0.05 * value + 0.01 * value.mean()
        noise = np.random.default_rng(seed).normal(0, 1, len(value)) * error * sigma
        return Observed(hkl, 7.0 * (value + noise), 7.0 * sigma)

    return make


@pytest.fixture
def shaken() -> Callable[..., Structure]:
    """``shaken(structure, by)``: every atom moved by normal steps of ``by`` [Å] on each axis, its U by 20 %."""

    def make(structure: Structure, by: float = 0.04, seed: int = 3) -> Structure:
        rng = np.random.default_rng(seed)
        back = np.linalg.inv(structure.cell.O)
        atoms = []
        for a in structure.atoms:
            factor = 1 + 0.2 * rng.standard_normal() * 0.5
            u = None if a.u_aniso is None else a.u_aniso * factor
            atoms.append(a.replace(xyz=a.xyz + back @ rng.normal(0, by, 3), u_iso=a.u_iso * factor, u_aniso=u))
        return structure.replace(atoms=tuple(atoms))

    return make
