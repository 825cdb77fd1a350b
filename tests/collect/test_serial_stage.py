"""The stage model: it learns a bearing and a height map from views, and knows how sure it is."""

import numpy as np
import pytest

from credo.collect.serial_stage import Prior, StageModel, Where


def path(tilt: float, way: float) -> np.ndarray:
    """Of a made-up goniometer [µm]."""
    a = np.radians(tilt)
    return np.array([0.8 * np.sin(a) + 0.2 * np.sin(4 * a + way), 0.5 * (1 - np.cos(a)) + 0.3 * way * np.sin(5 * a)])


def height(x: float, y: float) -> float:
    return 3.0 + 0.01 * x + 0.4 * np.sin(y / 40)


def seen(where: Where, lift: float, own: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """The crystal lies ``own`` (2,) µm from where the stage stands."""
    a = np.radians(where.tilt)
    across = own[1] * np.cos(a) + lift * (where.z - height(where.x, where.y)) * np.sin(a)
    return path(where.tilt, where.way) + [own[0], across]


def learned(lift: float, rotations: int) -> StageModel:
    model, rng = StageModel(lift), np.random.default_rng(0)
    for k in range(rotations):
        x, y = rng.uniform(-40, 40, 2)
        way = 1.0 if k % 2 else -1.0
        for tilt in np.arange(-60, 61, 3.0) * way:
            where = Where(k, k, k, x, y, 2.0, tilt, way, 100.0 * k, 99.0)
            model.learn(where, seen(where, lift) + 0.03 * rng.normal(size=2), 0.03)
    return model


def test_height_is_found_for_either_sign_of_z():
    for lift in (-1.0, 1.0):
        model = learned(lift, 6)
        z, sd = model.height(5.0, -5.0)
        assert abs(z - height(5.0, -5.0)) < 3 * sd + 0.2
        assert sd < 0.9


@pytest.mark.parametrize("own", [(0.0, 0.0), (1.5, -3.0)])
def test_a_new_crystal_is_followed_after_one_view(own):
    model = learned(-1.0, 6)
    at = {"crystal": 99, "stay": 99, "turn": 99, "x": 10.0, "y": 8.0, "z": 2.5, "way": 1.0}
    for survey in (True, False):  # seen at zero tilt by another stay of the stage, then at the rotation's start
        where = Where(
            **{**at, "stay": -1, "turn": -1} if survey else at, tilt=-60.0 * (not survey), time=900.0, rested=99.0
        )
        model.learn(where, seen(where, -1.0, own), 0.03)
    later = [Where(**at, tilt=float(t), time=950.0, rested=120.0) for t in np.arange(-58, 60, 4.0)]
    mean, sd = model.predict_all(later)
    off = mean - np.array([seen(where, -1.0, own) for where in later])
    assert np.abs(off).max() < 0.6
    assert np.mean((off / sd) ** 2) < 2.0
    one, its = model.predict(later[3])
    assert np.allclose(one, mean[3]) and np.allclose(its, sd[3])


def test_the_place_of_a_crystal_carries_over_to_another_place_of_the_stage():
    model = StageModel(-1.0)
    model.learn(Where(1, 1, 0, 100.0, -50.0, 0.0, 0.0, 1.0, 0.0, 99.0), np.array([0.5, 0.2]), 0.03)
    mean, sd = model.predict(Where(1, 2, 0, 98.0, -49.0, 0.0, 0.0, 1.0, 10.0, 99.0))
    assert np.allclose(mean, [2.5, -0.8], atol=0.01)
    assert (sd < 3 * Prior().slack).all()


def test_nothing_seen_is_nothing_known():
    model = StageModel(-1.0, Prior(swing=3.0))
    mean, sd = model.predict(Where(0, 0, 0, 0.0, 0.0, 0.0, 60.0, 1.0, 0.0, 0.0))
    assert np.allclose(mean, 0.0) and (sd > 2.0).all()
    assert model.height(0.0, 0.0)[1] > 5.0
