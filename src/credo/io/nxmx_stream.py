"""An NXmx file that grows frame by frame while an instrument collects, readable all the while and after a crash.

HDF5's single-writer-multiple-readers mode orders its writes so that a file is whole up to the last flush; what a crash
leaves has its "being written" mark still set, which readers ignore by opening it in that mode, and ``mend`` removes.
HDF5 cannot close a file on a full disk (it crashes): some space is kept beside the file, and given up for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from credo.io.atomic import atomic_path
from credo.io.nxmx_write import omega_attributes, write_static
from credo.model import Experiment
from credo.model.errors import CannotDo

__all__ = ["GrowingNXmx", "being_written", "mend", "read_columns"]

#: Columns that NXmx has a place for, with their units; all others go to /entry/credo.
_PLACES = {
    "number": ("instrument/detector/sequence_number", "i8", ""),
    "timestamp": ("instrument/detector/timestamps", "f8", "s"),
    "exposure": ("instrument/detector/count_time", "f8", "s"),
    "omega": ("sample/transformations/omega", "f8", "deg"),
    "omega_end": ("sample/transformations/omega_end", "f8", "deg"),
}
_OWN = "credo"
#: Frames for which space is kept, and its least [bytes].
_SPARE_FRAMES, _SPARE = 4, 2_000_000
#: Time that compressing a pixel takes at most [s], and the part of the exposure that it may take.
_COMPRESSING, _SHARE = 4e-8, 0.25


class GrowingNXmx:
    """Append frames, each with its values of ``columns`` (name -> unit, "" for none) and of NXmx's own: number,
    timestamp, exposure, omega, omega_end. Every ``append`` is on disk, for other processes to read, when it returns.
    """

    def __init__(
        self, path: Path, experiment: Experiment, dtype: np.dtype, columns: Mapping[str, str], exposure_s: float = 1.0
    ) -> None:
        self.path, self.n = Path(path), 0
        if self.path.exists():
            raise CannotDo(f"{path}: exists already", "give a new folder")
        rows, columns_ = experiment.detector.shape
        quick = rows * columns_ * _COMPRESSING < _SHARE * exposure_s
        filters: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if quick else {}
        with _writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._spare = _spare_of(self.path)
            _fill(self._spare, max(_SPARE, _SPARE_FRAMES * rows * columns_ * np.dtype(dtype).itemsize))
            self._file = h5py.File(self.path, "x", libver="latest", locking=False)
            entry = write_static(self._file, experiment, dtype)
            shape, chunk = (0, rows, columns_), (1, rows, columns_)
            self._images = _data(entry).create_dataset(
                "data", shape, dtype, maxshape=(None, *shape[1:]), chunks=chunk, **filters
            )
            self._columns = {n: _column(entry, *place) for n, place in _PLACES.items()}
            own = entry.create_group(_OWN)
            own.attrs["NX_class"] = "NXcollection"
            self._columns |= {n: _column(entry, f"{_OWN}/{n}", "f8", unit) for n, unit in columns.items()}
            self._columns["omega"].attrs.update(omega_attributes(experiment))
            self._file.swmr_mode = True

    def append(self, image: np.ndarray, values: Mapping[str, float]) -> None:
        """The values first, then the image: a reader never sees an image without them.

        On a full disk the frame is still written, at the cost of the space kept for it, and CannotDo is raised.
        """
        with _writing(self.path, lambda: self._rescue(image, values)):
            self._put(image, values)
        self.n += 1

    def _put(self, image: np.ndarray, values: Mapping[str, float]) -> None:
        for name, column in self._columns.items():
            column.resize(self.n + 1, axis=0)
            column[self.n] = values[name]
            column.flush()
        self._images.resize(self.n + 1, axis=0)
        self._images[self.n] = image
        self._images.flush()

    def _rescue(self, image: np.ndarray, values: Mapping[str, float]) -> None:
        self._spare.unlink(missing_ok=True)
        self._images.resize(self.n, axis=0)  # the place of the failed image, which HDF5 takes for written
        self._put(image, values)
        self.n += 1

    def close(self, final: Mapping[str, np.ndarray] | None = None, origin: tuple[float, float] | None = None) -> None:
        """``final``: columns (n,) that are better known now; ``origin`` (x, y) [px] of the direct beam."""
        self._spare.unlink(missing_ok=True)
        with _writing(self.path):
            try:
                _settle(self._file, final or {}, origin)
            finally:
                self._file.close()

    def abandon(self) -> None:
        """Close whatever the state, after an error; what was appended stays."""
        self._spare.unlink(missing_ok=True)
        try:
            self._file.close()
        except (OSError, RuntimeError):
            return


class _writing:
    """HDF5's errors as ours, with the file and the remedy, after ``rescue``."""

    def __init__(self, path: Path, rescue: Callable[[], None] = lambda: None) -> None:
        self.path, self.rescue = path, rescue

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, (OSError, RuntimeError)):
            with suppress(OSError, RuntimeError):
                self.rescue()
            reason = "the disk is full" if "No space left" in str(error) else str(error).split("(")[0].strip()
            raise CannotDo(f"{self.path}: could not be written ({reason})", "free space on the disk") from error


def _spare_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.spare")


def being_written(path: Path) -> bool:
    """Whether a :class:`GrowingNXmx` is not closed yet, however long it rests; also where a crash left it so."""
    return _spare_of(path).exists()


def _fill(path: Path, size: int) -> None:
    """A file whose space is really taken."""
    with path.open("wb") as stream:
        stream.write(b"\xa5" * size)
        stream.flush()


def _data(entry: h5py.Group) -> Any:
    return entry["data"]


def _column(entry: h5py.Group, place: str, kind: str, unit: str) -> Any:
    column = entry.create_dataset(place, (0,), kind, maxshape=(None,), chunks=(1024,))
    if unit:
        column.attrs["units"] = unit
    return column


def _settle(file: Any, final: Mapping[str, np.ndarray], origin: tuple[float, float] | None) -> None:
    entry = file["entry"]
    for name, values in final.items():
        place = _PLACES[name][0] if name in _PLACES else f"{_OWN}/{name}"
        entry[place][...] = values
    if origin is not None:
        x, y = origin
        detector = entry["instrument/detector"]
        detector["beam_center_x"][...], detector["beam_center_y"][...] = x, y


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """All values by frame (n,) of a file of ours, also of one that is still growing or that a crash left."""
    with _opened(path) as file:
        entry: Any = file["entry"]
        n = int(entry["data/data"].shape[0])
        found = {name: entry[place][:n] for name, (place, _, _) in _PLACES.items() if place in entry}
        return found | {name: column[:n] for name, column in entry[_OWN].items() if column.shape and len(column) >= n}


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError:
        return h5py.File(path, "r", swmr=True, libver="latest", locking=False)


def mend(path: Path, final: Mapping[str, np.ndarray] | None = None, origin: tuple[float, float] | None = None) -> int:
    """Make an ordinary file of what a crash left, with every whole frame; returns their number."""
    with (
        _writing(path),
        atomic_path(path) as temporary,
        _opened(path) as damaged,
        h5py.File(temporary, "w", libver="latest") as file,
    ):
        damaged.copy("entry", file)
        file.attrs["default"] = "entry"
        entry: Any = file["entry"]
        n = int(entry["data/data"].shape[0])
        for place in (*(p for p, _, _ in _PLACES.values()), *(f"{_OWN}/{k}" for k in entry[_OWN])):
            entry[place].resize(n, axis=0)
        _settle(file, final or {}, origin)
    _spare_of(path).unlink(missing_ok=True)
    return n
