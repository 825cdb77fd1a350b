"""Data sets to phases: by cell, then by intensity within each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from credo.io.project import plain
from credo.merge.known_phases import KnownPhase, identify
from credo.model import Cell
from credo.pipeline.cluster import ClusterSettings, sorted_sets
from credo.pipeline.data_set import DataSet, Refused
from credo.pipeline.merge_input import by_intensity

__all__ = ["Sorting", "name_of", "sort_sets"]


#: Of fewer cells the tree has no gap to be cut at: those strained by more than this are of different lattices.
_SOME, _FAR = 4, 0.08


@dataclass(frozen=True)
class Sorting:
    """``groups``: rows of the data sets of each phase, the largest first; ``alone``: sets whose cell no other has;
    ``refused``: of no phase by their intensities; ``numbers``: what `credo cluster` reports."""

    groups: tuple[tuple[int, ...], ...] = ()
    alone: tuple[int, ...] = ()
    refused: tuple[Refused, ...] = ()
    numbers: dict[str, Any] = field(default_factory=dict)


def sort_sets(sets: Sequence[DataSet], settings: ClusterSettings | None = None, fewest: int = 2) -> Sorting:
    """Sort data sets of unique names; a phase needs ``fewest`` of them, but where no phase has as many one will do."""
    if not sets:
        return Sorting()
    numbers = plain(sorted_sets(sets, settings or ClusterSettings(cut=_FAR if len(sets) < _SOME else None)))
    row = {s.name: i for i, s in enumerate(sets)}
    groups: list[list[int]] = []
    refused: list[Refused] = []
    for part in numbers["clusters"]:
        names = [sets[i].name for i in part["members"]]
        phases, foreign = by_intensity(names, part)
        groups += [sorted(row[n] for n in names) for names in phases if names]
        refused += foreign
    with_data = [[i for i in g if len(sets[i].table)] for g in groups]
    groups = sorted((g for g in with_data if g), key=lambda g: (-len(g), g[0]))
    large = [g for g in groups if len(g) >= fewest] or groups
    alone = sorted(i for g in groups if g not in large for i in g)
    return Sorting(tuple(map(tuple, large)), tuple(alone), tuple(refused), numbers)


def name_of(cell: Cell, centring: str, known: Sequence[KnownPhase]) -> tuple[str | None, float]:
    """The known phase that a cell is most likely of, and how probable; ``None`` where it is of none."""
    if not known:
        return None, 0.0
    p = identify([cell], [centring], known).probability[0]
    best = int(np.argmax(p))
    return (None if best == len(known) else known[best].name), float(p[best])
