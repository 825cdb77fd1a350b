"""From expected electrons to counts: Poisson statistics, gain, the Timepix cross, hot and dead pixels, saturation."""

from __future__ import annotations

import numpy as np

from credo.instrument.sim.settings import CameraSettings
from credo.kernels.noise import add_normal, poisson_image, poisson_tables

__all__ = ["Detector"]

#: Pixels of the cross of a 2 × 2 Timepix (one edge pixel is as wide as three), and what its counts are divided by.
_CROSS, _SPREAD = ((slice(255, 258), 255), (slice(258, 261), 260)), 2.15


class Detector:
    """One camera's chip; its bad pixels are its own, given by the seed."""

    def __init__(self, settings: CameraSettings, seed: int) -> None:
        self.settings = settings
        self._tables = poisson_tables()
        rng = np.random.default_rng([seed, 41])
        n = settings.size
        self._hot = self._places(rng, settings.hot, n)
        self._dead = self._places(rng, settings.dead, n)
        self._hot_rate = rng.uniform(20, 2000, size=len(self._hot[0]))

    @staticmethod
    def _places(rng, share: float, n: int) -> tuple[np.ndarray, np.ndarray]:
        flat = rng.choice(n * n, size=rng.binomial(n * n, share), replace=False)
        return flat // n, flat % n

    def read(self, electrons: np.ndarray, seconds: float, seed: int, binning: int = 1) -> np.ndarray:
        """Counts (rows, columns) uint16 of expected ``electrons`` (n, n) float32, which are used up."""
        s = self.settings
        electrons[self._hot] += self._hot_rate * seconds
        electrons[self._dead] = 0.0
        cross = s.kind == "timepix" and s.size == 516
        if cross:
            _gathered(electrons)
        if s.count_rate_ns:
            _paralysed(electrons, seconds, 1e-9 * s.count_rate_ns)
        plain = s.gain == 1 and s.read_noise == 0 and s.offset == 0 and binning == 1
        counts = np.empty(electrons.shape, dtype=np.uint16 if plain else np.int64)
        poisson_image(electrons, seed, *self._tables, s.saturation if plain else 2**40, counts)
        if cross:
            _spread(counts)
        return counts if plain else self._digitised(counts, seed, binning)

    def _digitised(self, counts: np.ndarray, seed: int, binning: int) -> np.ndarray:
        s = self.settings
        if binning > 1:
            n = s.size // binning * binning
            counts = counts[:n, :n].reshape(n // binning, binning, n // binning, binning).sum(axis=(1, 3))
        value = counts * s.gain + s.offset
        if s.read_noise:
            add_normal(value, seed + 1, s.read_noise)
        return np.clip(np.rint(value), 0, s.saturation).astype(np.uint16)


def _gathered(electrons: np.ndarray) -> None:
    """The three lines of each side of the cross are one wide line of pixels: the outermost takes the sum."""
    for lines, keep in _CROSS:
        for view in (electrons, electrons.T):
            total = view[lines].sum(axis=0)
            view[lines] = 0.0
            view[keep] = total


def _spread(counts: np.ndarray) -> None:
    """Write the wide lines' counts, divided as the camera's software does, over their three lines."""
    for lines, keep in _CROSS:
        for view in (counts, counts.T):
            view[lines] = (view[keep] / _SPREAD).astype(counts.dtype)


def _paralysed(electrons: np.ndarray, seconds: float, deaf: float) -> None:
    """Counts that a pixel sees when every electron deafens it for ``deaf`` [s]: n exp(−n τ/T), in place."""
    many = electrons * (deaf / max(seconds, 1e-9))
    busy = many > 1e-3
    electrons[busy] *= np.exp(-many[busy])
