"""Was the crystal in the beam? How bright its reflections are on each frame, beside what they usually are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.kernels.untyped import ndimage
from credo.model import Experiment, Reflections
from credo.reduce.partials import Partials

__all__ = ["Lit", "lit_frames"]

#: Rms of the Gaussian that averages over angles [deg]; brightness beside the usual below which a frame is dark, and by
#: how many esds of what is just as bright it must be below.
_WINDOW_DEG, _DARK, _SURE = 1.0, 0.25, 2.0
#: No reflection counts as brighter than so many times its shell's mean, and what that leaves of an exponential's mean.
_CAP = 3.0
_CAPPED = 1 - np.exp(-_CAP)
#: Share of a rocking curve that a frame must hold to tell anything; shells in s².
_SHARE, _SHELLS = 0.05, 12


@dataclass(frozen=True)
class Lit:
    """``brightness`` (lattices, frames), 1 as the crystal usually is when it is lit; ``esd`` of one on the verge of
    dark; ``dark``: frames in which it is not in the beam."""

    brightness: np.ndarray
    esd: np.ndarray
    dark: np.ndarray

    def spans(self, lattice: int = 0) -> list[tuple[int, int]]:
        """First and last frame of every run of dark ones."""
        edge = np.flatnonzero(np.diff(np.concatenate([[0], self.dark[lattice].astype(int), [0]])))
        return [(int(a), int(b) - 1) for a, b in zip(edge[::2], edge[1::2])]


def lit_frames(experiment: Experiment, predicted: Reflections, partials: Partials, share: np.ndarray) -> Lit:
    """Brightness of every lattice on every frame, from all its reflections by Wilson's statistics.

    A reflection's counts on a frame are exponentially distributed about λ_f ⟨I⟩ L p, ⟨I⟩ the mean of its shell, L
    Lorentz's factor and p the ``share`` of its curve. λ_f = Σ w min(c, 3m) / 0.95 Σ w m with w = m/(m² + σ²), summed
    under a Gaussian of angle, ⟨I⟩ from the bright frames and λ in turn. What other crystals scatter to the same places
    adds a small share of what the crystal itself would.
    """
    n, lattices = len(experiment.scan), len(experiment.crystals)
    out = Lit(np.ones((lattices, n)), np.full((lattices, n), np.inf), np.zeros((lattices, n), dtype=bool))
    of = predicted["lattice"][partials.row] if "lattice" in predicted else np.zeros(len(partials), dtype=int)
    use = (partials.fit_b > 0) & (partials.coverage > 0.5) & (share > _SHARE)
    for k in range(lattices):
        _one(experiment, predicted, partials, share, np.flatnonzero(use & (of == k)), out, k)
    return out


def _one(experiment: Experiment, predicted: Reflections, partials: Partials, share, use: np.ndarray, out: Lit, k: int):
    """Fill row ``k`` of ``out`` in place; left as it is where there is too little to tell."""
    n = len(experiment.scan)
    if len(use) < 20 * _SHELLS:
        return
    frame, row = partials.frame[use], partials.row[use]
    counts, variance = partials.fit_a[use] / partials.fit_b[use], 1 / partials.fit_b[use]
    per_mean = share[use] * predicted["lorentz"][row]
    order = np.argsort(1 / predicted["d"][row] ** 2, kind="stable")
    shell = np.empty(len(use), dtype=int)
    shell[order] = np.arange(len(use)) * _SHELLS // len(use)
    brightness, esd = np.ones(n), np.ones(n)
    # a reflection's frames share its intensity: they are one observation
    again = len(use) / len(np.unique(row))
    for _ in range(4):
        mean = _shell_means(counts, variance, per_mean * brightness[frame], shell)[shell]
        m = mean * per_mean
        w = m / (m**2 + variance)
        top = _smooth(experiment, np.bincount(frame, w * np.minimum(counts, _CAP * m), n))
        norm = _smooth(experiment, np.bincount(frame, w * m, n))
        scatter = _smooth(experiment, np.bincount(frame, w**2 * ((_DARK * m) ** 2 + variance), n), squared=True)
        brightness = np.where(norm > 0, top / np.maximum(_CAPPED * norm, 1e-30), 0.0)
        esd = np.where(norm > 0, np.sqrt(again * scatter) / np.maximum(_CAPPED * norm, 1e-30), np.inf)
        # usual is what the counts come from, however short it lasts
        bright = np.maximum(brightness, 0)
        usual = max(float(np.sum(bright**2) / max(np.sum(bright), 1e-9)), 1e-9)
        brightness, esd = np.clip(brightness / usual, 0, 3), esd / usual
    out.brightness[k], out.esd[k] = brightness, esd
    out.dark[k] = brightness + _SURE * esd < _DARK


def _shell_means(counts: np.ndarray, variance: np.ndarray, expected: np.ndarray, shell: np.ndarray) -> np.ndarray:
    """⟨I⟩ of each shell (shells,), from bright frames above all; noise does not make it nought or less."""
    w = expected / variance
    norm = np.maximum(np.bincount(shell, w * expected, _SHELLS), 1e-30)
    return np.maximum(np.bincount(shell, w * counts, _SHELLS) / norm, 1 / np.sqrt(norm))


def _smooth(experiment: Experiment, values: np.ndarray, squared: bool = False) -> np.ndarray:
    """Sum of ``values`` (frames,) under a Gaussian of angle, or under its square (for variances)."""
    width = float(np.median(np.abs(experiment.scan.width_deg)))
    sigma = max(_WINDOW_DEG / max(width, 1e-6), 0.5)
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return ndimage.convolve1d(values, kernel**2 if squared else kernel, mode="constant")
