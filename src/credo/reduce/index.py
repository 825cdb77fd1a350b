"""From spots to crystals: rotation axis and its hand, lattice, Bravais type, and a second lattice in what is left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.model import CannotDo, Cell, Crystal, Experiment, Goniometer, Reflections, Report
from credo.physics.ewald import allowed_by_centring
from credo.physics.symmetry import primitive_basis
from credo.reduce.axis import AxisSettings, axis_peaks, find_axis, score_axes
from credo.reduce.bravais import Setting, settings_of
from credo.reduce.known_cell import orientations_of_cell
from credo.reduce.lattice import (
    Fit,
    beam_offset,
    candidate_bases,
    direct_vectors,
    likelihood,
    reduced,
    without_empty_nodes,
)
from credo.reduce.local_fit import Placed, Priors, fit_in_place
from credo.reduce.points import reciprocal_points, strongest
from credo.reduce.refine import RefineSettings, refine

__all__ = ["IndexSettings", "index", "settle"]


class IndexSettings(BaseModel):
    """What is known before indexing, and how far to look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: tuple[float, float, float, float, float, float] | None = Field(
        default=None, description="known cell [Å, deg]"
    )
    centring: str | None = Field(default=None, pattern="^[PABCIFR]$", description="centring of the known cell")
    axis: bool = Field(default=True, description="search the rotation axis over 0-360° (else the file's, either hand)")
    beam_reach_px: float = Field(default=16.0, gt=0, description="largest error of the direct beam [px]")
    beam_prior_px: float = Field(default=6.0, gt=0, description="expected error of the direct beam [px]")
    strain_percent: float = Field(default=2.0, gt=0, description="largest strain a Bravais type may need [%]")
    max_spots: int = Field(default=800, ge=30, description="strongest spots used in the search")
    max_lattices: int = Field(default=2, ge=1, le=2, description="how many crystals to look for")
    min_score: float = Field(default=50.0, gt=0, description="least log-likelihood over chance of a lattice [nat]")


def index(
    experiment: Experiment, spots: Reflections, settings: IndexSettings | None = None
) -> tuple[Experiment, Reflections, Report]:
    """Find the axis and the lattice with nothing given but the spots; all geometry in ``experiment`` is a first guess.

    Every axis tried (the best of the search and the file's, both hands) gets the lattice likeliest over chance, fitted
    together with beam, axis and ellipse; the likeliest of all wins. Raises CannotDo when no lattice beats chance.
    """
    settings = settings or IndexSettings()
    if len(spots) < 10:
        raise CannotDo(
            f"only {len(spots)} spots were found: too few to find a lattice", "check the frames; give a known --cell"
        )
    searched = _candidate_axes(experiment, spots, settings)
    placed = sorted(
        (p for axis in searched.axes for p in [_lattice_about(experiment, spots, axis, settings)] if p),
        key=lambda p: -p.fit.score,
    )
    # of so many lattices and geometries the best reaches 25 to 48 nat on random spots, that of a known cell 25 to 36
    if not placed or placed[0].fit.score < settings.min_score:
        raise _refusal(len(spots), placed, settings)
    best = placed[0]
    refined, table, choice = _choose_setting(best, spots, settings, experiment.detector.q_per_pixel)
    known = _known_primitive(settings)
    if known is not None and not same_shape(_primitive_basis(refined.crystal), known):
        raise _refusal(len(spots), placed, settings)
    hands = _hand_scores(placed, best)
    if settings.max_lattices > 1:
        refined, table = _second_lattice(refined, table, settings)
    return refined, table, _report(experiment, refined, table, best, choice, hands, searched)


def settle(
    experiment: Experiment, spots: Reflections, settings: IndexSettings | None = None
) -> tuple[Experiment, Reflections, Report]:
    """A lattice found before, with more spots: refined, and its Bravais type chosen anew; no other is looked for.

    The lattice and the geometry are those of ``experiment``; numbers of the report as :func:`index`, as far as they
    apply. Raises CannotDo where the spots do not bear the lattice out.
    """
    settings = settings or IndexSettings()
    rows = strongest(spots, settings.max_spots, experiment)
    points = reciprocal_points(experiment, spots, rows, experiment.goniometer.axis)
    fit = likelihood(points, np.linalg.inv(_primitive_basis(experiment.crystal)))
    if fit.score < settings.min_score:
        raise CannotDo(f"the lattice no longer explains the {len(spots)} spots", "index again")
    placed = Placed(experiment, points, fit)
    refined, table, choice = _choose_setting(placed, spots, settings, experiment.detector.q_per_pixel)
    outside = _outside_beam(refined, table)
    share = float(np.mean(table["lattice"][outside] >= 0)) if outside.any() else 0.0
    numbers = {
        "n_spots": len(table), "n_indexed": _count(table), "indexed_fraction": share, "lattices": 1,
        "lattice_score": fit.score, "centring": refined.crystal.centring,
        "cell": list(refined.crystal.cell.parameters), "bravais_candidates": choice,
        "rotation_axis_deg": refined.goniometer.angle_deg,
    }  # fmt: skip
    return refined, table, Report(numbers)


def _refusal(n_spots: int, placed: list[Placed], settings: IndexSettings) -> CannotDo:
    known = settings.cell is not None
    best = placed[0].fit.score if placed else 0.0
    return CannotDo(
        f"no lattice{' of the known shape' if known else ''} explains the {n_spots} spots better than chance "
        f"(best log-likelihood {best:.0f})",
        "look at the frames: a powder, no crystal or several; or "
        + ("leave out --cell" if known else "give a known --cell, --axis, --beam-center"),
    )


@dataclass(frozen=True)
class _Searched:
    axes: tuple[np.ndarray, ...]
    angles_deg: np.ndarray
    scores: np.ndarray


def _candidate_axes(experiment: Experiment, spots: Reflections, settings: IndexSettings) -> _Searched:
    """Axes worth a lattice search: both hands of the file's and of the best two that the search finds."""
    given = experiment.goniometer.angle_deg
    angles, scores = np.empty(0), np.empty(0)
    trial: list[float] = []
    if settings.axis:
        found, report = find_axis(experiment, spots)
        figure = report.figures["axis_score"]
        angles, scores = figure["angle_deg"], figure["score"]
        trial = [found.goniometer.angle_deg]
        second = [a for a in axis_peaks(angles, scores, 3) if abs((a - trial[0] + 90) % 180 - 90) > 10]
        top = float(scores.max())
        trial += [a for a in second[:1] if score_axes(experiment, spots, np.array([a]), AxisSettings())[0] > 0.6 * top]
    if "axis" in experiment.known or not trial:
        trial.append(given)
    kept: list[float] = []
    for a in trial:
        if all(abs((a - k + 90) % 180 - 90) > 1.0 for k in kept):
            kept.append(a)
    return _Searched(tuple(Goniometer.in_plane(a + hand).axis for a in kept for hand in (0, 180)), angles, scores)


def _lattice_about(
    experiment: Experiment, spots: Reflections, axis: np.ndarray, settings: IndexSettings
) -> Placed | None:
    """The likeliest lattice for one axis, in the geometry that suits it."""
    here = experiment.replace(goniometer=Goniometer(axis))
    rows = strongest(spots, settings.max_spots, here)
    points = reciprocal_points(here, spots, rows, axis)
    # short cells need long differences, long cells and uncertain ones short differences of nearby frames
    found = [direct_vectors(points, reach, q) for reach, q in ((12.0, 0.25), (25.0, 0.12), (25.0, 0.5))]
    bases = [basis for vectors in found for basis in candidate_bases(vectors)]
    known = _known_primitive(settings)
    if known is not None:
        # its placements at the file's camera length, and lattices of its shape at any other
        bases = [reduced(b) for b in orientations_of_cell(points, known)] + [b for b in bases if same_shape(b, known)]
    tried: list[tuple[float, Experiment, Fit]] = []
    for basis in bases:
        fit = likelihood(points, np.linalg.inv(basis))
        tried.append((fit.score, here, fit))
    for basis in _diverse(bases, 12):
        d = beam_offset(points, basis, here.detector.q_per_pixel, settings.beam_reach_px, settings.beam_prior_px)
        if np.hypot(*d) > 0.3:
            origin = (here.detector.origin[0] + d[0], here.detector.origin[1] + d[1])
            moved = here.replace(detector=here.detector.replace(origin=origin))
            fit = likelihood(reciprocal_points(moved, spots, rows, axis), np.linalg.inv(basis))
            tried.append((fit.score - 0.5 * float(d @ d) / settings.beam_prior_px**2, moved, fit))
    tried.sort(key=lambda t: -t[0])
    placed = []
    for _, moved, fit in _different(tried, 3):
        p = fit_in_place(moved, spots, rows, fit.ub, priors=Priors(beam_px=settings.beam_prior_px))
        if settings.cell is None:
            better = without_empty_nodes(p.points, p.fit)
            if better is not p.fit:
                p = fit_in_place(p.experiment, spots, rows, better.ub, rounds=3)
        if known is None or same_shape(np.linalg.inv(p.fit.ub), known):
            placed.append(p)
    return max(placed, key=lambda p: p.fit.score, default=None)


def _known_primitive(settings: IndexSettings) -> Cell | None:
    """The primitive cell of the known one."""
    if settings.cell is None:
        return None
    return Cell(*settings.cell).reindexed(primitive_basis(settings.centring or "P"))


def _primitive_basis(crystal: Crystal) -> np.ndarray:
    """Direct vectors (3, 3), rows, of a primitive cell in the laboratory."""
    return np.linalg.inv(crystal.UB @ np.linalg.inv(primitive_basis(crystal.centring)).T)


def same_shape(basis: np.ndarray, cell: Cell, tolerance: float = 0.04, reach: float = 0.25) -> bool:
    """Whether the lattice of ``basis`` (3, 3), rows, is that of a primitive cell but for scale (at most ``reach``).

    tolerance: of the metric's elements, relative to the largest.
    """
    volume = abs(float(np.linalg.det(basis)))
    scale = (cell.volume / volume) ** (1 / 3)
    if abs(np.log(scale)) > reach:
        return False
    target = reduced(np.linalg.cholesky(cell.metric))
    target = target @ target.T
    short = reduced(basis)
    g = scale**2 * (short @ short.T)
    # the lengths of reduced bases agree where the lattices do
    if np.abs(np.sort(np.diag(g)) - np.sort(np.diag(target))).max() > tolerance * target.max():
        return False
    changed = np.swapaxes(_UNIMODULAR, 1, 2) @ g @ _UNIMODULAR
    return bool(np.abs(changed - target).max(axis=(1, 2)).min() < tolerance * target.max())


def _diverse(bases: list[np.ndarray], most: int) -> list[np.ndarray]:
    """Bases of different volume first."""
    seen: list[float] = []
    out = []
    for basis in bases:
        v = float(np.log(abs(np.linalg.det(basis))))
        if all(abs(v - s) > 0.03 for s in seen):
            seen.append(v)
            out.append(basis)
    return out[:most]


def _different(tried: list[tuple[float, Experiment, Fit]], most: int) -> list[tuple[float, Experiment, Fit]]:
    """The best that differ in volume or in where the beam is."""
    out: list[tuple[float, Experiment, Fit]] = []
    for t in tried:
        v, o = np.log(abs(np.linalg.det(t[2].ub))), np.array(t[1].detector.origin)
        if all(
            abs(v - np.log(abs(np.linalg.det(s[2].ub)))) > 0.03 or np.hypot(*(o - s[1].detector.origin)) > 1.5
            for s in out
        ):
            out.append(t)
        if len(out) == most:
            break
    return out


def _choose_setting(
    placed: Placed, spots: Reflections, settings: IndexSettings, q_per_pixel: float
) -> tuple[Experiment, Reflections, list[dict]]:
    """Refine the primitive cell, then take the highest Bravais symmetry that its covariance and a refit bear out.

    The primitive cell is refined with the camera length free, because a wrong one strains the cell through the
    ellipse; only then is its covariance honest. The result is at the file's scale ``q_per_pixel``.
    """
    basis = reduced(np.linalg.inv(placed.fit.ub))
    start = placed.experiment.replace(crystals=(Crystal.from_ub(np.linalg.inv(basis)),))
    nodes = nearest_nodes(start, spots)
    rules = RefineSettings(max_rounds=6, camera_length="refined")
    free, free_table, report = refine(start, nodes, rules)
    if abs(np.log(free.detector.q_per_pixel / q_per_pixel)) > 0.35:
        # no camera length is off by so much: too few spots to tell it
        rules = RefineSettings(max_rounds=6)
        free, free_table, report = refine(start, nodes, rules)
    cell, free_score, free_misfit = free.crystal.cell, _score(free, spots, settings), _misfit(report)
    rows: list[dict] = []
    chosen: tuple[Experiment, Reflections] | None = None
    allowed = _of_known(settings)
    for setting in settings_of(cell, settings.strain_percent):
        row = _row(cell, setting)
        rows.append(row)
        if allowed is not None and setting.bravais not in allowed:
            continue
        if chosen is not None or setting.chi2 > 40 * max(setting.constraints, 1):
            continue
        crystal = free.crystal.reindexed(setting.transform, centring=setting.centring, laue_group=setting.laue_group)
        conventional = free.replace(crystals=(crystal,))
        rules = rules.model_copy(update={"max_rounds": 4})
        trial, table, report = refine(conventional, nearest_nodes(conventional, free_table), rules)
        row["misfit_px"], row["n_indexed"], row["score"] = (
            _misfit(report),
            _count(table),
            _score(trial, spots, settings),
        )
        # a wrong constraint costs every spot some likelihood, a right one next to nothing; one beyond three esds may
        # not widen the residuals either
        within = setting.chi2 < 9 * max(setting.constraints, 1)
        wider = row["misfit_px"] / max(free_misfit, 1e-9) - 1
        as_good = within or wider < 0.025 + 2 * setting.constraints / max(row["n_indexed"], 1)
        if row["score"] > 0.9 * free_score and as_good:
            chosen = at_scale(trial, q_per_pixel), table
            row["chosen"] = True
    return *(chosen or (at_scale(free, q_per_pixel), free_table)), rows


def _of_known(settings: IndexSettings) -> frozenset[str] | None:
    """The Bravais types that a known cell obeys to its last digits; None without one."""
    known = _known_primitive(settings)
    if known is None:
        return None
    basis = reduced(np.linalg.cholesky(known.metric))
    return frozenset(s.bravais for s in settings_of(Crystal.from_ub(np.linalg.inv(basis)).cell, 0.02))


def at_scale(experiment: Experiment, q_per_pixel: float) -> Experiment:
    """The same with another camera length, crystals and distortions scaled along."""
    ratio = q_per_pixel / experiment.detector.q_per_pixel
    was = experiment.detector
    detector = was.replace(
        q_per_pixel=q_per_pixel, barrel=was.barrel / ratio**2, coma=(was.coma[0] / ratio, was.coma[1] / ratio)
    )
    crystals = []
    for c in experiment.crystals:
        a, b, c_ = (x / ratio for x in c.cell.lengths)
        cell = c.cell.replace(a=a, b=b, c=c_)
        if cell.covariance is not None:
            change = np.array([1 / ratio] * 3 + [1.0] * 3)
            cell = cell.replace(covariance=cell.covariance * np.outer(change, change))
        crystals.append(c.replace(cell=cell))
    return experiment.replace(detector=detector, crystals=tuple(crystals))


def nearest_nodes(experiment: Experiment, spots: Reflections, tolerance: float = 0.3) -> Reflections:
    """The spots with h k l of the nearest node of any crystal and its number in ``lattice``; −1 and 0 0 0 beyond the
    tolerance [index units]."""
    lab = experiment.detector.q_lab(spots.xy, experiment.beam.wavelength, experiment.scan.shift_at(spots["frame"]))
    rotation = experiment.goniometer.rotation(spots["phi"])
    q = np.einsum("nji,nj->ni", rotation, lab)
    best = np.full(len(spots), np.inf)
    hkl, lattice = np.zeros((len(spots), 3), dtype=int), np.full(len(spots), -1)
    for number, crystal in enumerate(experiment.crystals):
        h = q @ np.linalg.inv(crystal.UB).T
        node = np.rint(h).astype(int)
        off = np.linalg.norm((h - node) @ crystal.UB.T, axis=1)
        good = np.all(np.abs(h - node) < tolerance, axis=1) & np.any(node != 0, axis=1)
        good &= allowed_by_centring(node, crystal.centring) & (off < best)
        best[good], hkl[good], lattice[good] = off[good], node[good], number
    return spots.with_columns(hkl=hkl, lattice=lattice)


def _score(experiment: Experiment, spots: Reflections, settings: IndexSettings) -> float:
    """Log-likelihood over chance of the first crystal, in its own refined geometry."""
    rows = strongest(spots, settings.max_spots, experiment)
    points = reciprocal_points(experiment, spots, rows, experiment.goniometer.axis)
    crystal = experiment.crystal
    return likelihood(points, crystal.UB @ np.linalg.inv(primitive_basis(crystal.centring)).T).score


def _misfit(report: Report) -> float:
    n = report.numbers
    return float(np.hypot(n["rms_x_px"], n["rms_y_px"]))


def _count(table: Reflections) -> int:
    return int(np.sum(table["lattice"] == 0))


def _row(cell: Cell, s: Setting) -> dict:
    conventional = cell.reindexed(s.transform)
    return {
        "bravais": s.bravais,
        "cell": [round(x, 4) for x in conventional.parameters],
        "strain_percent": round(s.strain_percent, 3),
        "chi2_per_constraint": round(s.chi2 / max(s.constraints, 1), 2),
        "chosen": False,
    }


def _hand_scores(placed: list[Placed], best: Placed) -> dict[str, float]:
    """Log-likelihoods of the winner and of the best lattice about the opposite axis."""
    opposite = [p.fit.score for p in placed if p.experiment.goniometer.axis @ best.experiment.goniometer.axis < -0.5]
    return {"this": best.fit.score, "opposite": max(opposite, default=float("nan"))}


def _second_lattice(
    experiment: Experiment, table: Reflections, settings: IndexSettings
) -> tuple[Experiment, Reflections]:
    """Look for another crystal in the spots that the first leaves over; both are then refined together."""
    left = np.flatnonzero((table["lattice"] < 0) & _outside_beam(experiment, table))
    if len(left) < max(25, 0.04 * len(table)):
        return experiment, table
    rest = table.select(left)
    rows = strongest(rest, settings.max_spots, experiment)
    points = reciprocal_points(experiment, rest, rows, experiment.goniometer.axis)
    first = experiment.crystal
    primitive = first.cell.reindexed(primitive_basis(first.centring))
    bases = [(b, True) for b in orientations_of_cell(points, primitive)]
    if len(left) > 0.08 * len(table):
        bases += [(b, False) for b in candidate_bases(direct_vectors(points, 12.0, 0.25))]
    best: tuple[float, np.ndarray, bool] | None = None
    for basis, same in bases:
        fit = likelihood(points, np.linalg.inv(basis))
        # another cell must be much likelier than a second crystal of the same kind
        score = fit.score if same else 0.7 * fit.score
        if best is None or score > best[0]:
            best = score, basis, same
    # what is left may be the first crystal's own, badly measured: another must explain it much better
    own = likelihood(points, np.linalg.inv(_primitive_basis(first))).score
    if best is None or best[0] < settings.min_score + max(own, 0.0) or best[0] < 0.3 * len(points):
        return experiment, table
    crystal = Crystal.from_ub(np.linalg.inv(best[1]))
    if best[2]:
        to_conventional = np.linalg.inv(primitive_basis(first.centring))
        crystal = _in_setting(crystal, primitive, first, to_conventional)
    trial = experiment.replace(crystals=(first, crystal))
    both, new_table, _ = refine(trial, nearest_nodes(trial, table), RefineSettings(max_rounds=4))
    found = int(np.sum(new_table["lattice"] == 1))
    if found < 15 or int(np.sum(new_table["lattice"] == 0)) < 0.9 * _count(table):
        return experiment, table
    return both, new_table


def _in_setting(crystal: Crystal, primitive: Cell, first: Crystal, to_conventional: np.ndarray) -> Crystal:
    """The second crystal on the axes of the first: the primitive basis that matches the first's, then its setting."""
    basis = np.linalg.inv(crystal.UB)
    target = primitive.metric
    best, gap = np.eye(3, dtype=int), np.inf
    for m in _UNIMODULAR:
        g = m.T @ (basis @ basis.T) @ m
        change = float(np.abs(g - target).max() / target.max())
        if change < gap:
            best, gap = m, change
    return crystal.reindexed(
        best @ to_conventional, centring=first.centring, laue_group=first.laue_group,
        mosaicity_deg=first.mosaicity_deg, shape_width=first.shape_width,
    )  # fmt: skip


def _unimodular() -> np.ndarray:
    entries = np.array(np.meshgrid(*[[-1, 0, 1]] * 9)).reshape(9, -1).T.reshape(-1, 3, 3)
    det = np.rint(np.linalg.det(entries)).astype(int)
    return entries[det == 1]


_UNIMODULAR = _unimodular()


def _outside_beam(experiment: Experiment, table: Reflections, radius_px: float = 20.0) -> np.ndarray:
    """Spots further than ``radius_px`` from the direct beam, where indexing is scored."""
    gap = table.xy - experiment.detector.origin - experiment.scan.shift_at(table["frame"])
    return np.hypot(gap[:, 0], gap[:, 1]) > radius_px


def _report(
    before: Experiment, after: Experiment, table: Reflections, best: Placed, choice: list[dict],
    hands: dict[str, float], searched: _Searched,
) -> Report:  # fmt: skip
    outside = _outside_beam(after, table)
    indexed = table["lattice"] >= 0
    warnings = []
    turned = float(np.degrees(np.arccos(np.clip(before.goniometer.axis @ after.goniometer.axis, -1, 1))))
    if "axis" in before.known and turned > 3:
        warnings.append(
            f"The rotation axis is at {after.goniometer.angle_deg:.1f}°, not at {before.goniometer.angle_deg:.1f}° as "
            f"the file says: the data decide (log-likelihood {hands['this']:.0f})."
        )
    moved = float(np.hypot(*np.subtract(after.detector.origin, before.detector.origin)))
    if moved > 3:
        warnings.append(f"The direct beam was moved by {moved:.1f} px to make the lattice fit.")
    if len(after.crystals) > 1:
        share = float(np.mean(table["lattice"][indexed] == 1))
        warnings.append(f"A second crystal was found: {100 * share:.0f} % of the indexed spots belong to it.")
    share = float(np.mean(indexed[outside])) if outside.any() else 0.0
    if share < 0.6:
        warnings.append(f"Only {100 * share:.0f} % of the spots outside the direct beam are indexed.")
    numbers = {
        "n_spots": len(table),
        "n_indexed": int(indexed.sum()),
        "indexed_fraction": share,
        "lattices": len(after.crystals),
        "lattice_score": best.fit.score,
        "hand_score": hands,
        "centring": after.crystal.centring,
        "cell": list(after.crystal.cell.parameters),
        "bravais_candidates": choice,
        "rotation_axis_deg": after.goniometer.angle_deg,
    }
    figures = {"axis_score": {"angle_deg": searched.angles_deg, "score": searched.scores}}
    return Report(numbers, tuple(warnings), figures)
