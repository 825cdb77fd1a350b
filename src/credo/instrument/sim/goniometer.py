"""Where the specimen really is: eucentric height, sideways swing, drift, creep and the rotation's own unevenness."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, floor, radians, sin, sqrt

import numpy as np

from credo.instrument.sim.settings import Imperfections
from credo.instrument.sim.truth import StageTruth
from credo.kernels.rotation import tilted

__all__ = ["Goniometer", "Pose", "Way"]

#: Knots of the rotation's unevenness [deg], and how many there are.
_KNOT, _KNOTS = 0.15, 4096
#: Degrees between the knots of the irregular swing; degrees over which the bearing goes over to the other way.
_SWING_KNOT, _REVERSAL_DEG = 3.0, 0.5


@dataclass(frozen=True)
class Pose:
    """The specimen at one instant, in column axes: x along the rotation axis, z along the beam.

    A grid point g [µm] lies at ``rotation`` (g − ``centre``) + ``offset``; ``alpha``, ``beta``: true tilts [deg].
    """

    rotation: np.ndarray
    centre: np.ndarray
    offset: np.ndarray
    alpha: float
    beta: float

    def place(self, g: np.ndarray) -> np.ndarray:
        """Positions (n, 3) in the column of grid points (n, 3) [µm]."""
        return (np.asarray(g) - self.centre) @ self.rotation.T + self.offset


@dataclass(frozen=True)
class Way:
    """The way that the tilt goes since it last turned back: its sign, its number, the tilt [deg] it began at."""

    forward: bool = True
    number: int = 0
    since: float = 0.0


class Goniometer:
    """The true pose for given drive positions."""

    def __init__(self, truth: StageTruth, imperfections: Imperfections) -> None:
        self._truth, self._of = truth, imperfections
        rng = np.random.default_rng([truth.seed, 12])
        self._uneven = imperfections.rotation_jitter_deg * rng.normal(size=(2, _KNOTS))
        self._unsteady = imperfections.unsteady_um * rng.normal(size=(2, 128, 2))
        self._ways: dict[int, np.ndarray] = {}
        self._wobble = imperfections.wobble_deg * rng.normal(size=(2, 3))
        out = np.radians(truth.axis_out_deg)
        self.axis = np.array([np.cos(out), 0.0, np.sin(out)])

    def true_tilt(self, driven: float, forward: bool) -> float:
        """The tilt [deg] of the specimen when the drive stands at ``driven``; it differs with the direction."""
        knots = self._uneven[0 if forward else 1]
        u = driven / _KNOT + _KNOTS / 2
        n = floor(u)
        f = u - n
        uneven = (1 - f) * knots[n % _KNOTS] + f * knots[(n + 1) % _KNOTS]
        return self._truth.tilt_scale * driven + float(uneven)

    def _irregular(self, driven: float, way: Way) -> np.ndarray:
        """Irregular part of the swing (2,) [µm]: the bearing's own, other there than back, and what is new each way."""
        w = min(abs(driven - way.since) / _REVERSAL_DEG, 1.0) if way.number else 1.0
        now = self._curve(driven, way.forward, way.number)
        if w == 1.0:
            return now
        return w * now + (1 - w) * self._curve(driven, not way.forward, way.number - 1)

    def _curve(self, driven: float, forward: bool, number: int) -> np.ndarray:
        new = self._of.unsteady_new
        u = driven / _SWING_KNOT + 64
        n = min(max(floor(u), 0), 126)
        f = u - n
        # cubic between knots, level at each: no jumps of the speed
        f = f * f * (3 - 2 * f)
        own, fresh = self._unsteady[0 if forward else 1], self._fresh(number)
        low, high = (sqrt(1 - new) * own[k] + sqrt(new) * fresh[k] for k in (n, n + 1))
        return (1 - f) * low + f * high

    def _fresh(self, number: int) -> np.ndarray:
        """Knots (128, 2) that only this way has [µm]."""
        if number not in self._ways:
            if len(self._ways) > 8:
                self._ways.clear()
            rng = np.random.default_rng([self._truth.seed, 15, number])
            self._ways[number] = self._of.unsteady_um * rng.normal(size=(128, 2))
        return self._ways[number]

    def eucentric_height(self, x_um: float, y_um: float) -> float:
        """Stage height z [µm] at which a point at (x, y) of a flat grid lies on the rotation axis."""
        x, y = x_um / 1000, y_um / 1000
        h = self._truth.height
        return float(h[0] + h[1] * x + h[2] * y + h[3] * x * x + h[4] * x * y + h[5] * y * y)

    def pose(self, driven: dict[str, float], way: Way, t: float, late: np.ndarray) -> Pose:
        """``driven``: x y z [µm] a b [deg]; ``late`` (2,) [µm] is what creep has not yet moved."""
        alpha, beta = self.true_tilt(driven["a"], way.forward), driven["b"]
        x, y = driven["x"] + late[0], driven["y"] + late[1]
        centre = np.array([x, y, self.eucentric_height(x, y) - driven["z"]])
        a = radians(alpha)
        wobble = self._wobble @ np.array([sin(a), sin(2 * a), sin(3 * a)])
        turn = tilted(self.axis, a, radians(beta), radians(wobble[0]), radians(wobble[1]))
        where = np.array([1.0, x / 1000, y / 1000])
        swing = self._truth.swing @ where @ np.array([sin(a), 1 - cos(a)])
        drift = self._truth.drift * t
        aside = swing + drift + self._irregular(driven["a"], way)
        return Pose(turn, centre, np.array([aside[0], aside[1], 0.0]), alpha, beta)
