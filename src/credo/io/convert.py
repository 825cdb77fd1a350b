"""Any readable frames to any format that credo writes: one file for each frame, or one for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from credo.io import cbf, mrc, nxmx_write, smv, tiff
from credo.io.open import is_reflections, open_experiment
from credo.io.overrides import GeometryOverrides
from credo.io.project import write_experiment
from credo.model import Experiment, Frames, Report
from credo.model.errors import CannotDo, UnreadableInput

__all__ = ["FRAME_WRITERS", "convert", "write_frames"]

#: Format -> suffix of its files; NXmx, MRCS and multi-page TIFF hold all frames in one file.
FRAME_WRITERS = {"smv": ".img", "tiff": ".tiff", "mrc": ".mrc", "cbf": ".cbf", "mrcs": ".mrcs", "nxmx": ".nxs"}
_BY_SUFFIX = {
    ".img": "smv", ".smv": "smv", ".tif": "tiff", ".tiff": "tiff", ".mrc": "mrc", ".cbf": "cbf", ".mrcs": "mrcs",
    ".nxs": "nxmx", ".h5": "nxmx",
}  # fmt: skip


def convert(
    source: Path | str,
    target: Path | str,
    to: str | None = None,
    overrides: GeometryOverrides | None = None,
) -> Report:
    """Convert frames.

    target: a folder (with ``to``: smv, tiff, mrc, cbf, mrcs, nxmx), a file whose suffix says the format, or a name with
    a suffix into a new folder (``out/.cbf``). An experiment.json beside the frames keeps what the format cannot hold.
    """
    source, target = Path(source), Path(target)
    if is_reflections(source):
        return _convert_reflections(source, target)
    form = _format(target, to)
    opened = open_experiment(source, overrides, need_angles=False)
    if opened.frames is None:
        raise CannotDo(f"{source}: no frames to convert", "give frames or a reflection file")
    whole = form in ("mrcs", "nxmx") or bool(target.suffix)
    if whole and form in ("smv", "cbf", "mrc") and len(opened.frames) > 1:
        raise UnreadableInput(f"{target}: {form} holds one frame in a file", f"give a folder and --to {form}")
    clipped = write_frames(target, form, opened.experiment, opened.frames, whole=whole)
    warnings = opened.experiment.problems
    if clipped:
        warnings += (f"{clipped} values did not fit {form} and were clipped.",)
    return Report({"n_frames": len(opened.frames), "format": form, "clipped": clipped}, warnings)


def _format(target: Path, to: str | None) -> str:
    form = (to or _BY_SUFFIX.get(target.suffix.lower(), "")).lower()
    if form not in FRAME_WRITERS and not (to is None and target.suffix):
        raise UnreadableInput(
            f"{target}: which format?", f"give --to {'|'.join(FRAME_WRITERS)}, or a name with a suffix"
        )
    return form


def _convert_reflections(source: Path, target: Path) -> Report:
    """Lists of spots and reflections go through the processing formats."""
    from credo.io.reflection_files import read_any, write_any

    experiment, reflections = read_any(source)
    write_any(target, experiment, reflections)
    problems = () if experiment is None else experiment.problems
    return Report({"n_frames": 0, "n_reflections": len(reflections)}, problems)


def write_frames(target: Path, form: str, experiment: Experiment, frames: Frames, *, whole: bool = False) -> int:
    """Write all frames to a folder, or to one file if ``whole``; returns the number of clipped values.

    Files are named by the frame's number (00001.img), so that gaps stay gaps.
    """
    if form not in FRAME_WRITERS:
        raise UnreadableInput(f"{form}: not a format that credo writes", f"give one of {', '.join(FRAME_WRITERS)}")
    if whole:
        return _write_whole(target, form, experiment, frames)
    _refuse_files(target, FRAME_WRITERS[form])
    writers: dict[str, Callable[[Path, int], int]] = {
        "smv": lambda path, i: smv.write(path, frames[i], experiment, i),
        "cbf": lambda path, i: cbf.write(path, frames[i], experiment, i),
        "tiff": lambda path, i: _none(tiff.write(path, frames[i])),
        "mrc": lambda path, i: _none(mrc.write(path, frames[i])),
    }
    if form not in writers:
        return _write_whole(target / f"frames{FRAME_WRITERS[form]}", form, experiment, frames)
    clipped = 0
    for i, number in enumerate(experiment.scan.numbers):
        clipped += writers[form](target / f"{number:05d}{FRAME_WRITERS[form]}", i)
    if form in ("tiff", "mrc"):
        write_experiment(target / "experiment.json", experiment.replace(source=str(target.resolve())))
    return clipped


def _none(_: None) -> int:
    return 0


def _refuse_files(folder: Path, suffix: str) -> None:
    """Never write among somebody's frames."""
    if folder.is_dir() and any(folder.glob(f"*{suffix}")):
        raise CannotDo(f"{folder}: holds {suffix} files already", "give a new folder")


def _write_whole(path: Path, form: str, experiment: Experiment, frames: Frames) -> int:
    if path.exists():
        raise CannotDo(f"{path}: exists already", "give a new name")
    if form == "smv":
        return smv.write(path, frames[0], experiment, 0)
    if form == "cbf":
        return cbf.write(path, frames[0], experiment, 0)
    if form == "nxmx":
        nxmx_write.write(path, _each(frames), experiment, frames.dtype)
    elif form == "tiff":
        tiff.write(path, np.stack(list(_each(frames))) if len(frames) > 1 else frames[0])
    else:
        mrc.write(path, np.stack(list(_each(frames))))
    return 0


def _each(frames: Frames) -> Iterator[np.ndarray] | Iterable[np.ndarray]:
    return (frames[i] for i in range(len(frames)))
