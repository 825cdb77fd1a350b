"""Where the camera's pixels are not like the others: the cross between the chips of a 2 × 2 Timepix."""

from __future__ import annotations

import numpy as np

__all__ = ["seams"]


def seams(shape: tuple[int, ...]) -> np.ndarray:
    """False on the cross (516 pixels: two rows or columns more than the middle ones 255 to 260), True elsewhere."""
    valid = np.ones(shape, dtype=bool)
    for axis, n in enumerate(shape):
        if n == 516:
            valid[(slice(None),) * axis + (slice(254, 262),)] = False
    return valid
