"""``credo solve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from credo.app.options import Force, Json, Out
from credo.app.progress import progress
from credo.app.show import show
from credo.app.summary import outside_summary, solve_summary
from credo.model import CannotDo
from credo.pipeline.output import default_folder
from credo.pipeline.outside import solve_outside
from credo.pipeline.solve import SolveFileSettings, solve_file

__all__ = ["solve"]


def solve(
    hkl: Annotated[Path, Parameter(help="Intensities, merged or not: SHELX .hkl or .ins, MTZ, CIF, XDS_ASCII.HKL.")],
    /,
    *,
    out: Out = None,
    json: Json = False,
    force: Force = False,
    engine: Annotated[
        Literal["credo", "shelxt", "superflip", "sir2014"],
        Parameter(help="Who solves: credo, or a program installed here (Superflip needs EDMA too)."),
    ] = "credo",
    program: Annotated[Path | None, Parameter(help="That program, where it is not on PATH.")] = None,
    settings: Annotated[SolveFileSettings | None, Parameter(name="*")] = None,
) -> None:
    """Merged intensities to atoms: phases, space group, elements.

    Writes structure.cif, structure.res with structure.hkl, observed.ccp4, report.html and report.json. A structure
    that was not solved leaves its best trial and the reasons, and ends with 1.
    """
    folder = out or default_folder("solve", [hkl])
    if engine != "credo":
        show(solve_outside(hkl, folder, engine, settings, program, force), folder, json, outside_summary)
        return
    with progress() as say:
        report = solve_file(hkl, folder, settings, force, say)
    show(report, folder, json, solve_summary)
    if not report["ok"]:
        raise CannotDo(report["reason"], "give --composition, more complete or finer data, or more --seconds")
