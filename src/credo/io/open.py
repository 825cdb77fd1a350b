"""Open whatever the user points at: a folder, files, a stack, an archive, an experiment or a list of spots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from credo.io.archive import is_archive, unpack
from credo.io.assemble import assemble
from credo.io.collection_log import read_acquisition
from credo.io.frame_file import FrameFile, Hints, reading
from credo.io.instamatic import nearby, read_ed3d_hints, read_log, read_pts_hints, read_xds_hints
from credo.io.overrides import GeometryOverrides
from credo.io.series import Series, choose_series, find_series, series_of
from credo.io.sources import Sources
from credo.io.stack import in_memory, is_filler, numbers_of, open_all, part_of, stack_of, subset
from credo.model import Experiment, Frames, Goniometer, Reflections
from credo.model.errors import CannotDo, UnreadableInput

__all__ = ["GeometryOverrides", "Opened", "in_memory", "open_experiment"]

_SPOTS = ("spot.xds", "strong.refl")
_REFLECTIONS = (
    ".refl", ".expt", ".hkl", ".mtz", ".cif", ".fcf", ".mmcif", ".cif_pets", ".pts", ".ed3d", ".ins", ".res", ".lp",
    ".xds", ".yaml", ".yml",
)  # fmt: skip
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
    if len(given) == 2 and sorted(p.suffix.lower() for p in given) == [".expt", ".refl"]:
        expt, refl = sorted(given, key=lambda p: p.suffix.lower())
        return _open_pair(expt, refl, overrides)
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
        return _open_spots(path, overrides)
    if path.name.lower() == "xds.inp":
        return _open_xds_inp(path, overrides, need_angles)
    return _open_files([path], overrides, need_angles)


def is_reflections(path: Path) -> bool:
    """Whether the name is that of a processing file (also gzipped), not of frames."""
    name = path.name.lower().removesuffix(".gz")
    return path.is_file() and Path(name).suffix in _REFLECTIONS


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
            return _open_spots(spots[0], overrides)
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
    files = open_all(series)
    numbers = numbers_of(series, files)
    if series.ordered and len(series) > 1:
        notes += ("The file names hold no running number: frames are taken in the order of their names, without gaps.",)
    beside = nearby(series.folder, top)
    if also is not None:
        beside = {**nearby(also, limit), **beside}
    sources = _sources(files[0], series.files[0].name, beside)
    empty = np.array([f.format == "SMV" and is_filler(f) for f in files]) if len(files) == len(numbers) else None
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
    stack = stack_of(files)
    if not keep.all():
        stack = subset(stack, np.flatnonzero(keep))
        files = [f for f, k in zip(files, keep) if k] if len(files) == len(keep) else [part_of(files[0], keep)]
    experiment = assemble(
        files, numbers[keep], sources, overrides, source=str(source.resolve()), problems=notes, need_angles=need_angles
    )
    return Opened(experiment.replace(acquisition=read_acquisition(series.folder, beside.get("log"))), stack)


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
        numbers = raw.experiment.scan.numbers
        rows = np.flatnonzero(np.isin(numbers, experiment.scan.numbers))
        if len(numbers) == len(experiment.scan) and np.array_equal(numbers, np.arange(1, len(numbers) + 1)):
            # a stack only counts its images
            rows = np.arange(len(numbers))
        if len(rows) != len(experiment.scan):
            raise UnreadableInput(
                f"{path}: {source} holds {len(rows)} of the {len(experiment.scan)} frames it was made from",
                "restore the frames, or process the folder again",
            )
        frames = subset(frames, rows)
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
        frames = None if opened.frames is None else subset(opened.frames, np.flatnonzero(keep))
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


def _open_spots(path: Path, overrides: GeometryOverrides) -> Opened:
    from credo.io.reflection_files import read_any

    experiment, spots = read_any(path)
    if experiment is None:
        raise CannotDo(
            f"{path}: spots or reflections without their geometry",
            "put XDS.INP, XPARM.XDS or the .expt file beside it",
        )
    return _overruled(Opened(experiment, None, spots), overrides)


def _open_pair(expt: Path, refl: Path, overrides: GeometryOverrides) -> Opened:
    """DIALS's two files, named together as its own commands take them."""
    from credo.io.dials_refl import read_refl

    experiment, spots = read_refl(refl, expt)
    if experiment is None:
        raise CannotDo(f"{expt}: no experiment for {refl.name}", "give the .expt of the step that wrote the .refl")
    return _overruled(Opened(experiment, None, spots), overrides)


def _open_xds_inp(path: Path, overrides: GeometryOverrides, need_angles: bool) -> Opened:
    """The frames that an XDS.INP names; its geometry alone, with a sentence, where they are not there."""
    import re

    from credo.io.frame_file import read_head
    from credo.io.reflection_files import read_any

    text = read_head(path, 2**20).decode("utf-8", "replace")
    match = re.search(r"^[^!\n]*NAME_TEMPLATE_OF_DATA_FRAMES\s*=\s*(\S+)", text, re.MULTILINE)
    with reading(path, "an XDS.INP"):
        folder = (path.parent / match[1].replace("\\", "/")).parent if match else path.parent
        there = folder.is_dir() and bool(find_series(folder))
    if there:
        return _open_folder(folder, overrides, need_angles)
    experiment, _ = read_any(path)
    assert experiment is not None
    missing = f"The frames that {path.name} names are not there ({folder})."
    return _overruled(Opened(experiment.replace(problems=(*experiment.problems, missing))), overrides)
