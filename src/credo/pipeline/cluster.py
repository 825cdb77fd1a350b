"""Many cells, or data sets with intensities, sorted into lattices and then by what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.io.text import write_text
from credo.merge.cell_clusters import CellCluster, cluster_cells
from credo.merge.cells import cell_distances, cut_tree, tree
from credo.merge.intensities import correlations, intensity_clusters, intensity_distances, intensity_table
from credo.model import CannotDo, Reflections, UnreadableInput
from credo.pipeline.cluster_input import badly_known, read_members
from credo.pipeline.cluster_intensities import intensity_numbers
from credo.pipeline.cluster_known import identified, known_phases
from credo.pipeline.cluster_output import write_tables
from credo.pipeline.data_set import DataSet, Refused
from credo.pipeline.output import Output, fingerprint, run_command
from credo.pipeline.page.clustering import clustering_page

__all__ = ["ClusterSettings", "cluster", "sorted_sets"]


class ClusterSettings(BaseModel):
    """How cells and intensities are compared."""

    model_config = ConfigDict(extra="forbid")
    metric: Literal["strain", "euclid", "volume", "lcv"] = Field(
        default="strain", description="of the cells; euclid is the thesis's eq. 6, and needs --cut as the last two do"
    )
    cut: float | None = Field(default=None, gt=0, description="distance at which the tree of cells is cut")
    max_index: int = Field(default=3, ge=1, le=3, description="largest index of super- and sublattices looked for")
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


def cluster(
    paths: Sequence[Path],
    out: Path,
    settings: ClusterSettings | None = None,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
    known: Sequence[str] = (),
) -> dict[str, Any]:
    """``credo cluster``: sort cells, then intensities within each cluster of cells; returns the report.

    known: phases to look for, each a CIF or ``NAME=a,b,c,al,be,ga,CENTRING``.
    """
    paths, settings = [Path(p) for p in paths], settings or ClusterSettings()
    files = [Path(k) for k in known if Path(k).is_file()]
    key = fingerprint([p for p in (*paths, *files) if p.exists()], (settings, tuple(known)))
    output = Output(out, "cluster", key, paths, (settings, {"known": list(known) or None}), files)

    def work(folder: Path) -> dict[str, Any]:
        say = progress or (lambda _: None)
        phases = known_phases(known)
        members, rejected = read_members(paths, say)
        refused = [{"dataset": r.name, "reason": r.reason} for r in rejected]
        if not members:
            raise CannotDo(_nothing(rejected), "give cells.yaml, experiment.json or reflection files",
                           {"rejected": refused})  # fmt: skip
        say(f"sorting {len(members)} cells")
        numbers = {**sorted_sets(members, settings), "rejected": refused}
        if phases:
            say("looking for known phases")
            numbers |= identified(members, phases)
        write_tables(folder, members, numbers)
        write_text(folder / "report.html", clustering_page(members, numbers, ", ".join(map(str, paths))))
        return numbers

    return run_command(output, work, force)


def _nothing(rejected: list[Refused]) -> str:
    if not rejected:
        return "no cell was found"
    first = f"{rejected[0].name}: {rejected[0].reason}"
    return f"no cell was found: {first}" + (f" (and {len(rejected) - 1} more)" if len(rejected) > 1 else "")


def sorted_sets(members: Sequence[DataSet], settings: ClusterSettings) -> dict[str, Any]:
    """The keys of report.json."""
    cells, centrings = [m.crystal.cell for m in members], [m.crystal.centring for m in members]
    if settings.metric != "strain":
        if settings.cut is None:
            raise UnreadableInput(f"--metric {settings.metric} has no cut of its own", "give --cut")
        distance = cell_distances(cells, settings.metric, ordered=True)
        joins = tree(distance)
        labels = cut_tree(joins, settings.cut)
        groups = [np.flatnonzero(labels == k) for k in range(1, labels.max() + 1)]
        clusters = [{"members": g, "cell": np.mean([cells[i].parameters for i in g], axis=0)} for g in groups]
        cut, parts = settings.cut, [{**c, "cell_esd": None, "reindex": None} for c in clusters]
    else:
        directions = [badly_known(m.experiment) for m in members]
        found = cluster_cells(cells, centrings, settings.cut, settings.max_index, directions)
        labels, distance, cut, joins = found.labels, found.distance, found.cut, found.joins
        parts = [_described(c, members, settings) for c in found.clusters]
    return {
        "k": int(labels.max()), "labels": labels, "clusters": parts, "distance": np.round(distance, 5), "joins": joins,
        "metric": settings.metric, "cut": cut, "datasets": [m.name for m in members],
    }  # fmt: skip


def _described(part: CellCluster, members: Sequence[DataSet], settings: ClusterSettings) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "members": part.members, "reference": part.reference, "cell": part.cell.parameters, "cell_esd": part.cell.esd,
        "reindex": part.reindex, "lattice_index": part.index, "posterior": part.posterior, "strain": part.strain,
        "noise": vars(part.noise), "reasons": [_reason(part, j) for j in range(len(part.members))],
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


def _reason(part: CellCluster, j: int) -> str:
    """Why a member is in its cluster, in words."""
    if len(part.members) == 1:
        return "alone: no other cell is near"
    if part.index[j] > 1:
        return f"a super- or sublattice of index {part.index[j]}"
    return f"{100 * part.strain[j]:.1f} % from the cluster's cell"


def _on_axes(table: Reflections, p: np.ndarray) -> Reflections:
    """The intensities with h' = Pᵀ h; indices that are not whole on the new axes are left out."""
    if not table:
        return Reflections({k: np.empty(0) for k in ("h", "k", "l", "intensity", "sigma")})
    hkl = table.hkl @ p
    whole = np.all(np.abs(hkl - np.rint(hkl)) < 1e-6, axis=1)
    return table.select(whole).with_columns(hkl=np.rint(hkl[whole]).astype(int))
