"""Sets brought into one setting where the lattice allows several and the intensities tell them apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from credo.merge.ambiguity import changes_of_setting
from credo.merge.log_intensities import log_intensities
from credo.merge.phases import find_phases
from credo.model import Cell, Reflections

__all__ = ["one_setting"]


def one_setting(
    tables: Sequence[Reflections], cell: Cell, laue_group: str, centring: str, tolerance: float
) -> list[np.ndarray]:
    """T (3, 3) of each set, h' = h T, after which all agree as well as they can; 1 where nothing is ambiguous.

    The intensities are compared in the symmetry that all settings share (merge/ambiguity.py), in one model with the
    phases (merge/phases.py); sets that belong to none stay as they are, to be judged by the merge.
    """
    changes = changes_of_setting(cell, laue_group, centring, tolerance)
    if changes.cosets == 1 or len(tables) < 2:
        return [np.eye(3)] * len(tables)
    found = find_phases(log_intensities(tables, cell, changes.core, changes.operators), changes.product)
    settings = np.where(np.asarray(found.labels) < 0, 0, found.settings)
    return [changes.operators[s] for s in settings]
