"""Open whatever the user points at: a folder, files, a stack, an archive, an experiment or a list of spots."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from credo.io.archive import is_archive, unpack
from credo.io.assemble import Sources, assemble
from credo.io.formats import FrameFormat, format_of, open_frames
from credo.io.frame_file import FrameFile, Hints, reading
from credo.io.instamatic import nearby, read_ed3d_hints, read_log, read_pts_hints, read_xds_hints
from credo.io.overrides import GeometryOverrides
from credo.io.series import Series, choose_series, find_series, series_of
from credo.model import ArrayFrames, Experiment, Frames, Goniometer, LazyFrames, Reflections
from credo.model.errors import CannotDo, UnreadableInput

__all__ = ["GeometryOverrides", "Opened", "in_memory", "open_experiment"]

_SPOTS = ("spot.xds", "strong.refl")
_REFLECTIONS = (".refl", ".expt", ".hkl", ".mtz", ".cif", ".cif_pets")
#: Loose images of a folder that count for less than an archive beside them (samples, thumbnails).
_FEW = 10


@dataclass(frozen=True)
class Opened:
    """``frames`` is None for a list of spots, ``spots`` is None for frames."""

    experiment: Experiment
    frames: Frames | None = None
    spots: Reflections | None = None


def open_experiment(
    paths: Path | str | Sequence[Path | str],
    overrides: GeometryOverrides | None = None,
    *,
    need_angles: bool = True,
) -> Opened:
    """Open data with the geometry that the files, the logs beside them and the user give.

    paths: one folder, archive, file of frames, experiment.json, SPOT.XDS or .refl; or several files of one series.
    need_angles: without it, an unknown rotation per frame becomes a placeholder of 1° and a sentence in ``problems``.
    """
    given = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    overrides = overrides or GeometryOverrides()
    for path in given:
        if not path.exists():
            raise UnreadableInput(f"{path}: no such file or folder", "check the path")
    if not given:
        raise UnreadableInput("no path was given", "give a folder of frames")
    if len(given) > 1:
        return _open_files(given, overrides, need_angles)
    path = given[0]
    if path.is_dir():
        return _open_folder(path, overrides, need_angles)
    if is_archive(path):
        return _open_archives([path], path.parent, overrides, need_angles)
    if path.suffix.lower() == ".json":
        return _open_project(path, overrides)
    if is_reflections(path):
        return _open_spots(path)
    if path.name.lower() == "xds.inp":
        return _open_folder(_template_folder(path), overrides, need_angles)
    return _open_files([path], overrides, need_angles)


def is_reflections(path: Path) -> bool:
    """Whether the name is that of a list of spots or reflections, not of frames."""
    return path.name.lower() in _SPOTS or path.suffix.lower() in _REFLECTIONS


def _open_folder(folder: Path, overrides: GeometryOverrides, need_angles: bool, *, plain: bool = False) -> Opened:
    """``plain``: as if there were no experiment.json in it."""
    if not plain and (folder / "experiment.json").is_file():
        return _open_project(folder / "experiment.json", overrides)
    found = find_series(folder)
    if not found or len(found[0]) < _FEW:
        archives = [p for p in sorted(folder.iterdir()) if is_archive(p)]
        if archives:
            return _open_archives(archives, folder, overrides, need_angles)
    if not found or len(found[0]) == 1:
        spots = [p for p in sorted(folder.iterdir()) if p.name.lower() in _SPOTS]
        if spots:
            return _open_spots(spots[0])
    series, notes = choose_series(found, folder)
    top = folder if series.folder != folder else None
    return _open_series(series, overrides, need_angles, source=series.folder, notes=notes, top=top)


def _open_archives(archives: list[Path], beside: Path, overrides: GeometryOverrides, need_angles: bool) -> Opened:
    """The archive with the longest series; logs are looked for inside it and where it would be unpacked."""
    best: tuple[Series, tuple[str, ...], Path, Path] | None = None
    for archive in archives:
        root = unpack(archive)
        found = find_series(root)
        if found and (best is None or len(found[0]) > len(best[0])):
            best = (*choose_series(found, root), archive, root)
    if best is None:
        raise UnreadableInput(f"{beside}: no frames in {', '.join(p.name for p in archives)}", "check the archive")
    series, notes, archive, root = best
    others = [p.name for p in archives if p != archive]
    if others:
        notes += (f"{archive.name} holds the frames; left aside: {', '.join(others)}.",)
    virtual = beside / series.folder.relative_to(root)
    return _open_series(
        series, overrides, need_angles, source=archive, notes=notes, top=root, also=virtual, limit=beside
    )


def _open_files(paths: list[Path], overrides: GeometryOverrides, need_angles: bool) -> Opened:
    folders = [p for p in paths if p.is_dir() or is_archive(p)]
    if folders:
        raise UnreadableInput(f"{folders[0]}: several paths must all be files of frames", "give one folder at a time")
    source = paths[0] if len(paths) == 1 else paths[0].parent
    return _open_series(series_of(paths), overrides, need_angles, source=source)


def _open_series(
    series: Series,
    overrides: GeometryOverrides,
    need_angles: bool,
    *,
    source: Path,
    notes: tuple[str, ...] = (),
    top: Path | None = None,
    also: Path | None = None,
    limit: Path | None = None,
) -> Opened:
    files = _open_all(series)
    numbers = _numbers(series, files)
    if series.ordered and len(series) > 1:
        notes += ("The file names hold no running number: frames are taken in the order of their names, without gaps.",)
    beside = nearby(series.folder, top)
    if also is not None:
        beside = {**nearby(also, limit), **beside}
    sources = _sources(files[0], series.files[0].name, beside)
    empty = np.array([f.format == "SMV" and _is_filler(f) for f in files]) if len(files) == len(numbers) else None
    if empty is not None and empty.any() and not empty.all():
        notes += (f"{int(empty.sum())} frames hold only zeros, as Instamatic fills gaps for DIALS: taken as missing.",)
        files = [f for f, e in zip(files, empty) if not e]
        numbers = numbers[~empty]
    keep = _chosen(numbers, overrides)
    for hints in sources:
        for low, high in hints.excluded or ():
            inside = keep & (numbers >= low) & (numbers <= high)
            if inside.any() and not inside.all():
                notes += (f"{hints.source} excludes frames {low} to {high}: left out.",)
                keep &= ~inside
    stack = _stack(files)
    if not keep.all():
        stack = _subset(stack, np.flatnonzero(keep))
        files = [f for f, k in zip(files, keep) if k] if len(files) == len(keep) else [_part(files[0], keep)]
    experiment = assemble(
        files, numbers[keep], sources, overrides, source=str(source.resolve()), problems=notes, need_angles=need_angles
    )
    return Opened(experiment, stack)


def _open_all(series: Series) -> list[FrameFile]:
    """Every file's header, read and compared before any image is."""
    first_format: FrameFormat | None = format_of(series.files[0])
    if first_format is None:
        return [open_frames(series.files[0])]
    read = first_format.read
    files = [read(path) for path in series.files]
    first = files[0]
    for file in files[1:]:
        if file.shape[1:] != first.shape[1:]:
            raise UnreadableInput(
                f"{file.path}: {file.shape[1]} x {file.shape[2]} pixels, while {first.path.name} has "
                f"{first.shape[1]} x {first.shape[2]}",
                "leave out the frames that do not belong to the series",
            )
        if file.dtype != first.dtype:
            raise UnreadableInput(
                f"{file.path}: pixels are {file.dtype}, while those of {first.path.name} are {first.dtype}",
                "convert all frames to one type with `credo convert`",
            )
    return files


def _is_filler(file: FrameFile) -> bool:
    """Whether the image is all zeros; a look at its middle settles nearly all cases."""
    rows, columns = file.shape[1:]
    size = rows * columns * file.dtype.itemsize
    with reading(file.path, "a readable file"), file.path.open("rb") as stream:
        stream.seek(-size + size // 2, os.SEEK_END)
        block = stream.read(min(65536, size // 2))
    return not any(block) and not np.any(file.read(0))


def _numbers(series: Series, files: list[FrameFile]) -> np.ndarray:
    """The number of each image; a stack counts its own from 1."""
    if all(f.shape[0] == 1 for f in files):
        return series.numbers
    if len(files) == 1 and files[0].numbers is not None:
        return files[0].numbers
    return np.arange(1, sum(f.shape[0] for f in files) + 1)


def _sources(first: FrameFile, name: str, beside: dict[str, Path]) -> Sources:
    """Headers and neighbours, in the order of trust, with axes in the frame of the array.

    Logs, .ed3d and .pts give the axis with y up in the picture; Instamatic's MRC files hold the picture upside down.
    """
    flip = 1 if first.format == "MRC" else -1
    log = read_log(beside["log"]) if "log" in beside else None
    # SMV headers count angles upwards even if the stage went down; the axis is then the opposite one
    turned = 180 if first.format == "SMV" and log is not None and (log.step_deg or 0) < 0 else 0
    trusted: list[Hints] = []
    last: list[Hints] = []
    if "xds" in beside:
        hints, ours = read_xds_hints(beside["xds"], name)
        axis = None if hints.axis_deg is None else -flip * hints.axis_deg
        (trusted if ours else last).append(replace(hints, axis_deg=axis))
    for kind, reader in (("ed3d", read_ed3d_hints), ("pts", read_pts_hints)):
        if kind in beside:
            trusted.append(_turned(reader(beside[kind]), flip, turned))
    if log is not None:
        log = _turned(log, flip, turned)
        # a log says where the stage really began; REDp's list may mean the end of each frame
        if log.start_deg is not None and log.step_deg:
            trusted = [replace(h, angles=None) for h in trusted]
        trusted.append(log)
    return Sources(first.hints, (*trusted, *last))


def _turned(hints: Hints, flip: int, turned: int) -> Hints:
    return hints if hints.axis_deg is None else replace(hints, axis_deg=flip * hints.axis_deg + turned)


def _chosen(numbers: np.ndarray, overrides: GeometryOverrides) -> np.ndarray:
    if overrides.frames is None:
        return np.ones(len(numbers), dtype=bool)
    low, high = overrides.frames
    keep = (numbers >= low) & (numbers <= high)
    if not keep.any():
        raise UnreadableInput(
            f"frames {low} to {high}: none of them is there (numbers run from {numbers[0]} to {numbers[-1]})",
            "give another --frames",
        )
    return keep


def _stack(files: list[FrameFile]) -> LazyFrames:
    """All images of all files, one after another, read when asked for."""
    counts = np.array([f.shape[0] for f in files])
    ends = np.cumsum(counts)
    total = int(ends[-1])
    shape = (total, *files[0].shape[1:])
    finite = files[0].dtype.kind != "f"

    def load(i: int) -> np.ndarray:
        k = int(np.searchsorted(ends, i, side="right"))
        inner = i - int(ends[k] - counts[k])
        image = files[k].read(inner)
        if not finite and not np.isfinite(image).all():
            row, column = np.argwhere(~np.isfinite(image))[0]
            raise UnreadableInput(
                f"{files[k].path}: image {inner} holds NaN or infinity, first at row {row}, column {column}",
                "leave this frame out, or replace these pixels by a number",
            )
        return image

    return LazyFrames(load, shape, files[0].dtype)  # type: ignore[arg-type]


def _subset(frames: Frames, rows: np.ndarray) -> LazyFrames:
    return LazyFrames(lambda i: frames[int(rows[i])], (len(rows), *frames.shape[1:]), frames.dtype)


def _part(file: FrameFile, keep: np.ndarray) -> FrameFile:
    """A stack's header cut down to the frames that are used."""
    cut = {k: None if (v := getattr(file, k)) is None else v[keep] for k in ("start_deg", "width_deg", "timestamps")}
    return replace(file, shape=(int(keep.sum()), *file.shape[1:]), numbers=None, **cut)


def in_memory(frames: Frames, limit_bytes: float = 6e8) -> Frames:
    """The frames read once, in their own dtype, when they take less than ``limit_bytes``; else as they are."""
    if isinstance(frames, ArrayFrames) or float(np.prod(frames.shape)) * frames.dtype.itemsize > limit_bytes:
        return frames
    data = np.empty(frames.shape, dtype=frames.dtype)
    for i in range(len(frames)):
        data[i] = frames[i]
    return ArrayFrames(data)


def _open_project(path: Path, overrides: GeometryOverrides) -> Opened:
    """An experiment.json of ours: its geometry stands unless overruled, the frames are looked up where it says."""
    from credo.io.project import read_experiment, read_reflections

    experiment = read_experiment(path)
    table = path.parent / "reflections.h5"
    spots = read_reflections(table) if table.is_file() else None
    source = _source(experiment.source, path)
    frames: Frames | None = None
    if source is not None:
        if source.is_dir():
            raw = _open_folder(source, GeometryOverrides(), need_angles=False, plain=True)
        else:
            raw = open_experiment(source, need_angles=False)
        frames = raw.frames
    if frames is not None and source is not None:
        rows = np.flatnonzero(np.isin(raw.experiment.scan.numbers, experiment.scan.numbers))
        if len(rows) != len(experiment.scan):
            raise UnreadableInput(
                f"{path}: {source} holds {len(rows)} of the {len(experiment.scan)} frames it was made from",
                "restore the frames, or process the folder again",
            )
        frames = _subset(frames, rows)
    return _overruled(Opened(experiment, frames, spots), overrides)


def _source(written: str, path: Path) -> Path | None:
    """Where the frames are: the place written, or beside the experiment.json if the folder was moved."""
    if not written:
        return None
    if Path(written).exists():
        return Path(written)
    return path.parent if find_series(path.parent) else None


def _overruled(opened: Opened, overrides: GeometryOverrides) -> Opened:
    """The user's word over an earlier experiment."""
    e = opened.experiment
    keep = _chosen(e.scan.numbers, overrides)
    if not keep.all():
        e = e.replace(scan=e.scan.part(keep))
        frames = None if opened.frames is None else _subset(opened.frames, np.flatnonzero(keep))
        opened = replace(opened, frames=frames)
    said = {"wavelength": overrides.given_wavelength, "origin": overrides.beam_center, "axis": overrides.axis}
    if said["wavelength"] is not None:
        e = e.replace(beam=e.beam.replace(wavelength=overrides.given_wavelength))
    scale = overrides.pixel_size
    if overrides.distance is not None:
        scale = (overrides.detector_pixel or e.detector.pixel_size_mm) / (e.beam.wavelength * overrides.distance)
    changes = {"q_per_pixel": scale, "origin": overrides.beam_center, "pixel_size_mm": overrides.detector_pixel}
    changes["saturation"] = overrides.saturation
    e = e.replace(detector=e.detector.replace(**{k: v for k, v in changes.items() if v is not None}))
    if overrides.axis is not None:
        e = e.replace(goniometer=Goniometer.in_plane(overrides.axis))
    if overrides.step is not None or overrides.start is not None:
        count = e.scan.numbers - e.scan.numbers[0]
        start = overrides.start if overrides.start is not None else float(e.scan.start_deg[0])
        angles = e.scan.start_deg - e.scan.start_deg[0] if overrides.step is None else overrides.step * count
        width = e.scan.width_deg if overrides.step is None else np.full(len(count), overrides.step)
        e = e.replace(scan=e.scan.replace(start_deg=start + angles, width_deg=width))
        said["angles"] = overrides.step
    said |= {"q_per_pixel": scale, "pixel_size": overrides.detector_pixel}
    known = dict.fromkeys((*e.known, *(k for k, v in said.items() if v is not None)))
    return replace(opened, experiment=e.replace(known=tuple(known)))


def _open_spots(path: Path) -> Opened:
    from credo.io.reflection_files import read_any

    experiment, spots = read_any(path)
    if experiment is None:
        raise CannotDo(
            f"{path}: spots or reflections without their geometry",
            "put XDS.INP, XPARM.XDS or the .expt file beside it",
        )
    return Opened(experiment, None, spots)


def _template_folder(path: Path) -> Path:
    """Where an XDS.INP says that its frames are."""
    import re

    from credo.io.frame_file import read_head

    text = read_head(path, 2**20).decode("utf-8", "replace")
    match = re.search(r"^[^!\n]*NAME_TEMPLATE_OF_DATA_FRAMES\s*=\s*(\S+)", text, re.MULTILINE)
    folder = (path.parent / match[1].replace("\\", "/")).parent if match else path.parent
    if not folder.is_dir():
        raise UnreadableInput(f"{path}: the frames it names are not there ({folder})", "give the folder of the frames")
    return folder
