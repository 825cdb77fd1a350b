"""``credo calibrate rings``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from credo.app.options import Force, Geometry, Json, Out
from credo.app.progress import progress
from credo.app.show import show
from credo.io.cif import with_esd
from credo.pipeline.calibrate import CalibrateSettings, calibrate_rings
from credo.pipeline.output import default_folder

__all__ = ["rings"]


def rings(
    files: Annotated[
        list[Path], Parameter(help="Patterns of a powder at one camera length; frames of a stack are averaged.")
    ],
    /,
    *,
    out: Out = None,
    json: Json = False,
    force: Force = False,
    settings: Annotated[CalibrateSettings | None, Parameter(name="*")] = None,
    geometry: Geometry = None,
) -> None:
    """Pixel size, centre and elliptical distortion at a camera length, from the rings of a known powder.

    Several files are fitted each by itself, and their mean is given. --pixel-size need only be right within 25 %.
    """
    folder = out or default_folder("calibrate", files)
    with progress() as say:
        report = calibrate_rings(files, folder, settings, geometry, force, say)
    show(report, folder, json, _summary)


def _summary(report: dict[str, Any], folder: Path) -> str:
    def value(key: str, esd: str) -> str:
        return with_esd(report[key], report[esd])

    centre = ", ".join(with_esd(v, s) for v, s in zip(report["beam_center"], report["beam_center_esd"]))
    n = [len(f["rings"]) for f in report["files_calibrated"]]
    return "\n".join([
        f"pixel size {value('pixel_size_inv_angstrom', 'pixel_size_esd')} Å⁻¹/px of {report['material']}",
        f"  ellipse    {value('ellipse_percent', 'ellipse_percent_esd')} %, long axis at "
        f"{value('ellipse_azimuth_deg', 'ellipse_azimuth_esd_deg')}° from +x (right) towards +y (down)",
        f"  centre     {centre} px",
        f"  rings      {', '.join(map(str, n))} in {report['n_files']} file{'s' if len(n) > 1 else ''}",
        f"  page       {folder / 'report.html'}",
    ])  # fmt: skip
