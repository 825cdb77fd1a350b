"""A replica of an instrument's state without any physics: what a plan is rehearsed on before hardware moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from credo.instrument.clock import Clock
from credo.instrument.protocols import (
    CameraInfo,
    Frame,
    Holder,
    Property,
    StagePosition,
    StageState,
    Value,
)

__all__ = ["Replica", "ReplicaCamera", "ReplicaSettings", "ReplicaStage", "StepClock"]

_NM_PER_S = 1e6


class StepClock:
    """A clock that only ``sleep`` advances, from a given Unix time."""

    def __init__(self, start: float = 0.0) -> None:
        self._start, self._elapsed = start, 0.0

    def now(self) -> float:
        return self._elapsed

    def time(self) -> float:
        return self._start + self._elapsed

    def sleep(self, seconds: float) -> None:
        self._elapsed += max(seconds, 0.0)


class ReplicaSettings:
    """Remembers what it is told."""

    def __init__(
        self,
        properties: Mapping[str, Property],
        values: Mapping[str, Value],
        magnifications: Mapping[str, tuple[float, ...]] | None = None,
    ) -> None:
        self.properties, self.values = dict(properties), dict(values)
        self.magnifications = dict(magnifications or {})

    def get(self, name: str) -> Value:
        return self.values[name]

    def set(self, name: str, value: Value) -> None:
        self.values[name] = value
        table = self.magnifications.get(str(self.values.get("mode")), ())
        if name == "mode" and table and self.values.get("magnification") not in table:
            self.values["magnification"] = table[len(table) // 2]


class ReplicaStage:
    """Moves at 1 mm/s and at the rotation speed, straight to the target, as a function of the clock."""

    can_stop = True

    def __init__(
        self,
        clock: Clock,
        axes: Mapping[str, Property],
        speeds: Property,
        held: Holder,
        start: StagePosition = StagePosition(0, 0, 0, 0, 0),  # noqa: B008 (an immutable value)
        speed: float = 10.0,
    ) -> None:
        self._clock, self.axes, self.rotation_speeds, self.held, self._speed = clock, axes, speeds, held, speed
        self._from = self._to = start
        self._began = self._ends = clock.now()

    def position(self) -> StagePosition:
        done = 1.0 if self._ends <= self._began else (self._clock.now() - self._began) / (self._ends - self._began)
        done = min(max(done, 0.0), 1.0)
        return StagePosition(*(p + done * (q - p) for p, q in zip(self._from, self._to, strict=True)))

    def state(self) -> StageState:
        return StageState.MOVING if self._clock.now() < self._ends else StageState.READY

    def holder(self) -> Holder:
        return self.held

    def start(self, target: Mapping[str, float]) -> None:
        here = self.position()
        there = here._replace(**{k: float(v) for k, v in target.items()})
        speeds = {n: self._speed if n in "ab" else _NM_PER_S for n in target}
        needed = max((abs(getattr(there, n) - getattr(here, n)) / v for n, v in speeds.items()), default=0.0)
        self._from, self._to = here, there
        self._began = self._clock.now()
        self._ends = self._began + needed

    def stop(self) -> None:
        self._from = self._to = self.position()
        self._began = self._ends = self._clock.now()

    def rotation_speed(self) -> float:
        return self._speed

    def set_rotation_speed(self, degrees_per_second: float) -> None:
        self._speed = degrees_per_second


@dataclass
class ReplicaBlanker:
    on: bool = True

    def is_blanked(self) -> bool:
        return self.on

    def blank(self, on: bool) -> None:
        self.on = on


@dataclass
class ReplicaScreen:
    up: bool = True
    movable: bool = True

    def is_up(self) -> bool:
        return self.up

    def set_up(self, up: bool) -> None:
        self.up = up


class ReplicaCamera:
    """Black frames of the right shape and duration; ``seconds`` adds up the exposures with the beam on."""

    def __init__(self, info: CameraInfo, clock: Clock, blanker: ReplicaBlanker, inserted: bool = True) -> None:
        self.info, self._clock, self._blanker, self._inserted = info, clock, blanker, inserted
        self.seconds = 0.0

    def acquire(self, exposure: float, binning: int = 1) -> Frame:
        began = self._clock.time()
        self.seconds += 0.0 if self._blanker.on else exposure
        self._clock.sleep(exposure)
        shape = tuple(n // binning for n in self.info.shape)
        return Frame(np.zeros(shape, self.info.dtype), began, began + exposure, exposure, binning)

    def stream(self, exposure: float, binning: int = 1, frames: int | None = None) -> Iterator[Frame]:
        number = 0
        while frames is None or number < frames:
            yield replace(self.acquire(exposure, binning), number=number)
            self._clock.sleep(self.info.dead_time)
            number += 1

    def is_inserted(self) -> bool:
        return self._inserted

    def insert(self, on: bool) -> None:
        self._inserted = on


@dataclass
class Replica:
    """A ``Microscope`` that is only its state."""

    thread_bound = False
    name: str
    clock: Clock
    stage: ReplicaStage
    lenses: ReplicaSettings
    deflectors: ReplicaSettings
    apertures: ReplicaSettings
    blanker: ReplicaBlanker = field(default_factory=ReplicaBlanker)
    screen: ReplicaScreen = field(default_factory=ReplicaScreen)
    cameras: Mapping[str, ReplicaCamera] = field(default_factory=dict)
    ready: dict[str, bool] = field(default_factory=lambda: {"vacuum": True, "emission": True})

    def readiness(self) -> Mapping[str, bool]:
        return self.ready

    def halt(self) -> None:
        self.stage.stop()
        self.blanker.blank(True)

    def close(self) -> None:
        self.blanker.blank(True)

    @classmethod
    def described(
        cls, about: Mapping[str, Any], values: Mapping[str, Value], status: Mapping[str, Any], holder: Mapping[str, Any]
    ) -> Replica:
        """The state that an instrument told (``describe``, ``get``, ``status``, ``holder`` of ``service``)."""
        clock, blanker = StepClock(status["time"]), ReplicaBlanker(bool(status["blanked"]))
        axes = {n: Property.of(p) for n, p in about["axes"].items()}
        stage = ReplicaStage(
            clock,
            axes,
            Property.of(about["rotation_speeds"]),
            Holder(holder["name"], holder["inserted"], tuple(holder["tilts"])),
            StagePosition(*status["position"]),
            status["rotation_speed"],
        )
        groups = []
        for kind in ("lens", "deflector", "aperture"):
            named = {n: Property.of(p) for n, p in about["settings"].items() if p["group"] == kind}
            tables = {m: tuple(t) for m, t in about["magnifications"].items()} if kind == "lens" else None
            groups.append(ReplicaSettings(named, {n: values[n] for n in named}, tables))
        cameras = {n: ReplicaCamera(CameraInfo.of(c), clock, blanker) for n, c in about["cameras"].items()}
        screen = ReplicaScreen(status["screen_up"], about["screen_movable"])
        return cls(
            f"replica of {about['name']}", clock, stage, *groups, blanker=blanker, screen=screen, cameras=cameras
        )
