"""Frames in memory and frames loaded on demand behave alike."""

import numpy as np
import pytest

from credo.model import ArrayFrames, Frames, LazyFrames

DATA = np.arange(24, dtype=np.uint16).reshape(4, 2, 3)


@pytest.mark.parametrize("frames", [ArrayFrames(DATA), LazyFrames(lambda i: DATA[i], DATA.shape, DATA.dtype)])
def test_frames_are_a_lazy_stack(frames):
    assert isinstance(frames, Frames)
    assert frames.shape == (4, 2, 3)
    assert frames.dtype == np.uint16
    assert len(frames) == 4
    assert np.array_equal(frames[2], DATA[2])
    assert np.array_equal(np.stack(list(frames)), DATA)
    with pytest.raises(IndexError):
        frames[4]


def test_lazy_frames_load_only_what_is_asked_for():
    asked = []
    frames = LazyFrames(lambda i: asked.append(i) or DATA[i], DATA.shape, DATA.dtype)
    frames[3]
    assert asked == [3]
    with pytest.raises(IndexError, match="frame -1 of 4"):
        frames[-1]


def test_two_dimensional_data_are_refused():
    with pytest.raises(ValueError, match=r"expected \(n, rows, columns\)"):
        ArrayFrames(np.zeros((3, 3)))
