"""Trials within space groups, in turn: those that the absences speak for, and those that P1 phases came nearest to."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from credo.solve.candidates import Candidate, judge
from credo.solve.group_phasing import GroupPhasing
from credo.solve.normalise import PhasingData
from credo.solve.phasing import PhasingSettings, atoms_agreement, recipes_for
from credo.solve.space_group import GroupFit, likely_by_absences

__all__ = ["GroupTrials"]

#: The share of the time that goes into groups, by the number of rotations of the Laue class: with few, trials in P1
#: find more; with many, what P1 leaves in a false minimum is found (sodalite, garnets, RHO).
_SHARES = ((12, 0.5), (8, 0.25))
#: CPU seconds of one round of trials in each of the groups.
_ROUND = 0.3
#: Iterations of flipping and of low-density elimination.
_FLIPPING, _ELIMINATION = 250, 10


class GroupTrials:
    """What was tried in each group, and how well its best map explained |E|."""

    def __init__(self, data: PhasingData, laue_group: str, centring: str, n_atoms: float) -> None:
        self._data, self._n_atoms = data, n_atoms
        self._laue_group, self._centring = laue_group, centring
        self._share = next((share for order, share in _SHARES if len(data.rotations) >= order), 0.0)
        self._by_absences: list[GroupFit] | None = None
        self._phasing: dict[tuple[str, int], GroupPhasing] = {}
        self._best: dict[str, float] = {}
        self._spent, self._number, self._turn = 0.0, 0, 0

    def due(self, elapsed: float) -> bool:
        """Whether it is the groups' turn after so many CPU seconds of everything."""
        return self._share > 0 and self._spent < self._share * elapsed

    def round(self, found: list[Candidate], leader: GroupFit | None, seed: int) -> list[Candidate]:
        """Random starts, every other one in the group that leads so far, the others in the likely ones in turn; a
        candidate for each map that is better than its group had."""
        started, out = time.process_time(), []
        groups = self._groups(found)
        while groups and time.process_time() - started < _ROUND:
            self._number += 1
            fit = groups[self._number // 2 % len(groups)]
            if leader is not None and self._number % 2:
                fit = replace(leader, shift=np.zeros(3))
            candidate = self._trial(fit, seed)
            out += [candidate] if candidate is not None else []
        self._spent += time.process_time() - started
        return out

    def _groups(self, found: list[Candidate]) -> list[GroupFit]:
        if self._by_absences is None:
            self._by_absences = likely_by_absences(self._data, self._laue_group, self._centring)
        near = sorted(found, key=lambda c: -(c.fit.agreement + 0.03 * np.log2(c.fit.order)))[:2]
        groups = {f.symbol: f for f in self._by_absences}
        # the origin of a random start is the group's own
        return list((groups | {c.fit.symbol: replace(c.fit, shift=np.zeros(3)) for c in near}).values())

    def _trial(self, fit: GroupFit, seed: int) -> Candidate | None:
        recipes = recipes_for(self._data.d_min)
        which = int(np.random.default_rng(self._number).integers(len(recipes)))
        key = fit.symbol, which
        if key not in self._phasing:
            self._phasing[key] = GroupPhasing(self._data, fit, recipes[which], PhasingSettings())
        rng = np.random.default_rng([seed, self._number, 7919])
        phases, rho = self._phasing[key].trial(rng, _FLIPPING, _ELIMINATION)
        cc = atoms_agreement(self._data, rho, round(self._n_atoms))
        if cc < self._best.get(fit.symbol, 0.0) - 0.02:
            return None
        self._best[fit.symbol] = max(cc, self._best.get(fit.symbol, 0.0))
        return judge(self._data, fit, phases, rho, self._n_atoms)
