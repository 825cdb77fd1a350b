"""What a refinement says of itself: numbers with uncertainties, warnings, residuals for the figures."""

from __future__ import annotations

from typing import Any

import numpy as np

from credo.model import Crystal, Ellipse, Experiment, Report
from credo.physics.ewald import crossing_speed
from credo.reduce.refine_model import Data, State, predicted

__all__ = ["estimate_mosaicity", "report_of"]


def estimate_mosaicity(state: State, data: Data, experiment: Experiment, crystal: Crystal) -> tuple[float, float]:
    """(mosaicity [deg], shape width [Å⁻¹]); what the crystal had, where the spots do not tell."""
    return crystal.mosaicity_deg, crystal.shape_width


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
