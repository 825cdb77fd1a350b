"""Where crystals are as the stage tilts, learned from every view of every crystal: heights, swing, irregularities.

A crystal at the grid point g, the stage standing at P and at the height z, is seen at the tilt α at

    y = (g − P − v)_y cos α + λ (z − H(P)) sin α + s(α) + r(α, way) + n(α, turn) + d(t)

across the tilt axis, and at x = (g − P − v)_x + s + r + n + d along it. v is what this stay of the stage misses: slack,
and what creep has not yet moved; H the eucentric height over the grid, s the smooth swing of the axis, r what the
bearing does the same way every time it turns this way, n what it does only between two reversals, d the drift;
λ = ±1 is the bench's ``lift``. All are Gaussian processes, so that every prediction has its standard deviation (C. E.
Rasmussen and C. K. I. Williams, Gaussian Processes for Machine Learning, 2006, chapter 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular  # pyright: ignore[reportMissingTypeStubs]

__all__ = ["Prior", "StageModel", "Where"]

#: Views that are remembered; the oldest go first.
_KEPT = 700


@dataclass(frozen=True)
class Prior:
    """What is believed before anything was seen, as standard deviations. Lengths µm, angles deg, times s.

    ``place``: of a crystal on the grid; ``slack``: what a stay of the stage misses; ``creep``: what it misses at first,
    over ``creep_s``; ``stage_height`` over ``stage_reach``: the eucentric height's slow part; ``film_height`` over
    ``film_reach``: the film's waves; ``own_height``: of a crystal; ``swing``; ``bearing``, ``fresh``: irregular parts
    that come again and that do not, over ``knot``; ``drift`` within ``drift_s``.
    """

    place: float = 100.0
    slack: float = 0.4
    creep: float = 0.2
    creep_s: float = 8.0
    stage_height: float = 10.0
    stage_reach: float = 600.0
    film_height: float = 2.0
    film_reach: float = 22.0
    own_height: float = 0.3
    swing: float = 2.0
    bearing: float = 0.33
    fresh: float = 0.22
    knot: float = 1.8
    drift: float = 0.2
    drift_s: float = 1000.0


@dataclass(frozen=True)
class Where:
    """A crystal at one instant: numbers of the crystal, of the stay of the stage, and of the turn (one more at every
    reversal of the tilt); stage x, y, z [µm], tilt [deg], way +1 or −1, time [s], time since the stage moved [s]."""

    crystal: int
    stay: int
    turn: int
    x: float
    y: float
    z: float
    tilt: float
    way: float
    time: float
    rested: float


class StageModel:
    """``learn`` from views, ``predict`` places, ``height`` tells where the stage must stand."""

    def __init__(self, lift: float, prior: Prior | None = None) -> None:
        self.lift, self.prior = lift, prior or Prior()
        self._seen = np.empty((0, 10))
        self._value = np.empty((0, 2))
        self._variance = np.empty((0, 2))
        self._solved: list[tuple[np.ndarray, np.ndarray]] | None = None

    def learn(self, at: Where, place: np.ndarray, error: float) -> None:
        """A crystal was seen at ``place`` (2,) [grid µm from the undeflected beam], with standard error ``error``."""
        self._seen = np.vstack([self._seen, astuple(at)])[-_KEPT:]
        self._value = np.vstack([self._value, place])[-_KEPT:]
        self._variance = np.vstack([self._variance, np.full(2, error**2)])[-_KEPT:]
        self._solved = None

    def predict(self, at: Where) -> tuple[np.ndarray, np.ndarray]:
        """(place (2,), its standard deviations (2,)) [µm]."""
        mean, sd = self.predict_all([at])
        return mean[0], sd[0]

    def predict_all(self, at: Sequence[Where]) -> tuple[np.ndarray, np.ndarray]:
        """(places (n, 2), standard deviations (n, 2)) [µm]."""
        points = np.array([astuple(p) for p in at])
        mean, sd = np.empty((len(points), 2)), np.empty((len(points), 2))
        for axis in (0, 1):
            mean[:, axis] = self._known(points, axis)
            variance = np.array([self._kernel(p[None], p[None], axis)[0, 0] for p in points])
            if len(self._seen):
                factor, weights = self._solution()[axis]
                k = self._kernel(self._seen, points, axis)
                mean[:, axis] += k.T @ weights
                variance -= (solve_triangular(factor, k, lower=True) ** 2).sum(axis=0)
            sd[:, axis] = np.sqrt(np.maximum(variance, 1e-8))
        return mean, sd

    def height(self, x: float, y: float) -> tuple[float, float]:
        """(stage z at which the film at (x, y) is on the tilt axis, its standard deviation) [µm]."""
        p = self.prior
        variance = p.stage_height**2 + p.film_height**2
        if not len(self._seen):
            return 0.0, float(np.sqrt(variance))
        factor, weights = self._solution()[1]
        k = (
            -self.lift
            * np.sin(np.radians(self._seen[:, 6]))
            * self._heights(self._seen, np.array([[0, 0, 0, x, y]]))[:, 0]
        )
        variance -= float((solve_triangular(factor, k, lower=True) ** 2).sum())
        return float(k @ weights), float(np.sqrt(max(variance, 0.0)))

    def _known(self, rows: np.ndarray, axis: int) -> np.ndarray:
        """What the stage's own place and height do."""
        tilt = np.radians(rows[:, 6])
        if axis == 0:
            return -rows[:, 3]
        return -rows[:, 4] * np.cos(tilt) + self.lift * rows[:, 5] * np.sin(tilt)

    def _solution(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of either axis: lower triangle of the covariance's Cholesky factor, and the weights of the views."""
        if self._solved is None:
            self._solved = []
            for axis in (0, 1):
                k = self._kernel(self._seen, self._seen, axis) + np.diag(self._variance[:, axis] + 1e-6)
                factor = cho_factor(k, lower=True)
                self._solved.append(
                    (factor[0], cho_solve(factor, self._value[:, axis] - self._known(self._seen, axis)))
                )
        return self._solved

    def _heights(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        p = self.prior
        gap2 = ((a[:, None, 3:5] - b[None, :, 3:5]) ** 2).sum(axis=2)
        slow = p.stage_height**2 * np.exp(-0.5 * gap2 / p.stage_reach**2)
        return slow + p.film_height**2 * np.exp(-0.5 * gap2 / p.film_reach**2)

    def _kernel(self, a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        """Covariance (n, m) of the places in rows a and b along ``axis``."""
        p = self.prior
        ta, tb = np.radians(a[:, 6])[:, None], np.radians(b[:, 6])[None]
        sines, falls = np.sin(ta) * np.sin(tb), (1 - np.cos(ta)) * (1 - np.cos(tb))
        same = [a[:, None, k] == b[None, :, k] for k in (0, 1, 2)]
        spell = np.exp(-0.5 * ((a[:, None, 6] - b[None, :, 6]) / p.knot) ** 2)
        late = p.creep**2 * np.exp(-(a[:, None, 9] + b[None, :, 9]) / p.creep_s)
        # what lies in the plane of the grid
        out = same[0] * p.place**2 + same[1] * (p.slack**2 + late)
        if axis == 1:
            out = out * np.cos(ta) * np.cos(tb)
            out += sines * (self._heights(a, b) + p.own_height**2 * same[0])
        # across the axis a swing that goes with the sine is a height
        out += p.swing**2 * (falls if axis else sines + falls)
        out += spell * p.bearing**2 * (a[:, None, 7] == b[None, :, 7])
        out += spell * p.fresh**2 * same[2]
        return out + p.drift**2 * np.exp(-np.abs(a[:, None, 8] - b[None, :, 8]) / p.drift_s)
