"""``credo report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from credo.app.options import Json
from credo.app.show import show
from credo.pipeline.report import report as run_report

__all__ = ["report"]


def report(
    folder: Annotated[Path, Parameter(help="A folder of `credo batch`, or any folder above results of credo.")],
    /,
    *,
    out: Annotated[Path | None, Parameter(help="The page to write (default: report.html in the folder).")] = None,
    json: Json = False,
) -> None:
    """The story of a session as one page: grid, rotations, cells, phases, structures, what was left out.

    Made again from the results that lie in the folder; nothing is computed anew.
    """
    show(run_report(folder, out), folder, json, _summary)


def _summary(report: dict, _: Path) -> str:
    lines = [f"{report['datasets']} data sets, {len(report['phases'])} phases, {len(report['rejected'])} left out"]
    for p in report["phases"]:
        r1 = "" if p["r1"] is None else f", R1 {p['r1']:.3f}"
        lines.append(f"  {p['name']}: {p['members']} merged, {p['space_group']}{r1}")
    return "\n".join([*lines, f"page {report['page']}"])
