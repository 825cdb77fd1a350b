"""Passes over a frame: sums, block scale, pixels that stand out, hilltops over frames, sums of spots."""

import itertools

import numpy as np
import pytest

from credo.kernels.images import accumulate, accumulate_clipped, block_ratio, gather, hills, spread, stand_out


def test_accumulate_sums_and_squares_changes():
    rng = np.random.default_rng(0)
    frames = rng.poisson(3, (5, 6, 7)).astype(np.uint16)
    total, diff2 = np.zeros((6, 7), np.float32), np.zeros((6, 7), np.float32)
    for a, b in itertools.pairwise(frames):
        accumulate(b, a, total, diff2)
    assert total == pytest.approx(frames[1:].sum(axis=0))
    # unsigned counts must not wrap round
    assert diff2 == pytest.approx((np.diff(frames.astype(float), axis=0) ** 2).sum(axis=0))


def test_accumulate_clipped_leaves_out_the_bright():
    total, count = np.zeros((1, 3), np.float32), np.zeros((1, 3), np.int32)
    limit = np.full((1, 3), 5, np.float32)
    for row in ([1, 5, 6], [2, 9, 7]):
        accumulate_clipped(np.array([row], dtype=np.int32), limit, total, count)
    assert total.tolist() == [[3, 5, 0]]
    assert count.tolist() == [[2, 1, 0]]


def test_block_ratio_follows_the_background_not_the_spots():
    rng = np.random.default_rng(1)
    mean = np.full((64, 64), 10, np.float32)
    scale = np.where(np.arange(64) < 32, 0.5, 2.0)
    frame = rng.poisson(mean * scale).astype(np.uint16)
    bad = np.zeros((64, 64), bool)
    frame[40:44, 40:44] = 3000
    bad[8, :] = True
    frame[8, :] = 60000
    out = np.empty((2, 2), np.float32)
    block_ratio(frame, mean, bad, 1.0, 32, out)
    # clipping at mean + 4 sigma cuts a part of what is twice as bright
    assert out[:, 0] == pytest.approx([0.5, 0.5], rel=0.08)
    assert np.all((out[:, 1] > 1.6) & (out[:, 1] < 2.05))


class _Frame:
    """Work space for one call of ``stand_out``."""

    def __init__(self, shape=(40, 50), level=1.0):
        self.mean = np.full(shape, level, np.float32)
        self.frame = np.random.default_rng(2).poisson(self.mean).astype(np.uint16)
        self.ratio = np.ones((4, 5), np.float32)
        self.bad = np.zeros(shape, bool)
        self.flag = np.zeros(shape, np.uint8)

    def found(self, z=6.0, centre=(-99.0, -99.0), radius=0.0, gain_box=1.0):
        rows, cols = np.empty(2000, np.int32), np.empty(2000, np.int32)
        signal, back = np.empty(2000, np.float32), np.empty(2000, np.float32)
        n = stand_out(
            self.frame, self.mean, self.ratio, 10, self.bad, self.mean, 1.0, gain_box, z, *centre, radius, self.flag,
            rows, cols, signal, back,
        )  # fmt: skip
        return {(int(r), int(c)): (float(s), float(b)) for r, c, s, b in zip(rows[:n], cols[:n], signal, back)}


def test_stand_out_finds_the_spot_and_nothing_else():
    f = _Frame()
    f.frame[10:13, 20:23] += 20
    found = f.found()
    assert (11, 21) in found
    assert all(8 <= r <= 14 and 18 <= c <= 24 for r, c in found)
    signal, back = found[11, 21]
    assert back == pytest.approx(1.0)
    assert signal == pytest.approx(float(f.frame[11, 21]) - 1.0)
    assert not f.flag.any()


def test_stand_out_skips_bad_pixels_the_beam_and_a_brighter_background():
    f = _Frame()
    f.frame[10:13, 20:23] += 20
    assert not f.found(centre=(21.5, 11.5), radius=8.0)
    f.ratio[:] = 25.0
    assert not f.found()
    f.ratio[:] = 1.0
    f.bad[8:15, 18:25] = True
    assert not f.found()


def test_stand_out_takes_the_noise_of_boxes_from_the_gain_of_boxes():
    f = _Frame(level=10.0)
    f.frame[10:13, 20:23] += 9
    assert (11, 21) in f.found(z=5.0)
    assert not f.found(z=5.0, gain_box=4.0)


def test_stand_out_does_not_see_a_halo_that_moved():
    yy, xx = np.mgrid[0:40, 0:50]
    halo = [2000 * np.exp(-np.hypot(yy - 20, xx - c) / 8) for c in (25.0, 25.7)]
    f = _Frame()
    f.mean[:] = 10 + halo[0]
    f.frame = np.random.default_rng(4).poisson(10 + halo[1]).astype(np.uint16)
    clear = f.found(z=5.0, centre=(25.5, 20.5), radius=6.0)
    assert not clear
    f.frame[24:27, 35:38] += 250
    found = f.found(z=5.0, centre=(25.5, 20.5), radius=6.0)
    assert (25, 36) in found
    assert all(22 <= r <= 28 and 33 <= c <= 39 for r, c in found)


def _labelled(frames, joined=True):
    """Labels of lists of (row, col, signal) per frame."""
    tops, label = np.empty((50, 2), np.int32), np.empty(400, np.int32)
    before, now = np.full((20, 20), -1, np.int32), np.full((20, 20), -1, np.int32)
    height = np.zeros((20, 20), np.float32)
    upto, out = 0, []
    for pixels in frames:
        rows, cols = (np.array(v, np.int32) for v in list(zip(*pixels))[:2])
        signal = np.array([p[2] for p in pixels], np.float32)
        upto = hills(rows, cols, len(rows), signal, height, before, now, tops, label, upto, joined)
        assert not height.any()
        out.append(label[: len(rows)].tolist())
        before, now = now, np.full((20, 20), -1, np.int32)
    return out


def _hill(y, x, top, reach=4):
    return [
        (i, j, top * np.exp(-((i - y) ** 2 + (j - x) ** 2) / 6))
        for i, j in itertools.product(range(y - reach, y + reach + 1), range(x - reach, x + reach + 1))
    ]


def test_touching_spots_are_two_hills():
    both = {(y, x): s for y, x, s in [*_hill(6, 5, 5.0), *_hill(7, 14, 90.0)]}
    pixels = [(y, x, s) for (y, x), s in both.items()]
    (label,) = _labelled([pixels])
    assert set(label) == {0, 1}
    left = {n for (y, x, _), n in zip(pixels, label) if x < 8}
    right = {n for (y, x, _), n in zip(pixels, label) if x > 11}
    assert len(left) == len(right) == 1
    assert left != right


def test_a_hill_keeps_its_label_while_its_top_moves_little():
    first, second, third = _labelled([_hill(6, 6, 5.0), _hill(7, 7, 50.0), _hill(7, 12, 50.0)])
    assert set(first) == set(second) == {0}
    # the third top is five pixels off, although the two overlap
    assert set(third) == {1}
    first, second = _labelled([_hill(6, 6, 5.0), _hill(6, 6, 5.0)], joined=False)
    assert set(first).isdisjoint(second)


def test_a_flat_top_is_one_hill():
    flat = [(y, x, 1.0) for y, x in itertools.product(range(5, 10), range(5, 10))]
    (label,) = _labelled([flat])
    assert set(label) == {0}


def test_gather_and_spread_are_weighted_sums():
    spot = np.array([0, 0, 1])
    frame, row, col = np.array([3, 4, 7]), np.array([10, 11, 0]), np.array([20, 20, 5])
    signal, back = np.array([30.0, 10.0, -2.0]), np.array([1.0, 2.0, 3.0])
    sums, peak = np.zeros((2, 11)), np.full(2, -np.inf)
    first, last = np.full(2, 99), np.full(2, -1)
    gather(spot, frame, row, col, signal, back, 2.0, sums, first, last, peak)
    assert sums[0, :5] == pytest.approx([2, 40, 3, 2 * (31 + 12), 40])
    assert sums[0, 5:8] / 40 == pytest.approx([20.5, 10.75, 3.75])
    assert sums[1, :5] == pytest.approx([1, -2, 3, 2, 0])
    assert (first.tolist(), last.tolist(), peak.tolist()) == ([3, 7], [4, 7], [30, -2])
    spread(spot, frame, row, col, signal, back, 2.0, sums)
    expected_y = 2 * 31 * 0.25**2 + 2 * 12 * 0.75**2
    assert sums[0, 8:] == pytest.approx([0, expected_y, expected_y])
