"""A structure from merged intensities: trials until one is convincing, then space group, atoms, least squares."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import gemmi
import numpy as np

from credo.model import Cell, Structure, UnreadableInput
from credo.solve.candidates import Candidate
from credo.solve.complete import Completed
from credo.solve.composition import expected_atoms, parse_formula
from credo.solve.normalise import PhasingData, normalise
from credo.solve.phasing import Trial
from credo.solve.ranking import corrected_r1, preference
from credo.solve.search import Problem, Search, SolveSettings

__all__ = ["Solution", "SolveSettings", "Solved", "solve"]


#: The share of atoms with contacts too short for their elements above which a structure is not believed.
_IMPOSSIBLE = 0.2


@dataclass(frozen=True)
class Solved:
    """One space group's structure.

    ``agreement``: of the P1 phases with the group (1: perfect), ``worst`` of one operation; ``r_e``, ``cc_e``: of |E|
    with point atoms; ``merit``: see :func:`preference`, the lowest first; ``r1``: after isotropic least squares,
    ``corrected_r1`` for their parameters; ``impossible``: share of atoms with contacts too short for their elements;
    ``left_out``: R1 of reflections that had no part in the least squares, of the first candidate only.
    """

    space_group: str
    structure: Structure
    agreement: float
    worst: float
    r_e: float
    cc_e: float
    merit: float
    r1: float
    wr2: float
    n_parameters: int = 0
    corrected_r1: float = float("inf")
    impossible: float = 0.0
    note: str = ""
    left_out: float = float("inf")


@dataclass(frozen=True)
class Solution:
    """``solved`` with ``reasons`` either way; ``candidates`` best first; ``merits`` of all trials; ``best_trial``."""

    solved: bool
    reasons: tuple[str, ...]
    candidates: tuple[Solved, ...]
    best_trial: Trial
    merits: tuple[float, ...]
    n_atoms: float
    d_min: float
    seconds: float

    @property
    def best(self) -> Solved | None:
        """The first candidate, whether or not it is believed."""
        return self.candidates[0] if self.candidates else None


def solve(
    cell: Cell,
    centring: str,
    laue_group: str,
    hkl: np.ndarray,
    intensity: np.ndarray,
    sigma: np.ndarray,
    wavelength: float,
    composition: str | None = None,
    settings: SolveSettings | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Solution:
    """hkl (n, 3), intensity (n,), sigma (n,) of electron diffraction, merged or not; wavelength [Å].

    composition: a formula or only the ratio ("Si O2"), with or without hydrogen. "Not solved" is an answer, with
    reasons and the best trial; it raises only where the input cannot be used.
    """
    settings = settings or SolveSettings()
    started = time.process_time()
    hkl, intensity, sigma = _checked(cell, hkl, intensity, sigma)
    formula = parse_formula(composition)
    data = normalise(cell, centring, laue_group, hkl, intensity, sigma)
    n_atoms = expected_atoms(data.cell.volume, formula, round(cell.volume / data.cell.volume))
    problem = Problem(data, cell, laue_group, centring, n_atoms, formula, wavelength, settings)
    search = Search(problem, progress or (lambda _: None))
    search.run(seed)
    return _judged(search, time.process_time() - started)


def _checked(cell: Cell, hkl, intensity, sigma) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    h, i, s = np.asarray(hkl), np.asarray(intensity, dtype=float), np.asarray(sigma, dtype=float)
    if h.ndim != 2 or h.shape[1] != 3 or not len(h) == len(i) == len(s):
        raise UnreadableInput(f"indices {h.shape}, intensities {i.shape}, sigmas {s.shape} do not belong together")
    if not np.all(h == np.rint(h)):
        raise UnreadableInput("Miller indices must be whole numbers")
    if not 8 < cell.volume < 5e5:
        raise UnreadableInput(f"a cell of {cell.volume:.4g} Å³ cannot be phased", "check the cell constants and units")
    if np.nanmax(np.abs(h)) > 500:
        raise UnreadableInput(f"the index {int(np.abs(h).max())} is absurd", "check the columns of the file")
    return h.astype(int), i, s


def _judged(search: Search, seconds: float) -> Solution:
    """The refined candidates by preference, then the others by the score of their point atoms."""
    data = search.problem.data
    solved = [_solved(c) for c in search.refined]
    known = {s.space_group for s in solved}
    rest = [_unrefined(search.problem.cell, c) for c in search.candidates if c.fit.symbol not in known]
    limit = 0.0
    if solved and search.refined[0].fit is not None:
        solved[0] = replace(solved[0], left_out=search.left_out(search.refined[0]))
        limit = search.limit(search.refined[0])
    ranked = (*solved, *rest)
    good = bool(solved) and solved[0].left_out < limit and solved[0].impossible <= _IMPOSSIBLE
    if good:
        best = solved[0]
        reasons = [f"R1 {best.r1:.3f} ({best.left_out:.3f} of reflections left out) in {best.space_group}"]
        reasons += [f"believable, but not convincing after {search.ended}"] if search.ended else []
        ranked = tuple(replace(s, note=_hand(s)) for s in ranked)
    else:
        best = _why_not(solved[0], limit) if solved else "no atoms"
        reasons = [f"not solved after {search.ended or 'all trials'}: {best}", *_obstacles(data)]
    assert search.best is not None
    return Solution(
        good, tuple(reasons), ranked, search.best, tuple(search.merits), search.problem.n_atoms, data.d_min, seconds
    )


def _why_not(s: Solved, limit: float) -> str:
    text = f"the best R1 is {s.r1:.2f}, {s.left_out:.2f} of reflections left out (believed below {limit:.2f})"
    return (
        text if s.impossible <= _IMPOSSIBLE else text + f", and {100 * s.impossible:.0f} % of its atoms are too close"
    )


def _solved(c: Completed) -> Solved:
    f, cand = c.candidate.fit, c.candidate
    r1, wr2, n = (c.fit.r1, c.fit.wr2, c.fit.n_parameters) if c.fit else (np.nan, np.nan, 0)
    merit = preference(float(r1), c.n_reflections, n, f.order) + c.impossible
    corrected = corrected_r1(float(r1), c.n_reflections, n) if c.fit else float("inf")
    return Solved(
        f.symbol, c.structure, f.agreement, f.worst, cand.r_e, cand.cc_e, merit, float(r1), float(wr2), n, corrected,
        c.impossible, c.reason,
    )  # fmt: skip


def _unrefined(cell: Cell, c: Candidate) -> Solved:
    f = c.fit
    empty = Structure(cell, f.symbol)
    return Solved(f.symbol, empty, f.agreement, f.worst, c.r_e, c.cc_e, np.inf, np.nan, np.nan, note="not refined")


def _hand(s: Solved) -> str:
    """What can be said of the hand."""
    group = gemmi.SpaceGroup(s.space_group)
    if group.is_enantiomorphic():
        return f"the mirror image in its enantiomorphic group fits kinematical data as well as {s.space_group}"
    if group.is_sohncke():
        return "the hand is not determined by kinematical data"
    return s.note


def _obstacles(data: PhasingData) -> list[str]:
    """What is known to keep data from being solved."""
    out = []
    if data.d_min > 1.25:
        out.append(f"the data end at {data.d_min:.2f} Å: beyond 1.2 Å atoms are rarely resolved")
    full = 2 / 3 * np.pi * data.cell.volume / data.d_min**3
    share = len(data.hkl) / full
    if share < 0.7:
        out.append(f"{100 * share:.0f} % of the reflections were measured")
    weak = float(np.mean(data.i_over_sigma < 2))
    if weak > 0.5:
        out.append(f"{100 * weak:.0f} % of the reflections are below 2σ")
    return out
