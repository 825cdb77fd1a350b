"""Many cells, or data sets with intensities, sorted into lattices and then by what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.io.edtools import read_cells_yaml, sniff_cells_yaml
from credo.io.merged import without_geometry
from credo.io.project import read_experiment, read_reflections
from credo.io.reflection_files import read_any
from credo.merge.cell_clusters import CellCluster, cluster_cells
from credo.merge.cells import cell_distances, cut_tree, tree
from credo.merge.intensities import correlations, intensity_clusters, intensity_distances, intensity_table
from credo.model import CannotDo, Crystal, Experiment, Reflections, UnreadableInput
from credo.pipeline.cluster_intensities import intensity_numbers
from credo.pipeline.output import Output, fingerprint, run_command

__all__ = ["ClusterSettings", "cluster"]

_BELOW = ("experiment.json", "XDS_ASCII.HKL", "cells.yaml")


class ClusterSettings(BaseModel):
    """How cells and intensities are compared."""

    model_config = ConfigDict(extra="forbid")
    metric: Literal["strain", "euclid", "volume", "lcv"] = Field(
        default="strain", description="of the cells; euclid is the thesis's eq. 6, and needs --cut as the last two do"
    )
    cut: float | None = Field(default=None, gt=0, description="distance at which the tree of cells is cut")
    intensity_method: Literal["model", "thesis"] = Field(
        default="model", description="one model of all log intensities, or the thesis's eq. 7 with its tree cut"
    )
    tolerance: float = Field(
        default=2.0, ge=0, le=10, description="strain [%] up to which settings are ambiguous to the lattice (model)"
    )
    intensity_cut: float = Field(
        default=0.4, gt=0, le=1, description="where the tree of intensities is cut, d = (1 - CC²)^½ (thesis)"
    )
    min_common: int = Field(default=5, ge=2, description="reflections that two sets must share (thesis)")


@dataclass(frozen=True)
class _Member:
    name: str
    experiment: Experiment
    table: Reflections

    @property
    def crystal(self) -> Crystal:
        return self.experiment.crystal


def cluster(
    paths: Sequence[Path],
    out: Path,
    settings: ClusterSettings | None = None,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """``credo cluster``: sort cells, then intensities within each cluster of cells; returns the report."""
    paths, settings = [Path(p) for p in paths], settings or ClusterSettings()
    key = fingerprint([p for p in paths if p.exists()], settings)
    output = Output(out, "cluster", key, paths)

    def work(_: Path) -> dict[str, Any]:
        if progress:
            progress("reading")
        members = [m for p in paths for m in _members(p)]
        if not members:
            raise CannotDo("no cell was found", "give cells.yaml, experiment.json or reflection files")
        if progress:
            progress(f"sorting {len(members)} cells")
        return _sorted(members, settings)

    return run_command(output, work, force)


def _members(path: Path) -> list[_Member]:
    """What a file or folder holds: one entry for each cell."""
    if not path.exists():
        raise UnreadableInput(f"{path}: no such file or folder", "check the path")
    if path.is_dir():
        return [m for name in _BELOW for p in sorted(path.rglob(name)) for m in _members(p)]
    if sniff_cells_yaml(path):
        records = read_cells_yaml(path)
        return [
            _Member(r.directory or f"{path}#{r.number}", without_geometry(r.cell, r.space_group), Reflections())
            for r in records
        ]
    if path.name == "experiment.json":
        beside = path.with_name("reflections.h5")
        return [_member(path, read_experiment(path), read_reflections(beside) if beside.exists() else Reflections())]
    return [_member(path, *read_any(path))]


def _member(path: Path, experiment: Experiment | None, table: Reflections) -> _Member:
    if experiment is None or not experiment.crystals:
        raise UnreadableInput(f"{path}: holds no cell", "leave it out, or index it first: credo process")
    if not all(c in table for c in ("h", "k", "l", "intensity", "sigma")):
        table = Reflections()
    elif "lattice" in table:
        table = table.select(table["lattice"] == 0)
    return _Member(str(path), experiment, table)


def _sorted(members: list[_Member], settings: ClusterSettings) -> dict[str, Any]:
    """The keys of report.json."""
    cells, centrings = [m.crystal.cell for m in members], [m.crystal.centring for m in members]
    if settings.metric != "strain":
        if settings.cut is None:
            raise UnreadableInput(f"--metric {settings.metric} has no cut of its own", "give --cut")
        distance = cell_distances(cells, settings.metric, ordered=True)
        labels = cut_tree(tree(distance), settings.cut)
        groups = [np.flatnonzero(labels == k) for k in range(1, labels.max() + 1)]
        clusters = [{"members": g, "cell": np.mean([cells[i].parameters for i in g], axis=0)} for g in groups]
        cut, parts = settings.cut, [{**c, "cell_esd": None, "reindex": None} for c in clusters]
    else:
        found = cluster_cells(cells, centrings, settings.cut)
        labels, distance, cut = found.labels, found.distance, found.cut
        parts = [_described(c, members, settings) for c in found.clusters]
    return {
        "k": int(labels.max()), "labels": labels, "clusters": parts, "distance": distance, "metric": settings.metric,
        "cut": cut, "datasets": [m.name for m in members],
    }  # fmt: skip


def _described(part: CellCluster, members: list[_Member], settings: ClusterSettings) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "members": part.members, "reference": part.reference, "cell": part.cell.parameters, "cell_esd": part.cell.esd,
        "reindex": part.reindex, "lattice_index": part.index,
    }  # fmt: skip
    tables = [_on_axes(members[i].table, p) for i, p in zip(part.members, part.reindex)]
    if sum(map(bool, tables)) > 1 and settings.intensity_method == "thesis":
        table = intensity_table(tables, members[part.reference].crystal.laue_group)
        cc, common = correlations(table, settings.min_common)
        numbers["intensity_labels"] = intensity_clusters(intensity_distances(cc), settings.intensity_cut)
        numbers |= {"cc": cc, "common": common}
    elif sum(map(bool, tables)) > 1:
        numbers |= intensity_numbers(part, [members[i].experiment for i in part.members], tables, settings.tolerance)
    return numbers


def _on_axes(table: Reflections, p: np.ndarray) -> Reflections:
    """The intensities with h' = Pᵀ h; indices that are not whole on the new axes are left out."""
    if not table:
        return Reflections({k: np.empty(0) for k in ("h", "k", "l", "intensity", "sigma")})
    hkl = table.hkl @ p
    whole = np.all(np.abs(hkl - np.rint(hkl)) < 1e-6, axis=1)
    return table.select(whole).with_columns(hkl=np.rint(hkl[whole]).astype(int))
