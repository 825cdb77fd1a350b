"""Laue groups and space groups of simulated crystals; absences, centres and priors each by themselves."""

import numpy as np
import pytest

from credo.merge.absences import VIOLATIONS, Distribution, absence_evidence, centric_share, intensity_levels
from credo.merge.common_axes import on_axes
from credo.merge.scale import pool, scale_sets
from credo.merge.strain import reduce_lattice
from credo.merge.symmetry import lattice_settings, rank_laue, rank_space_groups
from credo.model import Cell, Reflections


@pytest.fixture(scope="module")
def crystals(benchmark_module):
    return benchmark_module("crystals")


def found(sample):
    """(Laue candidates, space groups) of a crystal indexed on its reduced primitive cell."""
    lattice = reduce_lattice(sample.cell, sample.group.centring_type())
    table, cell = on_axes(sample.table, lattice.basis), Cell.from_metric(lattice.metric)
    laue = rank_laue([table], cell, "P")
    table, cell = on_axes(table, laue[0].change), cell.reindexed(laue[0].change)
    s = scale_sets(pool([table]), cell, laue[0].laue_group)
    h = s.hkl
    merged = Reflections(
        h=h[:, 0], k=h[:, 1], l=h[:, 2], intensity=s.intensity, sigma=s.sigma, multiplicity=s.multiplicity
    )
    return laue, rank_space_groups(merged, cell, laue[0].laue_group, laue[0].centring, s.errors.a * s.errors.b)


@pytest.mark.parametrize(
    ("symbol", "laue", "centring"),
    [
        ("P -1", "-1", "P"), ("P 1 21/c 1", "2/m", "P"), ("C 1 2/c 1", "2/m", "CI"), ("P 21 21 21", "mmm", "P"),
        ("P b c a", "mmm", "P"), ("I 41/a", "4/m", "I"), ("R -3", "-3", "R"), ("P 63/m", "6/m", "P"),
    ],
)  # fmt: skip
def test_crystals_of_known_groups(crystals, symbol, laue, centring):
    sample = crystals.crystal(symbol, 50)
    by_laue, groups = found(sample)
    assert by_laue[0].laue_group == laue and by_laue[0].centring in centring
    assert by_laue[0].probability > 0.5
    assert sample.group.number in [g.group.number for g in groups[:3]]
    assert sum(g.probability for g in groups) == pytest.approx(1.0)
    assert [g.probability for g in groups] == sorted((g.probability for g in groups), reverse=True)


def test_mirror_images_are_one_candidate(crystals):
    _, groups = found(crystals.crystal("P 41 21 2", 50))
    pair = next(g for g in groups if g.group.number == 92)
    assert pair.twin is not None and pair.twin.number == 96
    assert not any(g.group.number == 96 for g in groups)


def test_a_group_without_a_centre_is_told_from_one_with(crystals):
    _, chiral = found(crystals.crystal("P 1 21 1", 51))
    _, centred = found(crystals.crystal("P 1 21/c 1", 51))
    assert chiral[0].centre > 0 and not chiral[0].group.is_centrosymmetric()
    assert centred[0].centre > 0 and centred[0].group.is_centrosymmetric()


def test_axes_that_show_the_symmetry_are_kept_and_others_brought():
    change, centring, laue = lattice_settings(Cell(10.02, 9.99, 14, 90, 90.1, 90), "P")[0]
    assert np.array_equal(change, np.eye(3)) and (centring, laue) == ("P", "4/mmm")
    face = reduce_lattice(Cell(10, 10, 10, 90, 90, 90), "F")
    change, centring, laue = lattice_settings(Cell.from_metric(face.metric), "P")[0]
    assert (centring, laue) == ("F", "m-3m")
    assert Cell.from_metric(face.metric).reindexed(change).parameters == pytest.approx([10, 10, 10, 90, 90, 90])


def test_a_lattice_near_two_symmetries_offers_both():
    """Rhombohedral with an angle near 90°: cubic within 3 %, and what belongs to that comes along."""
    names = {laue for _, _, laue in lattice_settings(Cell(10, 10, 10, 91, 91, 91), "P")}
    assert names == {"m-3m"}
    assert {x for _, _, x in lattice_settings(Cell(10, 10, 10, 97, 97, 97), "P")} == {"-3m1"}


def test_equivalents_within_sets_are_not_fooled_by_settings(wedges):
    """4/m: half of the sets are indexed with a and b exchanged, so that all together look like 4/mmm."""
    scene = wedges(4, n=20, cell=Cell(12.4, 12.4, 9.3, 90, 90, 90), laue_group="4/m", widths=(10, 20))
    swap = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])
    tables = [on_axes(t, swap) if k % 2 else t for k, t in enumerate(scene.tables)]
    assert rank_laue(tables, scene.cell, "P")[0].laue_group == "4/m"


@pytest.mark.parametrize("kind", ["centric", "acentric"])
def test_densities_are_normalised_and_of_the_mean_asked_for(kind):
    z = np.linspace(-3, 60, 30_000)
    p = np.exp(Distribution(z, np.full(len(z), 0.1), np.zeros(len(z))).log_density(kind, 2.0))
    assert p.sum() * (z[1] - z[0]) == pytest.approx(1.0, abs=0.01)
    assert (p * z).sum() * (z[1] - z[0]) == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("filled", [0.0, 0.1])
def test_the_centric_share_is_found_through_noise_and_filling(share, filled):
    rng = np.random.default_rng(5)
    z = rng.normal(size=1500) ** 2 if share else rng.exponential(size=1500)
    z = ((1 - filled) * z + filled) * (1 + 0.15 * rng.normal(size=1500)) + 0.1 * rng.normal(size=1500)
    f, esd = centric_share(Distribution(z, np.full(1500, 0.1), np.full(1500, 0.15)))
    assert f == pytest.approx(share, abs=0.2) and esd < 0.15


@pytest.mark.parametrize(("strength", "sign"), [(0.0, 1), (0.05, 1), (1.0, -1)])
def test_absent_reflections_may_be_filled_but_not_present(strength, sign):
    rng = np.random.default_rng(6)
    z = strength * rng.exponential(size=12) + 0.03 * rng.normal(size=12)
    data = Distribution(z, np.full(12, 0.03), np.full(12, 0.1))
    absent = np.array([data.log_density("acentric", v) for v in VIOLATIONS])
    assert sign * absence_evidence(data.log_density("acentric"), absent) > 3
    assert absence_evidence(np.empty(0), np.empty((5, 0))) == 0


def test_levels_follow_the_fall_of_intensities():
    rng = np.random.default_rng(7)
    s2 = rng.random(4000)
    intensity = np.exp(-3 * s2) * rng.exponential(size=4000)
    assert intensity_levels(s2, intensity) == pytest.approx(np.exp(-3 * s2), rel=0.3)
