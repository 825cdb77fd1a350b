"""One motor of the stage: a trapezoidal move, slack between the motor and what it drives, and where each was when."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

__all__ = ["Axis", "Move"]


@dataclass(frozen=True)
class Move:
    """From ``origin`` to ``target`` with top speed ``speed`` and ``acceleration``, beginning at ``began`` [s].

    ``driven``: where the driven part was when the move began. ``cut``: when the move was stopped, if it was.
    """

    began: float
    origin: float
    target: float
    speed: float
    acceleration: float
    driven: float
    cut: float = float("inf")

    @property
    def duration(self) -> float:
        """Time from rest to rest [s]."""
        distance = abs(self.target - self.origin)
        ramp = self.speed / self.acceleration
        if distance < self.speed * ramp:
            return 2 * (distance / self.acceleration) ** 0.5
        return distance / self.speed + ramp

    @property
    def ended(self) -> float:
        return min(self.began + self.duration, self.cut)

    def motor(self, t: float) -> float:
        """Position of the motor at time ``t`` [s]."""
        t = min(t, self.cut) - self.began
        total = self.duration
        if t <= 0 or total == 0:
            return self.origin if t <= 0 else self.target
        if t >= total:
            return self.target
        distance = abs(self.target - self.origin)
        ramp = min(self.speed / self.acceleration, total / 2)
        top = self.acceleration * ramp
        if t < ramp:
            gone = 0.5 * self.acceleration * t * t
        elif t > total - ramp:
            gone = distance - 0.5 * self.acceleration * (total - t) ** 2
        else:
            gone = top * (t - 0.5 * ramp)
        return self.origin + gone * (1 if self.target > self.origin else -1)


class Axis:
    """A motor with its past: ``motor(t)`` is what an encoder sees, ``driven(t)`` where the specimen is.

    The driven part follows within ± half of the slack (the play operator): a move goes one way, so it stays where it
    was until the motor has taken the slack up.
    """

    def __init__(self, position: float, speed: float, acceleration: float, slack: float, kept: int = 64) -> None:
        self.speed, self.acceleration, self._half = speed, acceleration, 0.5 * slack
        self._moves = deque([Move(float("-inf"), position, position, 1.0, 1.0, position)], maxlen=kept)

    def start(self, now: float, target: float, speed: float | None = None) -> Move:
        """Begin a move at ``now``; one that is under way ends there."""
        self.stop(now)
        origin, driven = self.motor(now), self.driven(now)
        self._moves.append(Move(now, origin, target, speed or self.speed, self.acceleration, driven))
        return self._moves[-1]

    def stop(self, now: float) -> None:
        """Halt where the motor is."""
        last = self._moves[-1]
        if last.ended > now:
            self._moves[-1] = Move(
                last.began, last.origin, last.target, last.speed, last.acceleration, last.driven, now
            )

    def moving(self, t: float) -> bool:
        return self._at(t).ended > t

    def motor(self, t: float) -> float:
        return self._at(t).motor(t)

    def driven(self, t: float) -> float:
        move = self._at(t)
        m = move.motor(t)
        return min(max(move.driven, m - self._half), m + self._half)

    def last_move(self, t: float) -> Move:
        """The move that was begun last before ``t``."""
        return self._at(t)

    @property
    def ended(self) -> float:
        """When the last move ends [s]."""
        return self._moves[-1].ended

    def _at(self, t: float) -> Move:
        for move in reversed(self._moves):
            if move.began <= t:
                return move
        return self._moves[0]
