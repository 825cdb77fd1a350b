"""Indexing: the lattice, its symmetry, the axis and its hand from spots alone, in easy and in hard geometry."""

import numpy as np
import pytest

from credo.model import CannotDo, Reflections
from credo.reduce.index import IndexSettings, index, nearest_nodes

MONOCLINIC = (5.1, 12.0, 9.5, 90, 100, 90)


def turned(found, truth):
    """Angle between two rotation axes, the hand included [deg]."""
    cosine = found.goniometer.axis @ truth.goniometer.axis
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


@pytest.mark.parametrize(
    ("cell", "centring", "laue", "how"),
    [
        (MONOCLINIC, "P", "2/m", {"beam_off": (6.0, -5.0)}),
        ((7.0, 9.0, 11.0, 80, 95, 101), "P", "-1", {"spurious": 0.25}),
        ((12.0, 12.0, 12.0, 90, 90, 90), "I", "m-3m", {"ellipse": 1.0}),
        ((18.1, 20.5, 7.5, 90, 90, 90), "C", "mmm", {"n": 80}),
    ],
)
def test_lattice_symmetry_axis_and_hand_are_found(spot_scene, lattices_agree, cell, centring, laue, how):
    scene = spot_scene(cell, centring, seed=11, **how)
    found, table, report = index(scene.guess, scene.spots)
    numbers = report.numbers
    assert lattices_agree(found.crystal, scene.truth.crystal)
    assert (found.crystal.centring, found.crystal.laue_group) == (centring, laue)
    assert sorted(found.crystal.cell.lengths) == pytest.approx(sorted(cell[:3]), rel=0.005)
    assert turned(found, scene.truth) < 1.0
    assert numbers["hand_score"]["this"] > numbers["hand_score"]["opposite"]
    assert numbers["indexed_fraction"] > 0.93 / (1 + how.get("spurious", 0))
    assert numbers["n_indexed"] == np.sum(table["lattice"] >= 0)
    assert sum(c["chosen"] for c in numbers["bravais_candidates"]) == 1
    assert numbers["lattices"] == 1
    # every index given is that of the node next to the spot
    assert len(table) == len(scene.spots)
    assert np.all(table.hkl[table["lattice"] < 0] == 0)


def test_a_known_cell_and_axis_index_few_spots(spot_scene, lattices_agree):
    scene = spot_scene(MONOCLINIC, seed=12, n=30, most=40, known_axis=True)
    settings = IndexSettings(cell=MONOCLINIC, centring="P", axis=False)
    found, table, _ = index(scene.guess, scene.spots, settings)
    assert lattices_agree(found.crystal, scene.truth.crystal, percent=3)
    assert np.mean(table["lattice"] == 0) > 0.8


def test_a_known_cell_is_found_at_another_camera_length_and_refused_where_it_is_not(spot_scene, lattices_agree):
    cell = (15.2, 8.0, 7.5, 90, 90, 90)
    scene = spot_scene(cell, "C", seed=19, known_axis=True)
    told = scene.guess.detector.replace(q_per_pixel=scene.truth.detector.q_per_pixel / 1.1)
    settings = IndexSettings(cell=cell, centring="C", axis=False)
    found, _, _ = index(scene.guess.replace(detector=told), scene.spots, settings)
    assert sorted(found.crystal.cell.lengths) == pytest.approx([1.1 * x for x in (7.5, 8.0, 15.2)], rel=0.004)
    assert found.crystal.centring == "C"
    other = IndexSettings(cell=(9.0, 9.0, 21.0, 90, 90, 90), centring="I", axis=False)
    with pytest.raises(CannotDo, match="no lattice of the known shape") as refused:
        index(scene.guess, scene.spots, other)
    assert "leave out --cell" in refused.value.remedy


def test_a_wrong_axis_of_the_file_is_found_out(spot_scene, lattices_agree):
    scene = spot_scene(MONOCLINIC, seed=13, axis_deg=75.0)
    wrong = scene.guess.replace(known=("axis",))
    found, _, report = index(wrong, scene.spots)
    assert lattices_agree(found.crystal, scene.truth.crystal)
    assert turned(found, scene.truth) < 1.0
    assert any("rotation axis is at 7" in w and "the data decide" in w for w in report.warnings)


def test_a_wrong_camera_length_does_not_pass_for_an_ellipse_and_a_strain(spot_scene, lattices_agree):
    scene = spot_scene((11.4, 18.3, 14.4, 90, 90, 90), "I", seed=18, n=90, ellipse=3.0, known_axis=True)
    told = scene.guess.detector.replace(q_per_pixel=scene.truth.detector.q_per_pixel / 1.08)
    found, _, report = index(scene.guess.replace(detector=told), scene.spots)
    assert (found.crystal.centring, found.crystal.laue_group) == ("I", "mmm")
    # the scale stays the file's: it is not for the indexing to change
    assert found.detector.q_per_pixel == pytest.approx(told.q_per_pixel, rel=1e-9)
    assert sorted(found.crystal.cell.lengths) == pytest.approx([11.4 * 1.08, 14.4 * 1.08, 18.3 * 1.08], rel=0.003)
    e, true = found.detector.ellipse.components, scene.truth.detector.ellipse.components
    assert e == pytest.approx(true, abs=0.002)
    # metric constraints were judged fairly: the right ones fit within the cell's own uncertainty
    chosen = next(c for c in report.numbers["bravais_candidates"] if c["chosen"])
    assert chosen["chi2_per_constraint"] < 4


def test_two_crystals_are_told_apart(spot_scene, lattices_agree):
    a = spot_scene(MONOCLINIC, seed=14, axis_deg=75.0, most=350)
    b = spot_scene(MONOCLINIC, seed=15, axis_deg=75.0, most=200)
    both = Reflections({k: np.concatenate([a.spots[k], b.spots[k]]) for k in a.spots})
    found, table, report = index(a.guess, both)
    assert report.numbers["lattices"] == 2
    assert lattices_agree(found.crystals[0], a.truth.crystal)
    assert lattices_agree(found.crystals[1], b.truth.crystal)
    mine = len(a.spots)
    assert np.mean(table["lattice"][:mine] == 0) > 0.9
    assert np.mean(table["lattice"][mine:] == 1) > 0.85
    assert any("second crystal" in w for w in report.warnings)
    alone, _, report = index(a.guess, both, IndexSettings(max_lattices=1))
    assert len(alone.crystals) == 1


def test_badly_measured_spots_are_no_second_crystal(spot_scene):
    scene = spot_scene(MONOCLINIC, seed=20, known_axis=True)
    rng = np.random.default_rng(3)
    bad = rng.random(len(scene.spots)) < 0.3
    shift = bad * rng.normal(0, 6.0, (2, len(bad)))
    spots = scene.spots.with_columns(x=scene.spots["x"] + shift[0], y=scene.spots["y"] + shift[1])
    _, table, report = index(scene.guess, spots, IndexSettings(axis=False))
    assert report.numbers["lattices"] == 1
    assert np.mean(table["lattice"][~bad] == 0) > 0.95


def test_noise_and_too_few_spots_are_refused_with_a_remedy(spot_scene):
    scene = spot_scene(MONOCLINIC, seed=16)
    with pytest.raises(CannotDo, match="only 9 spots") as few:
        index(scene.guess, scene.spots.select(np.arange(9)))
    assert "--cell" in few.value.remedy
    rng = np.random.default_rng(0)
    n = 150
    stray = scene.spots.select(np.arange(n)).with_columns(
        x=rng.uniform(0, 516, n), y=rng.uniform(0, 516, n), phi=rng.uniform(-30, 30, n)
    )
    stray = stray.with_columns(frame=(stray["phi"] + 30) / 0.5)
    with pytest.raises(CannotDo, match="no lattice explains the 150 spots"):
        index(scene.guess, stray)


def test_nearest_nodes_take_the_nearer_crystal_and_leave_the_rest(spot_scene):
    a = spot_scene(MONOCLINIC, seed=14, axis_deg=75.0, spurious=0.3)
    other = spot_scene(MONOCLINIC, seed=15, axis_deg=75.0).truth.crystal
    table = nearest_nodes(a.truth.replace(crystals=(other, a.truth.crystal)), a.spots, tolerance=0.15)
    n = round(len(a.spots) / 1.3)
    mine, stray = table["lattice"][:n], table["lattice"][n:]
    assert np.mean(mine == 1) > 0.9
    assert np.mean(stray >= 0) < 0.3
    assert np.all(table.hkl[table["lattice"] < 0] == 0)
    centred = nearest_nodes(a.truth.replace(crystals=(a.truth.crystal.replace(centring="C"),)), a.spots)
    good = centred["lattice"] == 0
    assert np.all((centred["h"] + centred["k"])[good] % 2 == 0)
    assert good.sum() < 0.7 * len(good)


def test_random_spots_are_no_crystal_of_a_known_cell_either(spot_scene):
    scene = spot_scene(MONOCLINIC, seed=17)
    rng = np.random.default_rng(1)
    n = len(scene.spots)
    stray = scene.spots.with_columns(x=rng.uniform(0, 516, n), y=rng.uniform(0, 516, n))
    with pytest.raises(CannotDo, match="no lattice of the known shape explains"):
        index(scene.guess, stray, IndexSettings(cell=MONOCLINIC))
