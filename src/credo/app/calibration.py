"""``credo calibrate``: from the rings of a file, and at the instrument."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from credo.app.options import Force, Geometry, Json, Out
from credo.app.progress import progress
from credo.app.show import show
from credo.io.cif import with_esd
from credo.pipeline.calibrate import CalibrateSettings, calibrate_rings
from credo.pipeline.calibrate_instrument import KINDS, calibrate_instrument
from credo.pipeline.output import default_folder
from credo.pipeline.page.calibration import values_of

__all__ = ["all_", "axis", "brightness", "check", "deflectors", "focus", "pixel_size", "rings", "stage", "timing"]


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


def _at_instrument(kind: str, text: str) -> Callable[..., None]:
    """The command of one kind: its options are the settings of its plan."""

    def command(
        *, sample=None, seed=None, config=None, into=None, out=None, json=False, settings=None
    ) -> None:  # the types are put in below: the settings differ
        folder = out or Path(f"calibrate-{kind}")
        with progress() as say:
            report = calibrate_instrument(kind, folder, settings, config, sample, seed, into, say)
        show(report, folder, json, _values)

    def option(type_: Any, text: str) -> Any:
        return Annotated[type_ | None, Parameter(help=text)]

    command.__doc__ = text
    command.__name__ = kind
    command.__annotations__ = {
        "sample": option(str, "On the simulated instrument's grid; a gold film unless given."),
        "seed": option(int, "Of the simulated instrument."),
        "config": option(Path, "The instrument's configuration (default: the user's)."),
        "into": option(Path, "A configuration, or a session's calibration.toml, to put the values into as well."),
        "out": Out,
        "json": Json,
        "settings": Annotated[KINDS[kind][0] | None, Parameter(name="*")],
        "return": None,
    }
    return command


stage = _at_instrument("stage", "nm of stage per pixel of an image, and its pixel size, by moving the stage.")
brightness = _at_instrument("brightness", "The beam's crossover, radius and walk against brightness.")
focus = _at_instrument("focus", "The diffraction focus at which the pattern is sharp.")
pixel_size = _at_instrument("pixel-size", "Å⁻¹ per pixel and ellipse of a camera length, from a powder in the beam.")
axis = _at_instrument("axis", "Direction of the tilt axis in an image, from heights that move with the tilt.")
deflectors = _at_instrument("deflectors", "Pixels per unit of a deflector, in an image or a (defocused) pattern.")
timing = _at_instrument("timing", "Time per degree and delay of rotations, dead time of the camera.")
check = _at_instrument("check", "Whether stored calibrations still hold: two images for each.")
all_ = _at_instrument("all", "Everything, on an instrument of which nothing is known.")


def _values(report: dict[str, Any], folder: Path) -> str:
    rows = [
        (" ".join(str(r[k]) for k in ("table", "key", "name") if r[k]), values_of(r["result"])[0])
        for r in report["results"]
    ]
    rows += [
        (c["what"], f"{'holds' if c['holds'] else 'DOES NOT HOLD'}, off by {c['off_px']:.2f} px")
        for c in report["checks"]
    ]
    rows.append(("frames", f"{report['frames']}, {report['beam_on_s']:.1f} s with the beam on"))
    rows.append(
        ("time, dose", f"{report['instrument_s']:.0f} s, {report['dose_e_per_A2']:.3g} e/Å² where the beam was")
    )
    rows.append(("written", str(folder)))
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:<{width}}{text}" for name, text in rows)
