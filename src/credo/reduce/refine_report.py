"""What a refinement says of itself: numbers with uncertainties, warnings, residuals for the figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from credo.model import Crystal, Ellipse, Experiment, Reflections, Report
from credo.physics.ewald import crossing_speed
from credo.reduce.refine_model import Data, State, predicted

__all__ = ["estimate_mosaicity", "report_of", "seam_is_missing"]


def estimate_mosaicity(
    state: State, data: Data, spots: Reflections, width_deg: float, crystal: Crystal
) -> tuple[float, float]:
    """(mosaicity [deg], shape width [Å⁻¹]) from how many frames the strong spots last; the crystal's own if unclear.

    A Gaussian rocking curve of rms σ stays above the weakest detectable share T of the intensity I over 2h degrees,
    h² = 2σ² ln(I/T); σ times the speed of crossing is √((|q| mosaicity)² + shape²). Rough: integration refines it.
    """
    kept = crystal.mosaicity_deg, crystal.shape_width
    if not {"first", "last", "intensity"} <= set(spots) or len(data.phi) < 30:
        return kept
    mine = spots.select(data.row)
    _, _, q = predicted(state, data)
    speed, length = np.abs(crossing_speed(q, state.axis)), np.linalg.norm(q, axis=1)
    lasts = np.asarray(mine["last"] - mine["first"] + 1, dtype=float)
    intensity = np.maximum(mine["intensity"], 1e-9)
    threshold = np.quantile(intensity / lasts, 0.05)
    strong = data.use_phi & (intensity > np.quantile(intensity, 0.6)) & (intensity > 4 * threshold)
    strong &= speed > 0.3 * length
    if np.count_nonzero(strong) < 20:
        return kept
    # a spot of n frames lasted between n − 2 and n of them: n − 1 on average
    half = 0.5 * np.radians(np.abs(width_deg)) * np.maximum(lasts - 1, 0.3)[strong]
    sigma = half / np.sqrt(2 * np.log(intensity[strong] / threshold))
    w2 = (sigma * speed[strong]) ** 2
    a = np.column_stack([length[strong] ** 2, np.ones_like(w2)])
    weight = 1 / a[:, 0]
    for _ in range(5):
        found = np.linalg.lstsq(a * weight[:, None], w2 * weight, rcond=None)[0]
        if min(found) < 0:
            found = np.array([np.median(w2 / a[:, 0]), 0.0])
        model = a @ found
        weight = model / (model**2 + (w2 - model) ** 2)
    return float(np.clip(np.degrees(np.sqrt(found[0])), 0.01, 2.0)), float(np.sqrt(found[1]))


def report_of(done: Any, final: Experiment, used: dict, scale_determined: bool) -> Report:
    """The report of a finished refinement."""
    state, data = done.state, done.data
    xy, eps, q = predicted(state, data)
    speed, length = crossing_speed(q, state.axis), np.linalg.norm(q, axis=1)
    dxy = data.xy - xy
    fast = data.use_phi & (np.abs(speed) > 0.3 * length)
    dphi = np.degrees(-eps[fast] / speed[fast])
    at = state.n_cell
    esd = used["esd"]
    free = len(state.freedom[0].T)
    crystal = final.crystals[0]
    ellipse = Ellipse.from_components(*state.ellipse)
    numbers = {
        "n_indexed": len(data.phi),
        "n_indexed_by_lattice": np.bincount(data.crystal, minlength=len(state.cells)).tolist(),
        "rms_x_px": _rms(dxy[:, 0]),
        "rms_y_px": _rms(dxy[:, 1]),
        "rms_phi_deg": _rms(dphi),
        "rms_excitation_inv_angstrom": _rms(eps[data.use_phi]),
        "excess_position_px": float(np.sqrt(done.variances.position)),
        "excess_phi_deg": float(np.degrees(np.sqrt(done.variances.angle))),
        "cell": [float(v) for v in crystal.cell.parameters],
        "cell_esd": [float(v) for v in crystal.cell.esd or ()],
        "cells": [[float(v) for v in c.cell.parameters] for c in final.crystals],
        "orientation_esd_deg": [float(v) for v in np.degrees(esd[free : free + 3])],
        "rotation_axis_deg": final.goniometer.angle_deg,
        "rotation_axis_esd_deg": float(np.degrees(esd[at])),
        "rotation_axis_out_of_plane_deg": float(np.degrees(np.arcsin(state.axis[2]))),
        "rotation_axis_out_of_plane_esd_deg": float(np.degrees(esd[at + 1])),
        "rotation_step_factor": 1 + state.stretch,
        "rotation_step_factor_esd": float(esd[state.at("step")]),
        "ellipse_percent": ellipse.amplitude_percent,
        "ellipse_azimuth_deg": ellipse.azimuth_deg,
        "barrel_angstrom_squared": state.barrel,
        "barrel_esd": float(esd[state.at("barrel")]),
        "coma_angstrom": [float(k) for k in state.coma],
        "coma_esd": [float(v) for v in esd[state.at("coma_x") :][:2]],
        "ellipse_esd_percent": float(200 * np.max(esd[state.at("ellipse_1") :][:2])),
        "beam_center": [float(v) for v in final.detector.origin],
        "beam_walk_px": done.walk,
        "pixel_size_inv_angstrom": final.detector.q_per_pixel,
        "scale_from_curvature": float(np.exp(used["scale_step"])),
        "scale_from_curvature_esd": used["scale_esd"],
        "scale_correlation": used["scale_correlation"],
        "iterations": done.iterations,
        "converged": done.converged,
    }
    numbers["ellipse_determined"] = numbers["ellipse_esd_percent"] < 0.3
    numbers["scale_determined"] = scale_determined
    numbers["detector_gap_px"] = [float(g) for g in state.gap]
    numbers["central_step_px"] = [s for s, _ in _central_steps(state, data, dxy)]
    figures = {
        "residual_x_px": dxy[:, 0],
        "residual_y_px": dxy[:, 1],
        "residual_frame": data.frame,
        "residual_phi_deg": dphi,
        "residual_phi_frame": data.frame[fast],
        "beam_drift_px": state.shift - state.shift.mean(axis=0),
        "beam_correction_px": state.shift - done.start.shift,
    }
    return Report(numbers, tuple(_warnings(numbers)), figures)


def seam_is_missing(state: State, data: Data) -> bool:
    """Whether measured positions jump across the detector's middle, as when images leave out the seam of the chips."""
    steps = _central_steps(state, data, data.xy - predicted(state, data)[0])
    return any(abs(s) > max(0.3, 5 * e) for s, e in steps)


def _central_steps(state: State, data: Data, dxy: np.ndarray) -> list[tuple[float, float]]:
    """Jump of the residuals [px] and its uncertainty across the detector's middle column and row."""
    out = []
    for axis, half in enumerate(state.middle):
        from_middle = data.xy[:, axis] - half
        sides = [dxy[(s * from_middle > 0) & (s * from_middle < half / 4), axis] for s in (1, -1)]
        if min(len(s) for s in sides) < 20:
            out.append((0.0, np.inf))
            continue
        error = np.sqrt(sum(np.var(s) / len(s) for s in sides))
        out.append((float(np.median(sides[0]) - np.median(sides[1])), float(1.25 * error)))
    return out


def _warnings(numbers: dict) -> Iterator[str]:
    """Sentences on what the numbers should not be trusted for, and what to do."""
    if not numbers["converged"]:
        yield "refine: the indices still changed in the last round; the lattice may be wrong or there may be a second."
    gap = numbers["detector_gap_px"]
    if any(gap):
        yield (
            f"refine: positions jump by {gap[0]:.1f}, {gap[1]:.1f} px (x, y) across the detector's middle: the seam "
            "between its chips is missing from the images, and is now part of the geometry."
        )
    factor, esd = numbers["rotation_step_factor"], numbers["rotation_step_factor_esd"]
    if abs(factor - 1) > max(0.005, 5 * esd):
        yield (
            f"refine: the frames' angles of the file do not fit: each step is {factor:.4f} (± {esd:.4f}) of what it "
            "says; the refined angles are used."
        )
    off, esd = numbers["scale_from_curvature"] - 1, numbers["scale_from_curvature_esd"]
    if not numbers["scale_determined"] and abs(off) > max(5 * esd, 0.04):
        yield (
            f"refine: the curvature of the Ewald sphere asks for {100 * off:+.1f} % of pixel size [1/Å] (± "
            f"{100 * max(esd, 0.01):.1f} %): the camera length is probably wrong and cell lengths with it; "
            "give a known cell or a calibrated camera length."
        )
    if not numbers["ellipse_determined"]:
        yield (
            "refine: a lens ellipse and a strain of this cell cannot be told apart here (esd of the ellipse "
            f"{numbers['ellipse_esd_percent']:.1f} %); calibrate the ellipse on another crystal if it matters."
        )
    if abs(numbers["rotation_axis_out_of_plane_deg"]) > 3:
        yield "refine: the rotation axis leans out of the image plane by more than 3 deg, which is unusual."


def _rms(v: np.ndarray) -> float | None:
    return float(np.sqrt(np.mean(v**2))) if len(v) else None
