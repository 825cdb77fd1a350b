"""Which crystals are worth their beam time: what a rotation adds to its phase, and the pace that other crystals keep.

The worth of a measurement is by how much it lowers the expected error of the phase's intensities, as R1 counts it: that
of a reflection nobody measured is 1, in terms of the mean intensity; after n measurements with a relative error of ε
each it is ε/√n. A phase is worth 1 in all, whatever its cell.

How long to stay with a crystal is then the forager's question (Charnov, Theor. Popul. Biol. 9 (1976) 129): as long as
it gives more a degree than going on to others gives on the average. That pace r solves r·c = E[max over ends of
(worth − r·degrees)⁺], c being what looking at one more crystal costs, the mean taken over the crystals seen so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from credo.model import Cell, Crystal, Experiment, Scan
from credo.physics.ewald import miller_indices, predict
from credo.physics.symmetry import laue_rotations, unique_reflections

__all__ = ["ERROR", "STEP_DEG", "Prospect", "Unique", "best_end", "best_window", "pace", "profile", "worth"]

#: ε: relative error of one measurement, by dynamical scattering and counting.
ERROR = 0.4
#: Steps [deg] in which rotations are weighed.
STEP_DEG = 5.0
#: Lorentz factor [Å rad] of reflections that cross too slowly to be measured.
_GRAZING = 10.0


@dataclass(frozen=True)
class Unique:
    """The unique reflections ``hkl`` (m, 3) that a phase can have, up to its resolution."""

    hkl: np.ndarray
    laue_group: str

    @classmethod
    def of(cls, cell: Cell, centring: str, laue_group: str, d_min: float) -> Unique:
        hkl, _ = unique_reflections(miller_indices(cell.B, d_min, centring), laue_rotations(laue_group))
        return cls(hkl, laue_group)

    def rows(self, hkl: np.ndarray) -> np.ndarray:
        """Which of them each index (n, 3) is equivalent to; -1 where to none."""
        both, of = unique_reflections(np.concatenate([self.hkl, hkl]), laue_rotations(self.laue_group))
        row = np.full(len(both), -1)
        row[of[: len(self.hkl)]] = np.arange(len(self.hkl))
        return row[of[len(self.hkl) :]]

    def times(self, hkl: np.ndarray) -> np.ndarray:
        """How often each of them is among the observations ``hkl`` (n, 3)."""
        rows = self.rows(np.asarray(hkl, dtype=int).reshape(-1, 3))
        return np.bincount(rows[rows >= 0], minlength=len(self.hkl))


@dataclass(frozen=True)
class Prospect:
    """What a crystal shows: reflection ``rows`` (n,) of a phase's Unique cross at tilts ``phi_deg`` (n,)."""

    rows: np.ndarray
    phi_deg: np.ndarray

    @classmethod
    def of(
        cls, unique: Unique, experiment: Experiment, crystal: Crystal, change: np.ndarray, d_min: float,
        limits_deg: tuple[float, float],
    ) -> Prospect:  # fmt: skip
        """Between the stage's limits; ``change``: P (3, 3) to the axes of the phase."""
        low, up = limits_deg
        seen = predict(experiment.replace(scan=Scan.regular(1, low, up - low)), crystal, d_min)
        rows = unique.rows(np.rint(seen.hkl @ change).astype(int))
        good = (rows >= 0) & (seen["lorentz"] < _GRAZING)
        return cls(rows[good], np.asarray(seen["phi"])[good])

    def between(self, a: float, b: float) -> np.ndarray:
        """Rows that cross between two tilts, in either order."""
        return self.rows[(self.phi_deg >= min(a, b)) & (self.phi_deg < max(a, b))]


def worth(times: np.ndarray) -> np.ndarray:
    """1 − error: by how much ``times`` (m,) measurements of a reflection lower its expected error."""
    return np.where(times > 0, 1 - ERROR / np.sqrt(np.maximum(times, 1)), 0.0)


def profile(prospect: Prospect, times: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Worth (n − 1,) of turning from each of ``edges`` (n,) [deg] to the next one, in this order; ``times`` (m,): how
    often each unique reflection was measured before."""
    now, total = times.copy(), worth(times).sum()
    out = np.empty(len(edges) - 1)
    for k, (a, b) in enumerate(pairwise(edges)):
        now = now + np.bincount(prospect.between(a, b), minlength=len(now))
        after = worth(now).sum()
        out[k], total = after - total, after
    return out / max(len(times), 1)


def best_end(gains: np.ndarray, widths: np.ndarray, pace: float) -> tuple[int, float]:
    """(how many steps are worth turning on, gain less what the pace would have given); (0, 0.0) where none is."""
    if not len(gains):
        return 0, 0.0
    total = np.cumsum(gains - pace * widths)
    k = int(np.argmax(total))
    return (k + 1, float(total[k])) if total[k] > 0 else (0, 0.0)


def pace(profiles: Sequence[np.ndarray], widths: np.ndarray, look_deg: float) -> float:
    """r [1/deg]: what going on to other crystals gives, of which the ``profiles`` (steps,) are like those seen so far.

    ``look_deg``: what it costs to see which one the next is. 0 where there are none.
    """
    if not profiles:
        return 0.0
    low, high = 0.0, max(float((p / widths).max(initial=0.0)) for p in profiles)
    for _ in range(40):
        r = 0.5 * (low + high)
        surplus = float(np.mean([best_end(p, widths, r)[1] for p in profiles]))
        low, high = (r, high) if surplus > r * look_deg else (low, r)
    return 0.5 * (low + high)


def best_window(gains: np.ndarray, edges: np.ndarray, pace: float, least_deg: float) -> tuple[float, float]:
    """The tilts between which turning gives most beyond the pace, ``least_deg`` apart at least, by what is gained in
    each step on the average (n − 1,); the whole where nothing is gained."""
    total = np.concatenate([[0.0], np.cumsum(gains - pace * np.diff(edges))])
    best, found = 0.0, (float(edges[0]), float(edges[-1]))
    for i in range(len(edges)):
        for j in range(i + 1, len(edges)):
            if edges[j] - edges[i] >= least_deg and total[j] - total[i] > best:
                best, found = total[j] - total[i], (float(edges[i]), float(edges[j]))
    return found
