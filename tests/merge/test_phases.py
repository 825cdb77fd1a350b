"""Phases found with their number, junk left out, settings resolved in the same pass, more sets placed."""

import numpy as np
import pytest

from credo.merge.agglomerates import mixtures
from credo.merge.ambiguity import changes_of_setting
from credo.merge.intensities import correlations
from credo.merge.live_intensities import add_to_phases, correlations_with
from credo.merge.log_intensities import log_intensities
from credo.merge.phases import find_phases
from credo.merge.subgroups import subgroups
from credo.model import Cell, Reflections
from credo.physics.symmetry import laue_rotations

CELL = Cell(6.5, 7.6, 8.9, 95.0, 102.0, 107.0)
FRIEDEL = laue_rotations("-1")


@pytest.mark.parametrize("sizes", [(14,), (12, 8), (10, 8, 6)])
def test_the_number_of_phases_is_found(mixed, sizes):
    sets, truth = mixed(sizes, 140, 2)
    found = find_phases(log_intensities(sets, CELL, FRIEDEL))
    assert np.array_equal(found.labels, truth - 1), "junk must be in none, everything else in its own"
    assert np.allclose(found.posterior.sum(axis=1), 1)
    assert found.posterior[np.arange(len(sets)), found.labels].min() > 0.9


def test_sets_that_share_nothing_find_their_phase_through_others(mixed):
    sets, truth = mixed((16, 10), 140, 0, seed=3)
    data = log_intensities(sets, CELL, FRIEDEL)
    ids = [set(data.ids[data.rows(d)].tolist()) for d in (0, 1)]
    first = np.isin(np.arange(len(sets[0])), np.arange(0, len(sets[0]), 2))
    halves = [sets[0].select(first), sets[0].select(~first), *sets[2:]]
    found = find_phases(log_intensities(halves, CELL, FRIEDEL))
    assert ids[0] & ids[1] and found.labels[0] == found.labels[1] == 0
    assert np.array_equal(found.labels, truth - 1)


def test_junk_alone_is_no_phase(mixed):
    sets, _ = mixed((), 140, 8)
    found = find_phases(log_intensities(sets, CELL, FRIEDEL))
    assert len(found) == 0 and np.all(found.labels == -1) and found.posterior.shape == (8, 1)


def test_empty_sets_and_one_set(mixed, nothing):
    sets, _ = mixed((1,), 100, 0)
    for some in ([nothing], [nothing, nothing], sets, [*sets, nothing]):
        found = find_phases(log_intensities(some, CELL, FRIEDEL))
        assert np.all(found.labels == -1) and len(found) == 0


def test_the_order_of_the_sets_does_not_matter(mixed):
    sets, truth = mixed((12, 8), 120, 2, seed=1)
    order = np.random.default_rng(0).permutation(len(sets))
    again = find_phases(log_intensities([sets[i] for i in order], CELL, FRIEDEL)).labels
    assert np.array_equal(again, truth[order] - 1)


def test_the_noise_is_estimated(mixed):
    sets, _ = mixed((20,), 200, 0)
    found = find_phases(log_intensities(sets, CELL, FRIEDEL))
    assert 0.15 < np.sqrt(found.sigma2) < 0.4, "0.25 was put in"


def test_leaving_a_set_out_is_what_adding_it_put_in(mixed):
    sets, _ = mixed((8,), 100, 0)
    found = find_phases(log_intensities(sets, CELL, FRIEDEL))
    weight, _ = found.without(2)
    r = found.data.rows(2)
    assert (found.weight[0] - weight[0])[found.data.ids[r]] == pytest.approx(found.share[r])


@pytest.mark.parametrize("laue_group, cell", [("4/m", (9, 9, 7, 90, 90, 90)), ("-3", (9, 9, 7, 90, 90, 120))])
def test_settings_are_resolved(indexed_at_random, laue_group, cell):
    sets, which, changes = indexed_at_random(Cell(*cell), laue_group, 16, 90)
    data = log_intensities(sets, Cell(*cell), changes.core, changes.operators)
    found = find_phases(data, changes.product)
    assert np.all(found.labels == 0)
    right = [np.array_equal(changes.product[which, g], found.settings) for g in range(len(changes.operators))]
    assert any(right), "apart from one change that is common to all"


def test_two_phases_in_ambiguous_settings(indexed_at_random):
    cell = Cell(9, 9, 7, 90, 90, 90)
    one, w1, changes = indexed_at_random(cell, "4/m", 12, 90, seed=1)
    two, w2, _ = indexed_at_random(cell, "4/m", 10, 90, seed=2)
    found = find_phases(log_intensities([*one, *two], cell, changes.core, changes.operators), changes.product)
    assert np.array_equal(found.labels, [0] * 12 + [1] * 10)
    for which, settings in ((w1, found.settings[:12]), (w2, found.settings[12:])):
        assert np.array_equal(which, settings) or np.array_equal(1 - which, settings)


def test_agglomerates_are_told(mixed):
    sets, truth = mixed((12, 9), 300, 1, seed=2)
    first, second = sets[0], sets[12]
    shared = {tuple(h): i for i, h in enumerate(second.hkl.tolist())}
    rows = np.array([(i, shared[tuple(h)]) for i, h in enumerate(first.hkl.tolist()) if tuple(h) in shared])
    a, b = (x["intensity"][rows[:, k]] / np.mean(x["intensity"]) for k, x in enumerate((first, second)))
    h = first.hkl[rows[:, 0]]
    both = Reflections(
        h=h[:, 0], k=h[:, 1], l=h[:, 2], intensity=1000 * (0.5 * a + 0.5 * b), sigma=20 * np.ones(len(h))
    )
    found = find_phases(log_intensities([*sets, both], CELL, FRIEDEL))
    mixed_up = mixtures(found)
    assert mixed_up[-1] is not None and mixed_up[-1].gain > 10 and 0.25 < mixed_up[-1].share < 0.75
    assert max(m.gain for m, t in zip(mixed_up, truth) if t > 0 and m is not None) < 3


def test_subgroups_are_sets_that_deviate_alike(mixed):
    sets, _ = mixed((8,), 1100, 0)
    rng = np.random.default_rng(5)
    keys = {tuple(h): 0.5 * rng.normal() for s in sets for h in s.hkl.tolist()}
    for d in range(4):
        bend = np.exp([keys[tuple(h)] for h in sets[d].hkl.tolist()])
        sets[d] = sets[d].with_columns(intensity=sets[d]["intensity"] * bend, sigma=sets[d]["sigma"] * bend)
    found = find_phases(log_intensities(sets, CELL, FRIEDEL))
    assert len(found) == 1 and subgroups(found).tolist() == [0] * 4 + [1] * 4


def test_one_kind_of_crystal_has_no_subgroups(mixed):
    sets, _ = mixed((10, 8), 200, 0)
    assert np.all(subgroups(find_phases(log_intensities(sets, CELL, FRIEDEL))) == -1)


def test_more_sets_are_placed_one_by_one(mixed, nothing):
    sets, truth = mixed((12, 9), 140, 2, seed=4)
    early = np.flatnonzero(np.arange(len(sets)) % 3 != 0)
    found = find_phases(log_intensities([sets[i] for i in early], CELL, FRIEDEL))
    names = {int(k): int(truth[early][found.labels == k][0]) for k in range(len(found))}
    for i in sorted(set(range(len(sets))) - set(early.tolist())):
        placed = add_to_phases(found, sets[i])
        found = placed.phases
        assert names.get(placed.label, 0) == truth[i]
    assert len(found.labels) == len(found.data) == len(sets)
    assert add_to_phases(found, nothing).label == -1


def test_cc_with_one_more_set_is_the_row_of_all_pairs(mixed):
    sets, _ = mixed((6,), 150, 0)
    table = log_intensities(sets, CELL, FRIEDEL).table()
    cc, n = correlations_with(table, table[-1])
    every, common = correlations(table)
    assert np.allclose(cc, every[-1], atol=1e-10, equal_nan=True) and np.array_equal(n, common[-1])


def test_changes_are_those_of_the_lattice():
    assert len(changes_of_setting(CELL, "-1").operators) == 1
