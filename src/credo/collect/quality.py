"""How good a crystal is, from a few degrees of rotation: spots, resolution, whether one lattice explains them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from credo.model import ArrayFrames, Experiment, Reflections
from credo.model.errors import CredoError

__all__ = ["Quality", "quality"]

#: Least log-likelihood of a lattice [nat], and least share of spots that it explains, for "indexable".
_SCORE, _SHARE = 50.0, 0.5


@dataclass(frozen=True)
class Quality:
    """``spots`` in all frames, to ``resolution`` [Å] (of the strongest 95 %); ``indexable``: one lattice explains
    ``indexed`` of them, with ``cell``; ``score`` 0 to 1 ranks crystals; ``reason``: why it is not indexable."""

    spots: int
    resolution: float | None
    indexable: bool
    indexed: float
    cell: tuple[float, ...] | None
    score: float
    reason: str = ""

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def quality(frames: np.ndarray, experiment: Experiment) -> Quality:
    """Of ``frames`` (n, rows, columns), n ≥ 3, with the scan and the geometry of ``experiment``.

    score: half for the resolution (1 at 0.8 Å and beyond, 0 at 3 Å), a quarter for the number of spots per frame (1
    at 30), a quarter for the share that one lattice explains.
    """
    source = ArrayFrames(np.asarray(frames))
    try:
        experiment, spots = _spots(source, experiment)
    except CredoError as error:
        return Quality(0, None, False, 0.0, None, 0.0, error.reason)
    if not len(spots):
        return Quality(0, None, False, 0.0, None, 0.0, "no reflections")
    resolution = _resolution(experiment, spots)
    indexed, cell, reason = _index(experiment, spots)
    sharp = float(np.clip((3.0 - resolution) / 2.2, 0, 1))
    many = min(len(spots) / len(source) / 30.0, 1.0)
    score = 0.5 * sharp + 0.25 * many + 0.25 * indexed
    return Quality(len(spots), resolution, indexed > _SHARE, indexed, cell, score, reason)


def _spots(source: ArrayFrames, experiment: Experiment) -> tuple[Experiment, Reflections]:
    from credo.reduce.background import mean_background
    from credo.reduce.beam import find_beam
    from credo.reduce.mask import find_mask
    from credo.reduce.spots import find_spots

    background = mean_background(source)
    bad, _ = find_mask(experiment, source, background=background)
    experiment, _ = find_beam(experiment, source, bad, background=background)
    experiment, spots, _ = find_spots(experiment, source, bad, background=background)
    return experiment, spots


def _resolution(experiment: Experiment, spots: Reflections) -> float:
    """d [Å] that 95 % of the spots do not go beyond."""
    q = experiment.detector.q_lab(np.stack([spots["x"], spots["y"]], axis=1), experiment.beam.wavelength)
    return float(1 / np.percentile(np.linalg.norm(q, axis=1), 95))


def _index(experiment: Experiment, spots: Reflections) -> tuple[float, tuple[float, ...] | None, str]:
    from credo.reduce.index import IndexSettings, index

    # few degrees do not show the axis: the calibrated one is taken, either hand
    settings = IndexSettings(axis=False, max_lattices=1, min_score=_SCORE)
    try:
        found, table, _ = index(experiment, spots, settings)
    except CredoError as error:
        return 0.0, None, error.reason
    return float(np.mean(table["lattice"] >= 0)), tuple(found.crystal.cell.parameters), ""
