"""Is there still a beam, and a crystal in it? From each diffraction frame alone, in a few milliseconds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from credo.kernels.untyped import ndimage

__all__ = ["Watch", "diffracted"]

#: Block that is summed [px], median that is the background [blocks], significance of a spot.
_BLOCK, _AROUND, _SIGNIFICANT = 4, 9, 6.0
#: Radius about the direct beam that is left out, per width of the image.
_BEAM = 0.05


def diffracted(image: np.ndarray) -> float:
    """Counts in Bragg spots: what stands out from the neighbourhood by six standard deviations, the beam left out."""
    rows, columns = (n // _BLOCK for n in image.shape)
    cut = image[: rows * _BLOCK, : columns * _BLOCK].astype(np.float32)
    b = cut.reshape(rows, _BLOCK, columns, _BLOCK).sum(axis=(1, 3))
    smooth = ndimage.uniform_filter(b, 3)
    y, x = np.unravel_index(int(smooth.argmax()), b.shape)
    # the median of every other block is as good, and quicker
    calm = ndimage.median_filter(b[::2, ::2], _AROUND // 2 + 1, mode="nearest")
    calm = np.repeat(np.repeat(calm, 2, axis=0), 2, axis=1)[:rows, :columns]
    excess = b - calm
    yy, xx = np.ogrid[:rows, :columns]
    far = (yy - y) ** 2 + (xx - x) ** 2 > (_BEAM * columns) ** 2
    return float(excess[(excess > _SIGNIFICANT * np.sqrt(calm + 1)) & far].sum())


@dataclass
class Watch:
    """``see`` each frame of data; it returns why to stop, or "". A crystal is lost when its spots stay under ``lost``
    of what they were for ``patience`` degrees; the beam when almost no counts arrive for three frames."""

    lost: float = 0.08
    patience: float = 3.0
    _counts: list[float] = field(default_factory=list)
    _signal: list[float] = field(default_factory=list)
    _dark: int = 0
    _faint_since: float | None = None

    def see(self, image: np.ndarray, angle: float) -> str:
        counts = float(image.sum(dtype=np.float64))
        first = float(np.median(self._counts)) if self._counts else 0.0
        if len(self._counts) < 5:
            self._counts.append(counts)
        self._dark = self._dark + 1 if first > 0 and counts < 0.02 * first else 0
        if self._dark >= 3:
            return BEAM_LOST
        signal = diffracted(image)
        usual = float(np.median(self._signal)) if len(self._signal) >= 5 else 0.0
        if len(self._signal) < 10:
            self._signal.append(signal)
        if usual <= 0 or signal > self.lost * usual:
            self._faint_since = None
        elif self._faint_since is None:
            self._faint_since = angle
        elif abs(angle - self._faint_since) > self.patience:
            return CRYSTAL_LOST
        return ""

    @property
    def brightness(self) -> float:
        """Counts in Bragg spots of the first frames."""
        return float(np.median(self._signal)) if self._signal else 0.0


BEAM_LOST = "the beam is lost"
CRYSTAL_LOST = "the crystal is lost"
