"""Passes over a frame: sums, block scale, pixels that stand out, labels over frames, sums of spots."""

import itertools

import numpy as np
import pytest

from credo.kernels.images import accumulate, accumulate_clipped, block_ratio, gather, link, spread, stand_out


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

    def found(self, z=6.0, centre=(-99.0, -99.0), radius=0.0):
        rows, cols = np.empty(2000, np.int32), np.empty(2000, np.int32)
        signal, back = np.empty(2000, np.float32), np.empty(2000, np.float32)
        n = stand_out(
            self.frame, self.mean, self.ratio, 10, self.bad, self.mean, 1.0, z, *centre, radius, self.flag,
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


def _linked(frames):
    """Labels of lists of (row, col) per frame, resolved to roots."""
    parent, label = np.empty(50, np.int32), np.empty(50, np.int32)
    before, now = np.full((9, 9), -1, np.int32), np.full((9, 9), -1, np.int32)
    upto, out = 0, []
    for pixels in frames:
        rows, cols = (np.array(v, np.int32) for v in zip(*pixels))
        upto = link(rows, cols, len(rows), before, now, parent, label, upto, True)
        out.append(label[: len(rows)].copy())
        before, now = now, np.full((9, 9), -1, np.int32)

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return int(i)

    return [[root(i) for i in labels] for labels in out]


def test_link_joins_neighbours_in_space_and_time():
    # a U of which the two arms meet only in the last pixel
    (u,) = _linked([[(1, 1), (1, 3), (2, 1), (2, 3), (3, 2)]])
    assert len(set(u)) == 1
    # corners touch; two columns apart do not
    (apart,) = _linked([[(1, 1), (2, 2), (5, 5)]])
    assert apart[0] == apart[1] != apart[2]
    first, second = _linked([[(1, 1), (5, 5)], [(1, 1), (5, 6)]])
    assert second[0] == first[0]
    assert second[1] not in first
    # one spot of the second frame joins two of the first
    first, second = _linked([[(1, 1), (1, 3)], [(1, 1), (1, 2), (1, 3)]])
    assert len({*first, *second}) == 1


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
