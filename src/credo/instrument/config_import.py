"""Instamatic's folder of YAML files as our configuration: what it says of microscope, camera and calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from credo.instrument.config import Configuration, validated
from credo.model.errors import UnreadableInput

__all__ = ["import_instamatic"]

_LIMIT = 1_000_000
_DRIVERS = {"jeol": "jeol", "fei": "thermofisher", "fei_simu": "simulated", "simulate": "simulated"}
_IMPORTED = "imported from Instamatic; uncertainty and date not recorded there"


def import_instamatic(folder: Path) -> tuple[Configuration, list[str]]:
    """The configuration in ``folder`` (with ``settings.yaml``, or its parent) and remarks on what was not taken.

    Signs: Instamatic counts the axis counter-clockwise with y up, we from columns towards rows (down), so the angle
    changes sign; it counts the ellipse's long axis clockwise from up, so 90° are subtracted. Its release history
    changed the sign of the axis three times: trust the hand that ``credo process`` finds on data.
    """
    folder = folder / "config" if not (folder / "settings.yaml").exists() else folder
    settings = _yaml(folder / "settings.yaml")
    remarks: list[str] = []
    microscope = _part(folder, "microscope", settings)
    camera = _part(folder, "camera", settings)
    calibration = _part(folder, "calibration", settings)
    driver = _DRIVERS.get(str(microscope.get("interface")), "")
    if not driver:
        remarks.append(f"microscope interface {microscope.get('interface')!r} has no driver here: simulated is set")
    remarks += _unused("microscope", microscope, ("interface", "ranges", "wavelength", "name"))
    used = ("name", "physical_pixelsize", "dimensions", "default_exposure", "default_binsize", "dynamic_range")
    used += ("camera_rotation_vs_stage_xy", "stretch_amplitude", "stretch_azimuth")
    remarks += _unused("camera", camera, used)
    table: dict[str, Any] = {
        "global": {"server": {}},
        "microscope": _microscope(settings, microscope, driver or "simulated"),
        "camera": _camera(camera),
        "calibration": _calibration(calibration, camera, remarks),
    }
    if settings.get("data_directory"):
        table["global"]["data_directory"] = str(settings["data_directory"])
    return validated(table, str(folder)), remarks


def _microscope(settings: Mapping[str, Any], part: Mapping[str, Any], driver: str) -> dict[str, Any]:
    found: dict[str, Any] = {"name": str(settings.get("microscope", driver)), "driver": driver}
    if part.get("wavelength"):
        found["high_tension_kv"] = round(_kilovolts(float(part["wavelength"])), 1)
    ranges = part.get("ranges")
    if driver != "simulated" and isinstance(ranges, Mapping):
        tables = {str(m): [float(v) for v in values] for m, values in ranges.items()}
        if max(tables.get("diff", [1e9])) <= 450:  # some sites list the camera lengths in cm
            tables["diff"] = [10 * v for v in tables["diff"]]
        found["options"] = {"magnifications": tables}
    return found


def _camera(part: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if part.get("physical_pixelsize"):
        found["pixel_size_um"] = 1e3 * float(part["physical_pixelsize"])  # mm, whatever its comment says
    if part.get("dimensions"):
        found["shape"] = [int(n) for n in part["dimensions"]]
    for ours, theirs in (
        ("exposure_s", "default_exposure"),
        ("binning", "default_binsize"),
        ("saturation", "dynamic_range"),
    ):
        if part.get(theirs):
            found[ours] = part[theirs]
    return found


def _calibration(part: Mapping[str, Any], camera: Mapping[str, Any], remarks: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"imaging": {}, "stage": {}}
    for mode, entries in part.items():
        if not isinstance(entries, Mapping):
            continue
        scales = {
            str(k): _entry(v) for k, v in (entries.get("pixelsize") or {}).items() if float(k) > 0 and float(v) > 0
        }
        if mode == "diff":
            found["diffraction"] = scales
        elif scales:
            found["imaging"][str(mode)] = scales
        matrices = {str(k): _entry(_matrix(v)) for k, v in (entries.get("stagematrix") or {}).items() if float(k) > 0}
        if matrices and mode != "diff":
            found["stage"][str(mode)] = matrices
    for ours, theirs, change in (
        ("rotation_axis_deg", "camera_rotation_vs_stage_xy", lambda v: -math.degrees(v)),
        ("ellipse_percent", "stretch_amplitude", float),
        ("ellipse_azimuth_deg", "stretch_azimuth", lambda v: (v - 90.0) % 180.0),
    ):
        if camera.get(theirs) is not None:
            found[ours] = _entry(round(change(float(camera[theirs])), 4))
    if "rotation_axis_deg" in found:
        remarks.append("the sign of the rotation axis was changed several times in Instamatic: check it on data")
    return found


def _matrix(values: Any) -> list[list[float]]:
    """(Δrow, Δcolumn) · M = stage (x, y) there; stage = M' · (column, row) here."""
    a, b, c, d = (float(v) for v in (values[0] + values[1] if isinstance(values[0], list) else values))
    return [[c, a], [d, b]]


def _entry(value: Any) -> dict[str, Any]:
    return {"value": value, "conditions": _IMPORTED}


def _unused(part: str, table: Mapping[str, Any], used: tuple[str, ...]) -> list[str]:
    rest = sorted(k for k in table if k not in used)
    return [f"{part}: not taken: {', '.join(map(str, rest))}"] if rest else []


def _part(folder: Path, part: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    name = settings.get(part)
    if not name:
        raise UnreadableInput(f"{folder / 'settings.yaml'} names no {part}", "give Instamatic's own config folder")
    if not str(name).replace("-", "").replace("_", "").isalnum():
        raise UnreadableInput(f"{folder / 'settings.yaml'}: {part}: {name!r} is not the name of a file")
    return _yaml(folder / part / f"{name}.yaml")


def _yaml(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LIMIT:
            raise UnreadableInput(f"{path} is larger than {_LIMIT} bytes: not a settings file")
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableInput(
            f"{path}: {error.strerror}", "give the folder that holds Instamatic's settings.yaml"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UnreadableInput(f"{path} is not YAML: {error}".splitlines()[0]) from None
    if not isinstance(found, dict):
        raise UnreadableInput(f"{path} holds no settings")
    return found


def _kilovolts(wavelength: float) -> float:
    """Accelerating voltage [kV] of electrons of ``wavelength`` [Å], from λ = h / √(2 m e V (1 + e V / 2 m c²))."""
    rest = 510.99895  # m c² [keV]
    hc = 12.398419843  # [keV Å]
    return math.sqrt(rest * rest + (hc / wavelength) ** 2) - rest
