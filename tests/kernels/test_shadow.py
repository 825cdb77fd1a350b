"""The specimen's transmission, pixel by pixel, against the formula written out in numpy; fringes at an edge."""

import numpy as np
import pytest

from credo.kernels.shadow import fringe, transmit

SIZE = 96
BACK = 0.2 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
ORIGIN, STAGE, SQUASH = np.array([50.3, 41.8]), np.array([13.0, -7.5]), 0.8
FILM, PER_UM, DOSE = np.array([0.2, 0.3]), 3.0, 40.0


def _plain(depth, texture, bars, holes, beam):
    v, u = np.mgrid[:SIZE, :SIZE] + 0.5
    x, y = np.einsum("ij,jyx->iyx", BACK, np.stack([u - ORIGIN[0], v - ORIGIN[1]]))
    gx, gy = STAGE[0] + x, STAGE[1] + y / SQUASH
    n, k = np.floor(gx * PER_UM).astype(int), np.floor(gy * PER_UM).astype(int)
    fa, fb, s = gx * PER_UM - n, gy * PER_UM - k, len(texture)
    t = sum(
        w * texture[(k + i) % s, (n + j) % s]
        for i, j, w in ((0, 0, (1 - fa) * (1 - fb)), (0, 1, fa * (1 - fb)), (1, 0, (1 - fa) * fb), (1, 1, fa * fb))
    )
    film = FILM[0] * (1 + FILM[1] * t) / SQUASH
    off = lambda g, p: g - p * np.floor(g / p + 0.5)  # noqa: E731
    if holes[0]:
        film = np.where(np.hypot(off(gx, holes[0]), off(gy, holes[0])) < holes[1] / 2, 0, film)
    total = depth + film
    if bars[0]:
        total += bars[2] * (np.maximum(abs(off(gx, bars[0])), abs(off(gy, bars[0]))) > (bars[0] - bars[1]) / 2)
    r = np.hypot(x - beam[0], y - beam[1])
    return DOSE * np.clip((beam[2] - r) / beam[3] + 0.5, 0, 1) * np.exp(-np.minimum(total, 60))


@pytest.mark.parametrize("bars", [(0.0, 0.0, 0.0), (11.0, 4.0, 40.0), (60.0, 5.0, 40.0)])
@pytest.mark.parametrize("holes", [(0.0, 0.0), (3.0, 1.7)])
@pytest.mark.parametrize("beam", [(0.5, -1.0, 6.0, 0.5), (2.0, 0.0, 500.0, 1.0), (300.0, 0.0, 5.0, 0.5)])
def test_every_pixel_is_as_the_formula_has_it(bars, holes, beam):
    rng = np.random.default_rng(1)
    texture = rng.normal(size=(32, 32)).astype(np.float32)
    out = rng.exponential(size=(SIZE, SIZE)).astype(np.float32)
    bars, holes, beam = np.array(bars), np.array(holes), np.array(beam)
    expected = _plain(out.astype(float), texture.astype(float), bars, holes, beam)
    transmit(out, ORIGIN, BACK, STAGE, SQUASH, FILM, texture, PER_UM, bars, holes, beam, DOSE)
    # an edge of a bar or a hole may fall on the other side of a pixel's middle by rounding
    off = np.abs(out - expected) > 1e-4 * DOSE
    assert off.mean() < 1e-3
    assert (expected.max() > 1) == (beam[0] < 100)


def test_fringes_are_those_of_the_logarithms_curvature():
    rng = np.random.default_rng(2)
    image = np.exp(0.1 * rng.normal(size=(40, 50))).astype(np.float32)
    image[10:12, 20:30] = 0.0
    depth = np.log(np.maximum(image.astype(float), 1e-3 * image.max()))
    bend = depth[2:, 1:-1] + depth[:-2, 1:-1] + depth[1:-1, 2:] + depth[1:-1, :-2] - 4 * depth[1:-1, 1:-1]
    expected = image.copy()
    expected[1:-1, 1:-1] *= np.clip(1 + 0.4 * bend, 0.5, 1.5)
    fringe(image, 0.4)
    assert np.allclose(image, expected, atol=1e-4)
