"""Log intensities without scale and fall-off, closed under changes of setting; one more set among others."""

import numpy as np
import pytest

from credo.merge.ambiguity import changes_of_setting
from credo.merge.log_intensities import KNEE, log_intensities
from credo.model import Cell, Reflections
from credo.physics.symmetry import laue_rotations

CELL = Cell(6.5, 7.6, 8.9, 95.0, 102.0, 107.0)
FRIEDEL = laue_rotations("-1")


def test_scale_and_fall_off_do_not_matter(mixed):
    sets, _ = mixed((6,), 300, 0)
    s2 = 0.25 / CELL.d_spacing(sets[0].hkl) ** 2
    other = sets[0].with_columns(
        intensity=7e4 * sets[0]["intensity"] * np.exp(-3 * s2), sigma=7e4 * sets[0]["sigma"] * np.exp(-3 * s2)
    )
    a, b = log_intensities(sets, CELL, FRIEDEL), log_intensities([other, *sets[1:]], CELL, FRIEDEL)
    one, two = a.table()[0], b.table()[0]
    both = np.isfinite(one) & np.isfinite(two)
    assert np.std(one[both] - two[both]) < 0.1 < 0.5 < np.std(one[both])


def test_noise_beyond_the_resolution_leaves_no_set_empty():
    """Integrated farther than the crystals diffract: shells whose mean is a little below zero."""
    rng = np.random.default_rng(3)
    hkl = np.array([(h, k, l) for h in range(-9, 10) for k in range(-9, 10) for l in range(1, 10)])
    d = CELL.d_spacing(hkl)
    sets = []
    for scale in (1.0, 4.0, 0.3):
        intensity = np.where(d > 1.6, rng.exponential(50 * scale, len(d)), 0.0) + rng.normal(-0.3, 1, len(d))
        sets.append(Reflections(h=hkl[:, 0], k=hkl[:, 1], l=hkl[:, 2], intensity=intensity, sigma=np.ones(len(d))))
    assert (log_intensities(sets, CELL, FRIEDEL).counts > 100).all()


def test_equivalents_become_one():
    r = Reflections(h=[1, -1, 2, 0], k=[2, -2, 0, 1], l=[3, -3, 0, 4], intensity=[40.0, 50, 9, 30], sigma=np.ones(4))
    data = log_intensities([r], CELL, FRIEDEL)
    assert data.counts.tolist() == [3] and len(data.hkl) == 3


def test_images_are_the_same_reflections_in_other_settings():
    cell = Cell(9, 9, 7, 90, 90, 90)
    changes = changes_of_setting(cell, "4/m")
    r = Reflections(h=[1, 3, 2], k=[2, 1, 2], l=[3, 1, 0], intensity=[5.0, 6, 7], sigma=np.ones(3))
    data = log_intensities([r], cell, changes.core, changes.operators)
    assert np.array_equal(np.sort(data.images[1]), np.arange(len(data.hkl)))
    assert np.array_equal(data.images[1][data.images[1]], np.arange(len(data.hkl))), "a twofold change undoes itself"
    assert len(data.hkl) == 5 and data.counts.tolist() == [3], "hk0 with h = k stays where it is"


def test_changes_that_are_no_group_are_refused():
    r = Reflections(h=[1, 3, 2], k=[2, 1, 2], l=[3, 1, 0], intensity=[5.0, 6, 7], sigma=np.ones(3))
    shear = np.array([np.eye(3), [[1, 1, 0], [0, 1, 0], [0, 0, 1]]])
    with pytest.raises(ValueError, match="no group"):
        log_intensities([r], CELL, FRIEDEL, shear)


def test_sets_without_positive_intensities_have_no_rows(mixed, nothing):
    sets, _ = mixed((3,), 100, 0)
    dark = sets[0].with_columns(intensity=-np.abs(sets[0]["intensity"]))
    wrong = sets[0].with_columns(sigma=np.zeros(100))
    data = log_intensities([*sets, dark, wrong, nothing], CELL, FRIEDEL)
    assert data.counts[3:].tolist() == [0, 0, 0] and np.all(data.counts[:3] > 50)
    assert np.all(np.isfinite(data.y)) and np.all(data.v > 0)
    assert len(log_intensities([nothing], CELL, FRIEDEL).y) == 0


def test_rejected_rows_are_left_out(mixed):
    sets, _ = mixed((3,), 100, 0)
    mask = np.arange(100) < 40
    with_mask = sets[0].with_columns(rejected=mask)
    few, all_of_them = (log_intensities([s, *sets[1:]], CELL, FRIEDEL).counts[0] for s in (with_mask, sets[0]))
    assert few <= 60 < all_of_them


def test_observing_a_known_set_gives_what_is_there(mixed):
    sets, _ = mixed((10,), 200, 0)
    data = log_intensities(sets, CELL, FRIEDEL)
    one = data.observe(sets[4])
    assert np.array_equal(one.ids, data.ids[data.rows(4)])
    assert np.abs(one.y - data.y[data.rows(4)]).max() < 0.2
    both = data.with_sets(one)
    assert len(both) == 11 and np.array_equal(both.y[both.rows(10)], one.y)


def test_observing_leaves_new_reflections_out(mixed, nothing):
    sets, _ = mixed((3,), 60, 0)
    data = log_intensities(sets, CELL, FRIEDEL)
    far = sets[0].with_columns(hkl=sets[0].hkl + 40)
    assert data.observe(far).counts.tolist() == [0] and data.observe(nothing).counts.tolist() == [0]


def test_thinning_keeps_families_together(mixed):
    cell = Cell(9, 9, 7, 90, 90, 90)
    changes = changes_of_setting(cell, "4/m")
    sets, _ = mixed((4,), 700, 0)
    data = log_intensities(sets, cell, changes.core, changes.operators)
    thin = data.thinned(100)
    kept = np.zeros(len(data.hkl), dtype=bool)
    kept[thin.ids] = True
    measured = np.zeros(len(data.hkl), dtype=bool)
    measured[data.ids] = True
    assert 60 < np.median(thin.counts) < 150
    assert np.array_equal(kept[measured], kept[data.images[1]][measured] | (kept[measured])), "no half families"
    assert 0 < KNEE < 0.3
