"""The Laue group is found from intensities, on its customary axes, and not taken higher or lower than it is."""

import gemmi
import numpy as np
import pytest

from credo.model import Beam, Cell, Crystal, Detector, Experiment, Goniometer, Reflections, Scan
from credo.physics.ewald import allowed_by_centring, miller_indices
from credo.physics.symmetry import LAUE_CLASSES, laue_rotations, unique_reflections
from credo.reduce.symmetry import SymmetrySettings, find_laue_group, laue_name

CUBE, BRICK = Cell(12, 12, 12, 90, 90, 90), Cell(9, 12, 15, 90, 90, 90)
PRISM, HONEYCOMB = Cell(11, 11, 15, 90, 90, 90), Cell(11, 11, 13, 90, 90, 120)


def scene(true, lattice, cell, centring="P", noise=0.3, share=0.6, seed=0, b=None):
    """Intensities that obey ``true``, indexed on a lattice of holohedry ``lattice``; noise is log-normal."""
    rng = np.random.default_rng(seed)
    hkl = miller_indices(cell.B, 1.0)
    hkl = hkl[allowed_by_centring(hkl, centring)]
    hkl = hkl[rng.random(len(hkl)) < share]
    operations = laue_rotations(true) if b is None else b
    unique, group = unique_reflections(hkl, operations)
    i = 1000 * rng.exponential(size=len(unique))[group] * rng.lognormal(0, noise, len(hkl))
    n = len(hkl)
    table = Reflections(
        h=hkl[:, 0], k=hkl[:, 1], l=hkl[:, 2], intensity=i + rng.normal(0, 30, n), sigma=np.hypot(30, 0.1 * i),
        phi=rng.uniform(-60, 60, n), lattice=np.zeros(n, int),
    )  # fmt: skip
    crystal = Crystal(cell, np.eye(3), centring=centring, laue_group=lattice)
    detector = Detector((64, 64), 0.005, (32, 32))
    return Experiment(Beam(0.025), detector, Goniometer.in_plane(0), Scan.regular(240, -60, 0.5), (crystal,)), table


@pytest.mark.parametrize(
    ("true", "lattice", "cell", "centring"),
    [
        ("m-3m", "m-3m", CUBE, "I"), ("m-3", "m-3m", CUBE, "P"), ("4/mmm", "4/mmm", PRISM, "P"),
        ("4/m", "4/mmm", PRISM, "I"), ("mmm", "mmm", BRICK, "C"), ("-1", "2/m", BRICK, "P"),
        ("6/mmm", "6/mmm", HONEYCOMB, "P"), ("6/m", "6/mmm", HONEYCOMB, "P"), ("-3m1", "6/mmm", HONEYCOMB, "P"),
        ("-31m", "6/mmm", HONEYCOMB, "P"), ("-3", "6/mmm", HONEYCOMB, "P"), ("-3m1", "-3m1", HONEYCOMB, "R"),
        ("mmm", "m-3m", CUBE, "P"), ("2/m", "mmm", BRICK, "P"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_the_laue_group_is_found(true, lattice, cell, centring, noise):
    experiment, table = scene(true, lattice, cell, centring, noise)
    found, again, report = find_laue_group(experiment, table)
    assert found.crystal.laue_group == true
    assert report.numbers["laue_group"] == true
    assert report.numbers["laue_candidates"][0]["score"] == 0
    assert len(again) == len(table)


def test_a_twofold_along_another_axis_becomes_b():
    operations = np.array([np.eye(3), np.diag([1, -1, -1]), -np.eye(3), np.diag([-1, 1, 1])], dtype=int)
    experiment, table = scene("2/m", "mmm", BRICK, b=operations)
    found, again, _ = find_laue_group(experiment, table)
    assert found.crystal.laue_group == "2/m"
    # a was the twofold axis, 9 Å; it is b now, and the intensities obey 2/m there
    assert found.crystal.cell.b == pytest.approx(9)
    _, group = unique_reflections(again.hkl, laue_rotations("2/m"))
    assert len(np.unique(group)) < 0.75 * len(again)
    # the same reflections in the laboratory
    assert np.allclose(found.crystal.UB @ again.hkl.T, experiment.crystal.UB @ table.hkl.T)


def test_few_equivalents_are_told():
    experiment, table = scene("mmm", "mmm", BRICK, share=0.035, noise=0.9)
    _, _, report = find_laue_group(experiment, table)
    assert any("hardly likelier" in w for w in report.warnings)


def test_a_known_group_and_a_triclinic_lattice_are_taken_as_they_are():
    experiment, table = scene("-1", "mmm", BRICK)
    known, _, report = find_laue_group(experiment, table, SymmetrySettings(laue_group="mmm"))
    assert known.crystal.laue_group == report.numbers["laue_group"] == "mmm"
    triclinic = experiment.replace(crystals=(experiment.crystal.replace(laue_group="-1"),))
    assert find_laue_group(triclinic, table)[0].crystal.laue_group == "-1"


@pytest.mark.parametrize("laue", list(LAUE_CLASSES))
def test_groups_are_named_from_their_rotations(laue):
    rotations = laue_rotations(laue)
    proper = rotations[np.rint(np.linalg.det(rotations)) == 1]
    assert laue_name(proper) == laue
    assert 2 * len(proper) == len(list(gemmi.SpaceGroup(LAUE_CLASSES[laue]).operations().sym_ops))
