"""The rotation axis from the spots alone: for the right axis, difference vectors of nearby frames coincide."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.kernels.lattice import coincidences, differences
from credo.kernels.rotation import rotation_matrix
from credo.model import Experiment, Goniometer, Reflections, Report
from credo.reduce.points import strongest

__all__ = ["AxisSettings", "axis_peaks", "find_axis", "score_axes"]


class AxisSettings(BaseModel):
    """How the rotation axis is searched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step_deg: float = Field(default=2.0, gt=0, le=10, description="step of the search over 0-360° [deg]")
    max_spots: int = Field(default=800, ge=20, description="strongest spots used")
    reach_deg: float = Field(default=25.0, gt=0, description="largest rotation between the two spots of a pair [deg]")
    reach_px: float = Field(default=100.0, gt=0, description="longest difference vector [px]")
    width_px: float = Field(default=1.5, gt=0, description="box in which two differences count as the same [px]")


def score_axes(
    experiment: Experiment, spots: Reflections, angles_deg: np.ndarray, settings: AxisSettings | None = None
) -> np.ndarray:
    """Coincidence (n,) of difference vectors for in-plane axis angles (n,) [deg]; higher is better.

    Differences of spots at nearby angles hardly feel an error of the beam centre, a drift or the camera length, and
    coincide (a lattice is its own set of differences) only when they are turned back about the right axis.
    """
    settings = settings or AxisSettings()
    rows = strongest(spots, settings.max_spots, experiment)
    rows = rows[np.argsort(spots["phi"][rows], kind="stable")]
    phi = np.radians(spots["phi"][rows])
    lab = experiment.detector.q_lab(
        spots.xy[rows], experiment.beam.wavelength, experiment.scan.shift_at(spots["frame"][rows])
    )
    table = np.zeros(1 << 18, dtype=np.int32)
    work = np.empty((300_000, 3))
    width, reach = (experiment.detector.q_per_pixel * v for v in (settings.width_px, settings.reach_px))
    scores = np.zeros(len(angles_deg))
    for i, angle in enumerate(angles_deg):
        rotation = rotation_matrix(Goniometer.in_plane(float(angle)).axis, phi)
        q = np.ascontiguousarray(np.einsum("nji,nj->ni", rotation, lab))
        n = differences(q, phi, np.radians(settings.reach_deg), reach, work)
        scores[i] = coincidences(work[:n], width, table)
    return scores


def axis_peaks(angles_deg: np.ndarray, scores: np.ndarray, most: int, apart_deg: float = 10.0) -> list[float]:
    """The best angles [deg] of a search over the full circle, at least ``apart_deg`` from each other modulo 180."""
    chosen: list[float] = []
    for i in np.argsort(-scores, kind="stable"):
        gap = [abs((angles_deg[i] - c + 90) % 180 - 90) for c in chosen]
        if all(g > apart_deg for g in gap):
            chosen.append(float(angles_deg[i]))
        if len(chosen) == most:
            break
    return chosen


def find_axis(
    experiment: Experiment, spots: Reflections, settings: AxisSettings | None = None
) -> tuple[Experiment, Report]:
    """The in-plane axis angle from 0 to 360° without any prior; the hand is only a guess here (see ``index``).

    Report: rotation_axis_deg, axis_contrast (best score over the median); figure ``axis_score``.
    """
    settings = settings or AxisSettings()
    angles = np.arange(0.0, 360.0, settings.step_deg)
    scores = score_axes(experiment, spots, angles, settings)
    best = float(angles[int(np.argmax(scores))])
    fine = np.arange(best - 2 * settings.step_deg, best + 2 * settings.step_deg + 1e-9, settings.step_deg / 5)
    wide = settings.model_copy(update={"reach_deg": 2 * settings.reach_deg})
    fine_scores = score_axes(experiment, spots, fine, wide)
    best = float(fine[int(np.argmax(fine_scores))] % 360)
    middle = float(np.median(scores))
    contrast = float(scores.max() / middle) if middle > 0 else 0.0
    return experiment.replace(goniometer=Goniometer.in_plane(best)), Report(
        {"rotation_axis_deg": best, "axis_contrast": contrast},
        figures={"axis_score": {"angle_deg": angles, "score": scores}},
    )
