"""One of many data sets, as sorting and merging read them: a crystal, its intensities if it has any, and its name."""

from __future__ import annotations

from dataclasses import dataclass

from credo.model import Crystal, Experiment, Reflections

__all__ = ["DataSet", "Refused"]


@dataclass(frozen=True)
class DataSet:
    """``name`` as people gave it; ``table`` is empty where only a cell is known."""

    name: str
    experiment: Experiment
    table: Reflections

    @property
    def crystal(self) -> Crystal:
        return self.experiment.crystal


@dataclass(frozen=True)
class Refused:
    """A file or data set that takes no part, and why."""

    name: str
    reason: str
