"""``credo calibrate rings``: pixel size, centre and elliptical distortion of a camera length from powder patterns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from credo.io.open import GeometryOverrides, open_experiment
from credo.io.samples import SAMPLES, sample
from credo.io.structure import read_structure
from credo.io.text import write_text
from credo.model import CannotDo, Cell, Experiment, UnreadableInput
from credo.pipeline.output import Output, fingerprint, run_command
from credo.pipeline.page.rings import rings_page
from credo.reduce.ring_lines import RingLines, lines_of_cell, lines_of_structure
from credo.reduce.rings import RingFit, RingSettings, amplitude_and_azimuth, fit_rings

__all__ = ["CalibrateSettings", "Calibrated", "calibrate_rings"]


class CalibrateSettings(RingSettings):
    """The standard, what is known beforehand, and how rings are looked for."""

    material: str | None = Field(default=None, description="A sample that comes with credo; gold unless given.")
    cif: Path | None = Field(default=None, description="The standard's structure, instead of --material.")
    cell: tuple[float, float, float, float, float, float] | None = Field(
        default=None, description="The standard's cell [Å, °], instead of --material; intensities are then not used."
    )
    centring: str = Field(default="P", pattern="^[PABCIFR]$", description="Of that cell: P, A, B, C, I, F or R.")


@dataclass(frozen=True)
class Calibrated:
    """One pattern: where it is from, its mean image, and the fit."""

    path: Path
    experiment: Experiment
    image: np.ndarray
    fit: RingFit


def calibrate_rings(
    paths: Sequence[Path], out: Path, settings: CalibrateSettings | None = None,
    overrides: GeometryOverrides | None = None, force: bool = False, progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """``credo calibrate rings``: every pattern by itself, and their mean; report.json and report.html."""
    settings, overrides = settings or CalibrateSettings(), overrides or GeometryOverrides()
    paths = [Path(p) for p in paths]
    inputs = paths + ([settings.cif] if settings.cif else [])
    key = fingerprint([p for p in inputs if p.exists()], (settings, overrides))
    output = Output(out, "calibrate", key, inputs, (settings, overrides))

    def work(folder: Path) -> dict[str, Any]:
        name, lines = _standard(settings)
        found = []
        for path in paths:
            if progress:
                progress(f"{path.name}: {len(found) + 1} of {len(paths)}")
            found.append(_one(path, lines, settings, overrides))
        numbers = _numbers(name, found)
        write_text(folder / "report.html", rings_page(numbers, found))
        return numbers

    return run_command(output, work, force)


def _standard(settings: CalibrateSettings) -> tuple[str, RingLines]:
    """The name and the rings of the material."""
    given = [settings.material, settings.cif, settings.cell]
    if sum(g is not None for g in given) > 1:
        raise UnreadableInput("the material is given twice", "give one of --material, --cif and --cell")
    if settings.cell is not None:
        try:
            cell = Cell(*settings.cell)
        except ValueError as error:
            raise UnreadableInput(f"--cell: {error}", "give a b c in Å and α β γ in degrees") from error
        return f"cell {' '.join(f'{v:g}' for v in settings.cell)} {settings.centring}", lines_of_cell(
            cell, settings.centring
        )
    if settings.cif is not None:
        return settings.cif.name, lines_of_structure(read_structure(settings.cif))
    name = settings.material or "gold"
    if name not in SAMPLES:
        raise UnreadableInput(f"--material {name!r} is not known", f"give one of {', '.join(SAMPLES)}, or --cif")
    return name, lines_of_structure(sample(name))


def _one(path: Path, lines: RingLines, settings: CalibrateSettings, overrides: GeometryOverrides) -> Calibrated:
    opened = open_experiment(path, overrides, need_angles=False)
    if opened.frames is None or not len(opened.frames):
        raise UnreadableInput(f"{path}: no image in it", "give a diffraction pattern")
    frames = opened.frames
    total = np.zeros(frames.shape[1:])
    for i in range(len(frames)):
        total += np.asarray(frames[i], dtype=float)
    image = total / len(frames) - opened.experiment.detector.pedestal
    try:
        fit = fit_rings(image, lines, opened.experiment.beam.wavelength, overrides.pixel_size, settings)
    except CannotDo as error:
        error.reason = f"{path}: {error.reason}"
        raise
    return Calibrated(path, opened.experiment, image, fit)


def _numbers(name: str, found: Sequence[Calibrated]) -> dict[str, Any]:
    """The keys of the report: the mean, each pattern, and the warnings of all."""
    each = [_each(one) for one in found]
    mean, c = _mean([one.fit for one in found])
    amplitude, s_amplitude, azimuth, s_azimuth = amplitude_and_azimuth(mean[:2], c[:2, :2])
    pixel = float(np.exp(-mean[2]))
    centre = np.array([e["beam_center"] for e in each]).mean(axis=0)
    lengths = {one.experiment.optics.camera_length_mm for one in found}
    warnings = [f"{e['file']}: {w}" if len(each) > 1 else w for e in each for w in e["warnings"]]
    if len(lengths) > 1:
        warnings.append("The files state different camera lengths: their mean means nothing.")
    if not all("wavelength" in one.experiment.known for one in found):
        warnings.append("No file says the wavelength: 200 kV is assumed, which changes the result by less than 0.1 %.")
    return {
        "material": name, "n_files": len(found),
        "pixel_size_inv_angstrom": pixel, "pixel_size_esd": pixel * float(np.sqrt(c[2, 2])),
        "ellipse_percent": amplitude, "ellipse_percent_esd": s_amplitude,
        "ellipse_azimuth_deg": azimuth, "ellipse_azimuth_esd_deg": s_azimuth,
        "beam_center": [float(v) for v in centre], "beam_center_esd": _centre_esd(each),
        "camera_length_mm": lengths.pop() if len(lengths) == 1 else None,
        "files_calibrated": each, "warnings": warnings,
    }  # fmt: skip


def _centre_esd(each: Sequence[dict[str, Any]]) -> list[float]:
    """Of one pattern its esd; of several the scatter of their mean, since the beam itself may wander."""
    xy = np.array([e["beam_center"] for e in each])
    if len(xy) == 1:
        return each[0]["beam_center_esd"]
    return [float(v) for v in xy.std(axis=0, ddof=1) / np.sqrt(len(xy))]


def _each(one: Calibrated) -> dict[str, Any]:
    fit, det = one.fit, one.experiment.detector
    amplitude, s_amplitude, azimuth, s_azimuth = amplitude_and_azimuth(fit.parameters[2:4], fit.covariance[2:4, 2:4])
    pixel, s_pixel = fit.pixel_size
    physical = det.pixel_size_mm if "pixel_size" in one.experiment.known else None
    esd = np.sqrt(np.diag(fit.covariance))
    return {
        "file": str(one.path), "pixel_size_inv_angstrom": pixel, "pixel_size_esd": s_pixel,
        "ellipse_percent": amplitude, "ellipse_percent_esd": s_amplitude,
        "ellipse_azimuth_deg": azimuth, "ellipse_azimuth_esd_deg": s_azimuth,
        "beam_center": [float(v) for v in fit.parameters[:2]], "beam_center_esd": [float(v) for v in esd[:2]],
        "barrel": float(fit.parameters[5]) if len(esd) > 5 else None,
        "barrel_esd": float(esd[5]) if len(esd) > 5 else None,
        "coma": [float(v) for v in fit.parameters[6:]] if len(esd) > 5 else None,
        "coma_esd": [float(v) for v in esd[6:]] if len(esd) > 5 else None,
        "effective_distance_mm": physical / (one.experiment.beam.wavelength * pixel) if physical else None,
        "index_score": fit.indexed.score, "index_score_of_next": fit.indexed.other,
        "rings": [
            {
                "hkl": [list(h) for h in r.hkl], "d": r.d, "radius_px": r.radius_px, "residual_px": r.residual_px,
                "rms_px": r.rms_px, "sectors_seen": r.seen, "sectors_clipped": r.clipped,
            }
            for r in fit.rings
        ],
        "warnings": list(fit.warnings),
    }  # fmt: skip


def _mean(fits: Sequence[RingFit]) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean (3,) of ε cos 2θ, ε sin 2θ and ln(scale), and its covariance, enlarged where patterns disagree."""
    value = np.array([f.parameters[2:5] for f in fits])
    covariance = np.array([f.covariance[2:5, 2:5] for f in fits])
    weight = np.linalg.inv(covariance)
    whole = np.linalg.inv(weight.sum(axis=0))
    mean = whole @ np.einsum("nij,nj->i", weight, value)
    if len(fits) > 1:
        off = (value - mean) ** 2 / np.einsum("nii->ni", covariance)
        grow = np.sqrt(np.maximum(off.sum(axis=0) / (len(fits) - 1), 1.0))
        whole = whole * np.outer(grow, grow)
    return mean, whole
