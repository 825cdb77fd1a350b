"""A structure from merged intensities: trials until one is convincing, then space group, atoms, least squares."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import gemmi
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.model import Cell, Structure, UnreadableInput
from credo.solve.candidates import ORDER_REWARD, Candidate, candidates_of, phased_in_group
from credo.solve.complete import Completed, complete
from credo.solve.composition import expected_atoms, parse_formula
from credo.solve.normalise import PhasingData, normalise
from credo.solve.phasing import PhasingSettings, Trial, trials

__all__ = ["Solution", "SolveSettings", "Solved", "solve"]


class SolveSettings(BaseModel):
    """How long to try, and when to believe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int = Field(default=200, ge=1, description="most phasing trials in P1")
    seconds: float = Field(default=40.0, gt=0, description="CPU seconds after which no new trial starts")
    iterations: int = Field(default=400, ge=10, description="charge-flipping iterations per trial")
    convincing: float = Field(
        default=0.24, gt=0, description="R of |E| with point atoms, and R1, at which the search ends"
    )
    believable: float = Field(
        default=0.40, gt=0, description="R1 (isotropic) above which the structure is called not solved"
    )
    patience: int = Field(
        default=60, ge=1, description="trials without a better believable candidate that end the search"
    )
    candidates: int = Field(default=8, ge=1, description="space groups tried per trial")
    refined: int = Field(default=4, ge=1, description="space groups taken through least squares")


@dataclass(frozen=True)
class Solved:
    """One space group's structure. ``agreement``: of the P1 phases with the group (1: perfect); ``r_e``: R of |E|
    with point atoms; ``score``: r_e − 0.055 log2(order), the lowest first; ``r1``: after isotropic least squares."""

    space_group: str
    structure: Structure
    agreement: float
    worst: float
    r_e: float
    cc_e: float
    score: float
    r1: float
    wr2: float
    note: str = ""


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
    n_atoms = expected_atoms(data.cell.volume, formula)
    problem = _Problem(data, cell, laue_group, centring, n_atoms, formula, wavelength, settings)
    search = _Search(problem, started, progress or (lambda _: None))
    search.run(seed)
    return _judged(search, search.refined(), time.process_time() - started)


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


@dataclass(frozen=True)
class _Problem:
    data: PhasingData
    cell: Cell
    laue_group: str
    centring: str
    n_atoms: float
    formula: dict[str, float]
    wavelength: float
    settings: SolveSettings

    def complete(self, candidate: Candidate) -> Completed:
        return complete(self.data, self.cell, candidate, self.formula, self.wavelength, self.n_atoms)


class _Search:
    """The trials so far and the best candidate of each space group among them."""

    def __init__(self, problem: _Problem, started: float, progress: Callable[[str], None]) -> None:
        self.problem, self.settings = problem, problem.settings
        self.started, self.progress = started, progress
        self.merits: list[float] = []
        self.found: dict[str, Candidate] = {}
        self.done: dict[str, Completed] = {}
        self.best: Trial | None = None
        self.stale = 0
        self.ended = ""

    @property
    def candidates(self) -> list[Candidate]:
        """By rising score."""
        return sorted(self.found.values(), key=lambda c: c.score)

    def run(self, seed: int) -> None:
        """P1 trials, each followed by trials inside the likeliest groups, until a structure convinces or time is up."""
        p = self.problem
        for trial in trials(p.data, p.n_atoms, PhasingSettings(iterations=self.settings.iterations), seed):
            self.merits.append(trial.merit)
            if self.best is None or trial.merit > self.best.merit - 0.03:
                if self.best is None or trial.merit > self.best.merit:
                    self.best = trial
                new = candidates_of(
                    p.data, trial.transform, p.laue_group, p.centring, p.n_atoms, self.settings.candidates
                )
                if self._convinced(new, trial):
                    return
            if self._in_groups(seed, trial) or self._over():
                return

    def _in_groups(self, seed: int, trial: Trial) -> bool:
        """Random starts with the symmetry of the three best groups so far imposed."""
        p = self.problem
        if p.laue_group == "-1":
            return False
        likely = sorted(self.found.values(), key=lambda c: -(c.fit.agreement + 0.03 * np.log2(c.fit.order)))[:3]
        new = [phased_in_group(p.data, c.fit, p.n_atoms, seed + 7919 * trial.number) for c in likely]
        return self._convinced(new, trial)

    def _convinced(self, new: list[Candidate], trial: Trial) -> bool:
        """Takes candidates in; whether the best of all ends the search."""
        before = self.candidates[0].score if self.found else np.inf
        for c in new:
            if c.fit.symbol not in self.found or c.score < self.found[c.fit.symbol].score:
                self.found[c.fit.symbol] = c
                self.done.pop(c.fit.symbol, None)
        best = self.candidates[0] if self.found else None
        if best is None or best.score >= before - 1e-3:
            self.stale += 1
            return False
        self.stale = 0
        self.progress(f"trial {trial.number + 1}: {best.fit.symbol} R {best.r_e:.2f}, merit {trial.merit:.2f}")
        if best.r_e > self.settings.convincing + 0.1:
            return False
        r1 = self._completed(best).r1
        return r1 < self.settings.convincing or 0.5 * (r1 + best.r_e) < self.settings.convincing

    def _completed(self, candidate: Candidate) -> Completed:
        symbol = candidate.fit.symbol
        if symbol not in self.done:
            self.done[symbol] = self.problem.complete(candidate)
        return self.done[symbol]

    def _over(self) -> bool:
        s = self.settings
        believable = [c for c in self.done.values() if c.r1 < s.believable]
        if believable and self.stale >= s.patience:
            self.ended = f"{self.stale} trials without a better one"
        elif len(self.merits) >= s.trials:
            self.ended = f"{len(self.merits)} trials"
        elif time.process_time() - self.started > s.seconds:
            self.ended = f"{s.seconds:g} s"
        return bool(self.ended)

    def refined(self) -> list[Completed]:
        """Least squares for the best candidate and for those that its score does not rule out."""
        ranked = self.candidates
        margin = 0.12 if self.ended else 0.03
        return [self._completed(c) for c in ranked if c.score < ranked[0].score + margin][: self.settings.refined]


def _judged(search: _Search, done: list[Completed], seconds: float) -> Solution:
    """Ranks by score: the reward of the order lets a supergroup win where both agree equally."""
    data, settings = search.problem.data, search.settings
    solved = sorted((_solved(c) for c in done), key=lambda s: s.score)
    known = {s.space_group for s in solved}
    rest = [_unrefined(search.problem.cell, c) for c in search.candidates if c.fit.symbol not in known]
    ranked = (*solved, *rest)
    good = bool(solved) and solved[0].r1 < settings.believable
    if good:
        reasons = [f"R1 {solved[0].r1:.3f} in {solved[0].space_group}, R of |E| {solved[0].r_e:.2f}"]
        reasons += [f"believable, but not convincing after {search.ended}"] if search.ended else []
        ranked = tuple(replace(s, note=_hand(s)) for s in ranked)
    else:
        best = f"the best R1 is {solved[0].r1:.2f} (believed below {settings.believable:g})" if solved else "no atoms"
        reasons = [f"not solved after {search.ended or 'all trials'}: {best}", *_obstacles(data)]
    assert search.best is not None
    return Solution(
        good, tuple(reasons), ranked, search.best, tuple(search.merits), search.problem.n_atoms, data.d_min, seconds
    )


def _solved(c: Completed) -> Solved:
    f = c.candidate.fit
    r1, wr2 = (c.fit.r1, c.fit.wr2) if c.fit else (np.nan, np.nan)
    cand = c.candidate
    score = cand.score if c.fit is None else 0.5 * (cand.r_e + r1) - ORDER_REWARD * float(np.log2(f.order))
    return Solved(
        f.symbol, c.structure, f.agreement, f.worst, cand.r_e, cand.cc_e, float(score), float(r1), float(wr2), c.reason
    )


def _unrefined(cell: Cell, c: Candidate) -> Solved:
    f = c.fit
    empty = Structure(cell, f.symbol)
    return Solved(f.symbol, empty, f.agreement, f.worst, c.r_e, c.cc_e, c.score, np.nan, np.nan, "not refined")


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
