"""What a refinement says of itself: numbers with uncertainties, warnings, residuals for the figures."""

from __future__ import annotations

from typing import Any

import numpy as np

from credo.model import Crystal, Ellipse, Experiment, Reflections, Report
from credo.physics.ewald import crossing_speed
from credo.reduce.refine_model import Data, State, predicted

__all__ = ["estimate_mosaicity", "report_of"]


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
        weight = 1 / (model * (1 + (w2 - model) ** 2 / model**2))
    return float(np.clip(np.degrees(np.sqrt(found[0])), 0.01, 2.0)), float(np.sqrt(found[1]))


def report_of(done: Any, final: Experiment, used: dict, settings: Any) -> Report:
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
        "ellipse_percent": ellipse.amplitude_percent,
        "ellipse_azimuth_deg": ellipse.azimuth_deg,
        "ellipse_esd_percent": float(200 * np.max(esd[at + 2 : at + 4])),
        "beam_center": [float(v) for v in final.detector.origin],
        "beam_walk_px": done.walk,
        "pixel_size_inv_angstrom": final.detector.q_per_pixel,
        "scale_from_curvature": float(np.exp(used["scale_step"])),
        "scale_from_curvature_esd": used["scale_esd"],
        "scale_correlation": used["scale_correlation"],
        "iterations": done.iterations,
        "converged": done.converged,
    }
    numbers["ellipse_determined"] = numbers["ellipse_esd_percent"] < 0.5 * settings.ellipse_prior_percent
    numbers["scale_determined"] = settings.known_cell is not None or settings.camera_length == "refined"
    figures = {
        "residual_x_px": dxy[:, 0],
        "residual_y_px": dxy[:, 1],
        "residual_frame": data.frame,
        "residual_phi_deg": dphi,
        "residual_phi_frame": data.frame[fast],
        "beam_drift_px": state.shift - state.shift.mean(axis=0),
        "beam_correction_px": state.shift - done.start.shift,
    }
    return Report(numbers, (), figures)


def _rms(v: np.ndarray) -> float | None:
    return float(np.sqrt(np.mean(v**2))) if len(v) else None
