"""Data sets brought onto the axes and into the setting of a structure, and the intensities that it calls for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gemmi
import numpy as np

from credo.merge.ambiguity import changes_of_setting
from credo.merge.common_axes import common_axes, mean_cell, on_axes
from credo.model import CannotDo, Structure
from credo.physics.structure_factors import structure_factors
from credo.pipeline.data_set import DataSet
from credo.solve.refine.prepare import RefineSettings, prepared_model

__all__ = ["in_setting_of", "intensities_of", "on_axes_of", "read_model"]

#: |Fc|² below this part of the mean is no more than rounding, or a weak reflection that nothing damps.
_ABSENT = 1e-6


def read_model(path: Path) -> Structure:
    """The structure of a .res, .ins or CIF."""
    return prepared_model(path, RefineSettings()).model.structure


def on_axes_of(model: Structure, sets: Sequence[DataSet]) -> list[DataSet]:
    """Sets that share their axes on those of the structure; raises CannotDo where its lattice is another."""
    first = sets[0].crystal
    group = gemmi.SpaceGroup(model.space_group)
    centring = "P" if group.ext == "R" else group.centring_type()
    axes = common_axes([model.cell, first.cell], [centring, first.centring], [1.0, 1.0])
    change = axes.change[1 - axes.reference]
    if change is None:
        raise CannotDo(
            f"the structure's cell is strained by {axes.strain.max():.1%} against that of the data",
            "give the structure of these crystals",
        )
    p = np.linalg.inv(change) if axes.reference else change
    return [s.on(p, centring, s.crystal.laue_group) for s in sets]


def in_setting_of(model: Structure, sets: Sequence[DataSet], tolerance: float) -> list[DataSet]:
    """Sets, all in one of the settings that the lattice allows, in that whose intensities are most like the model's."""
    crystal = sets[0].crystal
    cell = mean_cell([s.crystal.cell for s in sets], np.eye(3)[None])
    changes = changes_of_setting(cell, crystal.laue_group, crystal.centring, tolerance)
    if changes.cosets == 1:
        return list(sets)
    some = sorted(sets, key=lambda s: -len(s.table))[:5]
    choices = [changes.operators[k] for k in np.unique(changes.same)]
    best = max(choices, key=lambda t: sum(_likeness(model, on_axes(s.table, t)) for s in some))
    return [s.on(best, crystal.centring, crystal.laue_group) for s in sets]


def intensities_of(model: Structure, hkl: np.ndarray) -> np.ndarray:
    """|Fc|² (n,) [Å²] of indices (n, 3); NaN for what is absent or as good as that."""
    f2 = np.abs(structure_factors(model, hkl)) ** 2
    return np.where(f2 > _ABSENT * f2.mean(), f2, np.nan) if len(f2) else f2


def _likeness(model: Structure, table) -> float:
    """Correlation of observed and calculated amplitudes."""
    hkl, of = np.unique(table.hkl, axis=0, return_inverse=True)
    fc = np.abs(structure_factors(model, hkl))[of.reshape(-1)]
    fo = np.sqrt(np.maximum(table["intensity"], 0))
    return float(np.corrcoef(fo, fc)[0, 1]) if len(fo) > 5 and fo.std() > 0 and fc.std() > 0 else 0.0
