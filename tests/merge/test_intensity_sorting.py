"""A verdict with its reason for every data set, also for the worst input; the picture."""

import numpy as np
import pytest

from credo.merge.intensity_picture import embedding, intensity_picture
from credo.merge.intensity_sorting import sort_by_intensity, stability
from credo.model import Cell, UnreadableInput

CELL = Cell(6.5, 7.6, 8.9, 95.0, 102.0, 107.0)


def _sorted(sets, laue_group="-1"):
    return sort_by_intensity(sets, [CELL] * len(sets), laue_group)


def test_every_set_has_a_verdict_and_a_reason(mixed, nothing):
    sets, truth = mixed((12, 8), 140, 2)
    found = _sorted([*sets, nothing])
    assert found.k == 2 and np.array_equal(found.labels, [*truth, 0])
    assert [v.kind for v in found.verdicts][-3:] == ["junk", "junk", "empty"]
    assert all(v.reason for v in found.verdicts)
    assert all(v.cc > 0.7 and v.posterior > 0.9 for v in found.verdicts if v.kind == "phase")
    assert abs(found.between[0, 1]) < 0.3 and 0.15 < found.noise < 0.4


def test_the_same_data_twice_is_said(mixed):
    sets, _ = mixed((4,), 140, 0)
    found = _sorted([*sets, sets[1]])
    assert np.array_equal(found.labels, [1] * 5) and "the same data as set 2" in found.verdicts[4].reason


def test_a_set_that_is_there_twice_is_no_measure_of_the_noise(mixed):
    sets, _ = mixed((3,), 150, 0)
    alone = sort_by_intensity(sets, [CELL] * 3, "-1")
    again = sort_by_intensity([sets[0], *sets], [CELL] * 4, "-1")
    assert alone.labels.tolist() == [1] * 3 and again.labels.tolist() == [1] * 4
    assert again.noise == pytest.approx(alone.noise, rel=1e-6)


def test_one_set_is_a_phase_of_its_own(mixed):
    sets, _ = mixed((1,), 140, 0)
    found = _sorted(sets)
    assert found.verdicts[0].kind == "only" and found.k == 1


def test_two_sets_without_overlap_are_undecided(mixed):
    sets, _ = mixed((1,), 200, 0)
    half = np.arange(200) < 100
    found = _sorted([sets[0].select(half), sets[0].select(~half)])
    assert [v.kind for v in found.verdicts] == ["undecided"] * 2 and "0 reflections" in found.verdicts[0].reason


def test_junk_only(mixed):
    sets, _ = mixed((), 200, 6)
    found = _sorted(sets)
    assert found.k == 0 and {v.kind for v in found.verdicts} == {"junk"}


def test_nothing_at_all(nothing):
    assert [v.kind for v in _sorted([nothing, nothing]).verdicts] == ["empty", "empty"]
    with pytest.raises(UnreadableInput, match="no data set"):
        _sorted([])


def test_settings_are_given_back_as_operators(indexed_at_random):
    cell = Cell(9, 9, 7, 90, 90, 90)
    sets, which, changes = indexed_at_random(cell, "4/m", 12, 90)
    found = sort_by_intensity(sets, [cell] * 12, "4/m")
    turned = np.array([not np.allclose(v.operator, np.eye(3)) for v in found.verdicts])
    assert np.array_equal(turned, which == 1) or np.array_equal(turned, which == 0)
    assert turned.sum() <= 6, "most keep the axes that they came with"
    assert found.cosets == 2 and all(v.setting_odds > 5 for v in found.verdicts)
    assert changes.cosets == 2


def test_a_set_whose_cell_forbids_its_setting_is_strained(indexed_at_random):
    cell = Cell(9, 9.05, 7, 90, 90, 90)
    sets, which, _ = indexed_at_random(cell, "mmm", 12, 90)
    found = sort_by_intensity(sets, [cell] * 12, "mmm")
    d = next(i for i, v in enumerate(found.verdicts) if not np.allclose(v.operator, np.eye(3)))
    cells = [Cell(8.8, 9.25, 7, 90, 90, 90) if i == d else cell for i in range(12)]
    again = sort_by_intensity(sets, cells, "mmm", reference=(d + 1) % 12)
    assert again.verdicts[d].kind == "strained" and "strain the cell" in again.verdicts[d].reason
    assert again.verdicts[d].label == 0 and len(which) == 12


def test_stability_of_a_clear_sorting(mixed):
    sets, _ = mixed((12, 8), 140, 1)
    found = _sorted(sets)
    assert stability(found.model.data, found.model.labels, found.changes.product, turns=3) == 1.0


def test_cells_and_sets_must_match(mixed):
    sets, _ = mixed((2,), 50, 0)
    with pytest.raises(ValueError, match="2 sets, 1 cells"):
        sort_by_intensity(sets, [CELL], "-1")


def test_picture_parts_phases_and_shortens_junk(mixed):
    sets, truth = mixed((12, 8), 300, 3)
    picture = _sorted(sets).picture
    size = np.linalg.norm(picture.coordinates, axis=1)
    assert size[truth > 0].min() > 1.5 * size[truth == 0].max()
    unit = picture.coordinates / size[:, None]
    cosine = unit @ unit.T
    assert cosine[:12, :12].min() > 0.9 and np.abs(cosine[:12, 12:20]).max() < 0.5
    assert sorted(picture.order.tolist()) == list(range(len(sets))) and picture.joins.shape == (len(sets) - 1, 4)


def test_embedding_of_exact_correlations():
    x = np.random.default_rng(0).normal(size=(20, 2))
    x /= 1.1 * np.linalg.norm(x, axis=1, keepdims=True)
    cc = x @ x.T
    cc[3, 7] = cc[7, 3] = np.nan
    found = embedding(cc, np.full((20, 20), 500), 2, turns=300)
    assert np.allclose(
        found @ found.T - np.diag(np.diag(found @ found.T)), x @ x.T - np.diag(np.diag(x @ x.T)), atol=0.01
    )


def test_pictures_of_one_and_of_none():
    one = intensity_picture(np.ones((1, 5)))
    assert one.coordinates.shape == (1, 2) and one.joins.shape == (0, 4)
    two = intensity_picture(np.full((2, 5), np.nan))
    assert two.coordinates.shape == (2, 2) and np.all(np.isfinite(two.coordinates)) and two.joins.shape == (1, 4)
