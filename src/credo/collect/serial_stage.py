"""How crystals move as the stage tilts, learned from every view of every crystal: heights, swing, irregularities.

Across the tilt axis a crystal c at the stage position P and height z is at

    y(α) = y_c + λ (z − H(P)) sin α + s(α) + r(α, way) + n(α, rotation),

along it at x_c + s + r + n. H is the eucentric height over the grid, s the smooth swing of the axis, r what the bearing
does the same way every time it turns this way, n what it does only once; λ = ±1 is the bench's ``lift``. All are
Gaussian processes, so that every prediction has its standard deviation (C. E. Rasmussen and C. K. I. Williams, Gaussian
Processes for Machine Learning, 2006, chapter 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve  # pyright: ignore[reportMissingTypeStubs]

__all__ = ["Prior", "StageModel", "Where"]

#: Views that are remembered; the oldest go first.
_KEPT = 500


@dataclass(frozen=True)
class Prior:
    """What is believed before anything was seen. Lengths µm, angles deg.

    ``stage_height`` over ``stage_reach``: the eucentric height's slow part; ``film_height`` over ``film_reach``: the
    film's waves; ``own_height``: of a crystal; ``swing``; ``bearing``, ``fresh``: irregular parts that come again and
    that do not, over ``knot``; ``start``: of a crystal's place before it was seen; ``drift`` [µm/s].
    """

    stage_height: float = 10.0
    stage_reach: float = 600.0
    film_height: float = 2.0
    film_reach: float = 40.0
    own_height: float = 0.15
    swing: float = 2.0
    bearing: float = 0.35
    fresh: float = 0.22
    knot: float = 2.2
    start: float = 1.0
    drift: float = 2e-4


@dataclass(frozen=True)
class Where:
    """A crystal at one instant: its number, the rotation's number, stage x, y, z [µm], tilt [deg], way +1 or −1, time
    [s]."""

    crystal: int
    rotation: int
    x: float
    y: float
    z: float
    tilt: float
    way: float
    time: float

    def row(self) -> tuple[float, ...]:
        return (self.crystal, self.rotation, self.x, self.y, self.z, self.tilt, self.way, self.time)


class StageModel:
    """``learn`` from views, ``predict`` places, ``height`` tells where the stage must stand."""

    def __init__(self, lift: float, prior: Prior | None = None) -> None:
        self.lift, self.prior = lift, prior or Prior()
        self._seen = np.empty((0, 8))
        self._value = np.empty((0, 2))
        self._variance = np.empty((0, 2))
        self._solved: list[tuple[tuple[np.ndarray, bool], np.ndarray]] | None = None

    def learn(self, at: Where, place: np.ndarray, error: float | tuple[float, float]) -> None:
        """A crystal was seen at ``place`` (2,) [grid µm from the undeflected beam], with standard error ``error``."""
        self._seen = np.vstack([self._seen, at.row()])[-_KEPT:]
        self._value = np.vstack([self._value, place])[-_KEPT:]
        self._variance = np.vstack([self._variance, np.square(np.broadcast_to(error, 2))])[-_KEPT:]
        self._solved = None

    def predict(self, at: Where) -> tuple[np.ndarray, np.ndarray]:
        """(place (2,), its standard deviations (2,)) [µm]."""
        point = np.array([at.row()])
        mean = np.array([0.0, self._known(point)[0]])
        sd = np.zeros(2)
        for axis in (0, 1):
            prior = self._kernel(point, point, axis)[0, 0]
            if not len(self._seen):
                sd[axis] = np.sqrt(prior)
                continue
            factor, weights = self._solution()[axis]
            k = self._kernel(self._seen, point, axis)[:, 0]
            mean[axis] += float(k @ weights)
            sd[axis] = np.sqrt(max(prior - float(k @ cho_solve(factor, k)), 1e-8))
        return mean, sd

    def height(self, x: float, y: float) -> tuple[float, float]:
        """(stage z at which the film at (x, y) is on the tilt axis, its standard deviation) [µm]."""
        p = self.prior
        here = np.array([[0, 0, x, y, 0, 0, 0, 0.0]])
        prior = p.stage_height**2 + p.film_height**2
        if not len(self._seen):
            return 0.0, float(np.sqrt(prior))
        factor, weights = self._solution()[1]
        k = -self.lift * np.sin(np.radians(self._seen[:, 5])) * self._heights(self._seen, here)[:, 0]
        return float(k @ weights), float(np.sqrt(max(prior - float(k @ cho_solve(factor, k)), 0.0)))

    def _known(self, rows: np.ndarray) -> np.ndarray:
        """What the set height does across the axis."""
        return self.lift * rows[:, 4] * np.sin(np.radians(rows[:, 5]))

    def _solution(self):
        if self._solved is None:
            self._solved = []
            for axis in (0, 1):
                k = self._kernel(self._seen, self._seen, axis) + np.diag(self._variance[:, axis] + 1e-6)
                factor = cho_factor(k, lower=True)
                rest = self._value[:, axis] - (self._known(self._seen) if axis else 0.0)
                self._solved.append((factor, cho_solve(factor, rest)))
        return self._solved

    def _heights(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        p = self.prior
        gap2 = ((a[:, None, 2:4] - b[None, :, 2:4]) ** 2).sum(axis=2)
        slow = p.stage_height**2 * np.exp(-0.5 * gap2 / p.stage_reach**2)
        return slow + p.film_height**2 * np.exp(-0.5 * gap2 / p.film_reach**2)

    def _kernel(self, a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        """Covariance (n, m) of the places in rows a and b along ``axis``."""
        p = self.prior
        ta, tb = np.radians(a[:, 5])[:, None], np.radians(b[:, 5])[None]
        sines, falls = np.sin(ta) * np.sin(tb), (1 - np.cos(ta)) * (1 - np.cos(tb))
        own = a[:, None, 0] == b[None, :, 0]
        spell = np.exp(-0.5 * ((a[:, None, 5] - b[None, :, 5]) / p.knot) ** 2)
        # across the axis a swing that goes with the sine is a height
        out = p.swing**2 * (falls if axis else sines + falls)
        out += spell * p.bearing**2 * (a[:, None, 6] == b[None, :, 6])
        out += spell * p.fresh**2 * (a[:, None, 1] == b[None, :, 1])
        out += own * (
            p.start**2 + 0.3**2 * falls + p.drift**2 * 1e3 * np.exp(-np.abs(a[:, None, 7] - b[None, :, 7]) / 1e3)
        )
        if axis == 1:
            out += sines * (self._heights(a, b) + p.own_height**2 * own)
        return out
