"""Bravais types: all fourteen are recognised from a reduced, turned and slightly wrong primitive cell."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from credo.model import Cell
from credo.physics.ewald import allowed_by_centring
from credo.physics.symmetry import LAUE_CLASSES, laue_rotations, primitive_basis
from credo.reduce.bravais import settings_of
from credo.reduce.lattice import reduced

CASES = {
    "aP": ((7, 8, 9, 80, 95, 101), "P"), "mP": ((7, 8, 9, 90, 105, 90), "P"), "mC": ((17, 8, 9, 90, 105, 90), "C"),
    "oP": ((7, 8, 9, 90, 90, 90), "P"), "oC": ((7, 18, 9, 90, 90, 90), "C"), "oI": ((7, 9, 12, 90, 90, 90), "I"),
    "oF": ((7, 12, 19, 90, 90, 90), "F"), "tP": ((7, 7, 9, 90, 90, 90), "P"), "tI": ((7, 7, 12, 90, 90, 90), "I"),
    "hP": ((7, 7, 9, 90, 90, 120), "P"), "hR": ((7, 7, 21, 90, 90, 120), "R"), "cP": ((7, 7, 7, 90, 90, 90), "P"),
    "cI": ((12, 12, 12, 90, 90, 90), "I"), "cF": ((5.4, 5.4, 5.4, 90, 90, 90), "F"),
}  # fmt: skip


def primitive(cell, centring, seed, noise=5e-4):
    """Reduced primitive cell as indexing would give it: turned, with small errors."""
    rng = np.random.default_rng(seed)
    a = reduced((Cell(*cell).O @ primitive_basis(centring)).T)
    a = a @ Rotation.random(random_state=seed).as_matrix() * (1 + noise * rng.normal(size=(3, 3)))
    return Cell.from_vectors(a)


@pytest.mark.parametrize("bravais", list(CASES))
@pytest.mark.parametrize("seed", [1, 2])
def test_every_bravais_type_is_recognised_first(bravais, seed):
    cell, centring = CASES[bravais]
    settings = settings_of(primitive(cell, centring, seed))
    best = settings[0]
    assert best.bravais == bravais
    assert best.centring == centring
    found = primitive(cell, centring, seed).reindexed(best.transform)
    assert sorted(found.lengths) == pytest.approx(sorted(cell[:3]), rel=0.004)
    assert sorted(found.angles) == pytest.approx(sorted(cell[3:]), abs=0.4)
    assert np.linalg.det(best.transform) > 0
    assert best.strain_percent < 0.5
    assert best.laue_group in LAUE_CLASSES
    # triclinic is always there, as the last resort
    assert settings[-1].bravais == "aP"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("cell", "centring"), [*CASES.values(), ((10, 10, 8, 90, 90, 120), "R"), ((12, 12, 40, 90, 90, 120), "R")]
)
def test_all_nodes_obey_the_centring_on_the_conventional_axes(cell, centring, seed):
    start = reduced((Cell(*cell).O @ primitive_basis(centring)).T)
    # any of the equally short bases may come from indexing
    rng = np.random.default_rng(seed)
    start = start[rng.permutation(3)] * rng.choice([-1, 1], (3, 1))
    basis = Cell.from_vectors(start if np.linalg.det(start) > 0 else -start)
    nodes = np.random.default_rng(9).integers(-5, 6, (200, 3))
    for setting in settings_of(basis)[:4]:
        h = nodes @ setting.transform
        assert h == pytest.approx(np.rint(h), abs=1e-9)
        assert allowed_by_centring(np.rint(h).astype(int), setting.centring).all()


@pytest.mark.parametrize("bravais", list(CASES))
def test_the_laue_class_holds_on_the_conventional_axes(bravais):
    cell, centring = CASES[bravais]
    exact = primitive(cell, centring, 3, noise=0.0)
    best = settings_of(exact)[0]
    metric = exact.reindexed(best.transform).metric
    for r in laue_rotations(best.laue_group):
        assert np.abs(r.T @ metric @ r - metric).max() < 1e-6 * metric.max()


def test_lower_symmetries_are_offered_too():
    names = {s.bravais for s in settings_of(primitive((7, 7, 9, 90, 90, 90), "P", 1))}
    assert {"tP", "oP", "oC", "mP", "aP"} <= names
    names = {s.bravais for s in settings_of(primitive((12, 12, 12, 90, 90, 90), "I", 1))}
    assert {"cI", "hR", "tI", "oF", "mC", "aP"} <= names


def test_pseudo_symmetry_is_admitted_only_within_the_tolerance():
    cell = primitive((20.0, 19.6, 13.1, 90, 90, 90), "P", 1, noise=1e-5)
    assert settings_of(cell, 3.0)[0].bravais == "tP"
    assert settings_of(cell, 0.5)[0].bravais == "oP"
    assert settings_of(cell, 3.0)[0].strain_percent == pytest.approx(1.0, abs=0.1)


def test_chi2_tells_pseudo_from_true_symmetry():
    sigma = np.array([0.02, 0.02, 0.02, 0.05, 0.05, 0.05])
    cell = Cell(13.1, 19.6, 20.0, 90.04, 89.97, 90.02, covariance=np.diag(sigma**2))
    by_name = {}
    for s in settings_of(cell):
        by_name.setdefault(s.bravais, s)
    assert by_name["oP"].constraints == 3
    assert by_name["oP"].chi2 < 9
    assert by_name["tP"].chi2 > 100
    assert by_name["aP"].chi2 == 0
    assert by_name["aP"].constraints == 0


def test_conventions_beta_obtuse_and_lengths_in_order():
    best = settings_of(primitive((9, 8, 7, 90, 75, 90), "P", 4))[0]
    assert primitive((9, 8, 7, 90, 75, 90), "P", 4).reindexed(best.transform).beta > 90
    ortho = primitive((9, 7, 8, 90, 90, 90), "P", 5)
    best = settings_of(ortho)[0]
    assert list(ortho.reindexed(best.transform).lengths) == sorted(ortho.reindexed(best.transform).lengths)
