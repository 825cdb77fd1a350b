"""Trials within space groups, in turn: those that the absences speak for, and those that P1 phases came nearest to."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from credo.solve.candidates import Candidate, judge
from credo.solve.group_phasing import GroupPhasing
from credo.solve.normalise import PhasingData
from credo.solve.phasing import PhasingSettings, atoms_agreement, recipes_for
from credo.solve.space_group import GroupFit, likely_by_absences

__all__ = ["GroupTrials"]

#: Trials in groups for each trial in P1, by the number of rotations of the Laue class: with many, what P1 leaves in a
#: false minimum is found (garnets, RHO).
_SHARES = ((12, 3.0), (8, 0.75))
#: With few rotations trials in P1 find more, but not where symmetry is half of what is known: the share where so few
#: reflections of P1 were measured (dolomite in R -3, 45 unique reflections: never met in P1).
_FEW, _SMALL = 1.0, 400
#: And for any class the share after so many trials in P1 have failed (cinchonine and biotin at 1.2 Å, 20 % of error,
#: 80 % of the reflections: none of 300 in P1, 1 of 200 to 300 in the group, three of three with the first recipe).
_LATER, _FAILED = 2.0, 10
#: Rotations up to which every other trial has the first recipe.
_BY_ONE = 8
#: Iterations of flipping and of low-density elimination.
_FLIPPING, _ELIMINATION = 250, 10
#: Grid points per d_min: a garnet's cations settle a quarter of the cell off more often on coarser or finer grids (of
#: 70 starts 13 right at 2.5, 3 at 2.25, 5 at 3).
_GRID = 2.5


class GroupTrials:
    """What was tried in each group, and how well its best map explained |E|."""

    def __init__(self, data: PhasingData, laue_group: str, centring: str, n_atoms: float) -> None:
        self._data, self._n_atoms = data, n_atoms
        self._laue_group, self._centring = laue_group, centring
        few = _FEW if len(data.hkl) < _SMALL else 0.0
        self._share = max(few, next((share for order, share in _SHARES if len(data.rotations) >= order), 0.0))
        self._by_absences: list[GroupFit] | None = None
        self._phasing: dict[tuple[str, int], GroupPhasing] = {}
        self._best: dict[str, float] = {}
        self._tried: Counter[str] = Counter()
        self._number = 0

    def due(self, trials: int) -> int:
        """How many trials in groups are due after so many in P1."""
        later = max(0.0, _LATER - self._share) * max(0, trials - _FAILED)
        return int(self._share * trials + later) - self._number

    def round(self, trials: int, found: list[Candidate], leader: GroupFit | None, seed: int) -> list[Candidate]:
        """Random starts, the n-th likely group having a share of 1/n; a candidate for each map that is better than
        its group had."""
        groups, out = self._groups(found, leader), []
        for _ in range(self.due(trials) if groups else 0):
            self._number += 1
            fit = min(enumerate(groups, 1), key=lambda f: f[0] * (self._tried[f[1].symbol] + 1))[1]
            self._tried[fit.symbol] += 1
            candidate = self._trial(fit, seed)
            out += [candidate] if candidate is not None else []
        return out

    def _groups(self, found: list[Candidate], leader: GroupFit | None) -> list[GroupFit]:
        """What leads so far, what the absences speak for, what P1 phases came near to: the likeliest first."""
        if self._by_absences is None:
            self._by_absences = likely_by_absences(self._data, self._laue_group, self._centring)
        near = sorted(found, key=lambda c: -(c.fit.agreement + 0.03 * np.log2(c.fit.order)))[:2]
        every = [*([leader] if leader else []), *self._by_absences, *(c.fit for c in near)]
        # the origin of a random start is the group's own
        return list({f.symbol: replace(f, shift=np.zeros(3)) for f in every}.values())

    def _trial(self, fit: GroupFit, seed: int) -> Candidate | None:
        recipes = recipes_for(self._data.d_min)
        every = self._number % 2 or len(self._data.rotations) > _BY_ONE
        which = int(np.random.default_rng(self._number).integers(len(recipes))) if every else 0
        key = fit.symbol, which
        if key not in self._phasing:
            self._phasing[key] = GroupPhasing(self._data, fit, recipes[which], PhasingSettings(grid_per_d=_GRID))
        rng = np.random.default_rng([seed, self._number, 7919])
        phases, rho = self._phasing[key].trial(rng, _FLIPPING, _ELIMINATION)
        cc = atoms_agreement(self._data, rho, round(self._n_atoms))
        if cc < self._best.get(fit.symbol, 0.0) - 0.02:
            return None
        self._best[fit.symbol] = max(cc, self._best.get(fit.symbol, 0.0))
        return judge(self._data, fit, phases, rho, self._n_atoms)
