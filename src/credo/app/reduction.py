"""``credo process`` and ``credo check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from credo.app.options import Force, Geometry, Json, Out, Paths
from credo.app.progress import progress
from credo.app.show import show
from credo.app.summary import check_summary, process_summary
from credo.pipeline.check import check as run_check
from credo.pipeline.output import default_folder
from credo.pipeline.process import ProcessSettings
from credo.pipeline.process import process as run_process
from credo.pipeline.process_outside import ProcessEngine, process_outside

__all__ = ["check", "process"]


def process(
    paths: Paths,
    /,
    *,
    out: Out = None,
    json: Json = False,
    force: Force = False,
    engine: Annotated[
        ProcessEngine, Parameter(help="Who indexes and integrates: credo, or a program installed here.")
    ] = "credo",
    program: Annotated[Path | None, Parameter(help="That program, where it is not on PATH.")] = None,
    settings: Annotated[ProcessSettings | None, Parameter(name="*")] = None,
    geometry: Geometry = None,
) -> None:
    """Frames to integrated intensities of one crystal, with nothing given but the frames.

    Finds mask, beam, spots, rotation axis and its hand, lattice and Bravais type; refines the geometry and every
    frame's orientation; integrates, finds the Laue group and scales. Writes report.html for people, report.json for
    scripts, and the intensities for XDS, SHELX, CCP4, DIALS and CIF readers.
    """
    folder = out or default_folder("process", paths)
    with progress() as say:
        if engine == "credo":
            report = run_process(paths, folder, settings, geometry, force, say)
        else:
            report = process_outside(paths, folder, engine, settings, geometry, program, force, say)
    show(report, folder, json, process_summary)


def check(
    paths: Paths, /, *, out: Out = None, json: Json = False, force: Force = False, geometry: Geometry = None
) -> None:
    """Say what a folder or file holds, what is missing and what is wrong.

    Reads the geometry from headers and logs, looks at the images, and tries both hands of the rotation axis.
    """
    folder = out or default_folder("check", paths)
    with progress() as say:
        report = run_check(paths, folder, geometry, force, say)
    show(report, folder, json, check_summary)
