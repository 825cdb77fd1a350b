"""Where the camera's pixels are not like the others, the cross between the chips of a 2 × 2 Timepix; and across it."""

from __future__ import annotations

import numpy as np

__all__ = ["bridged", "seams"]

#: Edge of a 2 × 2 Timepix; its middle lines 255 to 260 collect more, and leak to one on either side [px].
_TIMEPIX, _FIRST, _BEHIND = 516, 254, 262


def seams(shape: tuple[int, ...]) -> np.ndarray:
    """False on the cross (516 pixels: two rows or columns more than the middle ones 255 to 260), True elsewhere."""
    valid = np.ones(shape, dtype=bool)
    for axis, n in enumerate(shape):
        if n == _TIMEPIX:
            valid[(slice(None),) * axis + (slice(_FIRST, _BEHIND),)] = False
    return valid


def bridged(image: np.ndarray) -> np.ndarray:
    """``image`` (ny, nx) as float32, the seams filled by straight lines from side to side, each end the mean of two."""
    data = np.array(image, dtype=np.float32)
    share = (np.arange(_FIRST, _BEHIND, dtype=np.float32) - (_FIRST - 1)) / (_BEHIND - _FIRST + 1)
    for view in (data, data.T):  # columns, then rows
        if view.shape[1] == _TIMEPIX:
            left, right = view[:, _FIRST - 2 : _FIRST].mean(axis=1), view[:, _BEHIND : _BEHIND + 2].mean(axis=1)
            view[:, _FIRST:_BEHIND] = left[:, None] * (1 - share) + right[:, None] * share
    return data
