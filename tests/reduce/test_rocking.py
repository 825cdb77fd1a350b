"""The rocking curve's width and tails, and flickering frames, are learned from the frames."""

from types import SimpleNamespace

import numpy as np
import pytest

from credo.reduce.missets import recorded_shares
from credo.reduce.partials import visits
from credo.reduce.rocking import Rocking, frame_scales, learn_rocking


def partials(scene, factor=1.0, tail=0.0, flicker=None, noise=True, seed=0):
    """Counts of every reflection on every frame, of curves ``factor`` as wide as ``scene.truth`` says."""
    rng = np.random.default_rng(seed)
    truth, p = scene.truth, scene.predicted
    row, frame = visits(truth, p, reach=12.0)
    share = (1 - tail) * recorded_shares(truth, p, row, frame, factor)
    share = share + tail * recorded_shares(truth, p, row, frame, 3 * factor)
    level = 1.0 if flicker is None else flicker[frame]
    mean = 5 * scene.counts[row] * share * level
    variance = mean + 25.0
    counts = mean + rng.normal(0, np.sqrt(variance)) if noise else mean
    return SimpleNamespace(
        row=row, frame=frame, intensity=counts, variance=variance, coverage=np.ones(len(row)), share=share,
        truth=5 * scene.counts,
    )  # fmt: skip


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.8])
def test_the_width_is_found(frame_scene, factor):
    seen = partials(frame_scene, factor)
    found, tail = learn_rocking(frame_scene.truth, frame_scene.predicted, seen)
    ratio = found.crystal.mosaicity_deg / frame_scene.truth.crystal.mosaicity_deg
    assert ratio == pytest.approx(factor, rel=0.08)
    assert tail < 0.08


@pytest.mark.parametrize("tail", [0.15, 0.35])
def test_tails_are_found_beside_the_core(frame_scene, tail):
    found, learned = learn_rocking(frame_scene.truth, frame_scene.predicted, partials(frame_scene, tail=tail))
    assert learned == pytest.approx(tail, abs=0.08)
    assert found.crystal.mosaicity_deg == pytest.approx(frame_scene.truth.crystal.mosaicity_deg, rel=0.15)


def test_too_few_strong_reflections_change_nothing(frame_scene):
    seen = partials(frame_scene)
    seen.intensity = seen.intensity * 1e-3
    found, tail = learn_rocking(frame_scene.truth, frame_scene.predicted, seen)
    assert tail == 0
    assert found.crystal.mosaicity_deg == frame_scene.truth.crystal.mosaicity_deg


def test_shares_of_a_whole_curve_add_up_to_one(frame_scene):
    p, truth = frame_scene.predicted, frame_scene.truth
    row, frame = visits(truth, p, reach=20.0)
    n = len(truth.scan)
    for tail in (0.0, 0.3):
        share = Rocking(tail, np.ones(n)).shares(truth, p, row, frame)
        whole = np.abs(p["phi"]) < 8
        total = np.bincount(row, share, len(p))[whole & (p["lorentz"] < 3)]
        assert total == pytest.approx(np.ones(len(total)), abs=0.02)


def test_flickering_frames_are_found_and_steady_ones_are_not_made_to_flicker(frame_scene):
    n = len(frame_scene.truth.scan)
    flicker = np.clip(np.random.default_rng(2).normal(1, 0.3, n), 0.3, 2)
    seen = partials(frame_scene, flicker=flicker)
    found = frame_scales(seen, seen.share, seen.truth, n)
    assert np.corrcoef(found[5:-5], flicker[5:-5])[0, 1] > 0.8
    steady = partials(frame_scene)
    assert np.std(frame_scales(steady, steady.share, steady.truth, n)) < 0.05


def test_few_counts_say_nothing_of_the_frames(frame_scene):
    seen = partials(frame_scene)
    few = SimpleNamespace(**{k: v[:50] if len(v) == len(seen.row) else v for k, v in vars(seen).items()})
    assert np.array_equal(frame_scales(few, seen.share[:50], seen.truth, 64), np.ones(64))
