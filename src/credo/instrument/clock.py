"""Time as the instrument code sees it: injected, so that a simulated instrument can have its own."""

from __future__ import annotations

import time
from typing import Protocol, runtime_checkable

__all__ = ["Clock", "RealClock"]


@runtime_checkable
class Clock(Protocol):
    """All waiting and all timestamps of ``credo.instrument`` go through one of these."""

    def now(self) -> float:
        """Seconds, monotonic, from an arbitrary zero."""
        ...

    def time(self) -> float:
        """Unix time [s] of the same instant, for timestamps in files."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait (a virtual clock may return at once, having advanced itself)."""
        ...


class RealClock:
    """The clock on the wall."""

    def now(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(seconds, 0.0))
