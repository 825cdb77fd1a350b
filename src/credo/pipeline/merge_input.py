"""What `credo merge` reads: reflection files of any kind, folders of them, or the result of `credo cluster`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from credo.io.merged import cell_or_none, without_geometry
from credo.io.project import read_experiment, read_reflections
from credo.io.reflection_files import read_any
from credo.model import Cell, CredoError, Reflections, UnreadableInput
from credo.pipeline.data_set import DataSet, Refused
from credo.pipeline.output import read_report

__all__ = ["LEAST", "by_intensity", "read_phases", "read_set", "wavelengths"]

#: Files looked for in folders; of those beside each other the first is taken, as they hold the same data.
_FILES = ("experiment.json", "XDS_ASCII.HKL", "XDS_ASCII.HKL.gz", "INTEGRATE.HKL", "INTEGRATE.HKL.gz")
_SUFFIXES = (".refl", ".cif_pets", ".mtz", ".hkl")
_NEEDED = ("h", "k", "l", "intensity", "sigma")
#: Verdicts of `credo cluster` on sets that belong to no phase.
_FOREIGN = {"junk", "mixture", "strained", "empty"}
#: What merging needs of a table, and what files of other programs need.
LEAST = (*_NEEDED, "phi", "rejected", "overloaded")
_KEPT = (*LEAST, "x", "y", "frame", "x_calc", "y_calc", "phi_calc", "rlp", "partiality", "profile_cc")


def read_phases(
    paths: Sequence[Path], cell: Sequence[float] | None, say: Any = lambda _: None, places: bool = False
) -> tuple[list[list[DataSet]], list[Refused]]:
    """Data sets by phase (one, unless a result of `credo cluster` is given), and what could not be read.

    cell: for files that have none. places: keep the places on the detector, which other programs need. A file that
    cannot be read is refused with the reason; if nothing can be read at all, the first reason is raised.
    """
    groups: list[list[Path]] = []
    plain: list[Path] = []
    refused: list[Refused] = []
    for path in paths:
        if not path.exists():
            raise UnreadableInput(f"{path}: no such file or folder", "check the path")
        clusters, foreign = _of_cluster(path)
        groups += clusters
        refused += foreign
        plain += [] if clusters else _below(path)
    groups += [plain] if plain else []
    first: CredoError | None = None
    phases = []
    for files in groups:
        found = []
        for file in files:
            say(f"reading {file.name}")
            try:
                found.append(read_set(file, cell, _KEPT if places else LEAST))
            except CredoError as error:
                first = first or error
                refused.append(Refused(str(file), error.reason.removeprefix(str(file)).lstrip(":, ")))
        if found:
            phases.append(found)
    if not phases:
        if first is not None:
            raise first
        raise UnreadableInput(
            f"{paths[0] if paths else 'nothing'}: no reflection files",
            "give XDS_ASCII.HKL, INTEGRATE.HKL, .refl, .hkl, a folder of `credo process`, or one of `credo cluster`",
        )
    return phases, refused


def _of_cluster(path: Path) -> tuple[list[list[Path]], list[Refused]]:
    """Files by phase where a path is the result of `credo cluster`, and what it found to be in no phase."""
    folder = path if path.is_dir() else path.parent
    report = read_report(folder)
    if report.get("command") != "cluster" or (path.is_file() and path.name != "report.json"):
        return [], []
    if not report.get("ok"):
        raise UnreadableInput(f"{folder}: a run of `credo cluster` that failed", "run it again")
    names = report.get("datasets", [])
    out: list[list[str]] = []
    refused = [Refused(str(r.get("dataset")), str(r.get("reason"))) for r in report.get("rejected", [])]
    for part in report.get("clusters", []):
        members = [names[i] for i in part.get("members", []) if 0 <= i < len(names)]
        groups, foreign = by_intensity(members, part)
        out += groups
        refused += foreign
    return [[p for q in map(Path, g) for p in (_below(q) if q.is_dir() else [q])] for g in out if g], refused


def by_intensity(members: list[str], part: dict[str, Any]) -> tuple[list[list[str]], list[Refused]]:
    """The phases of a cluster of cells. What is of none is refused with the reason given there; sets of which nothing
    certain is known, and single ones, go with the largest phase, to be judged by it."""
    labels = part.get("intensity_labels") or [1] * len(members)
    verdicts = part.get("intensity_verdicts") or [{}] * len(members)
    foreign = [v.get("kind") in _FOREIGN for v in verdicts]
    refused = [
        Refused(m, f"{v['kind']}, as `credo cluster` found: {v.get('reason', '')}".rstrip(": "))
        for m, v, f in zip(members, verdicts, foreign)
        if f
    ]
    sizes = {k: labels.count(k) for k in labels if k}
    largest = max(sizes, key=lambda k: sizes[k], default=1)
    own = [k if sizes.get(k, 0) > 1 else largest for k in labels]
    groups = [
        [m for m, k, f in zip(members, own, foreign) if k == label and not f] for label in dict.fromkeys(own)
    ]  # fmt: skip
    return groups, refused


def _below(path: Path) -> list[Path]:
    """The data sets in a folder: one file of each folder that holds any, or all those of other kinds."""
    if path.is_file():
        return [path]
    folders = sorted({p.parent for p in path.rglob("*") if p.is_file()})
    out: list[Path] = []
    for folder in folders:
        known = next((folder / n for n in _FILES if (folder / n).is_file()), None)
        if known is not None:
            out.append(known)
            continue
        for suffix in _SUFFIXES:
            files = sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() == suffix)
            if files:
                out += files
                break
    return out


def read_set(path: Path, given: Sequence[float] | None = None, columns: Sequence[str] = LEAST) -> DataSet:
    """One data set of one file: its intensities of the main lattice, and only these columns.

    given: the cell of a file that has none.
    """
    if path.name == "experiment.json":
        beside = path.with_name("reflections.h5")
        if not beside.is_file():
            raise UnreadableInput(f"{path}: no reflections.h5 beside it", "process the data again")
        experiment, table = read_experiment(path), read_reflections(beside)
    else:
        experiment, table = read_any(path)
    missing = [c for c in _NEEDED if c not in table]
    if missing:
        raise UnreadableInput(f"{path}: has no column {', '.join(missing)}", "give integrated intensities")
    if "lattice" in table:
        table = table.select(table["lattice"] == 0)
    if experiment is None or not experiment.crystals:
        if given is None:
            raise UnreadableInput(f"{path}: holds no cell", "put its .ins beside it, or give --cell")
        experiment = without_geometry(_given_cell(given), source=str(path))
    if not len(table):
        raise UnreadableInput(f"{path}: holds no reflections of the main lattice", "leave it out, or process it again")
    return DataSet(str(path), experiment, Reflections({n: table[n] for n in columns if n in table}))


def _given_cell(constants: Sequence[float]) -> Cell:
    cell = cell_or_none(constants)
    if cell is None:
        raise UnreadableInput(f"--cell {' '.join(f'{x:g}' for x in constants)} spans no volume", "correct it")
    return cell


def wavelengths(sets: Sequence[DataSet]) -> np.ndarray:
    """Those (n,) [Å] that the files state."""
    return np.array([d.experiment.beam.wavelength for d in sets if "wavelength" in d.experiment.known])
