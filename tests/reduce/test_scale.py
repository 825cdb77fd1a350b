"""Scaling: a smooth scale and falloff are recovered, sigmas made true, outliers told from their equivalents."""

import numpy as np
import pytest

from credo.model import Beam, Cell, Crystal, Detector, Experiment, Goniometer, Reflections, Scan
from credo.physics.ewald import miller_indices
from credo.physics.symmetry import laue_rotations, unique_reflections
from credo.reduce.scale import ErrorModel, scale_one

CELL = Cell(9.0, 11.0, 13.0, 90, 90, 90)


def scene(seed=0, laue="mmm", scale=lambda phi: 1.0 + 0 * phi, b=lambda phi: 0 * phi, relative=0.05, told=0.05):
    """``experiment``, unmerged reflections and their true intensities; sigmas leave out ``relative`` but ``told``."""
    rng = np.random.default_rng(seed)
    hkl = miller_indices(CELL.B, 0.95)
    unique, group = unique_reflections(hkl, laue_rotations(laue))
    true = 2000 * rng.exponential(size=len(unique))[group]
    n = len(hkl)
    phi = rng.uniform(-60, 60, n)
    s2 = 0.25 / CELL.d_spacing(hkl) ** 2
    k = scale(phi) * np.exp(-2 * b(phi) * s2)
    counting = np.sqrt(true * k + 100)
    seen = true * k * (1 + rng.normal(0, relative, n)) + rng.normal(0, counting)
    table = Reflections(
        h=hkl[:, 0], k=hkl[:, 1], l=hkl[:, 2], intensity=seen, sigma=np.hypot(counting, told * true * k), phi=phi,
        lattice=np.zeros(n, int), frame=(phi + 60) * 2, d=CELL.d_spacing(hkl),
    )  # fmt: skip
    crystal = Crystal(CELL, np.eye(3), laue_group=laue)
    scan = Scan.regular(240, -60, 0.5)
    experiment = Experiment(Beam(0.025), Detector((64, 64), 0.005, (32, 32)), Goniometer.in_plane(0), scan, (crystal,))
    return experiment, table, true


def test_a_scale_and_a_falloff_along_the_rotation_are_taken_out():
    experiment, table, true = scene(scale=lambda p: np.exp(0.4 * np.sin(p / 30)), b=lambda p: 0.8 * np.cos(p / 20))
    _, scaled, report = scale_one(experiment, table)
    assert report.numbers["scaled"]
    before = np.log(np.maximum(table["intensity"], 1) / true)[true > 1000]
    after = np.log(np.maximum(scaled["intensity"], 1) / true)[true > 1000]
    assert before.std() > 0.25
    assert after.std() < 0.1
    assert np.allclose(scaled["intensity"] * scaled["scale"], table["intensity"])
    low, high = report.numbers["scale_range"]
    assert low == pytest.approx(np.exp(-0.4), rel=0.1)
    assert high == pytest.approx(np.exp(0.4), rel=0.1)


def test_steady_data_are_left_alone():
    experiment, table, _ = scene()
    _, scaled, report = scale_one(experiment, table)
    assert np.std(np.log(scaled["scale"])) < 0.02
    assert report.numbers["n_outliers"] <= 2


@pytest.mark.parametrize("relative", [0.0, 0.1, 0.3])
def test_the_error_model_makes_the_scatter_of_equivalents_true(relative):
    experiment, table, true = scene(relative=relative, told=0.0)
    _, scaled, report = scale_one(experiment, table)
    z2 = ((scaled["intensity"] - true) / scaled["sigma"]) ** 2
    for low, high in ((0, 300), (300, 1500), (1500, 1e9)):
        band = (true > low) & (true < high)
        assert np.median(z2[band]) / 0.455 == pytest.approx(1.0, abs=0.4)
    a, b = report.numbers["error_model"]
    assert a * b == pytest.approx(relative, abs=0.05)


def test_an_observation_far_from_its_equivalents_is_out():
    experiment, table, true = scene()
    bad = np.flatnonzero(true > 3000)[::40]
    intensity = table["intensity"].copy()
    intensity[bad] *= 4
    _, scaled, report = scale_one(experiment, table.with_columns(intensity=intensity))
    assert np.mean(scaled["rejected"][bad]) > 0.9
    assert scaled["rejected"].sum() - scaled["rejected"][bad].sum() <= 5
    assert report.numbers["n_outliers"] == scaled["rejected"].sum()


def test_few_equivalents_are_not_scaled_but_told():
    experiment, table, _ = scene()
    few = table.select(np.arange(len(table)) < 12)
    _, scaled, report = scale_one(experiment, few)
    assert not report.numbers["scaled"]
    assert "not scaled" in report.warnings[0]
    assert np.array_equal(scaled["intensity"], few["intensity"])


def test_other_lattices_and_unusable_rows_are_left_as_they_are():
    experiment, table, _ = scene(scale=lambda p: np.exp(0.3 * p / 60))
    lattice = (np.arange(len(table)) % 5 == 0).astype(int)
    over = np.arange(len(table)) % 7 == 1
    _, scaled, _ = scale_one(experiment, table.with_columns(lattice=lattice, overloaded=over))
    left = (lattice == 1) | over
    assert np.array_equal(scaled["intensity"][left], table["intensity"][left])
    assert np.all(scaled["scale"][left] == 1)
    assert not scaled["rejected"][left].any()


def test_the_error_model_is_its_formula():
    assert ErrorModel(2.0, 0.1)(np.array([3.0, 3.0]), np.array([40.0, -40.0])) == pytest.approx([10.0, 6.0])
