"""Integration of rendered frames: intensities proportional to the truth, with uncertainties that are right."""

import numpy as np
import pytest

from credo.model import ArrayFrames, CannotDo
from credo.reduce.integrate import IntegrateSettings, integrate, predict_all, resolution_limit
from credo.reduce.spots import find_spots

BAD = np.zeros((160, 160), bool)


def spots_of(scene):
    return find_spots(scene.truth.replace(crystals=()), scene.frames, BAD)[1]


@pytest.fixture(scope="module")
def integrated(frame_scene):
    return integrate(
        frame_scene.truth, frame_scene.frames, BAD, IntegrateSettings(d_min=1.6), spots=spots_of(frame_scene)
    )


def paired(scene, table):
    """Rows of the table and of the truth that are the same crossing, off the beam and off the detector's edge."""
    where = {
        (*h, round(phi)): i for i, (h, phi) in enumerate(zip(scene.predicted.hkl.tolist(), scene.predicted["phi"]))
    }
    where |= {(*k[:3], k[3] + s): i for k, i in list(where.items()) for s in (-1, 1)}
    pairs = [
        (r, where[(*h, round(phi))])
        for r, (h, phi) in enumerate(zip(table.hkl.tolist(), table["phi"])) if (*h, round(phi)) in where
    ]  # fmt: skip
    a, b = np.array(pairs).T
    p = scene.predicted
    off = (np.hypot(*(p.xy[b] - scene.truth.detector.origin).T) > 15) & (p["lorentz"][b] < 6)
    off &= np.all((p.xy[b] > 7) & (p.xy[b] < 153), axis=1)
    return a[off], b[off]


def test_intensities_are_the_true_ones_within_their_sigmas(frame_scene, integrated):
    _, table, _ = integrated
    a, b = paired(frame_scene, table)
    assert len(a) > 150
    seen, sigma, true = table["intensity"][a], table["sigma"][a], frame_scene.strength[b]
    assert np.corrcoef(seen, true)[0, 1] > 0.99
    assert np.sum(seen) == pytest.approx(np.sum(true), rel=0.03)
    z = (seen - true) / sigma
    assert abs(np.median(z)) < 0.3
    assert 0.7 < 1.4826 * np.median(np.abs(z - np.median(z))) < 1.5


def test_partial_reflections_are_completed(frame_scene, integrated):
    _, table, _ = integrated
    a, b = paired(frame_scene, table)
    part = table["cut"][a] & (table["intensity"][a] > 8 * table["sigma"][a])
    assert part.sum() >= 3
    ratio = table["intensity"][a][part] / frame_scene.strength[b][part]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.25)
    assert np.all(table["partiality"] > 0.3)
    assert np.all(table["partiality"][table["cut"]] < 0.95)


def test_weak_reflections_are_neither_lifted_nor_sunk(make_frame_scene, frame_scene):
    faint = make_frame_scene(seed=4, mean_counts=8.0)
    _, table, report = integrate(faint.truth, faint.frames, BAD, IntegrateSettings(d_min=1.6))
    a, b = paired(faint, table)
    seen, sigma, true = table["intensity"][a], table["sigma"][a], faint.strength[b]
    off = np.average(seen - true, weights=1 / sigma**2)
    assert abs(off) < 4 / np.sqrt(np.sum(1 / sigma**2))
    z = (seen - true) / sigma
    assert 0.75 < z.std() < 1.3
    assert report.numbers["n_strong"] < 0.7 * len(table)


def test_the_rocking_width_is_measured_from_the_frames(frame_scene):
    for factor in (0.5, 1.8):
        crystal = frame_scene.truth.crystal.replace(mosaicity_deg=0.25 * factor)
        start = frame_scene.truth.replace(crystals=(crystal,))
        found, _, report = integrate(start, frame_scene.frames, BAD, IntegrateSettings(d_min=1.6))
        assert found.crystal.mosaicity_deg == pytest.approx(0.25, rel=0.25)
        assert report.numbers["mosaicity_deg"] == found.crystal.mosaicity_deg


def test_saturated_reflections_are_marked_and_told(frame_scene):
    top = frame_scene.truth.detector.replace(saturation=40.0)
    frames = ArrayFrames(np.minimum(np.stack(list(frame_scene.frames)), 40))
    _, table, report = integrate(
        frame_scene.truth.replace(detector=top), frames, BAD, IntegrateSettings(d_min=1.6)
    )  # fmt: skip
    a, b = paired(frame_scene, table)
    over = table["overloaded"][a]
    assert over.any()
    assert not over.all()
    assert np.median(frame_scene.counts[b][over]) > 3 * np.median(frame_scene.counts[b][~over])
    assert report.numbers["n_overloaded"] == table["overloaded"].sum()
    assert "saturated pixels" in report.warnings[0]


def test_masked_regions_lose_their_reflections_only(frame_scene, integrated):
    bad = BAD.copy()
    bad[:, 100:] = True
    _, table, _ = integrate(frame_scene.truth, frame_scene.frames, bad, IntegrateSettings(d_min=1.6))
    assert table["x"].max() < 102
    full = integrated[1]
    left = int(np.sum(full["x"] < 96))
    assert np.sum(table["x"] < 96) == pytest.approx(left, abs=0.03 * left)


def test_report_numbers_are_those_of_the_table(integrated):
    _, table, report = integrated
    n = report.numbers
    assert n["n_integrated"] == len(table) <= n["n_predicted"]
    assert n["n_strong"] == np.sum(table["intensity"] > 3 * table["sigma"])
    assert n["n_partial"] == np.sum(table["cut"])
    assert n["integrated_to"] == 1.6
    assert n["spot_sigma_px"] == pytest.approx([1.1, 1.1], rel=0.1)
    assert np.all(table["sigma"] > 0)
    assert len(report.figures["rocking"]) >= 8


def test_the_limit_follows_the_spots_and_stops_at_the_corners(frame_scene):
    spots = spots_of(frame_scene)
    truth = frame_scene.truth
    q = np.linalg.norm(truth.detector.q_lab(spots.xy, 0.02508), axis=1)
    inner = spots.select(q < 0.4)
    expected = 1 / (1.25 * np.quantile(q[q < 0.4], 0.99))
    assert resolution_limit(truth, inner.with_columns(lattice=np.zeros(len(inner)))) == pytest.approx(expected)
    # spots that were not indexed do not count
    lattice = np.where(q < 0.3, 0, -1)
    assert resolution_limit(truth, spots.with_columns(lattice=lattice)) > 1 / (1.25 * 0.31)
    assert resolution_limit(truth, spots) >= 1 / (0.008 * np.hypot(82, 82))


def test_without_spots_the_detectors_corner_is_the_limit(frame_scene):
    _, table, report = integrate(frame_scene.truth, frame_scene.frames, BAD)
    assert report.numbers["integrated_to"] == pytest.approx(1 / (0.008 * np.hypot(81.3, 80.8)), rel=0.01)
    assert len(table) > 300


def test_without_a_crystal_nothing_is_integrated(frame_scene):
    with pytest.raises(CannotDo, match="no crystal has been indexed"):
        integrate(frame_scene.truth.replace(crystals=()), frame_scene.frames, BAD)


def test_predict_all_labels_each_crystal(frame_scene):
    crystal = frame_scene.truth.crystal
    other = crystal.replace(orientation=crystal.orientation[:, [1, 2, 0]])
    both = predict_all(frame_scene.truth.replace(crystals=(crystal, other)), 2.0)
    one = predict_all(frame_scene.truth, 2.0)
    assert np.sum(both["lattice"] == 0) == len(one)
    assert np.sum(both["lattice"] == 1) > 50
