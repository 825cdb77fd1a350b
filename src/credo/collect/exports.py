"""A collected data set in the formats of others, beside its frames.h5, so that XDS, DIALS, PETS and REDp just start.

SMV/data/00001.img with SMV/XDS.INP and SMV/imported.expt, CBF/ with CBF/XDS.INP, tiff/ with pets.pts, RED/00001.mrc
with RED/1.ed3d: the places where Instamatic puts them, which other programs' scripts expect.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from credo.io.atomic import atomic_folder
from credo.io.convert import write_frames
from credo.io.dials_write import write_expt
from credo.io.open import open_experiment
from credo.io.pets import write_pts
from credo.io.redp import write_ed3d
from credo.io.xds_inp import write_xds_inp
from credo.model import Experiment, Frames

__all__ = ["FORMATS", "export"]

FORMATS = ("smv", "mrc", "tiff", "cbf", "xds", "dials", "pets", "redp")
#: Frames that a processing file points to.
_NEEDS = {"xds": "smv", "dials": "smv", "pets": "tiff", "redp": "mrc"}


def export(folder: Path, formats: Iterable[str], sort: str = "rotation") -> None:
    """Write ``formats`` of the data set in ``folder``; those that are there already (before a crash) are left."""
    wanted = {_NEEDS.get(name, name) for name in formats} | set(formats)
    if not wanted:
        return
    opened = open_experiment(folder / "frames.h5", need_angles=False)
    experiment, frames = opened.experiment, opened.frames
    assert frames is not None
    for form, write in (("smv", _smv), ("cbf", _cbf), ("tiff", _tiff), ("mrc", _mrc)):
        if form in wanted:
            write(folder, experiment, frames, wanted, sort)


def _smv(folder: Path, e: Experiment, frames: Frames, wanted: set[str], _: str) -> None:
    if (folder / "SMV").exists():
        return
    with atomic_folder(folder / "SMV") as place:
        (place / "data").mkdir()
        write_frames(place / "data", "smv", e, frames)
        write_xds_inp(place / "XDS.INP", e, "data/?????.img", "SMV")
        if "dials" in wanted:
            write_expt(place / "imported.expt", e, "data/#####.img")


def _cbf(folder: Path, e: Experiment, frames: Frames, wanted: set[str], _: str) -> None:
    if (folder / "CBF").exists():
        return
    with atomic_folder(folder / "CBF") as place:
        write_frames(place, "cbf", e, frames)
        write_xds_inp(place / "XDS.INP", e, "?????.cbf", "CBF")


def _tiff(folder: Path, e: Experiment, frames: Frames, wanted: set[str], sort: str) -> None:
    if not (folder / "tiff").exists():
        with atomic_folder(folder / "tiff") as place:
            write_frames(place, "tiff", e, frames)
    if "pets" in wanted:
        geometry = "continuous" if sort == "rotation" else "static"
        write_pts(folder / "pets.pts", e, names="tiff/{:05d}.tiff", geometry=geometry)


def _mrc(folder: Path, e: Experiment, frames: Frames, wanted: set[str], _: str) -> None:
    if (folder / "RED").exists():
        return
    with atomic_folder(folder / "RED") as place:
        write_frames(place, "mrc", e, frames)
        if "redp" in wanted:
            write_ed3d(place / "1.ed3d", e)
