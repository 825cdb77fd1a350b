"""NXmx HDF5 (.nxs, _master.h5): images in one or several datasets, links only within the folder; and its writer."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np

from credo.io.frame_file import FrameFile, Hints, checked_shape, native, native_dtype, read_head, reading, scale_of
from credo.model.errors import UnreadableInput

__all__ = ["read", "sniff"]

MAX_LINKS = 10_000
MAX_CHUNK_BYTES = 2**31
_LENGTHS = {"m": 1e3, "mm": 1.0, "um": 1e-3, "nm": 1e-6, "cm": 10.0}
_FILTERS = {32008: "bitshuffle", 32004: "LZ4", 32001: "Blosc", 32015: "Zstandard", 32026: "Blosc2"}


def sniff(path: Path) -> bool:
    """An HDF5 file with an entry that holds images."""
    if read_head(path, 8) != b"\x89HDF\r\n\x1a\n":
        return False
    try:
        with _file(path) as file:
            return _entry(file) is not None
    except UnreadableInput:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise UnreadableInput(f"{path}: damaged HDF5 ({error})", "copy the file again") from error


def _file(path: Path) -> h5py.File:
    """Also one that is still being written, or that a crash left so (single writer, multiple readers)."""
    try:
        return h5py.File(path, "r", locking=False)
    except OSError:
        try:
            return h5py.File(path, "r", swmr=True, libver="latest", locking=False)
        except (OSError, ValueError):
            pass
        raise


def _entry(file: h5py.File) -> h5py.Group | None:
    """The first entry with a data group."""
    for name in list(file)[:100]:
        if file.get(name, getlink=True).__class__ is not h5py.HardLink:
            continue
        group = file[name]
        if isinstance(group, h5py.Group) and isinstance(group.get("data", getclass=True, getlink=True), type):
            inner = group.get("data", getlink=True)
            if isinstance(inner, h5py.HardLink) and isinstance(group["data"], h5py.Group):
                return group
    return None


@dataclass
class _Stack:
    """Datasets one after another; files are opened at the first image and kept open."""

    parts: list[tuple[Path, str, int]]
    handles: dict[Path, h5py.File] = field(default_factory=dict)

    def __call__(self, i: int) -> np.ndarray:
        for path, name, n in self.parts:
            if i < n:
                with reading(path, "a readable HDF5 file"):
                    if path not in self.handles:
                        self.handles[path] = _file(path)
                    dataset: Any = self.handles[path][name]
                    return native(np.asarray(dataset[i]))
            i -= n
        raise IndexError(i)


def read(path: Path) -> FrameFile:
    """All images of the first entry, with the geometry that it states."""
    with reading(path, "an NXmx file"), _file(path) as file:
        entry = _entry(file)
        if entry is None:
            raise UnreadableInput(f"{path}: an HDF5 file without an entry of images", "give the master file")
        parts, shape, dtype = _parts(path, entry)
        header = _Header(entry)
        hints = _hints(path, header, shape[1:])
        n = shape[0]
        start, width = _angles(entry, n)
        numbers = header.array("instrument/detector/sequence_number", n)
        times = header.array("instrument/detector/timestamps", n)
        axis = _axis(entry)
    if axis is not None:
        hints = Hints(**{**vars(hints), "axis_deg": axis})
    count = numbers.astype(np.int64) if numbers is not None and np.all(np.diff(numbers) > 0) else None
    return FrameFile(path, "NXmx", shape, native_dtype(dtype), _Stack(parts), hints, count, start, width, times)


def _parts(path: Path, entry: h5py.Group) -> tuple[list[tuple[Path, str, int]], tuple[int, int, int], np.dtype]:
    """Where the images are: `data/data`, or data_000001 and so on."""
    group: Any = entry["data"]
    names = [n for n in list(group)[:MAX_LINKS] if n == "data" or re.fullmatch(r"data_\d+", n)]
    if "data" in names:
        names = ["data"]
    parts: list[tuple[Path, str, int]] = []
    shapes: list[tuple[int, ...]] = []
    dtypes: list[np.dtype] = []
    for name in sorted(names):
        target, inner = _resolve(path, group, name)
        with reading(target, "an HDF5 file of images"), _file(target) as file:
            dataset = file[inner]
            if not isinstance(dataset, h5py.Dataset):
                raise UnreadableInput(f"{target}: {inner} is not a table of images", "give the master file")
            _check_dataset(target, dataset)
            full = dataset.shape if dataset.ndim == 3 else (1, *dataset.shape)
            shapes.append(full)
            dtypes.append(dataset.dtype)
            parts.append((target, inner, int(full[0])))
    if not parts:
        raise UnreadableInput(f"{path}: no images in {group.name}", "give the master file")
    if len({s[1:] for s in shapes}) > 1 or len(set(dtypes)) > 1:
        raise UnreadableInput(f"{path}: its parts differ in shape or type: {shapes}", "split the file")
    total = sum(n for _, _, n in parts)
    return parts, checked_shape(path, total, *shapes[0][1:]), dtypes[0]


def _resolve(path: Path, group: h5py.Group, name: str) -> tuple[Path, str]:
    """The file and dataset behind a link; a link that leaves the folder is refused."""
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        return _inside(path, link.filename), link.path
    if isinstance(link, h5py.SoftLink):
        raise UnreadableInput(f"{path}: {name} is a soft link", "give the file that it points to")
    return path, f"{group.name}/{name}"


def _inside(path: Path, name: str) -> Path:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in name:
        raise UnreadableInput(f"{path}: links to {name}, outside its folder", "put all its files into one folder")
    target = path.parent / parts
    if not target.is_file():
        raise UnreadableInput(f"{path}: its images are in {name}, which is not there", f"put it beside {path.name}")
    return target


def _check_dataset(path: Path, dataset: h5py.Dataset) -> None:
    """Rank, type, storage within the folder, chunks of a sane size, and a filter that is there."""
    if dataset.ndim not in (2, 3) or dataset.dtype.kind not in "uif" or dataset.dtype.itemsize > 8:
        raise UnreadableInput(f"{path}: {dataset.name} has shape {dataset.shape}, type {dataset.dtype}", "check it")
    if dataset.is_virtual:
        for source in dataset.virtual_sources():
            if source.file_name != ".":
                _inside(path, source.file_name)
    for name, _, _ in dataset.external or ():
        _inside(path, name)
    if dataset.chunks and np.prod(dataset.chunks, dtype=float) * dataset.dtype.itemsize > MAX_CHUNK_BYTES:
        raise UnreadableInput(f"{path}: {dataset.name} has chunks of {dataset.chunks}", "the file is damaged")
    plist = dataset.id.get_create_plist()
    for k in range(plist.get_nfilters()):
        _need_filter(path, plist.get_filter(k)[0])


def _need_filter(path: Path, code: int) -> None:
    if h5py.h5z.filter_avail(code):
        return
    try:
        import hdf5plugin  # noqa: F401 - registers its filters
    except ImportError:
        name = _FILTERS.get(code, f"filter {code}")
        raise UnreadableInput(f"{path}: compressed with {name}", "pip install 'credo[hdf5]'") from None
    if not h5py.h5z.filter_avail(code):
        raise UnreadableInput(f"{path}: compressed with filter {code}, which is not known", "convert it")


class _Header:
    """Numbers of an entry by path, with their units; silent where a thing is absent or odd."""

    def __init__(self, entry: h5py.Group) -> None:
        self.entry = entry

    def dataset(self, name: str) -> h5py.Dataset | None:
        """Only through hard links, so that nothing outside is opened."""
        here: Any = self.entry
        for part in name.split("/"):
            if not isinstance(here, h5py.Group) or not isinstance(here.get(part, getlink=True), h5py.HardLink):
                return None
            here = here[part]
        good = isinstance(here, h5py.Dataset) and here.dtype.kind in "uif" and _size(here) < 10**7
        return here if good else None

    def number(self, *names: str, lengths: bool = False) -> float | None:
        """The first that is there, finite; lengths in mm."""
        for name in names:
            dataset = self.dataset(name)
            if dataset is None or _size(dataset) < 1:
                continue
            value = float(np.ravel(dataset[()])[0])
            if np.isfinite(value):
                return value * _LENGTHS.get(_unit(dataset, "m"), 1e3) if lengths else value
        return None

    def array(self, name: str, n: int) -> np.ndarray | None:
        """One number for each image."""
        dataset = self.dataset(name)
        if dataset is None or not _has(dataset, n):
            return None
        values = np.ravel(dataset[()])[:n].astype(float)
        return values if np.isfinite(values).all() else None


def _has(dataset: h5py.Dataset, n: int) -> bool:
    """One value for each of n images; in a file that grows, values are written before their image."""
    return _size(dataset) == n or (bool(dataset.file.swmr_mode) and _size(dataset) > n)


def _size(dataset: h5py.Dataset) -> int:
    """Number of values; 0 for a null dataspace."""
    return int(dataset.size or 0)


def _unit(dataset: h5py.Dataset, default: str) -> str:
    unit = dataset.attrs.get("units", default)
    return unit.decode("ascii", "replace") if isinstance(unit, bytes) else str(unit)


def _hints(path: Path, header: _Header, shape: tuple[int, int]) -> Hints:
    wavelength = header.number("instrument/beam/incident_wavelength", "sample/beam/incident_wavelength")
    problems: tuple[str, ...] = ()
    if wavelength is not None and not 0.001 < wavelength < 0.2:
        problems = (f"{path.name}: wavelength {wavelength:g} Å is not an electron's; it was not used.",)
        wavelength = None
    detector = "instrument/detector/"
    pixel = header.number(detector + "x_pixel_size", lengths=True)
    distance = header.number(detector + "distance", detector + "detector_distance", lengths=True)
    x, y = header.number(detector + "beam_center_x"), header.number(detector + "beam_center_y")
    centre = (x, y) if x is not None and y is not None and (x or y) else None
    pixel, distance = (v if v is not None and v > 0 else None for v in (pixel, distance))
    saturation = header.number(detector + "saturation_value")
    percent, azimuth = (header.number(f"{detector}distortion/{n}") for n in ("ellipse_percent", "ellipse_azimuth"))
    return Hints(
        source=path.name,
        wavelength=wavelength,
        q_per_pixel=scale_of(pixel, wavelength, distance),
        pixel_size_mm=pixel,
        distance_mm=distance,
        origin=centre,
        ellipse=(percent, azimuth) if percent is not None and azimuth is not None else None,
        exposure_s=header.number(detector + "count_time") or None,
        saturation=saturation if saturation and saturation > 0 else None,
        shape=shape,
        problems=problems,
    )


def _rotation(entry: h5py.Group) -> h5py.Dataset | None:
    """The rotation that turns during the scan (or the only one)."""
    header = _Header(entry)
    found: list[h5py.Dataset] = []
    for group in ("sample/transformations", "sample/goniometer"):
        for name in ("omega", "phi", "alpha", "chi"):
            dataset = header.dataset(f"{group}/{name}")
            if dataset is not None and _size(dataset):
                found.append(dataset)
    turning = [d for d in found if _size(d) > 1 and np.ptp(np.ravel(d[()])) > 0]
    return next(iter(turning or found), None)


def _angles(entry: h5py.Group, n: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Start and width of every frame [deg]."""
    dataset = _rotation(entry)
    if dataset is None or not _has(dataset, n):
        return None, None
    factor = 180 / np.pi if _unit(dataset, "deg").startswith("rad") else 1.0
    start = np.ravel(dataset[()])[:n].astype(float) * factor
    group = str(dataset.parent.name).removeprefix(str(entry.name) + "/")
    name = str(dataset.name).rsplit("/", 1)[-1]
    header = _Header(entry)
    ends = header.array(f"{group}/{name}_end", n)
    if ends is not None:
        return start, ends * factor - start
    width = header.number(f"{group}/{name}_increment", f"{group}/{name}_range_average")
    return start, None if not width else np.full(n, width * factor)


def _axis(entry: h5py.Group) -> float | None:
    """The scan's axis in the image [deg], from its vector and the directions of the pixels (McStas frame)."""
    dataset = _rotation(entry)
    header = _Header(entry)
    fast = header.dataset("instrument/detector/module/fast_pixel_direction")
    slow = header.dataset("instrument/detector/module/slow_pixel_direction")
    if dataset is None or fast is None or slow is None:
        return None
    vectors = [np.ravel(np.asarray(d.attrs.get("vector", ()), dtype=float)) for d in (dataset, fast, slow)]
    if any(v.shape != (3,) or not np.isfinite(v).all() or not np.any(v) for v in vectors):
        return None
    m, f, s = (v / np.linalg.norm(v) for v in vectors)
    return float(np.degrees(np.arctan2(m @ s, m @ f)) % 360) if max(abs(m @ s), abs(m @ f)) > 1e-6 else None
