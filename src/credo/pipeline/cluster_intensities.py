"""What `credo cluster` reports of the intensities within one cluster of cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from credo.merge.cell_clusters import CellCluster
from credo.merge.intensity_sorting import IntensitySorting, sort_by_intensity
from credo.model import Cell, Experiment, Reflections

__all__ = ["intensity_numbers"]


def intensity_numbers(
    part: CellCluster, experiments: Sequence[Experiment], tables: Sequence[Reflections], tolerance: float
) -> dict[str, Any]:
    """Keys ``intensity_*`` of report.json for the members of a cluster, whose ``tables`` are on its axes.

    ``reindex`` and the settings found are put together: (a', b', c') = (a, b, c) P T. tolerance: [%].
    """
    crystals = [e.crystal for e in experiments]
    cells = [_on(c.cell, p) for c, p in zip(crystals, part.reindex)]
    reference = part.members.index(part.reference)
    head = crystals[reference]
    found = sort_by_intensity(tables, cells, head.laue_group, head.centring, tolerance / 100, reference)
    return {
        "intensity_k": found.k, "intensity_labels": found.labels,
        "reindex": [p @ v.operator for p, v in zip(part.reindex, found.verdicts)],
        "intensity_verdicts": [_row(v) for v in found.verdicts], "intensity_between": found.between,
        "intensity_settings": found.cosets, "intensity_noise": found.noise, "intensity_curve": found.curve,
        "intensity_coordinates": found.picture.coordinates, "intensity_joins": found.picture.joins,
        "intensity_order": found.picture.order, "cc": found.picture.cc, "common": found.picture.common,
        "warnings": _warnings(experiments, found),
    }  # fmt: skip


def _on(cell: Cell, p: np.ndarray) -> Cell:
    return cell.replace(covariance=None).reindexed(p)


def _row(v: Any) -> dict[str, Any]:
    return {
        "kind": v.kind, "label": v.label, "posterior": v.posterior, "cc": v.cc, "common": v.common,
        "operator": v.operator, "setting_odds": v.setting_odds, "subgroup": v.subgroup, "reason": v.reason,
    }  # fmt: skip


def _warnings(experiments: Sequence[Experiment], found: IntensitySorting) -> list[str]:
    """What a reader of the labels should know."""
    out = []
    known = np.array([e.beam.wavelength for e in experiments if "wavelength" in e.known])
    if len(known) and np.ptp(known) > 0.01 * np.median(known):
        out.append(
            f"The wavelengths differ ({known.min():.5f} to {known.max():.5f} Å): dynamical intensities of different "
            "voltages are unlike, and may be sorted apart."
        )
    members = [v for v in found.verdicts if v.kind == "phase"]
    if found.cosets > 1 and members and np.mean([v.setting_odds < np.log(9) for v in members]) > 0.5:
        out.append(
            f"The lattice allows {found.cosets} settings that the intensities do not tell apart: the Laue group may "
            "be higher than the files say."
        )
    return out
