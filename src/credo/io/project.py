"""A data set on disk as credo keeps it: experiment.json and reflections.h5, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from credo.io.atomic import atomic_path, atomic_write
from credo.io.frame_file import reading
from credo.model import Experiment, Reflections
from credo.model.errors import UnreadableInput
from credo.model.reflections import COLUMNS

__all__ = [
    "atomic_path",
    "atomic_write",
    "json_text",
    "plain",
    "read_experiment",
    "read_reflections",
    "write_experiment",
    "write_json",
    "write_reflections",
]

VERSION = 1
MAX_JSON = 2**29
#: Ahead of the HDF5 proper, in its user block: the digest of what follows.
SEAL = b"credo sha256 "
SEALED = 512


def write_experiment(path: Path, experiment: Experiment) -> None:
    """``experiment.json``: the fields of :class:`Experiment` as plain JSON."""
    write_json(path, {"credo": "experiment", "version": VERSION, **experiment.to_dict()})


def read_experiment(path: Path) -> Experiment:
    """The inverse of :func:`write_experiment`."""
    with reading(path, "an experiment.json"):
        if path.stat().st_size > MAX_JSON:
            raise UnreadableInput(f"{path}: more than {MAX_JSON} bytes", "check the file")
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.pop("credo", None) != "experiment":
            raise UnreadableInput(f"{path}: not an experiment written by credo", "give a folder of frames")
        version = data.pop("version", None)
        if version != VERSION:
            raise UnreadableInput(f"{path}: version {version}, this credo reads {VERSION}", "process the data again")
        return Experiment.from_dict(data)


def write_json(path: Path, data: dict[str, Any]) -> None:
    """:func:`json_text` in a file, whole or not at all."""
    with atomic_write(path) as stream:
        stream.write(json_text(data).encode("utf-8"))


def json_text(data: dict[str, Any]) -> str:
    """Plain JSON; numbers that JSON does not have (NaN, infinity) become null."""
    return json.dumps(plain(data), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


def write_reflections(path: Path, reflections: Reflections) -> None:
    """``reflections.h5``: one compressed dataset for each column, with its unit and meaning as attributes.

    Made in memory first: HDF5 does not survive a disk that fills up while it writes. Sealed with a digest, because it
    may also crash or hang on a file that was damaged.
    """
    with h5py.File(path.name, "w", driver="core", backing_store=False, userblock_size=SEALED) as file:
        file.attrs["credo"] = "reflections"
        file.attrs["version"] = VERSION
        file.attrs["rows"] = len(reflections)
        group = file.create_group("columns", track_order=True)
        for name, values in reflections.items():
            options = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if len(values) > 1000 else {}
            dataset = group.create_dataset(name, data=values, **options)
            if name in COLUMNS:
                dataset.attrs["units"], dataset.attrs["meaning"] = COLUMNS[name][1:]
        file.flush()
        image = file.id.get_file_image()  # without the user block
    seal = SEAL + hashlib.sha256(image).hexdigest().encode("ascii") + b"\n"
    with atomic_write(path) as stream:
        stream.write(seal.ljust(SEALED, b"\0"))
        stream.write(image)


def read_reflections(path: Path) -> Reflections:
    """The inverse of :func:`write_reflections`; nothing reaches HDF5 unless its seal is whole."""
    with reading(path, "a reflections.h5"):
        _check_seal(path)
    with reading(path, "a reflections.h5"), h5py.File(path, "r", locking=False) as file:
        if file.attrs.get("credo") != "reflections" or file.attrs.get("version") != VERSION:
            raise UnreadableInput(f"{path}: not reflections written by this version of credo", "process the data again")
        group: Any = file["columns"]
        written: Any = file.attrs["rows"]
        rows = int(written)
        columns: dict[str, np.ndarray] = {}
        for name in group:
            dataset = group[name]
            if group.get(name, getlink=True).__class__ is not h5py.HardLink or not isinstance(dataset, h5py.Dataset):
                raise UnreadableInput(f"{path}: column {name} is not a table", "process the data again")
            if dataset.shape != (rows,) or dataset.dtype.kind not in "iufb" or rows > 10**9:
                raise UnreadableInput(f"{path}: column {name} has shape {dataset.shape}", "process the data again")
            columns[name] = dataset[()]
        return Reflections(columns)


def _check_seal(path: Path) -> None:
    with path.open("rb") as stream:
        seal = stream.read(SEALED)
        if not seal.startswith(SEAL):
            raise UnreadableInput(f"{path}: not reflections written by this version of credo", "process the data again")
        whole = hashlib.file_digest(stream, "sha256").hexdigest().encode("ascii")
    if seal != (SEAL + whole + b"\n").ljust(SEALED, b"\0"):
        raise UnreadableInput(f"{path}: damaged, its content does not match its seal", "process the data again")
