"""``credo orient``: the orientation of every frame with its uncertainty, the rotation axis, the goniometer study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from credo.io.structure import read_structure
from credo.io.text import write_text
from credo.kernels.rotation import angle_between_deg, rotation_from_vector, rotation_matrix
from credo.orient.orientations import Orientations, Problem, orient
from credo.orient.path import along_path
from credo.physics.truth import Truth, read_truth
from credo.pipeline.compare import match_lattice, primitive_vectors
from credo.pipeline.orient_export import export_orientations
from credo.pipeline.orient_input import OrientFileSettings, OrientInput, read_observations
from credo.pipeline.output import Output, fingerprint, run_command
from credo.pipeline.page.orientations import orientations_page

__all__ = ["orient_file"]

#: Frames further than this from where the indexing has them are elsewhere.
_FAR_DEG = 5.0
_HEAD = (
    "frame,nominal_deg,zone_x,zone_y,zone_z,u,v,w,along_deg,across_deg,esd_along_deg,esd_across_deg,"
    "smooth_x,smooth_y,smooth_z,scale,thickness,in_plane_deg,esd_in_plane_deg\n"
)


def orient_file(
    path: Path,
    out: Path,
    settings: OrientFileSettings | None = None,
    truth: Path | None = None,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """``credo orient``: orientations.csv, report.html, report.json, and the orientations for other programs
    (:mod:`~credo.pipeline.orient_export`). ``truth``: of a simulated series, to tell the error."""
    path, settings = Path(path), settings or OrientFileSettings()
    inputs = [p for p in (path, settings.angles, settings.dynamical, truth) if p is not None]
    output = Output(out, "orient", fingerprint([p for p in inputs if p.exists()], settings), inputs, settings)
    say = progress or (lambda _: None)

    def work(folder: Path) -> dict[str, Any]:
        say("reading")
        given = read_observations(path, settings)
        say("orientations")
        structure = None if settings.dynamical is None else read_structure(settings.dynamical)
        found = orient(given.observations, settings, given.readout_deg, structure)
        numbers = _numbers(found, given)
        if truth is not None:
            numbers |= _errors(found, given, read_truth(truth))
        write_text(folder / "orientations.csv", _table(found, given))
        problems = [*found.problems, *_against_goniometer(found, given)]
        numbers["problems"] = [asdict(p) for p in problems]
        numbers["warnings"] = [p.text for p in problems]
        export_orientations(folder, found, given)
        write_text(folder / "report.html", orientations_page(found, given.observations, numbers, path.stem))
        return numbers

    return run_command(output, work, force)


def _numbers(found: Orientations, given: OrientInput) -> dict[str, Any]:
    study = found.study
    axis = np.linalg.solve(found.cell.O, found.path.axis)
    numbers: dict[str, Any] = {
        "method": found.method, "n_frames": len(found.zone), "n_reflections": len(given.observations.frame),
        "fom": found.fom, "axis": np.round(found.path.axis, 8).tolist(),
        "axis_uvw": np.round(axis / np.abs(axis).max(), 6).tolist(), "mean_step_deg": study.step,
        "step_esd_deg": study.step_esd, "out_of_plane_amplitude_deg": study.wobble_amplitude,
        "half_set_error_deg": None if np.isnan(found.error_deg) else found.error_deg, "goniometer": study.numbers(),
        "cell": list(found.cell.parameters),
    }  # fmt: skip
    if found.fit is not None:
        numbers |= {
            "foreign_fraction": found.fit.foreign, "model_error": list(found.fit.kappa),
            "iterations": found.fit.iterations,
        }  # fmt: skip
    if found.in_plane is not None:
        numbers["in_plane"] = {
            "pixels_angstrom": found.in_plane.scale, "rms_px": found.in_plane.rms,
            "esd_deg": float(np.nanmedian(found.in_plane.esd_deg)), "mirrored_misfit": found.in_plane.mirrored,
        }  # fmt: skip
    if found.dynamical is not None:
        by = found.dynamical
        numbers["dynamical"] = {
            "r1": by.r1, "thickness": float(np.nanmedian(by.thickness)), "thickness_spread": by.spread,
            "model_error": by.kappa, "inverted_misfit": by.inverted, "setting": by.setting.tolist(),
            "n_frames": int(np.isfinite(by.thickness).sum()),
        }  # fmt: skip
    if found.smooth is not None:
        numbers["jitter_deg"] = list(found.smooth.jitter_deg)
    return numbers


def _table(found: Orientations, given: OrientInput) -> str:
    """One row a frame; ``u v w``: the zone axis in direct-lattice units, its largest index 1; thickness [Å] by
    ``--dynamical`` only."""
    obs = given.observations
    along, across = along_path(found.path)
    esd = np.degrees(np.sqrt(np.einsum("fii->fi", found.covariance)))
    uvw = found.zone @ np.linalg.inv(found.cell.O).T
    uvw = uvw / np.abs(uvw).max(axis=1, keepdims=True)
    smooth = found.smooth.zone if found.smooth is not None else np.full_like(found.zone, np.nan)
    numbers = given.experiment.scan.numbers if given.experiment is not None else np.arange(obs.n_frames)
    nothing = np.full(obs.n_frames, np.nan)
    scale = nothing if found.fit is None else found.fit.scale
    scale, thickness = (
        (scale, nothing) if found.dynamical is None else (found.dynamical.scale, found.dynamical.thickness)
    )
    by_spots = found.in_plane
    turn, turn_esd = (nothing, nothing) if by_spots is None else (by_spots.angle_deg, by_spots.esd_deg)
    rows = np.column_stack(
        [obs.angle_deg, found.zone, uvw, along, across, esd, smooth, scale, thickness, turn, turn_esd]
    )
    lines = (f"{n}," + ",".join(_value(v) for v in row) + "\n" for n, row in zip(numbers.tolist(), rows.tolist()))
    return _HEAD + "".join(lines)


def _value(v: float) -> str:
    return f"{v:.8g}" if np.isfinite(v) else ""


def _against_goniometer(found: Orientations, given: OrientInput) -> list[Problem]:
    """Whether the path runs as the goniometer's axis and the indexing say."""
    if given.experiment is None:
        return []
    e = given.experiment
    turned = e.goniometer.rotation(e.scan.mid_deg) @ e.crystal.orientation
    expected = -turned[:, 2, :]
    apart = angle_between_deg(found.zone, expected)
    off = float(np.nanmedian(apart))
    if off < _FAR_DEG:
        return []
    if float(np.nanmedian(angle_between_deg(-found.zone, expected))) < _FAR_DEG:
        return [Problem("180 degree ambiguity", "all frames lie opposite to where the indexing has them, by 180°")]
    if np.ptp(apart) > _FAR_DEG:
        said = "the frames turn the other way than the goniometer: its axis or the indices have the wrong hand"
        return [Problem("wrong hand", said)]
    return [Problem("other lattice", f"the frames lie {off:.0f}° from where the indexing has them")]


def _errors(found: Orientations, given: OrientInput, truth: Truth) -> dict[str, Any]:
    """Angle between found and true zone axes, whatever equivalent setting the indices have."""
    true = truth.experiment
    scan, crystal = true.scan, true.crystal
    turns = rotation_matrix(true.goniometer.axis, np.radians(scan.mid_deg))
    if scan.misset_deg is not None:
        turns = rotation_from_vector(np.radians(scan.misset_deg)) @ turns
    zone = -np.einsum("fij,i->fj", turns @ crystal.orientation, np.array([0.0, 0.0, 1.0]))
    if given.experiment is not None:
        rows = np.searchsorted(scan.numbers, given.experiment.scan.numbers)
        zone = zone[np.clip(rows, 0, len(zone) - 1)]
        match = match_lattice(given.experiment.crystal, crystal)
        own, other = (primitive_vectors(c) for c in (given.experiment.crystal, crystal))
        own, other = given.experiment.crystal.orientation.T @ own, crystal.orientation.T @ other
        u, _, vt = np.linalg.svd(other @ match.transform @ np.linalg.inv(own))
        zone = zone @ (u @ vt)
    n = min(len(zone), len(found.zone))
    error = angle_between_deg(found.zone[:n], zone[:n])
    out = {
        "mean_error_deg": float(np.nanmean(error)), "median_error_deg": float(np.nanmedian(error)),
        "max_error_deg": float(np.nanmax(error)),
    }  # fmt: skip
    if found.smooth is not None:
        out["smoothed_mean_error_deg"] = float(np.mean(angle_between_deg(found.smooth.zone[:n], zone[:n])))
    return out
