"""What the simulator knew: the true experiment and intensities, written beside simulated data for comparisons only.

Nothing that processes data may import this module (an import contract sees to it).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from credo.model import Experiment, Reflections

__all__ = ["Truth", "read_truth", "write_truth"]

_COLUMNS = ("h", "k", "l", "x", "y", "phi", "frame", "d", "lorentz", "intensity", "partiality", "lattice")


@dataclass(frozen=True)
class Truth:
    """``experiment``: with the true beam shifts, missets and crystals; ``reflections``: h k l x y phi frame d lorentz,
    ``intensity`` = expected counts of the whole crossing, ``partiality`` = part of it inside the frames that exist,
    ``lattice``; ``sample``: name and space group."""

    experiment: Experiment
    reflections: Reflections
    sample: dict[str, str]


def write_truth(path: Path, truth: Truth) -> None:
    """As JSON; columns rounded to what a comparison can use."""
    table = {k: np.round(truth.reflections[k].astype(float), 5).tolist() for k in _COLUMNS if k in truth.reflections}
    payload = {"experiment": truth.experiment.to_dict(), "sample": truth.sample, "reflections": table}
    path.write_text(json.dumps(payload), encoding="utf-8")


def read_truth(path: Path) -> Truth:
    """The inverse of :func:`write_truth`."""
    payload = json.loads(path.read_text(encoding="utf-8"))
    columns = {k: np.array(v) for k, v in payload["reflections"].items() if k in _COLUMNS}
    return Truth(Experiment.from_dict(payload["experiment"]), Reflections(columns), payload["sample"])
