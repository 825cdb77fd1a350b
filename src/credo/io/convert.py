"""Any readable data to any format that credo writes: frames, one file for each or one for all, and processing files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from credo.io import cbf, mrc, nxmx_write, smv, tiff
from credo.io.atomic import atomic_folder, plain_write
from credo.io.open import is_reflections, open_experiment
from credo.io.overrides import GeometryOverrides
from credo.io.project import write_experiment
from credo.model import Experiment, Frames, Reflections, Report
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
    """Convert frames, or processing files.

    target: of frames: a folder (with ``to``: smv, tiff, mrc, cbf, mrcs, nxmx) or a file whose suffix says the format;
    a folder of frames also gets an experiment.json, which keeps what the format cannot hold (the axis, the angles of
    TIFF and MRC), and XDS.INP beside SMV and CBF where the geometry is known. Of anything: a processing file by its
    name (XDS.INP, a.expt, a.pts, a.mtz ...), which takes the geometry and, if there are any, the spots or reflections.
    """
    source, target = Path(source), Path(target)
    if to is None and is_processing(target):
        return _convert_processing(source, target, overrides)
    form = _format(target, to)
    opened = open_experiment(source, overrides, need_angles=False)
    if opened.frames is None:
        raise CannotDo(
            f"{source}: no frames to convert", "give frames, or a target that is a processing file (a.mtz, a.refl ...)"
        )
    whole = (form in ("mrcs", "nxmx") and bool(target.suffix)) or target.suffix.lower() in _BY_SUFFIX
    if whole and form in ("smv", "cbf", "mrc") and len(opened.frames) > 1:
        raise UnreadableInput(f"{target}: {form} holds one frame in a file", f"give a folder and --to {form}")
    warnings = opened.experiment.problems
    if not whole:
        with atomic_folder(target) as folder:
            clipped = write_frames(folder, form, opened.experiment, opened.frames)
            _write_geometry(folder, target, form, opened.experiment)
    else:
        clipped = write_frames(target, form, opened.experiment, opened.frames, whole=True)
    if whole and form in ("mrcs", "tiff"):
        warnings += (f"{target.name} holds no geometry: convert to a folder (--to {form}) or to NXmx to keep it.",)
    if clipped:
        warnings += (f"{clipped} values did not fit {form} and were clipped.",)
    return Report({"n_frames": len(opened.frames), "format": form, "clipped": clipped}, warnings)


def _write_geometry(folder: Path, target: Path, form: str, experiment: Experiment) -> None:
    """experiment.json beside the frames, and XDS.INP for the formats that XDS reads; ``target``: the final folder."""
    write_experiment(folder / "experiment.json", experiment.replace(source=str(target.resolve())))
    if form in ("smv", "cbf") and {"origin", "q_per_pixel", "angles", "axis"} <= set(experiment.known):
        from credo.io.xds_inp import write_xds_inp

        kind = "SMV" if form == "smv" else "CBF"
        write_xds_inp(folder / "XDS.INP", experiment, f"?????{FRAME_WRITERS[form]}", kind)


def _format(target: Path, to: str | None) -> str:
    form = (to or _BY_SUFFIX.get(target.suffix.lower(), "")).lower()
    if form not in FRAME_WRITERS and not (to is None and target.suffix):
        raise UnreadableInput(
            f"{target}: which format?", f"give --to {'|'.join(FRAME_WRITERS)}, or a name with a suffix"
        )
    return form


def is_processing(path: Path) -> bool:
    """Whether a name to write to is that of a processing file."""
    from credo.io.reflection_files import FORMATS

    names = {n for f in FORMATS for n in f.names}
    return path.name.lower() in names or path.suffix.lower() in names


def _convert_processing(source: Path, target: Path, overrides: GeometryOverrides | None) -> Report:
    """Geometry, spots and reflections of anything into a processing file."""
    from credo.io.reflection_files import read_any, write_any, writer_of

    chosen = writer_of(target)
    others = {".refl", ".expt"} if chosen.name in ("refl", "expt") else {target.suffix}
    for path in {target, *(target.with_suffix(s) for s in others)}:
        if path.exists():
            raise CannotDo(f"{path}: exists already", "give a new name")
    if is_reflections(source) and overrides is None:
        experiment, reflections = read_any(source)
        frames = 0
    else:
        opened = open_experiment(source, overrides, need_angles=False)
        experiment, reflections = opened.experiment, opened.spots or Reflections()
        frames = 0 if opened.frames is None else len(opened.frames)
    if experiment is not None and not (source.name == "experiment.json" and experiment.crystals):
        _require_geometry(source, chosen.name, chosen.needs, experiment)
    losses = write_any(target, experiment, reflections)
    problems = losses if experiment is None else (*experiment.problems, *losses)
    return Report({"n_frames": frames, "n_reflections": len(reflections), "format": chosen.name}, problems)


def _require_geometry(source: Path, name: str, needs: frozenset[str], experiment: Experiment) -> None:
    """Placeholders must not become another file's truth; credo's own results found in the data what no file said."""
    words = {"q_per_pixel": "the scale (--pixel-size or --distance)", "angles": "the angles (--step and --start)",
             "axis": "the rotation axis (--axis)"}  # fmt: skip
    wanted = {"geometry": {"q_per_pixel", "angles", "axis"}, "axis": {"axis", "angles"}}
    missing = set().union(*(wanted[n] for n in needs if n in wanted)) - set(experiment.known)
    if missing:
        raise CannotDo(
            f"{source}: does not say {', '.join(words[k] for k in words if k in missing)}, which {name} needs",
            "give it, or process the frames first",
        )


def write_frames(target: Path, form: str, experiment: Experiment, frames: Frames, *, whole: bool = False) -> int:
    """Write all frames to a folder, or to one file if ``whole``; returns the number of clipped values.

    Files are named by the frame's number (00001.img), so that gaps stay gaps. The folder should be one that appears
    when it is whole (``atomic_folder``): its files are written as they come.
    """
    if form not in FRAME_WRITERS:
        raise UnreadableInput(f"{form}: not a format that credo writes", f"give one of {', '.join(FRAME_WRITERS)}")
    if whole:
        return _write_whole(target, form, experiment, frames)
    _refuse_files(target, FRAME_WRITERS[form])
    writers: dict[str, Callable[[Path, int], int]] = {
        "smv": lambda path, i: _smv(path, frames[i], experiment, i),
        "cbf": lambda path, i: cbf.write(path, frames[i], experiment, i),
        "tiff": lambda path, i: _plain(path, tiff.encoded(frames[i])),
        "mrc": lambda path, i: _plain(path, mrc.encoded(frames[i])),
    }
    if form not in writers:
        return _write_whole(target / f"frames{FRAME_WRITERS[form]}", form, experiment, frames)
    clipped = 0
    target.mkdir(parents=True, exist_ok=True)
    for i, number in enumerate(experiment.scan.numbers):
        clipped += writers[form](target / f"{number:05d}{FRAME_WRITERS[form]}", i)
    if form in ("tiff", "mrc"):
        write_experiment(target / "experiment.json", experiment.replace(source=str(target.resolve())))
    return clipped


def _smv(path: Path, image: np.ndarray, experiment: Experiment, i: int) -> int:
    header, data, clipped = smv.encoded(image, experiment, i)
    plain_write(path, header, data)
    return clipped


def _plain(path: Path, encoded: tuple[bytes, np.ndarray]) -> int:
    header, data = encoded
    plain_write(path, header, data.data)
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
