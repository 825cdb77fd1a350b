"""The simulated goniometer as a driver sees it: five axes, a limit switch, and read-outs that are not quite true."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from math import exp, isfinite

import numpy as np

from credo.instrument.clock import Clock
from credo.instrument.errors import HardwareFault
from credo.instrument.protocols import AXES, Holder, Property, StagePosition, StageState
from credo.instrument.sim.axis import Axis
from credo.instrument.sim.faults import Faults
from credo.instrument.sim.goniometer import Goniometer, Pose, Way
from credo.instrument.sim.settings import SimulatorSettings
from credo.instrument.sim.truth import StageTruth

__all__ = ["SimulatedStage"]

#: Top speed and acceleration: µm/s, µm/s² of x y z; deg/s, deg/s² of a b.
_SPEED = {"x": 100.0, "y": 100.0, "z": 20.0, "a": 10.0, "b": 5.0}
_ACCELERATION = {"x": 400.0, "y": 400.0, "z": 100.0, "a": 20.0, "b": 20.0}
_RANGE = {"x": 1000.0, "y": 1000.0, "z": 200.0}


class SimulatedStage:
    """Implements ``protocols.Stage``; nm and degrees outside, µm and degrees inside."""

    can_stop = True

    def __init__(
        self,
        settings: SimulatorSettings,
        truth: StageTruth,
        clock: Clock,
        before: Callable[[], None] = lambda: None,
        faults: Faults | None = None,
    ) -> None:
        i = settings.imperfections
        self._of, self._clock, self._before = i, clock, before
        slack = dict(zip("xyz", i.backlash_um)) | {"a": i.backlash_deg, "b": i.backlash_deg}
        self._axis = {k: Axis(0.0, _SPEED[k], _ACCELERATION[k], slack[k]) for k in AXES}
        self._goniometer = Goniometer(truth, i)
        self._phase, self._limit = truth.readout_phase, settings.tilt_limit_deg
        self._rng = np.random.default_rng([settings.seed, 13])
        self._ways: deque[tuple[float, Way]] = deque([(float("-inf"), Way())], maxlen=64)
        self._stuck = False
        self._faults = faults or Faults()
        self._lock = threading.RLock()
        self._speed = _SPEED["a"]

    @property
    def axes(self) -> Mapping[str, Property]:
        um = {k: Property(f"stage {k}", "nm", low=-1e3 * v, high=1e3 * v) for k, v in _RANGE.items()}
        return um | {
            "a": Property("goniometer tilt", "deg", low=-self._limit, high=self._limit),
            "b": Property("holder tilt", "deg", low=-30.0, high=30.0),
        }

    @property
    def rotation_speeds(self) -> Property:
        return Property("speed of tilt a", "deg/s", low=0.05, high=10.0, neutral=10.0)

    def holder(self) -> Holder:
        return Holder("simulated double tilt", True, ("a", "b"))

    def position(self) -> StagePosition:
        """The encoders, with their errors."""
        now, i = self._clock.now(), self._of
        with self._lock:
            motor = {k: self._axis[k].motor(now) for k in AXES}
            noise = self._rng.normal(size=5)
        wave = i.readout_wave_deg * np.sin(2 * np.pi * motor["a"] / i.readout_period_deg + self._phase)
        x, y, z = (1e3 * (motor[k] + i.readout_um * n) for k, n in zip("xyz", noise))
        a, b = motor["a"] + wave + i.readout_deg * noise[3], motor["b"] + i.readout_deg * noise[4]
        return StagePosition(float(x), float(y), float(z), float(a), float(b))

    def state(self) -> StageState:
        now = self._clock.now()
        with self._lock:
            if any(axis.moving(now) for axis in self._axis.values()):
                return StageState.MOVING
            return StageState.LIMITER if self._stuck else StageState.READY

    def start(self, target: Mapping[str, float]) -> None:
        """Absolute targets [nm, deg]; one beyond a limit switch ends at the switch, with the state ``limiter``."""
        unknown = set(target) - set(AXES)
        if unknown or not all(np.isfinite(v) for v in target.values()):
            raise HardwareFault(f"the stage cannot go to {dict(target)}", "name x, y, z [nm], a, b [deg]")
        self._before()
        now = self._clock.now()
        with self._lock:
            self._stuck = False
            for k, value in target.items():
                if k in self._faults.jammed:
                    continue
                limit = self._limit if k == "a" else 30.0 if k == "b" else _RANGE[k]
                goal = value / 1e3 if k in "xyz" else value
                if abs(goal) > limit:
                    self._stuck, goal = True, float(np.clip(goal, -limit, limit))
                elif k in "xy":
                    goal += self._of.arrival_um * float(self._rng.normal())
                if k == "a":
                    self._turn_back(now, goal)
                self._axis[k].start(now, goal, self._speed if k == "a" else None)

    def _turn_back(self, now: float, goal: float) -> None:
        """Remember that the tilt goes the other way from ``now`` on."""
        way, here = self._ways[-1][1], self._axis["a"].motor(now)
        if goal != here and (goal > here) != way.forward:
            self._ways.append((now, Way(goal > here, way.number + 1, self._axis["a"].driven(now))))

    def stop(self) -> None:
        now = self._clock.now()
        with self._lock:
            for axis in self._axis.values():
                axis.stop(now)

    def rotation_speed(self) -> float:
        return self._speed

    def set_rotation_speed(self, degrees_per_second: float) -> None:
        if not np.isfinite(degrees_per_second):
            raise HardwareFault("a rotation speed must be a number", "give deg/s")
        self._speed = float(np.clip(degrees_per_second, 0.05, 10.0))

    def pose(self, t: float) -> Pose:
        """Where the specimen truly is at time ``t`` of the clock: for the simulator only."""
        with self._lock:
            driven = {k: self._axis[k].driven(t) for k in AXES}
            way = next((w for began, w in reversed(self._ways) if began <= t), self._ways[0][1])
            late = np.array([self._late(k, t) for k in "xy"])
        return self._goniometer.pose(driven, way, t, late)

    def moving(self, t: float) -> bool:
        """Whether any drive moves at ``t``."""
        with self._lock:
            return any(axis.moving(t) for axis in self._axis.values())

    @property
    def rotation_axis(self) -> np.ndarray:
        """Unit vector of the rotation axis in column axes: for the simulator only."""
        return self._goniometer.axis

    def eucentric_height(self, x_um: float, y_um: float) -> float:
        """For the simulator and its tests only [µm]."""
        return self._goniometer.eucentric_height(x_um, y_um)

    def _late(self, k: str, t: float) -> float:
        """What creep still lacks of the last move of axis ``k`` [µm]."""
        move = self._axis[k].last_move(t)
        ended = move.ended
        if t < ended or not isfinite(ended):
            return 0.0
        size = min(max(self._of.creep * (move.target - move.origin), -0.3), 0.3)
        return -size * exp(-(t - ended) / self._of.creep_s)
