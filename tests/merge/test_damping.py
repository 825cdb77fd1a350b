"""Crystals of different thickness damp strong reflections: found with the true |F|, taken out, and never invented."""

import numpy as np
import pytest

from credo.merge.damping import undamped
from credo.merge.scale import pool, scale_sets
from credo.model import Cell
from credo.physics.two_beam import blackman, phase_per_amplitude

CELL = Cell(11.1, 13.7, 15.3, 90, 90, 90)
#: Wavelength [Å]; thicknesses [Å]; |F|² [Å²] where the intensity is 1000: A = 0.3, 0.7, 1.2 there.
WAVE, THICK, F2 = 0.02508, (400.0, 900.0, 1600.0), 2500.0


@pytest.fixture(scope="module")
def score(benchmark_module):
    return benchmark_module("merging")


def measured(wedges, thicknesses, seed=5):
    """A scene of long rotations with the damping put in, and |F|² of any indices."""
    n = len(thicknesses)
    scene = wedges(seed, n=n, cell=CELL, widths=(110, 119), outliers=0.0)
    per = phase_per_amplitude(WAVE, CELL.volume)
    for d, (t, table) in enumerate(zip(thicknesses, scene.tables)):
        b = blackman(per * t * np.sqrt(squares(scene, table.hkl)))
        scene.tables[d] = table.with_columns(intensity=table["intensity"] * b, sigma=table["sigma"] * np.sqrt(b))
    return scene


def squares(scene, hkl):
    return F2 / 1000 * scene.true_of(hkl)


@pytest.fixture(scope="module")
def damped(wedges):
    scene = measured(wedges, THICK)
    data = pool(scene.tables)
    return scene, data, scale_sets(data, scene.cell, scene.laue_group)


def test_the_thickness_is_found_and_the_truth_met(damped, score):
    scene, data, before = damped
    _, after, found = undamped(data, before, squares(scene, before.hkl), scene.cell, scene.laue_group, WAVE)
    assert found.applied and found.crystals > 10 and found.gain.sum() > 50
    assert np.allclose(found.thickness, THICK, rtol=0.15, atol=60)
    assert score.r1(after.hkl, after.intensity, scene) < 0.6 * score.r1(before.hkl, before.intensity, scene)


def test_a_model_that_is_off_serves_as_well(damped, score):
    scene, data, before = damped
    rng = np.random.default_rng(1)
    f2 = squares(scene, before.hkl) * np.exp(0.15 * rng.normal(size=len(before.hkl)))
    f2[::7] = np.nan
    _, after, found = undamped(data, before, f2, scene.cell, scene.laue_group, WAVE)
    assert found.applied and np.allclose(found.thickness, THICK, rtol=0.3, atol=100)
    known = np.isfinite(f2)
    r = [score.r1(s.hkl[known], s.intensity[known], scene) for s in (before, after)]
    assert r[1] < 0.8 * r[0]
    assert (found.factor[~known[before.of]] == 1).all()


def test_nothing_is_taken_out_of_kinematical_data(wedges):
    scene = measured(wedges, (0.0, 0.0, 0.0))
    data = pool(scene.tables)
    before = scale_sets(data, scene.cell, scene.laue_group)
    same, after, found = undamped(data, before, squares(scene, before.hkl), scene.cell, scene.laue_group, WAVE)
    assert not found.applied and "no better" in found.reason
    assert same is data and after is before


def test_a_wrong_structure_takes_nothing_out(damped):
    scene, data, before = damped
    f2 = np.random.default_rng(2).permutation(squares(scene, before.hkl))
    _, _, found = undamped(data, before, f2, scene.cell, scene.laue_group, WAVE)
    assert not found.applied and "does not explain" in found.reason


def test_one_crystal_suffices_with_a_structure(damped, score):
    scene, data, _ = damped
    one = data.select(data.dataset == 2)
    before = scale_sets(one, scene.cell, scene.laue_group)
    _, after, found = undamped(one, before, squares(scene, before.hkl), scene.cell, scene.laue_group, WAVE)
    assert found.applied and found.crystals == 0
    assert found.thickness[2] == pytest.approx(THICK[2], rel=0.15) and np.isnan(found.thickness[:2]).all()
    assert score.r1(after.hkl, after.intensity, scene) < 0.6 * score.r1(before.hkl, before.intensity, scene)


def test_few_reflections_say_nothing(damped):
    scene, data, _ = damped
    few = data.select(np.arange(0, len(data), len(data) // 60))
    before = scale_sets(few, scene.cell, scene.laue_group)
    _, _, found = undamped(few, before, squares(scene, before.hkl), scene.cell, scene.laue_group, WAVE)
    assert not found.applied and not np.isfinite(found.thickness).any()
