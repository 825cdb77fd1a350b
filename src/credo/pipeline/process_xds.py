"""Frames through XDS: XDS.INP, its one run, and XDS_ASCII.HKL read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from credo.io.reflection_files import read_any
from credo.io.text import read_text, write_text
from credo.io.xds_hkl import read_xds_ascii
from credo.io.xds_inp import write_xds_inp
from credo.model import CannotDo, Experiment, Reflections
from credo.pipeline.numbered_frames import Whole, as_numbered
from credo.pipeline.process import ProcessSettings, known_group
from credo.solve.adapters.program import Program

__all__ = ["run_xds"]

_XDS = Program("XDS", ("xds_par", "xds"), "https://xds.mr.mpg.de")
#: A run that takes longer is stopped [s].
_SECONDS = 1800.0


def run_xds(
    place: Path, whole: Whole, settings: ProcessSettings, known: bool, program: Path | None, say: Callable[[str], None]
) -> tuple[Experiment, Reflections, Reflections, list[str]]:
    """XDS.INP, COLSPOT to CORRECT; where IDXREF stops since few spots are indexed, it goes on, as people do."""
    if not known:
        raise CannotDo(f"{place}: XDS needs the rotation axis, which neither files nor frames tell", "give --axis")
    inp = place / "XDS.INP"
    write_xds_inp(inp, whole.experiment, "frames/?????.img", "SMV")
    write_text(inp, _with_crystal(read_text(inp), whole, settings))
    executable = _XDS.find(program, place)
    say("XDS")
    said = _XDS.run(executable, (), place, _SECONDS)
    result, notes = place / "XDS_ASCII.HKL", []
    if not result.is_file() and (place / "XPARM.XDS").is_file() and "INSUFFICIENT PERCENTAGE" in said:
        notes.append("XDS indexed few of the spots and was told to go on.")
        write_text(inp, read_text(inp).replace("JOB= XYCORR INIT COLSPOT IDXREF DEFPIX", "JOB= DEFPIX"))
        said = _XDS.run(executable, (), place, _SECONDS)
    if not result.is_file():
        raise _XDS.failed(place, "there is no XDS_ASCII.HKL", said)
    experiment, table = read_xds_ascii(result)
    if experiment is None:
        raise _XDS.failed(place, "XDS_ASCII.HKL has no geometry", said)
    spots = _xds_spots(place)
    return *as_numbered(whole, experiment, spots, table), notes


def _with_crystal(text: str, whole: Whole, settings: ProcessSettings) -> str:
    """A known cell and space group, the resolution limit, and the blanks left out."""
    gaps = [i + 1 for i in np.flatnonzero(~whole.there)]
    lines = [f"EXCLUDE_DATA_RANGE= {i} {i}" for i in gaps]
    if settings.d_min:
        lines.append(f"INCLUDE_RESOLUTION_RANGE= 50 {settings.d_min:g}")
    if settings.cell is not None:
        number = known_group(settings.space_group).number if settings.space_group else 1
        text = text.replace("SPACE_GROUP_NUMBER= 0\n", f"SPACE_GROUP_NUMBER= {number}\n")
        lines.append("UNIT_CELL_CONSTANTS= " + " ".join(f"{v:.4f}" for v in settings.cell))
    return text + "".join(f"{line}\n" for line in lines)


def _xds_spots(place: Path) -> Reflections:
    path = place / "SPOT.XDS"
    if path.is_file():
        return read_any(path)[1]
    return Reflections({n: [] for n in ("x", "y", "phi", "frame", "intensity", "lattice")})
