"""``credo convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from credo.app.options import Force, Geometry, Json
from credo.app.progress import progress
from credo.app.show import show
from credo.app.summary import convert_summary
from credo.pipeline.convert import convert as run_convert

__all__ = ["convert"]


def convert(
    source: Annotated[Path, Parameter(help="Frames in a folder, a stack or an archive, or a processing file.")],
    target: Annotated[Path, Parameter(help="A folder, or a file whose name says the format (a.nxs, a.mtz, XDS.INP).")],
    /,
    *,
    to: Annotated[str | None, Parameter(help="Format of the frames: smv, tiff, mrc, cbf, mrcs or nxmx.")] = None,
    out: Annotated[
        Path | None, Parameter(help="Folder of report.json when the target is a file (default: NAME-convert here).")
    ] = None,
    json: Json = False,
    force: Force = False,
    geometry: Geometry = None,
) -> None:
    """Any readable format to any writable one."""
    with progress() as say:
        report = run_convert(source, target, to, geometry, out, force, say)
    show(report, target, json, convert_summary)
