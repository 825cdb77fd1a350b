"""Options that the commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from credo.io.overrides import GeometryOverrides

__all__ = ["Force", "Geometry", "Json", "Out", "Paths"]

_GEOMETRY = Group("Geometry, where the files or the data are to be overruled", sort_key=2)

Paths = Annotated[
    list[Path],
    Parameter(help="A folder of frames, an archive, a stack, an experiment.json, a list of spots, or several frames."),
]
Out = Annotated[
    Path | None,
    Parameter(help="Folder to write, new or an earlier result of this command (default: NAME-COMMAND here)."),
]
Json = Annotated[bool, Parameter(negative="", help="Show the report as JSON.")]
Force = Annotated[bool, Parameter(negative="", help="Compute again although nothing has changed.")]
Geometry = Annotated[GeometryOverrides | None, Parameter(name="*", group=_GEOMETRY)]
