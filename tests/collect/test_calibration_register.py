"""Registration of images, the direct beam's place, and the bridged cross, on images made here."""

import numpy as np
import pytest
from scipy import ndimage

from credo.collect.calibration.register import mended, register
from credo.collect.calibration.spot import fit_spot
from credo.model.errors import CannotDo


def film(rng, n=300):
    """A texture of 6 % with two sharp crystals (n, n), mean 1."""
    texture = ndimage.gaussian_filter(rng.normal(size=(n, n)), 2.0)
    image = 1 + 0.06 * texture / texture.std()
    image[120:140, 90:130] *= 0.8
    image[210:240, 200:212] *= 0.85
    return image


def seen(rng, image, shift, counts=200.0, size=200):
    """A window of the film moved by ``shift`` (x, y), with Poisson noise and some bad pixels."""
    moved = ndimage.shift(image, (shift[1], shift[0]), order=5, mode="nearest")[50 : 50 + size, 50 : 50 + size]
    frame = rng.poisson(counts * moved).astype(np.uint16)
    frame[rng.integers(0, size, 5), rng.integers(0, size, 5)] = 60000
    frame[rng.integers(0, size, 5), rng.integers(0, size, 5)] = 0
    return frame


def test_shifts_are_found_within_their_errors():
    rng = np.random.default_rng(0)
    pulls = []
    for shift in ((0.4, -0.3), (7.3, 12.6), (-21.25, 3.5), (15.5, -33.8), (-3.1, -18.2), (28.0, 28.4)):
        image = film(rng)
        found = register(seen(rng, image, (0, 0)), seen(rng, image, shift))
        pulls += [(found.x - shift[0]) / found.esd, (found.y - shift[1]) / found.esd]
        assert found.esd < 0.15
    assert np.abs(pulls).max() < 5 and np.sqrt(np.mean(np.square(pulls))) < 2


def test_only_a_neighbourhood_is_searched_when_it_is_given():
    rng = np.random.default_rng(1)
    image = film(rng)
    a, b = seen(rng, image, (0, 0)), seen(rng, image, (20, 5))
    assert register(a, b, near=(18, 6), within=8).x == pytest.approx(20, abs=0.5)
    with pytest.raises(CannotDo):
        register(a, b, near=(-20, -5), within=8)


def test_different_places_and_dark_images_are_refused():
    rng = np.random.default_rng(2)
    with pytest.raises(CannotDo, match="same place"):
        register(seen(rng, film(rng), (0, 0)), seen(rng, film(rng), (0, 0)))
    with pytest.raises(CannotDo, match="lit"):
        register(np.zeros((200, 200)), np.zeros((200, 200)))


def spot(x, y, electrons, width=0.9, n=516, saturation=11810):
    yy, xx = np.mgrid[:n, :n] + 0.5
    mean = 2 + electrons * np.exp(-0.5 * ((xx - x) ** 2 + (yy - y) ** 2) / width**2) / (2 * np.pi * width**2)
    return np.minimum(np.random.default_rng(3).poisson(mean), saturation).astype(np.uint16)


@pytest.mark.parametrize("electrons", [2e3, 5e4, 1e6])
def test_the_direct_beam_is_placed_also_when_it_saturates(electrons):
    frame = spot(300.27, 190.61, electrons)
    frame[40, 60] = 11810  # hot
    found = fit_spot(frame, 10600)
    assert np.hypot(found.x - 300.27, found.y - 190.61) < max(4 * found.esd, 0.02)
    assert found.width == pytest.approx(0.9, abs=0.06)


def test_a_beam_on_the_cross_and_no_beam_are_refused():
    with pytest.raises(CannotDo, match="cross"):
        fit_spot(spot(258.0, 190.6, 5e4), 10600)
    with pytest.raises(CannotDo, match="no direct beam"):
        fit_spot(np.random.default_rng(4).poisson(5.0, (516, 516)).astype(np.uint16), 10600)


def test_the_cross_is_bridged():
    yy, xx = np.mgrid[:516, :516]
    plane = (100 + 0.2 * xx + 0.1 * yy).astype(np.float32)
    crossed = plane.copy()
    crossed[255:261] *= 1.4
    crossed[:, 255:261] *= 1.4
    crossed[100, 100] = 50000
    assert np.abs(mended(crossed) / plane - 1).max() < 0.01
    assert np.array_equal(mended(plane[:200, :200]), plane[:200, :200])
