"""MTZ through gemmi: merged (IMEAN) and unmerged (one row for each observation, with batches and positions)."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from credo.io.frame_file import reading
from credo.io.merged import cell_or_none, without_geometry
from credo.io.project import atomic_path
from credo.io.space_group import find_space_group
from credo.model import Experiment, Reflections, Scan
from credo.model.errors import CannotDo, UnreadableInput

__all__ = ["read_mtz", "sniff_mtz", "write_mtz"]

_INTENSITY = ("I", "IMEAN", "IOBS", "I-OBS", "IMEAS")


def sniff_mtz(path: Path) -> bool:
    """Whether a file is an MTZ."""
    with reading(path, "a readable file"), path.open("rb") as stream:
        return stream.read(4) == b"MTZ "


def _checked(path: Path) -> None:
    """The sizes in the header against the size of the file, before anything of that size is allocated."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(20)
        if len(start) < 20 or start[:4] != b"MTZ ":
            raise UnreadableInput(f"{path}: not an MTZ", "check the path")
        order = ">" if start[8] >> 4 == 1 else "<"
        offset = struct.unpack(order + "i", start[4:8])[0]
        if offset == -1:
            offset = struct.unpack(order + "q", start[12:20])[0]
        place = 4 * (offset - 1)
        if not 80 <= place < size:
            raise UnreadableInput(f"{path}: truncated, its header should be at byte {place} of {size}", "copy it again")
        stream.seek(place)
        header = stream.read(min(size - place, 2**22)).decode("ascii", "replace")
    match = re.search(r"NCOL\s+(\d{1,9})\s+(\d{1,12})\s+(\d{1,9})", header)
    if match is None:
        raise UnreadableInput(f"{path}: has no NCOL record", "the header is damaged; copy the file again")
    columns, rows, batches = (int(x) for x in match.groups())
    if 80 + 4 * columns * rows > place or batches > 10**6:
        raise UnreadableInput(
            f"{path}: the header claims {rows} rows of {columns} columns, more than the file holds", "copy it again"
        )


def read_mtz(path: Path) -> tuple[Experiment, Reflections]:
    """Columns h k l intensity sigma of the first intensities in the file; of unmerged files also x y phi batch where
    they are (XDET, YDET, ROT; in the writer's own convention), with the frames of the batches as the scan. Structure
    factors F become F²."""
    with reading(path, "an MTZ"):
        _checked(path)
        mtz: Any = gemmi.read_mtz_file(str(path))
        if len(mtz.batches) > 0:
            mtz.switch_to_original_hkl()
        data = np.array(mtz.array, dtype=float)
        names = [c.label for c in mtz.columns]
        get = {name: data[:, i] for i, name in enumerate(names)}
        hkl = np.array(mtz.make_miller_array())
        out: dict[str, np.ndarray] = dict(zip("hkl", hkl.T))
        out |= _intensity(path, data, names, [c.type for c in mtz.columns])
        out |= {ours: get[theirs] for theirs, ours in _MORE.items() if theirs in get}
        wavelengths = [d.wavelength for d in mtz.datasets if d.wavelength > 0]
        cell = cell_or_none(mtz.cell.parameters)
        if cell is None:
            raise UnreadableInput(f"{path}: its cell {mtz.cell.parameters} spans no volume", "write the file again")
        experiment = without_geometry(
            cell, mtz.spacegroup, wavelengths[-1] if wavelengths else None, source=str(path), kind="MTZ"
        )
        if "BATCH" in get:
            if not np.all(np.abs(get["BATCH"]) < 2**31):
                raise ValueError("a batch is not a number")
            out["batch"] = get["BATCH"].astype(np.int32)
            scan = _scan(mtz.batches)
            if scan is not None and np.isin(out["batch"], scan.numbers).all():
                out["frame"] = np.searchsorted(scan.numbers, out["batch"]) + 0.5
                if "phi" in out:
                    out["frame"] = _within(out["frame"], out["phi"], scan)
                experiment = experiment.replace(scan=scan, known=(*experiment.known, "angles"))
        keep = np.isfinite(out["intensity"]) & np.isfinite(out["sigma"])
        return experiment, Reflections(out).select(keep)


#: Columns of unmerged files -> credo's.
_MORE = {"XDET": "x", "YDET": "y", "ROT": "phi", "FRACTIONCALC": "partiality"}


def _scan(batches: Any) -> Scan | None:
    """The frames of the batches with their rotation (phi start and end), None where a batch has none."""
    rows = sorted((b.number, b.floats[36], b.floats[37]) for b in batches)
    numbers, start, end = (np.array(v, dtype=float) for v in zip(*rows)) if rows else (np.zeros(0),) * 3
    usable = len(rows) and np.all(np.diff(numbers) > 0) and np.isfinite([start, end]).all()
    if not usable or np.any(np.abs(end - start) < 1e-5) or np.any(np.abs([start, end]) > 7200):
        return None
    return Scan(numbers.astype(np.int64), start, end - start)


def _within(frame: np.ndarray, phi: np.ndarray, scan: Scan) -> np.ndarray:
    """The frame of a batch, and how far into it the angle lies."""
    row = frame.astype(int)
    return row + np.clip((phi - scan.start_deg[row]) / scan.width_deg[row], 0, 0.999999)


def _intensity(path: Path, data: np.ndarray, names: list[str], types: list[str]) -> dict[str, np.ndarray]:
    """The first mean intensities and their sigmas; else F² from amplitudes."""
    for kind in ("J", "F"):
        found = [
            i for i, t in enumerate(types) if t == kind and not (kind == "F" and names[i].upper().startswith("FC"))
        ]
        found.sort(key=lambda i: names[i].upper() not in _INTENSITY)
        if not found:
            continue
        i = found[0]
        following = i + 1 < len(types) and types[i + 1] == "Q"
        sigma = data[:, i + 1] if following else np.zeros(len(data))
        if kind == "J":
            return {"intensity": data[:, i], "sigma": sigma}
        return {"intensity": data[:, i] ** 2, "sigma": 2 * np.abs(data[:, i]) * sigma}
    raise UnreadableInput(f"{path}: has neither intensities nor amplitudes", "give an MTZ with I or F columns")


def write_mtz(path: Path, experiment: Experiment, reflections: Reflections) -> None:
    """Unmerged (M/ISYM, BATCH, I, SIGI, XDET, YDET, ROT) when the table has phi, else merged (IMEAN, SIGIMEAN)."""
    r = reflections
    if not experiment.crystals or not all(n in r for n in ("h", "k", "l", "intensity", "sigma")):
        raise CannotDo(f"{path}: MTZ needs a cell, indices, intensities and sigmas", "integrate the data first")
    if "rejected" in r:
        r = r.select(~r["rejected"])
    mtz = _empty(experiment)
    unmerged = "phi" in r and "frame" in r
    columns = _unmerged(experiment, r, mtz.spacegroup) if unmerged else _merged(r)
    for label, kind, _ in columns[3:]:
        mtz.add_column(label, kind)
    mtz.set_data(np.ascontiguousarray(np.column_stack([v for *_, v in columns]), dtype=np.float32))
    if unmerged:
        _add_batches(mtz, experiment)
    else:
        mtz.ensure_asu()
    mtz.sort(5 if unmerged else 3)
    with atomic_path(path) as temporary:
        mtz.write_to_file(str(temporary))


def _empty(experiment: Experiment) -> Any:
    """An MTZ with the crystal and the wavelength, and the columns H, K, L."""
    crystal = experiment.crystal
    mtz: Any = gemmi.Mtz(with_base=True)
    mtz.title = "credo"
    mtz.spacegroup = find_space_group(crystal.space_group) or gemmi.SpaceGroup("P 1")
    mtz.cell = gemmi.UnitCell(*crystal.cell.parameters)
    # mtz.dataset(1) would be a copy
    dataset = mtz.add_dataset("credo")
    dataset.wavelength, dataset.cell = experiment.beam.wavelength, mtz.cell
    return mtz


_Columns = list[tuple[str, str, np.ndarray]]


def _merged(r: Reflections) -> _Columns:
    """(label, type, values)."""
    return [
        *((n.upper(), "H", r[n]) for n in "hkl"), ("IMEAN", "J", r["intensity"]), ("SIGIMEAN", "Q", r["sigma"]),
    ]  # fmt: skip


def _unmerged(experiment: Experiment, r: Reflections, group: gemmi.SpaceGroup) -> _Columns:
    """(label, type, values); indices in the asymmetric unit, M/ISYM says from which they came."""
    numbers = experiment.scan.numbers
    batch = numbers[np.clip(np.floor(r["frame"]).astype(int), 0, len(numbers) - 1)]
    asu: Any = gemmi.ReciprocalAsu(group)
    operations = group.operations()
    found = [asu.to_asu(h, operations) for h in r.hkl.tolist()]
    hkl = np.array([h for h, _ in found]).reshape(-1, 3)
    where = [(label, "R", r[n]) for n, label in (("x", "XDET"), ("y", "YDET"), ("phi", "ROT")) if n in r]
    return [
        *((n, "H", hkl[:, i]) for i, n in enumerate("HKL")), ("M/ISYM", "Y", np.array([k for _, k in found])),
        ("BATCH", "B", batch), ("I", "J", r["intensity"]), ("SIGI", "Q", r["sigma"]), *where,
    ]  # fmt: skip


def _add_batches(mtz: Any, experiment: Experiment) -> None:
    """One batch for each frame, with its rotation."""
    e = experiment
    for number, start, end in zip(e.scan.numbers.tolist(), e.scan.start_deg.tolist(), e.scan.end_deg.tolist()):
        batch = gemmi.Mtz.Batch()
        batch.number = number
        batch.cell = mtz.cell
        batch.dataset_id = 1
        batch.wavelength = e.beam.wavelength
        floats: Any = batch.floats
        floats[36], floats[37] = start, end
        mtz.batches.append(batch)
