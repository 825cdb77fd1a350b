"""What may be expected of the next crystal, by those seen so far: the pace, and between which tilts it is to turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from credo.model import Crystal, Experiment
from credo.pipeline.watch_next import SURE, Goal, PhaseNow, phase_of
from credo.pipeline.watch_set import LiveState
from credo.pipeline.watch_worth import STEP_DEG, Prospect, Unique, best_window, pace, profile

__all__ = ["Company", "Outlook"]

#: The crystals seen last that count, and an orientation that is thought possible besides theirs.
_LAST, _ANY = 20, Rotation.from_quat([0.25, -0.61, 0.41, 0.63])
#: Least rotation [deg] that is advised.
_LEAST_DEG = 30.0
#: What a Prospect depends on besides the crystal; and a phase with what was measured of it.
_Sort = tuple[str | float, ...]
_Measured = tuple[PhaseNow, Unique, np.ndarray]


@dataclass(frozen=True)
class Outlook:
    """``pace`` [1/deg]: see :mod:`credo.pipeline.watch_worth`; ``range_deg``: tilts that are worth most."""

    pace: float
    range_deg: tuple[float, float]


@dataclass
class Company:
    """Remembers which reflections each crystal can show; ``limits_deg``: of the stage; ``look_deg``: degrees of
    rotation that could be had in the time that it takes to find the next crystal and see which it is."""

    limits_deg: tuple[float, float] = (-60.0, 60.0)
    look_deg: float = 15.0
    _known: dict[tuple[str, _Sort], Prospect] = field(default_factory=dict)

    def outlook(self, states: Sequence[LiveState], phases: Sequence[PhaseNow], goal: Goal) -> Outlook:
        """By the crystals ``states``, oldest first, and the ``phases`` as they are merged now."""
        lacking = {p.name: (p, *p.measured(p.d_min)) for p in phases if p.wanted(goal) and not p.complete(goal)}
        used = next((s for s in reversed(states) if s.experiment is not None), None)
        if not lacking or used is None:
            return Outlook(0.0, self.limits_deg)
        edges = np.append(np.arange(*self.limits_deg, STEP_DEG), self.limits_deg[1])
        profiles = [self._profile(s, phases, lacking, edges) for s in states[-_LAST:]]
        profiles += [self._other(used, lacking[name], edges) for name in lacking]
        # a rotation may begin at either end: the one that gives more at first
        falling = np.linspace(1, 0, len(edges) - 1)
        both = [max(p, p[::-1], key=lambda g: float(g @ falling)) for p in profiles]
        r = pace(both, np.diff(edges), self.look_deg)
        return Outlook(r, best_window(np.mean(profiles, axis=0), edges, r, _LEAST_DEG))

    def _profile(
        self, state: LiveState, phases: Sequence[PhaseNow], lacking: Mapping[str, _Measured], edges: np.ndarray
    ) -> np.ndarray:
        """Worth of each step of a crystal like this one; nothing where its phase is not wanted, or not known."""
        phase, probability, change = phase_of(state, phases)
        if phase is None or probability < SURE or phase.name not in lacking or state.experiment is None:
            return np.zeros(len(edges) - 1)
        return self._worth(state.name, state.experiment, lacking[phase.name], change, edges)

    def _other(self, state: LiveState, measured: _Measured, edges: np.ndarray) -> np.ndarray:
        """The same of a crystal of the phase that lies as none did so far, at random."""
        phase, experiment = measured[0], state.experiment
        assert experiment is not None
        crystal = Crystal(phase.cell, _ANY.as_matrix(), phase.centring, phase.laue_group)
        return self._worth("", experiment.replace(crystals=(crystal,)), measured, np.eye(3), edges)

    def _worth(
        self, name: str, experiment: Experiment, measured: _Measured, change: np.ndarray, edges: np.ndarray
    ) -> np.ndarray:
        phase, unique, times = measured
        cell = tuple(round(x, 1) for x in phase.cell.parameters)
        key = (name, (phase.name, phase.laue_group, phase.centring, len(unique.hkl), *cell))
        if key not in self._known:
            found = Prospect.of(unique, experiment, experiment.crystal, change, phase.d_min, self.limits_deg)
            self._known = {k: v for k, v in self._known.items() if k[0] != name or k[1][0] != phase.name}
            self._known[key] = found
        return profile(self._known[key], times, edges)
