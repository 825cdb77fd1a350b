"""Refine geometry and crystals together: cell, orientation, axis, beam and its drift, ellipse, camera length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.model import CannotDo, Cell, Crystal, Experiment, Reflections, Report
from credo.physics.ewald import crossing_speed
from credo.reduce.refine_assign import assign, calculated, indexed, spot_data
from credo.reduce.refine_model import GLOBALS, Data, State, linearised, predicted
from credo.reduce.refine_report import estimate_mosaicity, report_of, seam_is_missing
from credo.reduce.refine_solve import Equations, Solution, Variances, student_correction, student_weights

__all__ = ["RefineSettings", "Refined", "refine"]


class RefineSettings(BaseModel):
    """What ``refine`` may change."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    known_cell: tuple[float, float, float, float, float, float] | None = Field(
        default=None, description="Known cell [Å, deg]: the camera length is refined against it"
    )
    camera_length: Literal["auto", "fixed", "refined"] = Field(
        default="auto", description="auto: refined only with a known cell; its scale is otherwise the file's"
    )
    axis: bool = Field(default=True, description="Refine the direction of the rotation axis")
    ellipse: bool = Field(default=True, description="Refine the elliptical lens distortion")
    round_lens: bool = Field(default=False, description="Take the lens as round where the data rather speak for it")
    rotation: bool = Field(default=True, description="Refine the rotation per frame (the recorded angles' scale)")
    rotation_prior_percent: float = Field(
        default=1.0, gt=0, description="Expected error of the recorded rotation per frame [percent]"
    )
    barrel: bool = Field(default=True, description="Refine the radial (barrel or pincushion) lens distortion")
    barrel_prior_percent: float = Field(
        default=2.0, gt=0, description="Expected size of the radial distortion at the outermost spots [percent]"
    )
    coma_prior_percent: float = Field(
        default=0.5, gt=0, description="Expected size of the decentred distortion at the outermost spots [percent]"
    )
    step: bool = Field(default=True, description="Refine the rotation per frame, by one factor for all frames")
    step_prior_percent: float = Field(default=0.3, gt=0, description="Expected error of the rotation step [percent]")
    drift: bool = Field(default=True, description="Refine the direct beam's position frame by frame")
    gap: Literal["auto", "fixed", "refined"] = Field(
        default="auto", description="Seam between chips that images leave out; auto: refined if positions jump there"
    )
    axis_prior_deg: float = Field(
        default=1.0, gt=0, description="Expected error of the axis out of the image plane [deg]"
    )
    ellipse_prior_percent: float = Field(
        default=1.0, gt=0, description="Expected size of the ellipse [percent axis ratio]"
    )
    index_tolerance: float = Field(default=0.3, gt=0, le=0.5, description="Largest error of a Miller index")
    max_rounds: int = Field(default=8, ge=1, description="Rounds of indexing and least squares")


@dataclass(frozen=True)
class Refined:
    """The end of a refinement, for the report: the state, the spots used, what they say and how well."""

    state: State
    data: Data
    variances: Variances
    solution: Solution
    start: State
    walk: float | None
    iterations: int
    converged: bool


def refine(
    experiment: Experiment, spots: Reflections, settings: RefineSettings | None = None
) -> tuple[Experiment, Reflections, Report]:
    """Joint robust least squares of everything the positions and angles of the indexed spots depend on.

    Minimised: (x, y) residuals [px] and the excitation error at the observed angle [Å⁻¹], each over its variance
    plus an excess found from the residuals, under Student's t. Cells obey their lattice system (``laue_group``);
    all crystals share the geometry. The beam of each frame departs from ``Scan.beam_shift`` by a random walk whose
    size is found by evidence. Weak priors: axis out of plane, ellipse, camera length (fixed unless a cell is known).

    Returns the experiment (refined values, ``Cell.covariance``, ``beam_shift``, mosaicity estimate), the spots
    (h k l lattice re-assigned, x_calc y_calc phi_calc [px, deg]; NaN where not indexed) and the report.
    """
    settings = settings or RefineSettings()
    if not experiment.crystals:
        raise CannotDo("refine: no crystal has been indexed", "index the spots first, or give a cell")
    everything = spot_data(experiment, spots)
    start = _with_known_cell(State.of(experiment), settings)
    needed = start.n_cell + 2
    if len(indexed(everything, len(experiment.crystals)).phi) * 3 < needed + 3:
        raise CannotDo("refine: too few indexed spots to determine the geometry", "find more spots, or give a cell")
    if settings.gap == "auto" and np.any(start.gap):
        settings = settings.model_copy(update={"gap": "refined"})
    try:
        done = _iterate(start, everything, experiment, settings)
    except (ValueError, np.linalg.LinAlgError) as error:
        raise CannotDo(
            f"refine: the lattice does not fit the spots ({error})", "index again, or give a cell"
        ) from error
    if settings.gap == "auto" and seam_is_missing(done.state, done.data):
        settings = settings.model_copy(update={"gap": "refined"})
        done = _iterate(done.state, everything, experiment, settings)
    if settings.round_lens and settings.ellipse and favours_circle(done, settings.ellipse_prior_percent / 200) > 3:
        # the covariance stays that with an ellipse: it is not known to be nought
        simple = settings.model_copy(update={"ellipse": False})
        done = _iterate(replace(done.state, ellipse=np.zeros(2)), everything, experiment, simple)
    final, used = _outcome(done, experiment, spots, settings)
    table = _table(done, spots, len(everything.phi))
    report = report_of(done, final, used, settings.known_cell is not None or settings.camera_length == "refined")
    return final, table, report


def favours_circle(done: Refined, prior: float) -> float:
    """By how much the data favour a round lens over an ellipse of components about ``prior``.

    The Savage-Dickey ratio p(e = 0 | data) / p(e = 0), both Gaussian (Dickey 1971): σ²/√|C| exp(−eᵀC⁻¹e/2). An ellipse
    that little speaks for costs the cell and the orientation much of their precision in a narrow wedge.
    """
    at, e = done.state.at("ellipse_1"), done.state.ellipse
    c = done.solution.covariance[at : at + 2, at : at + 2]
    return float(prior**2 / np.sqrt(np.linalg.det(c)) * np.exp(-0.5 * e @ np.linalg.solve(c, e)))


def _with_known_cell(state: State, settings: RefineSettings) -> State:
    """The scale that best maps the known cell on the found one goes to the camera length; the cell is the known."""
    if settings.known_cell is None or settings.camera_length == "fixed":
        return state
    known = Cell(*settings.known_cell)
    ratio = (Cell(*state.cells[0]).volume / known.volume) ** (1 / 3)
    # a known cell in another setting would not fit: keep what was found, only scale
    same = np.allclose(np.array(state.cells[0][:3]) / ratio, known.lengths, rtol=0.03)
    cells = [np.concatenate([c[:3] / ratio, c[3:]]) for c in state.cells]
    if same:
        cells[0] = np.array(known.parameters)
    return replace(state, cells=tuple(cells), q_per_pixel=state.q_per_pixel * ratio)


def _iterate(start: State, everything: Data, experiment: Experiment, settings: RefineSettings) -> Refined:
    """Rounds of least squares and indexing, from low resolution to all, until the indices stay."""
    state, centrings = start, tuple(c.centring for c in experiment.crystals)
    data = indexed(everything, len(centrings))
    length = np.linalg.norm(predicted(state, data)[2], axis=1)
    reach = _first_reach(length)
    iterations, walk, converged = 0, None, False
    variances = _variances(state, data, 0)
    solution = None
    for turn in range(settings.max_rounds):
        near = np.linalg.norm(predicted(state, data)[2], axis=1) <= reach
        active = data.part(near)
        final = reach >= length.max()
        state, variances, solution, walk, n_steps = _least_squares(
            state, active, start, experiment, settings, variances, walk, 0.05 if final else 0.5
        )
        iterations += n_steps
        before = data
        full = assign(state, everything, centrings, variances, settings.index_tolerance, walk)
        data = indexed(full, len(centrings))
        if len(data.phi) * 3 < start.n_cell + 5:
            data = before
            break
        if final and _changed(before, data) <= 0.003 * len(data.phi):
            converged = True
            break
        reach = reach * 1.6 if turn < settings.max_rounds - 3 else np.inf
    assert solution is not None
    return Refined(state, data, variances, solution, start, walk, iterations, converged)


def _changed(before: Data, after: Data) -> int:
    """How many spots changed their index, or came or went."""
    common, i, j = np.intersect1d(before.row, after.row, assume_unique=True, return_indices=True)
    moved = np.any(before.hkl[i] != after.hkl[j], axis=1) | (before.crystal[i] != after.crystal[j])
    return len(before.row) + len(after.row) - 2 * len(common) + int(np.count_nonzero(moved))


def _first_reach(length: np.ndarray) -> float:
    """|q| [Å⁻¹] below which a third of the spots (at least 60) lie: where wrong geometry still indexes rightly."""
    n = len(length)
    return float(np.sort(length)[min(n - 1, max(60, n // 3))]) if n else np.inf


def _variances(state: State, data: Data, n_fitted: float) -> Variances:
    xy, eps, q = predicted(state, data)
    n = len(data.phi)
    dof = max(1 - n_fitted / max(2 * n + np.count_nonzero(data.use_phi), 1), 0.3)
    p = data.use_phi
    speed, length = crossing_speed(q, state.axis)[p], np.linalg.norm(q, axis=1)[p]
    return Variances.found(data.xy - xy, data.var_xy, eps[p], data.var_phi[p], speed, length, dof)


def _least_squares(state, data, start, experiment, settings, variances, walk, precision, max_steps=8):
    """Gauss-Newton on a fixed set of spots until steps are below ``precision`` esds, variances found anew each time."""
    steps, solution, n_fitted = 0, None, 0.0
    for steps in range(1, max_steps + 1):
        equations = _equations(state, data, start, experiment, settings, variances)
        blocks = equations.blocks()
        if settings.drift and (steps in (1, 3) or walk is None):
            walk = equations.best_walk(blocks)
        solution = equations.solve(walk if settings.drift else None, blocks)
        # a lattice that does not fit would run away: no step strains or turns a crystal by more than 5 %
        damp = min(1.0, 0.05 / max(float(np.abs(solution.step[: state.n_cell]).max()), 1e-12))
        state = state.moved(damp * solution.step, damp * solution.shift)
        n_fitted = solution.n_effective
        variances = _variances(state, data, n_fitted)
        scaled = np.abs(solution.step) / np.sqrt(np.diag(solution.covariance))
        if steps > 1 and scaled.max() < precision:
            break
    return state, variances, solution, walk, steps


def _equations(state, data, start, experiment, settings, variances, corrected: bool = False) -> Equations:
    """Linearise at ``state``; with ``corrected`` the weights are those of the covariance (see student_correction)."""
    xy, eps, q, jx, jy, je = linearised(state, data)
    speed, length = crossing_speed(q, state.axis), np.linalg.norm(q, axis=1)
    dxy = data.xy - xy
    v_xy = variances.of_positions(data.var_xy)
    v_e = variances.of_excitation(data.var_phi, speed, length)
    z_xy = (dxy**2 / v_xy).sum(axis=1)
    w_xy = student_weights(z_xy, 2)
    w_e = student_weights(eps**2 / v_e, 1) * data.use_phi
    if corrected:
        w_xy = w_xy / student_correction(dxy / np.sqrt(v_xy), 2)
        p = data.use_phi
        if p.any():
            w_e = w_e / student_correction((eps / np.sqrt(v_e))[p, None], 1)
    prior, offset = _priors(state, start, settings, float(np.quantile(length, 0.95)))
    steady = start.shift + state.time[:, None] * state.trend
    return Equations(
        jx=jx, jy=jy, je=je, rx=dxy[:, 0], ry=dxy[:, 1], re=-eps,
        wx=w_xy / v_xy[:, 0], wy=w_xy / v_xy[:, 1], we=w_e / v_e, frame=data.frame,
        numbers=np.asarray(experiment.scan.numbers, dtype=float), departure=state.shift - steady,
        prior=prior, offset=offset,
    )  # fmt: skip


def _priors(state: State, start: State, settings: RefineSettings, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Precisions and departures: weak ones of what the data leave open, very tight ones of what must not move.

    reach: |q| of the outermost spots [Å⁻¹].
    """
    n = state.n_parameters
    sigma, offset = np.full(n, 1e3), np.zeros(n)
    fixed = 1e-9

    def prior(name: str, width: float | tuple, departure: np.ndarray | float, length: int = 1) -> None:
        columns = slice(state.at(name), state.at(name) + length)
        sigma[columns], offset[columns] = width, departure

    lean = np.arcsin(np.clip(state.axis[2], -1, 1)) - np.arcsin(np.clip(start.axis[2], -1, 1))
    tilt = np.radians(settings.axis_prior_deg)
    prior("axis_in_plane", (np.radians(10.0), tilt) if settings.axis else fixed, np.array([0.0, lean]), 2)
    prior("step", settings.step_prior_percent / 100 if settings.step else fixed, state.stretch)
    ellipse = settings.ellipse_prior_percent / 200 if settings.ellipse else fixed
    # distortions are expected about nought, not about what an earlier refinement made of them
    prior("ellipse_1", ellipse, state.ellipse - (0.0 if settings.ellipse else start.ellipse), 2)
    free = settings.camera_length == "refined" or (settings.camera_length == "auto" and settings.known_cell is not None)
    prior("log_scale", 0.3 if free else fixed, np.log(state.q_per_pixel / start.q_per_pixel))
    barrel = settings.barrel_prior_percent / 100 / reach**2 if settings.barrel else fixed
    prior("barrel", barrel, state.barrel - (0.0 if settings.barrel else start.barrel))
    coma = settings.coma_prior_percent / 100 / (3 * reach) if settings.barrel else fixed
    prior("coma_x", coma, state.coma - (0.0 if settings.barrel else start.coma), 2)
    prior("trend_x", 100.0 if settings.drift else fixed, state.trend, 2)
    prior("gap_x", 3.0 if settings.gap == "refined" else fixed, state.gap - start.gap, 2)
    if free and settings.known_cell is not None:
        # the known cell is good to about 0.1 %: lengths of the first crystal stay there
        k = state.freedom[0].shape[1]
        sigma[:k] = 1e-3
        change = np.concatenate(
            [np.log(state.cells[0][:3] / start.cells[0][:3]), np.radians(state.cells[0][3:] - start.cells[0][3:])]
        )
        offset[:k] = state.freedom[0].T @ change / state.freedom[0].sum(axis=0)
    return 1 / sigma**2, offset


def _outcome(
    done: Refined, experiment: Experiment, spots: Reflections, settings: RefineSettings
) -> tuple[Experiment, dict]:
    """The refined experiment with covariances, and the numbers that only the last normal matrix knows."""
    state, data = done.state, done.data
    equations = _equations(state, data, done.start, experiment, settings, done.variances, corrected=True)
    walk = done.walk if settings.drift else None
    solution = equations.solve(walk)
    # what the data alone say about the scale: the same equations with its prior lifted
    lifted = equations.prior.copy()
    scale_at = state.at("log_scale")
    lifted[scale_at] = 1 / 0.3**2
    k0 = state.freedom[0].shape[1]
    if settings.known_cell is not None:
        lifted[:k0] = 1e-6
    offset = np.where(lifted == equations.prior, equations.offset, 0.0)
    scale = replace(equations, prior=lifted, offset=offset).solve(walk)
    final = state.experiment(experiment)
    crystals: list[Crystal] = []
    width = float(np.median(np.abs(experiment.scan.width_deg)))
    at = 0
    for i, (crystal, freedom) in enumerate(zip(final.crystals, state.freedom)):
        k = freedom.shape[1]
        to_cell = freedom * np.concatenate([state.cells[i][:3], np.full(3, np.degrees(1.0))])[:, None]
        covariance = to_cell @ solution.covariance[at : at + k, at : at + k] @ to_cell.T
        mosaicity, shape = estimate_mosaicity(state, data.part(data.crystal == i), spots, width, crystal)
        crystals.append(
            crystal.replace(
                cell=crystal.cell.replace(covariance=covariance), mosaicity_deg=mosaicity, shape_width=shape
            )
        )
        at += k + 3
    covariance, at = scale.covariance, scale_at
    along = covariance[at, :k0] @ state.freedom[0][:3].sum(axis=0)
    lengths = state.freedom[0][:3].sum(axis=0)
    spread = np.sqrt(covariance[at, at] * max(lengths @ covariance[:k0, :k0] @ lengths, 1e-30))
    used = {
        "esd": np.sqrt(np.diag(solution.covariance)),
        "covariance": solution.covariance,
        "scale_step": float(scale.step[at]),
        "scale_esd": float(np.sqrt(covariance[at, at])),
        "scale_correlation": float(along / spread),
        "names": GLOBALS,
    }
    return final.replace(crystals=tuple(crystals)), used


def _table(done: Refined, spots: Reflections, n: int) -> Reflections:
    """The spots with their new indices and calculated positions."""
    data, state = done.data, done.state
    phi, xy = calculated(state, data, [state.ub(k) for k in range(len(state.cells))])
    lattice, hkl = np.full(n, -1), np.zeros((n, 3), dtype=int)
    out = np.full((n, 3), np.nan)
    lattice[data.row], hkl[data.row] = data.crystal, data.hkl
    out[data.row] = np.column_stack([xy, np.degrees(phi)])
    seen = np.degrees(state.angle(np.radians(spots["phi"])))
    return spots.with_columns(
        hkl=hkl, lattice=lattice, phi=seen, x_calc=out[:, 0], y_calc=out[:, 1], phi_calc=out[:, 2]
    )
