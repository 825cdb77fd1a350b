"""The search: trials in P1 and within groups, the best candidate of each space group, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import gemmi
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.model import Cell
from credo.solve.candidates import Candidate, candidates_of, deconvolved, supergroups_of
from credo.solve.complete import Completed, complete, observed_in
from credo.solve.composition import hydrogen_r1, strength
from credo.solve.crossvalidation import left_out_r1
from credo.solve.framework_start import FrameworkStart
from credo.solve.group_search import GroupTrials
from credo.solve.normalise import PhasingData
from credo.solve.phasing import PhasingSettings, Trial, trials
from credo.solve.ranking import corrected_r1, expected_r1, preference
from credo.solve.retype import multiplicities
from credo.solve.space_group import GroupFit

__all__ = ["Problem", "Search", "SolveSettings"]


class SolveSettings(BaseModel):
    """How long to try, and when to believe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int = Field(default=200, ge=1, description="most phasing trials in P1")
    seconds: float = Field(default=40.0, gt=0, description="CPU seconds after which no new trial starts")
    iterations: int = Field(default=400, ge=10, description="charge-flipping iterations per trial")
    convincing: float = Field(
        default=0.10, gt=0, description="R1 above what the errors explain, at which the search ends at once"
    )
    good: float = Field(default=0.25, gt=0, description="R1 (isotropic) at which a few more trials end the search")
    believable: float = Field(
        default=0.36,
        gt=0,
        description="R1 of reflections left out of least squares, above which the structure is called not solved",
    )
    patience: int = Field(default=40, ge=1, description="trials, those within groups counted, without a better one")
    candidates: int = Field(default=8, ge=1, description="space groups tried per trial")
    refined: int = Field(default=4, ge=1, description="space groups taken through least squares")


#: Trials without a better one after which a good structure is taken, or fewer when they have taken so long [CPU s].
_SOME, _FEW, _LONG = 20, 8, 15.0
#: Agreement of P1 phases with a group that no false structure was seen to have by chance.
_OBEYED = 0.75
#: The share of atoms with contacts too short for their elements that a convincing structure may have.
_IMPOSSIBLE = 0.1
#: Reflections to a parameter that make R1 of left-out reflections as firm as it gets.
_FIRM = 5
#: R1 of a wrong structure scatters by about 0.5/√n for n reflections, and dozens are tried: what is taken for good or
#: believed is so much lower, over √n (quartz at 1.2 Å, 28 reflections: wrong ones down to 0.25).
_CHANCE = 0.6
#: Reflections to a parameter above which least squares cannot make a wrong structure agree.
_PLENTY = 10
#: Structures of so few sites cost next to nothing to refine.
_SMALL = 15
#: And those of so few are deconvoluted however badly they agree.
_TINY = 6
#: Trials before a framework is looked for beside them: with good data they are quicker.
_ATOMS_FIRST = 2
#: A candidate is refined again only when its point atoms got better by this much.
_BETTER = 0.01


@dataclass(frozen=True)
class Problem:
    """What is to be solved."""

    data: PhasingData
    cell: Cell
    laue_group: str
    centring: str
    n_atoms: float
    formula: dict[str, float]
    wavelength: float
    settings: SolveSettings

    def complete(self, candidate: Candidate) -> Completed:
        """The candidate after least squares."""
        return complete(self.data, self.cell, candidate, self.formula, self.wavelength, self.n_atoms)


class Search:
    """The trials so far, the best candidate of each space group among them, and the refined ones."""

    def __init__(self, problem: Problem, progress: Callable[[str], None] = lambda _: None) -> None:
        self.problem, self.settings = problem, problem.settings
        self.progress = progress
        self.merits: list[float] = []
        self.found: dict[str, Candidate] = {}
        self.done: dict[str, Completed] = {}
        self._left_out: dict[str, tuple[Completed, float]] = {}
        self.best: Trial | None = None
        self.ended = ""
        self._started = time.process_time()
        self._stale, self._improved = 0, self._started
        _, i, s = problem.data.merged
        self._expected = expected_r1(i, s)
        # hydrogens that are not looked for leave the rest less room: one of 16 atoms missing costs as much
        without_h = float(np.hypot(self._expected, hydrogen_r1(problem.formula)))
        c = self.settings.convincing
        self._convincing = max(c + self._expected, c / 2 + without_h)
        self._chance = _CHANCE / float(np.sqrt(len(i)))
        self._good = self.settings.good - self._chance
        self._groups = GroupTrials(problem.data, problem.laue_group, problem.centring, problem.n_atoms)

    @property
    def candidates(self) -> list[Candidate]:
        """By rising score of point atoms."""
        return sorted(self.found.values(), key=lambda c: c.score)

    @property
    def refined(self) -> list[Completed]:
        """The best first."""
        return sorted(self.done.values(), key=_preference)

    def run(self, seed: int) -> None:
        """P1 trials, each followed by trials inside the likeliest groups, until a structure convinces or time is up."""
        p = self.problem
        framework = FrameworkStart(
            p.data, p.cell, p.laue_group, p.centring, p.n_atoms, p.formula, p.wavelength, seed
        )  # fmt: skip
        for trial in trials(p.data, p.n_atoms, PhasingSettings(iterations=self.settings.iterations), seed):
            self.merits.append(trial.merit)
            self._stale += 1
            if self.best is None or trial.merit > self.best.merit - 0.03:
                if self.best is None or trial.merit > self.best.merit:
                    self.best = trial
                self._take(
                    candidates_of(
                        p.data, trial.transform, p.laue_group, p.centring, p.n_atoms, self.settings.candidates
                    )
                )
            n = len(self.merits)
            due = self._groups.due(n)
            if due and not self._convinced():
                self._stale += due
                self._take(self._groups.round(n, list(self.found.values()), self._leader(), seed))
            if n > _ATOMS_FIRST and not self._convinced():
                self._take_framework(framework)
            if self._convinced() or self._over():
                break
        self._finish()

    def _take_framework(self, start: FrameworkStart) -> None:
        """What annealing of T sites finds, refined whatever its point atoms say."""
        for c in start.candidates(0.5 * (time.process_time() - self._started)):
            self.found[c.fit.symbol] = c
            self._refine(c)

    def _leader(self) -> GroupFit | None:
        return self.refined[0].candidate.fit if self.done and self.refined[0].r1 < self.settings.believable else None

    def _take(self, new: list[Candidate]) -> None:
        """Keeps what is better than what its group had, and refines the best of it."""
        better = []
        for c in new:
            known = self.found.get(c.fit.symbol)
            if known is None or c.score < known.score - _BETTER:
                self.found[c.fit.symbol] = c
                better.append(c)
        top = min((c.score for c in self.found.values()), default=np.inf)
        for n, c in enumerate(sorted(better, key=lambda c: c.score)):
            small = len(c.sites.xyz) <= _SMALL
            if n >= (3 if small else 1) or c.score > top + (0.1 if small else _BETTER):
                break
            self._refine(c)

    def _refine(self, candidate: Candidate) -> None:
        done = self._completed(candidate)
        known = self.done.get(candidate.fit.symbol)
        if known is not None and _preference(known) <= _preference(done):
            return
        before = min(map(_preference, self.done.values()), default=np.inf)
        self.done[candidate.fit.symbol] = done
        if _preference(done) < before - 0.02:
            self._stale, self._improved = 0, time.process_time()
            self.progress(f"trial {len(self.merits)}: {candidate.fit.symbol} R1 {done.r1:.3f}")

    def _completed(self, candidate: Candidate) -> Completed:
        """After least squares, from the sites of the map, or from those of its deconvolution where that agrees better
        and the first do not agree as well as they might."""
        done = self.problem.complete(candidate)
        hopeless = 0.8 if len(candidate.sites.xyz) <= _TINY else 0.6
        if _corrected(done) < self._convincing or done.r1 > hopeless:
            return done
        other = deconvolved(self.problem.data, candidate, self.problem.n_atoms)
        return min(done, self.problem.complete(other), key=_preference)

    def _best_r1(self) -> float:
        """Of the best structure; what chemistry forbids is at most believable."""
        best = self.refined[0] if self.done else None
        if best is None:
            return np.inf
        return max(_corrected(best), self._good) if best.impossible > _IMPOSSIBLE else _corrected(best)

    def _convinced(self) -> bool:
        """Agreement as good as the errors allow, or good, with P1 phases that obey the group of their own accord."""
        if not self.done or self.refined[0].impossible > _IMPOSSIBLE:
            return False
        r1 = self._best_r1()
        own = self.refined[0].candidate.fit.worst > _OBEYED
        return r1 < self._convincing or (own and r1 < self._good)

    def left_out(self, done: Completed) -> float:
        """R1 of reflections that had no part in the least squares of a refined candidate; where there are many to a
        parameter, what that comes to: R1 √((n + p)/(n − p))."""
        n, p = done.n_reflections, done.fit.n_parameters if done.fit else done.n_reflections
        if n > _PLENTY * p:
            return done.r1 * float(np.sqrt((n + p) / (n - p)))
        known = self._left_out.get(done.candidate.fit.symbol)
        if known is None or known[0] is not done:
            observed = observed_in(self.problem.data, done.candidate.fit.group)
            known = done, left_out_r1(done.structure, observed, self.problem.wavelength)
            self._left_out[done.candidate.fit.symbol] = known
        return known[1]

    def limit(self, done: Completed) -> float:
        """The R1 of left-out reflections below which a structure is believed: lower where few reflections stand
        against each parameter, or few at all, and chance is the likelier."""
        p = done.fit.n_parameters if done.fit else np.inf
        return (self.settings.believable - self._chance) * min(1.0, done.n_reflections / (_FIRM * p))

    def _over(self) -> bool:
        s, r1 = self.settings, self._best_r1()
        waited = self._stale >= _SOME or (self._stale >= _FEW and time.process_time() - self._improved > _LONG)
        long = (
            self._stale >= s.patience
            and r1 < s.believable
            and self.left_out(self.refined[0]) < self.limit(self.refined[0])
        )
        if (r1 < self._good and waited) or long:
            self.ended = f"{self._stale} trials without a better one"
        elif len(self.merits) >= s.trials:
            self.ended = f"{len(self.merits)} trials"
        elif time.process_time() - self._started > s.seconds:
            self.ended = f"{s.seconds:g} s"
        return bool(self.ended)

    def _finish(self) -> None:
        """Supergroups that the best structure obeys, then the alternatives that its score does not rule out."""
        for best in [d for d in self.refined[:3] if d.r1 < self.settings.believable]:
            for c in self._supergroups(best):
                known = self.found.get(c.fit.symbol)
                if known is not None and c.fit.symbol not in self.done:
                    self._refine(known)
                if known is None or c.score < known.score:
                    self.found[c.fit.symbol] = c
                self._refine(c)
            if self._convinced():
                break
        ranked = self.candidates
        if not ranked:
            return
        for c in [c for c in ranked if c.score < ranked[0].score + 0.12 and c.fit.symbol not in self.done]:
            if len(self.done) >= self.settings.refined:
                break
            if not self._pointless(c):
                self._refine(c)

    def _pointless(self, c: Candidate) -> bool:
        """A large subgroup of what already agrees within the errors cannot be preferred."""
        best = self.refined[0] if self.done else None
        return (
            best is not None
            and len(c.sites.xyz) > _SMALL
            and c.fit.order < best.candidate.fit.order
            and self._convinced()
        )

    def _supergroups(self, best: Completed) -> list[Candidate]:
        p, atoms = self.problem, best.structure.atoms
        group = gemmi.SpaceGroup(best.structure.space_group)
        order = len(list(group.operations().sym_ops))
        # images are summed over all operations, so that atoms on special positions count less
        xyz = np.array([a.xyz for a in atoms])
        weight = np.array([strength(a.element) * a.occupancy for a in atoms]) * multiplicities(xyz, group) / order
        return supergroups_of(p.data, best.candidate, xyz, weight, p.laue_group, p.centring)


def _preference(c: Completed) -> float:
    """Of agreement and parameters; atoms where none can be count against it."""
    if c.fit is None:
        return float("inf")
    order = c.candidate.fit.order
    return preference(c.r1, c.n_reflections, c.fit.n_parameters, order) + c.impossible


def _corrected(c: Completed) -> float:
    return corrected_r1(c.r1, c.n_reflections, c.fit.n_parameters) if c.fit is not None else float("inf")
