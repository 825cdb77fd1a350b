"""What each frame recorded of each reflection: the right frames, the right counts, the right widths."""

import numpy as np
import pytest

from credo.model import ArrayFrames, Scan
from credo.reduce.background import mean_background
from credo.reduce.partials import measure_partials, rocking_sigma_deg, visits
from credo.reduce.profiles import SpotProfile

BAD = np.zeros((160, 160), bool)


@pytest.fixture(scope="module")
def partials(frame_scene):
    profile = SpotProfile(a=1.21, c=1.21)
    return measure_partials(frame_scene.truth, frame_scene.frames, BAD, frame_scene.predicted, profile=profile)


def test_visits_are_the_frames_near_the_crossing(frame_scene):
    truth, p = frame_scene.truth, frame_scene.predicted
    row, frame = visits(truth, p, reach=3.0, extra_deg=0.2)
    half = 3.0 * rocking_sigma_deg(truth, p) + 0.2
    expected = {
        (r, f) for r in range(len(p)) for f in range(64)
        if truth.scan.end_deg[f] > p["phi"][r] - half[r] and truth.scan.start_deg[f] < p["phi"][r] + half[r]
    }  # fmt: skip
    assert set(zip(row.tolist(), frame.tolist())) == expected
    assert np.all(np.diff(frame) >= 0)


def test_visits_of_a_backward_scan_are_the_same_frames_mirrored(frame_scene):
    truth, p = frame_scene.truth, frame_scene.predicted
    back = truth.replace(scan=Scan.regular(64, 19.2, -0.6))
    a = set(zip(*(v.tolist() for v in visits(truth, p))))
    b = set(zip(*(v.tolist() for v in visits(back, p))))
    assert {(r, 63 - f) for r, f in b} == a


def test_long_lasting_reflections_are_cut_short(frame_scene):
    row, _ = visits(frame_scene.truth, frame_scene.predicted, most=4)
    assert np.bincount(row).max() <= 5


def test_rocking_width_is_mosaic_and_shape_over_speed(frame_scene):
    truth, p = frame_scene.truth, frame_scene.predicted
    plain = rocking_sigma_deg(truth, p)
    # σφ = |q| η / |dε/dφ|, and lorentz is 1/|dε/dφ|
    assert plain == pytest.approx(0.25 * p["lorentz"] / p["d"], rel=1e-6)
    size = truth.replace(crystals=(truth.crystal.replace(mosaicity_deg=0.0, shape_width=0.001),))
    assert rocking_sigma_deg(size, p) == pytest.approx(np.degrees(0.001 * p["lorentz"]), rel=1e-6)


def test_counts_of_all_frames_add_up_to_the_reflection(frame_scene, partials):
    p = frame_scene.predicted
    n = len(p)
    total = np.bincount(partials.row, partials.intensity, n)
    sigma = np.sqrt(np.bincount(partials.row, partials.variance, n))
    whole = (np.abs(p["phi"]) + 4 * rocking_sigma_deg(frame_scene.truth, p) < 19) & (p["lorentz"] < 4)
    r = np.hypot(*(p.xy - frame_scene.truth.detector.origin).T)
    near = np.hypot(p["x"][:, None] - p["x"], p["y"][:, None] - p["y"]) < 9
    near &= np.abs(p["phi"][:, None] - p["phi"]) < 5
    edge = np.all((p.xy > 7) & (p.xy < 153), axis=1)
    use = whole & (r > 15) & edge & (near.sum(axis=1) == 1)
    assert use.sum() > 60
    z = (total - frame_scene.counts)[use] / sigma[use]
    assert abs(np.mean(z)) < 0.5
    assert 0.7 < 1.4826 * np.median(np.abs(z - np.median(z))) < 1.3
    assert np.sum(total[use]) == pytest.approx(frame_scene.counts[use].sum(), rel=0.02)


def test_positions_of_strong_partials_are_those_predicted(frame_scene, partials):
    strong = (partials.intensity > 20 * np.sqrt(partials.variance)) & (partials.coverage > 0.95)
    assert strong.sum() > 100
    for name in "xy":
        off = getattr(partials, name)[strong] - frame_scene.predicted[name][partials.row[strong]]
        assert abs(np.median(off)) < 0.03
        assert np.median(np.abs(off)) < 0.15


def test_the_beams_shift_moves_the_window(frame_scene, partials):
    # shifted by a constant, predictions included: nothing changes
    truth, p = frame_scene.truth, frame_scene.predicted
    shifted = truth.replace(scan=truth.scan.replace(beam_shift=np.full((64, 2), 1.3)))
    profile = SpotProfile(a=1.21, c=1.21)
    same = measure_partials(shifted, frame_scene.frames, BAD, p, profile=profile)
    assert same.intensity == pytest.approx(partials.intensity)
    # one frame whose beam has moved, image and all: its counts stay what they were
    data = np.stack(list(frame_scene.frames))
    data[30] = np.roll(data[30], 4, axis=1)
    one = np.zeros((64, 2))
    one[30] = [4.0, 0.0]
    moved = truth.replace(scan=truth.scan.replace(beam_shift=one))
    followed = p.with_columns(x=p["x"] + moved.scan.shift_at(p["frame"])[:, 0])
    other = measure_partials(
        moved, ArrayFrames(data), BAD, followed, mean_background(frame_scene.frames), profile
    )  # fmt: skip
    here = (partials.frame == 30) & (partials.intensity > 8 * np.sqrt(partials.variance))
    here &= np.abs(p["x"][partials.row] - 80) < 60
    assert here.sum() > 5
    assert other.intensity[here] == pytest.approx(partials.intensity[here], rel=0.1)
