"""Turns of single frames about the beam are found from where reflections lie, and none where there is none."""

from types import SimpleNamespace

import numpy as np
import pytest

from credo.reduce.missets_plane import turns_about_beam

N = 40


def seen(scene, turn_deg, beam=0.0, noise=0.3, per_frame=25, seed=0):
    """Rows, frames and noisy positions of reflections on frames that were turned by ``turn_deg`` (N,) about z."""
    rng = np.random.default_rng(seed)
    p, scan = scene.truth, scene.truth.scan
    row = rng.integers(0, len(scene.predicted), N * per_frame)
    frame = np.repeat(np.arange(N), per_frame)
    centre = np.array(p.detector.origin) + scan.shift_at(frame + 0.5)
    calculated = scene.predicted.xy[row] + scan.shift_at(frame + 0.5) - scan.shift_at(scene.predicted["frame"][row])
    angle = np.radians(turn_deg[frame])
    arm = calculated - centre
    turned = np.stack(
        [np.cos(angle) * arm[:, 0] - np.sin(angle) * arm[:, 1], np.sin(angle) * arm[:, 0] + np.cos(angle) * arm[:, 1]],
        axis=1,
    )
    shift = rng.normal(0, beam, (N, 2))[frame] if beam else 0.0
    xy = centre + turned + shift + rng.normal(0, noise, arm.shape)
    gross = rng.random(len(row)) < 0.03
    xy[gross] += rng.normal(0, 5, (gross.sum(), 2))
    return SimpleNamespace(
        row=row,
        frame=frame,
        x=xy[:, 0],
        y=xy[:, 1],
        intensity=np.full(len(row), 100.0),
        variance=np.full(len(row), 9.0),
    )


@pytest.fixture
def scene(frame_scene):
    short = frame_scene.truth.scan.part(np.arange(1, N + 1)) if len(frame_scene.truth.scan) != N else None
    truth = frame_scene.truth.replace(scan=short) if short is not None else frame_scene.truth
    return SimpleNamespace(truth=truth, predicted=frame_scene.predicted)


@pytest.mark.parametrize("beam", [0.0, 0.3])
def test_turns_are_recovered_beside_a_beam_that_moves(scene, beam):
    turn = np.random.default_rng(1).normal(0, 0.25, N)
    found = turns_about_beam(scene.truth, scene.predicted, seen(scene, turn, beam))
    off = np.degrees(found[:, 0]) - turn
    assert off.std() < 0.12
    assert np.corrcoef(np.degrees(found[:, 0]), turn)[0, 1] > 0.93
    assert 0.6 < np.std(off / np.degrees(found[:, 1])) < 1.5


def test_noise_alone_turns_nothing(scene):
    found = turns_about_beam(scene.truth, scene.predicted, seen(scene, np.zeros(N)))
    assert not found[:, 0].any()


def test_weak_or_few_observations_turn_nothing(scene):
    partials = seen(scene, np.full(N, 1.0))
    partials.intensity = np.full(len(partials.row), 10.0)
    assert not turns_about_beam(scene.truth, scene.predicted, partials).any()
    few = seen(scene, np.full(N, 1.0), per_frame=1)
    assert not turns_about_beam(scene.truth, scene.predicted, few).any()
