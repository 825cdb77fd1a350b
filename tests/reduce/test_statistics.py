"""Merging statistics: agreement with gemmi and with XDS, definitions by hand, and the resolution they lead to."""

import gemmi
import numpy as np
import pytest

from credo.io.reflection_files import read_any
from credo.io.xds_lp import read_lp
from credo.model import Cell, Reflections
from credo.physics.ewald import miller_indices
from credo.physics.symmetry import LAUE_CLASSES, laue_rotations, unique_reflections
from credo.reduce.equivalents import merge_equivalents
from credo.reduce.statistics import Shell, Statistics, cc_half, find_resolution, merging_statistics, wilson

CELL = Cell(9.0, 9.0, 13.0, 90, 90, 90)


def observed(laue="4/mmm", d_min=1.2, noise=0.1, share=0.7, decay=4.0, seed=0, cell=CELL):
    """Every Laue equivalent with a true intensity of its orbit, relative noise and a floor; some are missing."""
    rng = np.random.default_rng(seed)
    hkl = miller_indices(cell.B, d_min)
    hkl = hkl[rng.random(len(hkl)) < share]
    unique, group = unique_reflections(hkl, laue_rotations(laue))
    s2 = 1 / cell.d_spacing(hkl) ** 2
    true = 1000 * rng.exponential(size=len(unique))[group] * np.exp(-decay * s2 / 2)
    sigma = np.hypot(noise * true, 5.0)
    return Reflections(
        h=hkl[:, 0], k=hkl[:, 1], l=hkl[:, 2], intensity=true + rng.normal(0, sigma), sigma=sigma,
        d=1 / np.sqrt(s2),
    )  # fmt: skip


def gemmis(table, laue, weights):
    i = gemmi.Intensities()
    i.set_data(
        gemmi.UnitCell(*CELL.parameters), gemmi.SpaceGroup(LAUE_CLASSES[laue]), table.hkl.astype(np.int32),
        table["intensity"], table["sigma"],
    )  # fmt: skip
    i.type = gemmi.DataType.Unmerged
    i.prepare_for_merging(gemmi.DataType.Mean)
    return i.calculate_merging_stats(None, use_weights=weights)[0]


@pytest.mark.parametrize("laue", ["-1", "2/m", "mmm", "4/m", "4/mmm"])
@pytest.mark.parametrize("weighted", [True, False])
def test_r_factors_are_gemmis(laue, weighted):
    table = observed()
    ours = merging_statistics(table, CELL, laue, weighted=weighted).overall
    theirs = gemmis(table, laue, "Y" if weighted else "U")
    assert ours.observations == theirs.all_refl == len(table)
    assert ours.unique == theirs.unique_refl
    assert ours.pairs == theirs.stats_refl
    assert ours.r_int == pytest.approx(theirs.r_merge(), rel=1e-6)
    assert ours.r_meas == pytest.approx(theirs.r_meas(), rel=1e-6)
    assert ours.r_pim == pytest.approx(theirs.r_pim(), rel=1e-6)


def test_cc_half_is_that_of_random_halves():
    copies = Reflections.concatenate([observed("-1", noise=0.0, seed=3, decay=8.0)] * 4)
    rng = np.random.default_rng(1)
    n = len(copies)
    copies = copies.with_columns(intensity=copies["intensity"] + rng.normal(0, 300, n), sigma=np.full(n, 300.0))
    ours = merging_statistics(copies, CELL, "-1", weighted=False).overall
    _, group = unique_reflections(copies.hkl, laue_rotations("-1"))
    halves = []
    for _ in range(20):
        order = np.lexsort((rng.random(len(group)), group))
        rank = np.empty(len(group), int)
        rank[order] = np.arange(len(group)) - np.searchsorted(group[order], group[order])
        means = [
            np.bincount(group[rank % 2 == s], copies["intensity"][rank % 2 == s], group.max() + 1)
            / np.maximum(np.bincount(group[rank % 2 == s], minlength=group.max() + 1), 1)
            for s in (0, 1)
        ]
        halves.append(np.corrcoef(*means)[0, 1])
    assert ours.cc_half == pytest.approx(np.mean(halves), abs=0.02)
    assert 0.3 < ours.cc_half < 0.99


def test_cc_half_by_hand():
    # means 1 2 3 4 (variance 5/3) whose own variance is 1/3
    assert cc_half(np.array([1.0, 2, 3, 4]), np.full(4, 1 / 3)) == pytest.approx((5 / 3 - 1 / 3) / (5 / 3 + 1 / 3))
    assert np.isnan(cc_half(np.array([1.0, 2]), np.ones(2)))


def test_single_observations_and_rejected_ones_do_not_enter():
    table = Reflections(
        h=[1, -1, 2, 3, 3], k=[0, 0, 0, 0, 0], l=[0, 0, 0, 0, 0], intensity=[10.0, 14.0, 500.0, 100.0, 9e9],
        sigma=[1.0, 1.0, 1.0, 1.0, 1.0], rejected=np.array([False, False, False, False, True]),
    )  # fmt: skip
    s = merging_statistics(table, CELL, "-1").overall
    assert (s.observations, s.unique, s.pairs) == (4, 3, 1)
    assert s.r_int == pytest.approx(4 / 24)
    assert s.r_meas == pytest.approx(4 / 24 * np.sqrt(2))
    assert s.r_pim == pytest.approx(4 / 24)


def test_completeness_counts_what_the_symmetry_and_the_centring_allow():
    whole = observed(share=1.0)
    s = merging_statistics(whole, CELL, "4/mmm")
    assert s.overall.completeness == 1.0
    assert all(shell.completeness == 1.0 for shell in s.shells)
    assert sum(shell.possible for shell in s.shells) == s.overall.possible
    body = whole.select(whole.hkl.sum(axis=1) % 2 == 0)
    assert merging_statistics(body, CELL, "4/mmm", "I").overall.completeness == 1.0
    assert merging_statistics(body, CELL, "4/mmm", "P").overall.completeness == pytest.approx(0.5, abs=0.03)
    half = whole.select(whole["l"] > 3)
    assert merging_statistics(half, CELL, "4/mmm").overall.completeness < 0.9


def test_a_lower_limit_leaves_out_what_is_beyond():
    table = observed()
    s = merging_statistics(table, CELL, "4/mmm", d_min=2.0)
    assert s.overall.observations == np.sum(table["d"] >= 2.0)
    assert s.overall.d_min == pytest.approx(2.0, rel=1e-6)


def shells(cc, pairs=100, i_over_sigma=None):
    edges = np.linspace(0.02, 1.0, len(cc) + 1)
    ratio = i_over_sigma or [5.0] * len(cc)
    made = tuple(
        Shell(1 / np.sqrt(a), 1 / np.sqrt(b), 400, 120, 130, 0.9, 3.3, r, 0.1, 0.1, 0.1, c, 0.9, pairs, 9.0)
        for a, b, c, r in zip(edges[:-1], edges[1:], cc, ratio)
    )
    return Statistics("mmm", made[0], made)


def test_the_resolution_is_where_cc_half_falls_to_the_level():
    s2 = np.linspace(0.02, 1.0, 11)
    s2 = 0.5 * (s2[1:] + s2[:-1])
    cc = 0.5 * (1 - np.tanh((s2 - 0.5) / 0.1))
    found, by = find_resolution(shells(cc))
    exact = 0.5 + 0.1 * np.arctanh(1 - 2 * 0.3)
    assert by == "cc_half"
    assert 1 / found**2 == pytest.approx(exact, abs=0.04)
    # one shell that falls out does not decide
    odd = cc.copy()
    odd[2] = 0.2
    assert 1 / find_resolution(shells(odd))[0] ** 2 == pytest.approx(exact, abs=0.05)
    # data that stay good end where they end
    assert find_resolution(shells(np.full(10, 0.98)))[0] == pytest.approx(1.0, abs=0.01)


def test_without_equivalents_the_signal_decides():
    ratio = [8.0, 6.0, 4.0, 3.0, 2.0, 1.5, 0.5, 0.2, 0.1, 0.0]
    found, by = find_resolution(shells([0.9] * 10, pairs=5, i_over_sigma=ratio))
    assert by == "i_over_sigma"
    # half way between the middles of the shells of 1.5 and 0.5
    assert 1 / found**2 == pytest.approx(0.02 + 0.098 * 6, abs=1e-6)


@pytest.mark.parametrize(("centric", "expected"), [(True, 0.968), (False, 0.736)])
def test_wilson_statistics_of_random_structures(centric, expected):
    rng = np.random.default_rng(5)
    hkl = miller_indices(Cell(20, 21, 22, 90, 90, 90).B, 1.5)
    hkl = unique_reflections(hkl, laue_rotations("-1"))[0]
    cell = Cell(20, 21, 22, 90, 90, 90)
    s2 = 0.25 / cell.d_spacing(hkl) ** 2
    e2 = rng.normal(size=len(hkl)) ** 2 if centric else rng.exponential(size=len(hkl))
    merged = Reflections(
        h=hkl[:, 0], k=hkl[:, 1], l=hkl[:, 2], intensity=1e4 * e2 * np.exp(-2 * 7.0 * s2), sigma=np.full(len(e2), 1.0)
    )
    found = wilson(merged, cell)
    assert found.b == pytest.approx(7.0, abs=0.6)
    assert found.e2_minus_1 == pytest.approx(expected, abs=0.03)


def test_merging_takes_no_rejected_rows_and_gives_weighted_means():
    table = Reflections(
        h=[1, -1, 1, 2], k=[0, 0, 0, 0], l=[2, -2, 2, 0], intensity=[10.0, 20.0, 900.0, 5.0],
        sigma=[1.0, 2.0, 1.0, 3.0], overloaded=np.array([False, False, True, False]), d=[3.0, 3.0, 3.0, 4.0],
    )  # fmt: skip
    merged = merge_equivalents(table, "-1")
    assert len(merged) == 2
    first = int(np.argmax(merged["multiplicity"]))
    assert merged["intensity"][first] == pytest.approx((10 + 20 / 4) / 1.25)
    assert merged["multiplicity"].tolist() == [2, 1] if first == 0 else [1, 2]
    # two that disagree are less certain than counting says, one alone is not
    assert merged["sigma"][first] > 1 / np.sqrt(1.25)
    assert merged["sigma"][1 - first] == pytest.approx(3.0)
    assert merged["d"][first] == 3.0


@pytest.mark.data
def test_statistics_are_those_of_xds_on_lta(shared_data):
    folder = shared_data / "lta_stw_xds" / "LTA_t1_CORRECT_run"
    experiment, table = read_any(folder / "XDS_ASCII.HKL.gz")
    total = read_lp(folder / "CORRECT.LP").total
    ours = merging_statistics(table, experiment.crystal.cell, "m-3m").overall
    assert (ours.observations, ours.unique, ours.possible) == (total.observed, total.unique, total.possible)
    assert ours.pairs < ours.unique
    assert ours.completeness == pytest.approx(total.completeness, abs=5e-4)
    assert ours.r_int == pytest.approx(total.r_observed, abs=1e-3)
    assert ours.r_meas == pytest.approx(total.r_meas, abs=1e-3)
    assert ours.i_over_sigma == pytest.approx(total.i_over_sigma, abs=0.01)
    # XDS averages random halves; ours is the sigma-tau method on weighted means
    assert ours.cc_half == pytest.approx(total.cc_half, abs=0.02)
