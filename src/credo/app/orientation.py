"""``credo orient``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from credo.app.options import Force, Json, Out
from credo.app.progress import progress
from credo.app.show import show
from credo.pipeline.orient import orient_file
from credo.pipeline.orient_input import OrientFileSettings
from credo.pipeline.output import default_folder

__all__ = ["orient"]


def orient(
    path: Annotated[
        Path,
        Parameter(help="A folder of credo process, a .cif_pets, or a table of frame,h,k,l,intensity[,sigma][,x,y]."),
    ],
    /,
    *,
    out: Out = None,
    json: Json = False,
    force: Force = False,
    truth: Annotated[Path | None, Parameter(help="truth.json of a simulated series, to tell the errors.")] = None,
    settings: Annotated[OrientFileSettings | None, Parameter(name="*")] = None,
) -> None:
    """The orientation of every frame with its uncertainty, the rotation axis, and what the stage really did.

    Writes orientations.csv, report.html, orientations.cif_pets, and for processed data experiment.json, an .expt and
    XPARM.XDS with the frames turned as found. What is wrong is named on stderr and in the report.
    """
    folder = out or default_folder("orient", [path])
    with progress() as say:
        report = orient_file(path, folder, settings, truth, force, say)
    for problem in report["problems"]:
        sys.stderr.write(f"credo orient: {problem['kind']}: {problem['text']}\n")
    show({**report, "warnings": []} if not json else report, folder, json, _summary)


def _summary(report: dict[str, Any], folder: Path) -> str:
    error = report["half_set_error_deg"]
    lines = [
        f"{report['n_frames']} frames by the method {report['method']}"
        + ("" if error is None else f", mean error {error:.4f} deg by half sets"),
        f"  step {report['mean_step_deg']:.5f} deg, single steps differ by {report['step_esd_deg']:.4f} deg; "
        f"axis [{' '.join(f'{v:.4f}' for v in report['axis_uvw'])}]",
    ]
    if "dynamical" in report:
        by = report["dynamical"]
        lines.append(f"  Bloch waves: {by['thickness'] / 10:.1f} nm thick, R1 {by['r1']:.3f}")
    if "mean_error_deg" in report:
        smooth = report.get("smoothed_mean_error_deg")
        lines.append(
            f"  true error {report['mean_error_deg']:.5f} deg mean, {report['max_error_deg']:.5f} deg at most"
            + ("" if smooth is None else f"; smoothed {smooth:.5f} deg")
        )
    return "\n".join([*lines, f"  {folder / 'orientations.csv'}, report.html"])
