"""One of many data sets, as sorting and merging read them: a crystal, its intensities if it has any, and its name."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from credo.merge.common_axes import on_axes
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

    def on(self, p: np.ndarray, centring: str, laue_group: str) -> DataSet:
        """The data set on the axes (a, b, c) P, P (3, 3)."""
        crystal = self.crystal if np.array_equal(p, np.eye(3)) else self.crystal.reindexed(p)
        crystal = crystal.replace(centring=centring, laue_group=laue_group, space_group=None)
        return replace(self, experiment=self.experiment.replace(crystals=(crystal,)), table=on_axes(self.table, p))


@dataclass(frozen=True)
class Refused:
    """A file or data set that takes no part, and why."""

    name: str
    reason: str
