"""The stage model: it learns a bearing and a height map from views, and knows how sure it is."""

import numpy as np

from credo.collect.serial_stage import Prior, StageModel, Where


def path(tilt: float, way: float) -> np.ndarray:
    """Of a made-up goniometer [µm]."""
    a = np.radians(tilt)
    return np.array([0.8 * np.sin(a) + 0.2 * np.sin(4 * a + way), 0.5 * (1 - np.cos(a)) + 0.3 * way * np.sin(5 * a)])


def height(x: float, y: float) -> float:
    return 3.0 + 0.01 * x + 0.4 * np.sin(y / 40)


def seen(where: Where, lift: float) -> np.ndarray:
    across = lift * (where.z - height(where.x, where.y)) * np.sin(np.radians(where.tilt))
    return path(where.tilt, where.way) + [0.0, across]


def learned(lift: float, rotations: int) -> StageModel:
    model, rng = StageModel(lift), np.random.default_rng(0)
    for k in range(rotations):
        x, y = rng.uniform(-40, 40, 2)
        way = 1.0 if k % 2 else -1.0
        for tilt in np.arange(-60, 61, 3.0) * way:
            where = Where(k, k, x, y, 2.0, tilt, way, 100.0 * k)
            model.learn(where, seen(where, lift) + 0.03 * rng.normal(size=2), 0.03)
    return model


def test_height_is_found_for_either_sign_of_z():
    for lift in (-1.0, 1.0):
        model = learned(lift, 6)
        z, sd = model.height(5.0, -5.0)
        assert abs(z - height(5.0, -5.0)) < 3 * sd + 0.2
        assert sd < 0.9


def test_a_new_crystal_is_followed_after_one_view():
    model = learned(-1.0, 6)
    first = Where(99, 99, 10.0, 8.0, 2.5, -60.0, 1.0, 900.0)
    model.learn(first, seen(first, -1.0), 0.03)
    off, sure = [], []
    for tilt in np.arange(-58, 60, 4.0):
        where = Where(99, 99, 10.0, 8.0, 2.5, float(tilt), 1.0, 950.0)
        mean, sd = model.predict(where)
        off.append(mean - seen(where, -1.0))
        sure.append(sd)
    assert np.abs(off).max() < 0.6
    assert np.mean((np.array(off) / np.array(sure)) ** 2) < 2.0


def test_nothing_seen_is_nothing_known():
    model = StageModel(-1.0, Prior(swing=3.0))
    mean, sd = model.predict(Where(0, 0, 0.0, 0.0, 0.0, 60.0, 1.0, 0.0))
    assert np.allclose(mean, 0.0) and (sd > 2.0).all()
    assert model.height(0.0, 0.0)[1] > 5.0
