"""Spot finding on rendered frames: all strong ones, nothing else, centroids with fair uncertainties."""

import numpy as np
import pytest

from credo.model import ArrayFrames, CannotDo, Reflections
from credo.reduce.spots import SpotSettings, clear_of_rim, find_spots

BAD = np.zeros((160, 160), bool)


def found(scene, frames=None, bad=BAD, **settings):
    experiment = scene.truth.replace(crystals=())
    return find_spots(experiment, frames or scene.frames, bad, SpotSettings(**settings))


def matched(scene, spots, reach_px=2.5, reach_deg=1.5):
    """For each true reflection in the scan: row of its spot, or −1."""
    out = np.full(len(scene.predicted), -1)
    for i, (x, y, phi) in enumerate(zip(*(scene.predicted[k] for k in ("x", "y", "phi")))):
        gap = np.hypot(spots["x"] - x, spots["y"] - y) / reach_px
        gap = np.maximum(gap, np.abs(spots["phi"] - phi) / reach_deg)
        if gap.min() < 1:
            out[i] = np.argmin(gap)
    return out


def inside(scene):
    """Reflections well within the scan, off the beam, without a close neighbour."""
    p = scene.predicted
    r = np.hypot(*(p.xy - scene.truth.detector.origin).T)
    near = np.hypot(p["x"][:, None] - p["x"], p["y"][:, None] - p["y"]) < 7
    near &= np.abs(p["phi"][:, None] - p["phi"]) < 4
    edge = np.all((p.xy > 5) & (p.xy < 155), axis=1)
    return (np.abs(p["phi"]) < 17.5) & (r > 12) & edge & (near.sum(axis=1) == 1) & (p["lorentz"] < 5)


def test_strong_reflections_are_found_and_nothing_else(frame_scene):
    _, spots, report = found(frame_scene)
    match = matched(frame_scene, spots)
    strong = inside(frame_scene) & (frame_scene.counts > 150)
    assert strong.sum() > 60
    assert np.mean(match[strong] >= 0) > 0.97
    # what is found without a reflection: strays, of which there must be next to none
    stray = np.setdiff1d(np.arange(len(spots)), matched(frame_scene, spots, 4.0, 4.0))
    assert len(stray) <= 0.03 * len(spots)
    assert report.numbers["n_spots"] == len(spots) == report.figures["spots_per_frame"].sum()


def test_centroids_and_intensities_are_right(frame_scene):
    _, spots, _ = found(frame_scene)
    match = matched(frame_scene, spots)
    use = inside(frame_scene) & (match >= 0) & (frame_scene.counts > 200)
    p, s = frame_scene.predicted.select(use), spots.select(match[use])
    for name, most in (("x", 0.12), ("y", 0.12), ("phi", 0.12)):
        off = s[name] - p[name]
        assert abs(off.mean()) < 0.03
        assert off.std() < most
        z = off / np.sqrt(s[f"var_{name}"])
        assert 0.4 < 1.4826 * np.median(np.abs(z)) < 1.6
    ratio = s["intensity"] / frame_scene.counts[use]
    # the faint wings below the threshold are not summed
    assert 0.75 < np.median(ratio) < 1.02
    assert np.corrcoef(s["intensity"], frame_scene.counts[use])[0, 1] > 0.98
    assert np.all(s["first"] <= s["frame"])
    assert np.all(s["frame"] <= s["last"] + 1)
    assert np.all(s["lattice"] == -1)


def test_noise_alone_is_refused(frame_scene):
    noise = np.random.default_rng(5).poisson(1.0, (64, 160, 160)).astype(np.uint16)
    with pytest.raises(CannotDo, match="no spots were found in 64 frames"):
        found(frame_scene, ArrayFrames(noise))


def test_the_level_may_change_from_frame_to_frame(frame_scene):
    bright = np.stack(list(frame_scene.frames)).astype(np.int64)
    rng = np.random.default_rng(3)
    bright += rng.poisson(np.linspace(0, 3, 64)[:, None, None], bright.shape)
    _, spots, _ = found(frame_scene, ArrayFrames(bright.astype(np.uint16)))
    match = matched(frame_scene, spots)
    strong = inside(frame_scene) & (frame_scene.counts > 400)
    assert np.mean(match[strong] >= 0) > 0.95
    stray = np.setdiff1d(np.arange(len(spots)), matched(frame_scene, spots, 4.0, 4.0))
    assert len(stray) <= 0.05 * len(spots)


def test_bad_pixels_scan_ends_and_saturation_are_marked(frame_scene):
    bad = BAD.copy()
    bad[:, 60:63] = True
    data = np.stack(list(frame_scene.frames))
    data[:, :, 60:63] = 60000
    experiment = frame_scene.truth.replace(detector=frame_scene.truth.detector.replace(saturation=60.0))
    _, spots, _ = find_spots(experiment, ArrayFrames(np.minimum(data, 60)), bad)
    column = np.floor(spots["x"]).astype(int)
    assert not np.any((column >= 60) & (column < 63))
    beside = (column == 59) | (column == 63)
    assert spots["cut"][beside].all()
    ends = (spots["first"] == 0) | (spots["last"] == 63)
    assert ends.any()
    assert spots["cut"][ends].all()
    assert np.mean(spots["cut"]) < 0.4
    assert 0 < spots["overloaded"].sum() < len(spots)
    assert np.all(spots["peak"][~spots["overloaded"]] < 60)


def test_spots_are_not_joined_over_missing_frames(make_frame_scene):
    whole = make_frame_scene(mosaicity=1.0)
    gap = make_frame_scene(mosaicity=1.0, numbers=np.r_[0:30, 32:64])
    assert len(gap.truth.scan.missing) == 2
    _, spots, _ = found(gap)
    across = (spots["first"] < 30) & (spots["last"] >= 30)
    assert not across.any()
    _, spots, _ = found(whole)
    assert np.any((spots["first"] < 30) & (spots["last"] >= 32))


def test_nothing_is_found_in_the_direct_beam(frame_scene):
    _, spots, report = found(frame_scene)
    r = np.hypot(*(spots.xy - frame_scene.truth.detector.origin).T)
    assert r.min() > report.numbers["beam_radius_px"] - 2
    _, spots, _ = found(frame_scene, beam_radius_px=30.0)
    assert np.hypot(*(spots.xy - frame_scene.truth.detector.origin).T).min() > 28


def ring_of(n, low, high, rng):
    """Spots spread evenly over a ring about (258, 258)."""
    r, way = np.sqrt(rng.uniform(low**2, high**2, n)), rng.uniform(0, 2 * np.pi, n)
    return 258 + np.stack([r * np.cos(way), r * np.sin(way)], axis=1)


@pytest.mark.parametrize("n_rim", [0, 250])
def test_the_rim_of_a_moving_beam_is_left_out_and_nothing_else(n_rim):
    rng = np.random.default_rng(3)
    real, rim = ring_of(900, 9, 250, rng), ring_of(n_rim, 8, 10, rng)
    xy = np.concatenate([real, rim])
    spots = Reflections(x=xy[:, 0], y=xy[:, 1], lattice=np.r_[np.zeros(900), np.full(n_rim, -1)])
    kept = clear_of_rim(spots, np.full((len(xy), 2), 258.0), 9.0)
    assert not np.any(kept["lattice"] < 0)
    assert np.sum(kept["lattice"] == 0) >= (900 if n_rim == 0 else 890)
