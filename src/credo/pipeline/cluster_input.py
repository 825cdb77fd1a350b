"""What `credo cluster` reads: every data set in files, lists, tables and folders, and what could not be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from credo.io.cell_tables import read_cells_xlsx, sniff_cells_xlsx
from credo.io.crystfel import read_stream, sniff_stream
from credo.io.edtools import CellRecord, read_cells_yaml, sniff_cells_yaml
from credo.io.file_lists import read_file_list, read_xscale_log, sniff_file_list
from credo.io.merged import without_geometry
from credo.io.project import read_experiment, read_reflections
from credo.io.reflection_files import read_any
from credo.kernels.rotation import rotation_matrix
from credo.model import CredoError, Experiment, Reflections, UnreadableInput
from credo.pipeline.data_set import DataSet, Refused
from credo.pipeline.output import read_report

__all__ = ["badly_known", "read_members"]

#: Files of one data set, of which the first that is there and can be read is taken.
_ONE = (
    "experiment.json", "XDS_ASCII.HKL", "XDS_ASCII.HKL.gz", "INTEGRATE.HKL", "INTEGRATE.HKL.gz", "CORRECT.LP",
    "GXPARM.XDS", "XPARM.XDS",
)  # fmt: skip
#: Files that are each a data set of their own.
_SUFFIXES = (".expt", ".cif_pets")
#: Left behind by XDS where it began but did not come to a cell.
_BEGUN = ("INIT.LP", "COLSPOT.LP", "IDXREF.LP")
#: Commands of ours whose folders hold results, not data sets.
_RESULTS = ("cluster", "merge", "solve", "refine", "map", "powder", "compare", "orient")


def read_members(
    paths: Sequence[Path], say: Callable[[str], None] = lambda _: None
) -> tuple[list[DataSet], list[Refused]]:
    """All data sets below ``paths`` in the order of their names. What was given twice is taken once; what cannot be
    read is rejected with the reason. A path that does not exist is an error: it is most likely misspelt."""
    members: dict[str, DataSet] = {}
    rejected: dict[str, Refused] = {}
    for path in paths:
        if not path.exists():
            raise UnreadableInput(f"{path}: no such file or folder", "check the path")
        for found in _below(path, say) if path.is_dir() else _in_file(path):
            key = _key(found.name)
            if isinstance(found, Refused):
                rejected.setdefault(key, found)
            elif key not in members:
                members[key] = found
    left = [r for k, r in rejected.items() if k not in members]
    return list(members.values()), left


def _key(name: str) -> str:
    """One name for one file, however it was reached."""
    path = Path(name)
    return str(path.resolve()) if path.exists() else name


def _below(root: Path, say: Callable[[str], None]) -> Iterator[DataSet | Refused]:
    """Data sets first; tables of cells count for the data sets that are not there themselves."""
    folders = sorted({p.parent for p in root.rglob("*") if p.is_file()})
    results = {f for f in folders if read_report(f).get("command") in _RESULTS}
    folders = [f for f in folders if not results & {f, *f.parents}]
    seen: set[Path] = set()
    tables: list[Path] = []
    for folder in folders:
        say(f"reading {folder.name}")
        files = sorted(p for p in folder.iterdir() if p.is_file())
        for found in _in_folder(folder, files):
            seen |= {Path(found.name).resolve(), folder.resolve()}
            yield found
        tables += [p for p in files if _is_table(p)]
    for path in tables:
        for found in _in_file(path):
            place = Path(found.name)
            place = place if place.is_absolute() else path.parent / place
            if isinstance(found, Refused) or not {place.resolve(), place.resolve().parent} & seen or not place.exists():
                yield found


def _is_table(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith((".yaml", ".yml", ".xlsx", ".stream")) and (
        sniff_cells_yaml(path) or sniff_cells_xlsx(path) or sniff_stream(path)
    )


def _in_folder(folder: Path, files: list[Path]) -> Iterator[DataSet | Refused]:
    """The one data set that XDS or credo left in a folder, and those in files of their own."""
    names = {p.name: p for p in files}
    errors: list[Refused] = []
    for name in _ONE:
        if name in names:
            found = next(iter(_in_file(names[name])))
            if isinstance(found, DataSet):
                yield found
                errors = []
                break
            errors.append(found)
    else:
        if not errors and any(n in names for n in _BEGUN):
            errors = [Refused(str(folder), _why_xds_failed(names))]
    yield from errors[:1]
    # the .expt and .refl that credo writes beside its own are the same data set
    for path in () if "experiment.json" in names else files:
        if path.name.lower() == "xscale.lp" and (error := _xscale_error(path)):
            yield Refused(str(path), error)
        elif _alone(path, files):
            yield from _in_file(path)


def _alone(path: Path, files: list[Path]) -> bool:
    """Whether a file is a data set of its own: 3_XDS_ASCII.HKL of edtools, an .expt, a .refl without one."""
    suffix, name = path.suffix.lower(), path.name.upper()
    if name.endswith("_XDS_ASCII.HKL") or suffix in _SUFFIXES:
        return True
    return suffix == ".refl" and path.with_suffix(".expt") not in files


def _why_xds_failed(names: dict[str, Path]) -> str:
    """The error that XDS printed last."""
    from credo.io.text import read_text

    for name in reversed(_BEGUN):
        if name in names:
            lines = [x for x in read_text(names[name], 2**26).splitlines() if "!!! ERROR" in x]
            if lines:
                return f"XDS stopped in {Path(name).stem}: {lines[-1].replace('!', '').replace('ERROR', '').strip()}"
    return "XDS left no cell: it did not come to its end"


def _xscale_error(path: Path) -> str:
    try:
        error = read_xscale_log(path).error
    except CredoError as failure:
        return failure.reason
    return f"a run of XSCALE that failed: {error}" if error else ""


def _in_file(path: Path) -> Iterator[DataSet | Refused]:
    """What one file holds; whatever is wrong with it is told, not raised."""
    try:
        if sniff_file_list(path):
            yield from _listed(path)
            return
        records = _records(path)
        if records is not None:
            yield from (_of_record(path, r) for r in records)
            return
        if path.name == "experiment.json":
            beside = path.with_name("reflections.h5")
            table = read_reflections(beside) if beside.exists() else Reflections()
            yield _member(path, read_experiment(path), table)
            return
        yield _member(path, *read_any(path))
    except CredoError as error:
        yield Refused(str(path), error.reason.removeprefix(f"{path}: "))


def _listed(path: Path) -> Iterator[DataSet | Refused]:
    if path.name.lower() == "xscale.lp" and (error := _xscale_error(path)):
        yield Refused(str(path), error)
    files = read_file_list(path)
    yield from (Refused(str(p), f"named in {path.name}, but not there") for p in files.missing)
    for file in files.files:
        yield from _in_file(file)


def _records(path: Path) -> list[CellRecord] | None:
    if sniff_cells_yaml(path):
        return read_cells_yaml(path)
    if sniff_stream(path):
        return read_stream(path)
    return read_cells_xlsx(path) if sniff_cells_xlsx(path) else None


def _of_record(path: Path, record: CellRecord) -> DataSet:
    name = record.directory or f"{path}#{record.number}"
    return DataSet(name, without_geometry(record.cell, record.space_group, source=name), Reflections())


def _member(path: Path, experiment: Experiment | None, table: Reflections) -> DataSet:
    if experiment is None or not experiment.crystals:
        raise UnreadableInput(f"{path}: holds no cell", "leave it out, or index it first: credo process")
    if not all(c in table for c in ("h", "k", "l", "intensity", "sigma")):
        table = Reflections()
    elif "lattice" in table:
        table = table.select(table["lattice"] == 0)
    return DataSet(str(path), experiment, table)


def badly_known(experiment: Experiment) -> np.ndarray | None:
    """Where a cell has no covariance but the scan is known: the direction (3,), in fractions of the axes, in which the
    tilt series leaves the lattice badly known, that of the beam in its middle."""
    crystal, scan = experiment.crystal, experiment.scan
    turned = scan.range_deg if len(scan) > 1 else 0.0
    if crystal.cell.covariance is not None or "angles" not in experiment.known or not 1 < turned < 150:
        return None
    middle = np.radians(0.5 * (scan.start_deg[0] + scan.end_deg[-1]))
    turn = rotation_matrix(experiment.goniometer.axis, np.array([middle]))[0]
    return np.linalg.solve(crystal.cell.O, crystal.orientation.T @ turn.T @ np.array([0.0, 0.0, 1.0]))
