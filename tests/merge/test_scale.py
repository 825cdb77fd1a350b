"""Wedges scaled together: the truth is met, sigmas are right, the noise's limit is neared, odd input is borne."""

import numpy as np
import pytest

from credo.merge.error_model import chi_squares
from credo.merge.scale import pool, scale_sets
from credo.model import CannotDo, Cell, Reflections


@pytest.fixture(scope="module")
def scene(wedges):
    return wedges(7, n=25, cell=Cell(11.1, 13.7, 15.3, 90, 90, 90))


@pytest.fixture(scope="module")
def score(benchmark_module):
    return benchmark_module("merging")


@pytest.fixture(scope="module")
def scaled(scene):
    return scale_sets(pool(scene.tables), scene.cell, scene.laue_group)


def test_the_truth_is_met_as_nearly_as_the_errors_allow(scene, scaled, score):
    limit = np.sqrt(2 / np.pi) / 2 * 0.28 / np.sqrt(np.median(scaled.multiplicity))
    assert limit < score.r1(scaled.hkl, scaled.intensity, scene) < 1.5 * limit + 0.003


def test_the_error_model_is_what_the_scene_was_made_with(scaled):
    assert scaled.errors.a == pytest.approx(1.0, abs=0.1)
    assert scaled.errors.a * scaled.errors.b == pytest.approx(0.285, abs=0.03)
    assert np.abs(np.log(scaled.noise)).max() < 0.25


def test_sigmas_of_the_means_are_right_at_all_intensities_and_resolutions(scene, scaled, score):
    truth = scene.true_of(scaled.hkl)
    k = score.onto(scaled.intensity, truth, 0.25 / scene.cell.d_spacing(scaled.hkl) ** 2)
    z2 = ((k * scaled.intensity - truth) / (k * scaled.sigma)) ** 2
    for by in (truth, scene.cell.d_spacing(scaled.hkl)):
        assert all(0.75 < chi < 1.33 for _, chi in chi_squares(z2, by, 4))


def test_outliers_are_those_that_were_made(scene, scaled):
    assert 0.005 < scaled.outlier.mean() < 0.03


def test_scales_along_the_rotation_are_recovered(wedges):
    scene = wedges(3, n=12, error=0.05, outliers=0.0, widths=(15, 30), cell=Cell(11.1, 13.7, 15.3, 90, 90, 90))
    data = pool(scene.tables)
    s = scale_sets(data, scene.cell, scene.laue_group)
    strong = data.intensity > 200
    s2 = 0.25 / scene.cell.d_spacing(data.hkl[strong]) ** 2
    true = np.log(data.intensity[strong] / scene.true_of(data.hkl[strong]))
    # one scale and one B of all are not determined
    rest = true - np.log(s.scale[strong])
    fit = np.polynomial.Polynomial.fit(s2, rest, 1)
    assert np.std(true) > 0.5 and np.std(rest - fit(s2)) < 0.09


def test_a_second_scaling_from_the_first_says_the_same(scene, scaled):
    again = scale_sets(pool(scene.tables), scene.cell, scene.laue_group, near=scaled)
    assert again.intensity == pytest.approx(scaled.intensity, rel=0.02, abs=2)


def test_sets_without_angles_get_one_scale(scene):
    tables = [t.select(np.arange(len(t)) >= 0) for t in scene.tables[:6]]
    bare = [Reflections({n: t[n] for n in ("h", "k", "l", "intensity", "sigma")}) for t in tables]
    s = scale_sets(pool(bare), scene.cell, scene.laue_group)
    assert np.all(np.diff(s.knots.first) == 1) and len(s.intensity) > 500


def test_negative_and_single_observations_do_not_upset_it():
    rng = np.random.default_rng(0)
    hkl = np.array([h for h in np.ndindex(4, 4, 4) if any(h)])
    table = Reflections(h=hkl[:, 0], k=hkl[:, 1], l=hkl[:, 2], intensity=rng.normal(0, 1, 63), sigma=np.ones(63))
    s = scale_sets(pool([table]), Cell(5, 6, 7, 90, 90, 90), "mmm")
    assert np.isfinite(s.intensity).all() and np.all(s.sigma > 0)


def test_nothing_to_scale():
    with pytest.raises(CannotDo, match="no usable observations"):
        scale_sets(pool([Reflections(h=[1], k=[0], l=[0], intensity=[1], sigma=[0])]), Cell(5, 6, 7, 90, 90, 90), "mmm")
