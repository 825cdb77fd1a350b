"""Atoms of a subgroup come together in the group that they obey."""

import gemmi
import numpy as np
import pytest

from credo.physics.symmetry import all_operations, group_operations
from credo.solve.averaging import averaged_sites


def cell_of(structure, group):
    """All atoms of the cell under ``group``, with the share of each image's weight."""
    rot, trans = all_operations(gemmi.SpaceGroup(group))
    xyz = np.array([a.xyz for a in structure.atoms])
    return (np.einsum("rij,nj->nri", rot, xyz) + trans) % 1.0, len(rot)


def test_displaced_atoms_of_a_molecule_are_averaged_over_the_inversion(chain):
    s = chain("P 1 21/c 1")
    every, order = cell_of(s, s.space_group)
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.05, every.shape) / np.array(s.cell.lengths)
    height = np.arange(len(s.atoms), 0, -1.0)
    ops = group_operations(gemmi.SpaceGroup(s.space_group))
    sites = averaged_sites((every + noise).reshape(-1, 3), np.repeat(height, order), ops, s.cell.metric)
    assert len(sites.xyz) == len(s.atoms)
    assert sites.height == pytest.approx(height)
    assert np.all(sites.multiplicity == order)
    nearest = [
        min(np.linalg.norm(s.cell.O @ (d - np.rint(d))) for d in images - x) for x, images in zip(sites.xyz, every)
    ]
    # the mean of four has half the error of one
    assert np.sqrt(np.mean(np.square(nearest))) < 0.06


def test_special_positions_and_halves_of_orbits():
    ops = group_operations(gemmi.SpaceGroup("P -1"))
    metric = np.eye(3) * 64.0
    # near the inversion centre; a pair; one whose image is not there
    xyz = np.array([[0.02, 0.01, 0.99], [0.2, 0.3, 0.4], [0.81, 0.7, 0.6], [0.4, 0.1, 0.2]])
    sites = averaged_sites(xyz, np.array([4.0, 3.0, 3.0, 2.0]), ops, metric)
    assert sites.multiplicity.tolist() == [1, 2, 2]
    assert sites.height == pytest.approx([4.0, 3.0, 1.0])
    assert np.abs(sites.xyz[0] - np.rint(sites.xyz[0])).max() < 1e-9
    middle = sites.xyz[1] - np.array([0.195, 0.3, 0.4])
    assert np.abs(middle - np.rint(middle)).max() < 1e-9
