"""``credo solve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from credo.app.options import Force, Json, Out
from credo.app.progress import progress
from credo.app.show import show
from credo.app.summary import solve_summary
from credo.model import CannotDo
from credo.pipeline.output import default_folder
from credo.pipeline.solve import SolveFileSettings, solve_file

__all__ = ["solve"]


def solve(
    hkl: Annotated[Path, Parameter(help="Intensities, merged or not: SHELX .hkl or .ins, MTZ, CIF, XDS_ASCII.HKL.")],
    /,
    *,
    out: Out = None,
    json: Json = False,
    force: Force = False,
    settings: Annotated[SolveFileSettings | None, Parameter(name="*")] = None,
) -> None:
    """Merged intensities to atoms: phases, space group, elements.

    Writes structure.cif, structure.res with structure.hkl, observed.ccp4, report.html and report.json. A structure
    that was not solved leaves its best trial and the reasons, and ends with 1.
    """
    folder = out or default_folder("solve", [hkl])
    with progress() as say:
        report = solve_file(hkl, folder, settings, force, say)
    show(report, folder, json, solve_summary)
    if not report["ok"]:
        raise CannotDo(report["reason"], "give --composition, more complete or finer data, or more --seconds")
