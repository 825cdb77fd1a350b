"""The rocking curve as the frames show it: its width and tails, and how bright each frame was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from credo.model import Experiment, Reflections
from credo.reduce.missets import recorded_shares
from credo.reduce.partials import Partials, rocking_sigma_deg

__all__ = ["Rocking", "frame_scales", "learn_rocking"]

#: Width of the tails' Gaussian over that of the core.
_WIDER = 3.0


@dataclass(frozen=True)
class Rocking:
    """A share ``tail`` of every rocking curve is three times as wide as the rest; ``scale`` (n_frames,) of frames."""

    tail: float
    scale: np.ndarray

    def shares(self, experiment: Experiment, predicted: Reflections, row: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """Share of reflection ``row``'s curve that lies on ``frame`` (n,), without the frame's scale."""
        share = recorded_shares(experiment, predicted, row, frame)
        if self.tail == 0:
            return share
        return (1 - self.tail) * share + self.tail * recorded_shares(experiment, predicted, row, frame, _WIDER)


def learn_rocking(
    experiment: Experiment, predicted: Reflections, partials: Partials, most: int = 600
) -> tuple[Experiment, float]:
    """Crystals with the width, and the tail, under which the mean of strong reflections' curves is reproduced.

    Least squares over curves scaled to one: what is wanted is their mean, errors of the angles included, because
    Σ p c / Σ p² is without bias when p is the mean of what is recorded. Curves that are altogether wrong count little.
    """
    n, row = len(predicted), partials.row
    total = np.bincount(row, partials.intensity, n)
    noise = np.sqrt(np.maximum(np.bincount(row, partials.variance, n), 1e-9))
    width = np.median(np.abs(experiment.scan.width_deg))
    whole = np.bincount(row, recorded_shares(experiment, predicted, row, partials.frame), n) > 0.9
    strong = np.flatnonzero((total > 20 * noise) & whole & (rocking_sigma_deg(experiment, predicted) < 10 * width))
    if len(strong) < 15:
        return experiment, 0.0
    strong = strong[np.argsort(-(total / noise)[strong], kind="stable")[:most]]
    use = np.isin(row, strong)
    row, frame, y = row[use], partials.frame[use], partials.intensity[use] / total[row[use]]
    weight = 1 / (0.05**2 + (noise / np.maximum(total, 1e-9)) ** 2)

    def misfit(log_factor: float) -> tuple[float, float]:
        f = float(np.exp(log_factor))
        core = recorded_shares(experiment, predicted, row, frame, f)
        more = recorded_shares(experiment, predicted, row, frame, _WIDER * f) - core
        tail = float(np.clip(np.sum(weight[row] * (y - core) * more) / np.sum(weight[row] * more**2), 0, 0.6))
        loss = (weight * np.bincount(row, (y - core - tail * more) ** 2, n))[strong]
        return float(np.minimum(loss, 9 * np.median(loss)).sum()), tail

    grid = np.log(np.geomspace(0.35, 2.8, 10))
    for _ in range(2):
        losses = [misfit(g)[0] for g in grid]
        best = int(np.argmin(losses))
        grid = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)], 7)
    at = _lowest(grid, np.array([misfit(g)[0] for g in grid]))
    factor, tail = float(np.exp(at)), misfit(at)[1]
    crystals = tuple(
        c.replace(mosaicity_deg=c.mosaicity_deg * factor, shape_width=c.shape_width * factor)
        for c in experiment.crystals
    )
    return experiment.replace(crystals=crystals), tail


def _lowest(x: np.ndarray, y: np.ndarray) -> float:
    """The vertex of the parabola through the lowest of equally spaced points."""
    k = int(np.clip(np.argmin(y), 1, len(x) - 2))
    bend = y[k - 1] - 2 * y[k] + y[k + 1]
    step = 0.5 * (y[k - 1] - y[k + 1]) / bend if bend > 0 else 0.0
    return float(x[k] + np.clip(step, -1, 1) * (x[1] - x[0]))


def frame_scales(
    partials: Partials, share: np.ndarray, intensity: np.ndarray, n_frames: int, relative: float = 0.15
) -> np.ndarray:
    """How bright each frame was beside its neighbours (n_frames,), mean one: flicker, not slow changes.

    From strong reflections' counts over what ``intensity`` (rows,) times ``share`` makes them, whose own error is
    ``relative``. Drawn towards one as far as the frames' noise and not their scatter explains it (empirical Bayes).
    """
    model = intensity[partials.row] * share
    strong = (model > 3 * np.sqrt(partials.variance)) & (partials.coverage > 0.5)
    frame, m, c = partials.frame[strong], model[strong], partials.intensity[strong]
    if len(frame) < 5 * n_frames:
        return np.ones(n_frames)
    variance = partials.variance[strong] + (relative * m) ** 2 + (0.05 * intensity[partials.row[strong]]) ** 2
    scale = np.ones(n_frames)
    known = np.zeros(n_frames)
    for _ in range(4):
        w = 1 / (variance + (c - scale[frame] * m) ** 2 / 4)
        known = np.bincount(frame, w * m * m, n_frames)
        scale = np.bincount(frame, w * m * c, n_frames) / np.maximum(known, 1e-12)
        scale[known == 0] = 1.0
    esd2 = 1 / np.maximum(known, 1e-12)
    middle = float(np.median(scale[known > 0]))
    spread = (1.4826 * float(np.median(np.abs(scale[known > 0] - middle)))) ** 2
    excess = max(spread - float(np.median(esd2[known > 0])), 0.0)
    # a few frames' worth of chance must not be taken for flicker
    if excess < 0.3 * float(np.median(esd2[known > 0])):
        return np.ones(n_frames)
    return np.clip(1 + (scale / middle - 1) * excess / (excess + esd2), 0.1, 3.0)
