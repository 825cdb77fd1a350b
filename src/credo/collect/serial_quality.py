"""Is it a crystal? While it turns, reflections come and go; whatever else is in the pattern stays as it is."""

from __future__ import annotations

import numpy as np

__all__ = ["FirstFrames"]

#: Block that is summed [px]; significance of a change; radius about the direct beam that is left out, per width.
_BLOCK, _SIGNIFICANT, _BEAM = 4, 6.0, 0.05
#: Changed blocks a frame, on the average, above which it is one; amorphous particles showed 0 to 0.1, crystals 70 and
#: more (15 of ZSM-5, 9 amorphous, simulated).
_CRYSTAL = 3.0


class FirstFrames:
    """``add`` the first ``n`` patterns; then ``crystal`` is True or False, before it is None."""

    def __init__(self, n: int = 8) -> None:
        self.n = n
        self._sums: list[np.ndarray] = []
        self.crystal: bool | None = None

    def add(self, image: np.ndarray) -> None:
        if self.crystal is not None:
            return
        rows, columns = (m // _BLOCK for m in image.shape)
        cut = image[: rows * _BLOCK, : columns * _BLOCK].astype(np.float32)
        self._sums.append(cut.reshape(rows, _BLOCK, columns, _BLOCK).sum(axis=(1, 3)))
        if len(self._sums) == self.n:
            self.crystal = _changes(np.array(self._sums)) > _CRYSTAL
            self._sums = []


def _changes(sums: np.ndarray) -> float:
    """Blocks a frame that stand out from their own median over ``sums`` (frames, rows, columns), the beam left out."""
    usual = np.median(sums, axis=0)
    y, x = np.unravel_index(int(usual.argmax()), usual.shape)
    yy, xx = np.ogrid[: usual.shape[0], : usual.shape[1]]
    far = (yy - y) ** 2 + (xx - x) ** 2 > (_BEAM * usual.shape[1]) ** 2
    return float((far & (sums - usual > _SIGNIFICANT * np.sqrt(usual + 1))).sum() / len(sums))
