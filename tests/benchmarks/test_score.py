"""The benchmark's scores: nought for the truth itself, the right size for known errors."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from credo.model import Cell, Reflections


@pytest.fixture
def score(monkeypatch):
    """The module, which is not part of the package."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return importlib.import_module("benchmarks.score")


def test_another_basis_of_the_same_lattice_is_right_and_a_double_cell_wrong(score):
    ub = Rotation.random(random_state=1).as_matrix() @ Cell(5, 7, 9, 95, 101, 88).B
    m = np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]])
    turn = Rotation.from_rotvec([0.1, 0, 0], degrees=True).as_matrix()
    found = score.score_lattice(1.03 * turn @ ub @ m, ub)
    assert found.right
    assert found.misorientation_deg == pytest.approx(0.1, rel=1e-6)
    assert found.scale == pytest.approx(1 / 1.03)
    assert found.strain_percent < 1e-6
    np.testing.assert_array_equal(found.transform, m)
    assert not score.score_lattice(ub @ np.diag([0.5, 1, 1]), ub).right


def test_noise_of_known_size_has_its_r1_and_chi_square(score):
    rng = np.random.default_rng(0)
    h = np.stack(np.meshgrid(*[np.arange(1, 16)] * 3), axis=-1).reshape(-1, 3)
    true = rng.exponential(100, len(h)) + 10
    phi = rng.uniform(-30, 30, len(h))
    truth = Reflections(h=h[:, 0], k=h[:, 1], l=h[:, 2], phi=phi, d=1 / np.linalg.norm(h, axis=1), intensity=true)
    sigma = np.full(len(h), 5.0)
    got = score.score_intensities(
        h, phi + 0.1, 2 * (true + sigma * rng.normal(size=len(h))), 2 * sigma, np.eye(3), truth
    )
    assert got.n == len(h)
    assert got.chi2 == pytest.approx(1, abs=0.06)
    assert got.r1 == pytest.approx(5 * np.sqrt(2 / np.pi) / true.mean(), rel=0.05)
    assert np.all(np.abs(np.array(got.chi2_by_intensity + got.chi2_by_resolution) - 1) < 0.25)
    # another crossing of the same reflection is not this one
    assert score.score_intensities(h, phi + 5, true, sigma, np.eye(3), truth).n == 0
