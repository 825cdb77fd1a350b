"""A structure from merged intensities: trials until one is convincing, then space group, atoms, least squares."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.model import Cell, Structure, UnreadableInput
from credo.solve.candidates import ORDER_REWARD, Candidate, candidates_of
from credo.solve.complete import Completed, complete
from credo.solve.composition import expected_atoms, parse_formula
from credo.solve.normalise import PhasingData, normalise
from credo.solve.phasing import PhasingSettings, Trial, trials

__all__ = ["Solution", "SolveSettings", "Solved", "solve"]


class SolveSettings(BaseModel):
    """How long to try, and when to believe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int = Field(200, ge=1, description="most phasing trials")
    seconds: float = Field(40.0, gt=0, description="CPU seconds after which no new trial starts")
    iterations: int = Field(400, ge=10, description="charge-flipping iterations per trial")
    convincing: float = Field(0.27, gt=0, description="R of |E| with point atoms at which the search ends at once")
    believable: float = Field(0.40, gt=0, description="R of |E| above which the structure is called not solved")
    candidates: int = Field(8, ge=1, description="space groups tried per trial")
    refined: int = Field(4, ge=1, description="space groups taken through least squares")


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
    search = _Search(data, laue_group, centring, n_atoms, settings, started, progress or (lambda _: None))
    search.run(seed)
    done = _refined(data, cell, search.candidates, formula, wavelength, n_atoms, settings)
    return _judged(search, done, n_atoms, data, time.process_time() - started)


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


class _Search:
    """The trials so far and the best candidates among them."""

    def __init__(self, data: PhasingData, laue_group, centring, n_atoms, settings, started, progress) -> None:
        self.data, self.laue_group, self.centring, self.n_atoms = data, laue_group, centring, n_atoms
        self.settings, self.started, self.progress = settings, started, progress
        self.merits: list[float] = []
        self.candidates: list[Candidate] = []
        self.best: Trial | None = None
        self.examined = 0
        self.ended = ""

    def run(self, seed: int) -> None:
        """Trials until a structure convinces or the time is over. A trial is examined when its merit is the best yet."""
        settings = PhasingSettings(iterations=self.settings.iterations)
        for trial in trials(self.data, self.n_atoms, settings, seed):
            self.merits.append(trial.merit)
            if self.best is None or trial.merit > self.best.merit:
                self.best = trial
                if self._examine(trial):
                    return
            if len(self.merits) >= self.settings.trials:
                self.ended = f"{len(self.merits)} trials"
                return
            if time.process_time() - self.started > self.settings.seconds:
                self.ended = f"{self.settings.seconds:g} s"
                return

    def _examine(self, trial: Trial) -> bool:
        found = candidates_of(
            self.data, trial.transform, self.laue_group, self.centring, self.n_atoms, self.settings.candidates
        )
        self.examined += 1
        if found and (not self.candidates or found[0].score < self.candidates[0].score):
            self.candidates = found
        r = found[0].r_e if found else 1.0
        self.progress(f"trial {trial.number + 1}: CC {trial.cc_atoms:.2f}, symmetry {trial.operator:.2f}, R {r:.2f}")
        return r < self.settings.convincing


def _refined(data, cell, candidates, formula, wavelength, n_atoms, settings: SolveSettings) -> list[Completed]:
    return [complete(data, cell, c, formula, wavelength, n_atoms) for c in candidates[: settings.refined]]


def _judged(search: _Search, done: list[Completed], n_atoms: float, data: PhasingData, seconds: float) -> Solution:
    """Ranks by score: the reward of the order lets a supergroup win where both agree equally."""
    solved = sorted((_solved(c) for c in done), key=lambda s: s.score)
    rest = [_unrefined(c) for c in search.candidates[len(done) :]]
    ranked = (*solved, *rest)
    limit = search.settings.believable
    reasons: list[str] = []
    good = bool(ranked) and ranked[0].r_e < limit
    if good and ranked[0].r_e < search.settings.convincing:
        reasons.append(f"R of |E| is {ranked[0].r_e:.2f} with point atoms in {ranked[0].space_group}")
    elif good:
        reasons.append(f"R of |E| is {ranked[0].r_e:.2f}: believable, not convincing after {search.ended}")
    else:
        best = f"the best R of |E| is {ranked[0].r_e:.2f} (believed below {limit:g})" if ranked else "no candidates"
        reasons.append(f"not solved after {search.ended}: {best}")
        reasons += _obstacles(data)
    if good:
        ranked = tuple(replace(s, note=_hand(s)) for s in ranked)
    assert search.best is not None
    return Solution(good, tuple(reasons), ranked, search.best, tuple(search.merits), n_atoms, data.d_min, seconds)


def _solved(c: Completed) -> Solved:
    f = c.candidate.fit
    r1, wr2 = (c.fit.r1, c.fit.wr2) if c.fit else (np.nan, np.nan)
    cand = c.candidate
    score = cand.score if c.fit is None else 0.5 * (cand.r_e + r1) - ORDER_REWARD * float(np.log2(f.order))
    return Solved(
        f.symbol, c.structure, f.agreement, f.worst, cand.r_e, cand.cc_e, float(score), float(r1), float(wr2), c.reason
    )


def _unrefined(c: Candidate) -> Solved:
    f = c.fit
    empty = Structure(Cell(1, 1, 1, 90, 90, 90), f.symbol)
    return Solved(f.symbol, empty, f.agreement, f.worst, c.r_e, c.cc_e, c.score, np.nan, np.nan, "not refined")


def _hand(s: Solved) -> str:
    """What can be said of the hand."""
    import gemmi

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
