"""Orientations of all frames: by either method, their errors by half sets, the smoothed path, the goniometer study."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.model import Cell, Structure
from credo.orient.dynamical import DynamicalFit, fit_dynamical
from credo.orient.goniometer import GoniometerStudy, goniometer_study
from credo.orient.halves import half_sets
from credo.orient.observations import Observations
from credo.orient.path import Path, path_of
from credo.orient.problems import Problem, problems_of
from credo.orient.rocking import RockingFit, fit_rocking
from credo.orient.smooth import Smoothed, smoothed
from credo.orient.start import Start, start_directions
from credo.orient.strain import InPlane, in_plane, strain_of_positions, strained, symmetrised
from credo.orient.thesis import thesis_method

__all__ = ["OrientSettings", "Orientations", "Problem", "orient"]


#: Significance of a strain of spots' positions at which the cell is taken for wrong; most refinements of it.
_CELL_WRONG, _CELL_TURNS = 4.0, 4
#: R1 above which a structure is doubted.
_POOR_R1 = 0.3


class OrientSettings(BaseModel):
    """How frame orientations are found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["rocking", "thesis"] = Field(
        default="rocking", description="all frames at once on the rocking curves, or the thesis's frame by frame"
    )
    positional_correction: bool = Field(default=True, description="of the method thesis (its Table 6; off: Table 7)")
    period: int | None = Field(
        default=None, ge=2, description="frames for each move of the goniometer, in stepwise data with fine beam tilts"
    )
    seed: int = Field(default=0, ge=0, description="of the thesis's simulated annealing")


@dataclass(frozen=True, eq=False)
class Orientations:
    """``zone`` (f, 3): unit vectors [HKL] in crystal axes, NaN where a frame shows too little; ``covariance``
    (f, 2, 2) [rad²] along the path and across it, calibrated by half sets, infinite where unknown; ``fom``: eq. 16
    averaged over frames [Å⁻²]; ``error_deg``: mean error of a frame that half sets foretell, NaN without them;
    ``cell``: in whose Cartesian axes zone axes are, the given one unless spots' positions told another; ``in_plane``:
    the frames' turns about the beam, where spots have positions."""

    method: str
    zone: np.ndarray
    covariance: np.ndarray
    path: Path
    study: GoniometerStudy
    smooth: Smoothed | None
    fom: float
    error_deg: float
    cell: Cell
    fit: RockingFit | None = None
    problems: tuple[Problem, ...] = ()
    dynamical: DynamicalFit | None = None
    in_plane: InPlane | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """The problems' sentences."""
        return tuple(p.text for p in self.problems)


def orient(
    obs: Observations, settings: OrientSettings | None = None, readout_deg: np.ndarray | None = None,
    structure: Structure | None = None,
) -> Orientations:  # fmt: skip
    """Zone axes of all frames, nothing given but the observations. ``readout_deg`` (f,): what the microscope said;
    ``structure``: where it is known, dynamical intensities are fitted in the end."""
    settings = settings or OrientSettings()
    if settings.method == "thesis":
        return _by_thesis(obs, settings, readout_deg)
    obs, start, fit, refined = _with_right_cell(obs)
    halves = half_sets(obs, fit, start.axis, start.zone)
    breaks = _breaks(obs.angle_deg, settings.period)
    covariance = fit.covariance * halves.factor**2
    turns = None if obs.xy is None else in_plane(obs, fit.zone)
    found = Orientations(
        "rocking", fit.zone, covariance, *_path(obs, fit.zone, covariance, settings, readout_deg, breaks),
        _fom(obs, fit.zone), halves.error_deg, obs.cell, fit,
        (*refined, *problems_of(obs, fit, start, halves, turns)), in_plane=turns,
    )  # fmt: skip
    return found if structure is None else _by_bloch_waves(obs, found, start, structure, settings, readout_deg, breaks)


def _with_right_cell(obs: Observations) -> tuple[Observations, Start, RockingFit, tuple[Problem, ...]]:
    """The joint fit; where spots have positions, with the cell that they and its symmetry tell, if that is another."""
    given = obs.cell
    start = start_directions(obs)
    fit = fit_rocking(obs, start.zone, start.axis)
    # the mirror image of a pattern tells nothing of the cell
    if obs.xy is None or in_plane(obs, fit.zone).mirrored < 1:
        return obs, start, fit, ()
    for _ in range(_CELL_TURNS):
        strain = strain_of_positions(obs, fit.zone)
        cell = symmetrised(strained(obs.cell, fit.zone, strain)[0], strain)
        change = np.abs(np.subtract(cell.parameters, obs.cell.parameters)) / np.array([*obs.cell.lengths, 57, 57, 57])
        if strain.significance < _CELL_WRONG or change.max() < 1e-5:
            break
        obs = obs.with_cell(cell)
        start = start_directions(obs)
        fit = fit_rocking(obs, start.zone, start.axis)
    if obs.cell == given:
        return obs, start, fit, ()
    before, after = (" ".join(f"{v:.4g}" for v in c.parameters) for c in (given, obs.cell))
    said = f"the spots' positions do not fit the cell {before}: {after} was used (its size is not theirs to tell)"
    return obs, start, fit, (Problem("wrong cell", said),)


def _path(
    obs: Observations, zone: np.ndarray, covariance: np.ndarray, settings: OrientSettings,
    readout_deg: np.ndarray | None, breaks: np.ndarray,
) -> tuple[Path, GoniometerStudy, Smoothed]:  # fmt: skip
    path = path_of(zone, obs.angle_deg)
    variance = np.degrees(1) ** 2 * np.einsum("fii->fi", covariance)
    study = goniometer_study(path, variance, settings.period, readout_deg)
    return path, study, smoothed(path, variance, breaks)


def _by_bloch_waves(
    obs: Observations, found: Orientations, start: Start, structure: Structure, settings: OrientSettings,
    readout_deg: np.ndarray | None, breaks: np.ndarray,
) -> Orientations:  # fmt: skip
    """Each frame fitted anew with dynamical intensities, begun at the joint fit's directions, raw and smoothed."""
    assert found.fit is not None and found.smooth is not None
    starts = (found.zone, found.smooth.zone)
    by = fit_dynamical(obs, structure, starts, start.axis, found.fit.first, found.fit.second)
    path, study, smooth = _path(obs, by.zone, by.covariance, settings, readout_deg, breaks)
    return replace(
        found, method="dynamical", zone=by.zone, covariance=by.covariance, path=path, study=study, smooth=smooth,
        fom=_fom(obs, by.zone), error_deg=by.error_deg, dynamical=by,
        problems=(*found.problems, *_of_structure(by)),
    )  # fmt: skip


def _of_structure(by: DynamicalFit) -> tuple[Problem, ...]:
    out = []
    if by.r1 > _POOR_R1:
        out.append(
            f"the structure explains the intensities poorly (R1 {by.r1:.2f}): is it the right one, and complete?"
        )
    if by.inverted < 1:
        out.append(
            f"the mirror image of the structure fits better ({by.inverted:.2f} times the misfit): the other hand"
        )
    if not np.array_equal(by.setting, np.eye(3)):
        said = f"the data have another setting of the same cell: h of the structure = h · {by.setting.tolist()}"
        out.append(Problem("other setting", said))
    return tuple(out)


def _by_thesis(obs: Observations, settings: OrientSettings, readout_deg: np.ndarray | None) -> Orientations:
    found = thesis_method(obs, settings.positional_correction, seed=settings.seed)
    known = np.isfinite(found.zone[:, 0])
    # the path is drawn through frames without an answer
    zone = found.zone.copy()
    for k in range(3):
        zone[~known, k] = np.interp(np.flatnonzero(~known), np.flatnonzero(known), found.zone[known, k])
    zone /= np.linalg.norm(zone, axis=1, keepdims=True)
    path = path_of(zone, obs.angle_deg)
    covariance = np.full((len(zone), 2, 2), np.inf)
    study = goniometer_study(path, np.zeros((len(zone), 2)), settings.period, readout_deg)
    n = int((~known).sum())
    said = (Problem("empty frames", f"{n} frames show too few reflections and have no orientation"),) if n else ()
    return Orientations(
        "thesis",
        found.zone,
        covariance,
        path,
        study,
        None,
        float(np.nanmean(found.fom)),
        float("nan"),
        obs.cell,
        problems=said,
    )


def _fom(obs: Observations, zone: np.ndarray) -> float:
    """Eq. 16 with uncorrected positions, over all frames."""
    gap = np.linalg.norm(obs.points - obs.radius * zone[obs.frame], axis=1) - obs.radius
    count = np.maximum(np.bincount(obs.frame, minlength=obs.n_frames), 1)
    return float(np.mean(np.bincount(obs.frame, gap**2, obs.n_frames) / count))


def _breaks(angle_deg: np.ndarray, period: int | None) -> np.ndarray:
    """Frames before which the stage moved: every ``period``, or where the nominal angle jumps."""
    if period is not None:
        return np.arange(period, len(angle_deg), period)
    step = np.abs(np.diff(angle_deg))
    return np.flatnonzero(step > 3 * np.median(step)) + 1
