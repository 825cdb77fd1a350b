"""Virtual time: it passes only when somebody waits."""

from __future__ import annotations

import threading
import time

__all__ = ["VirtualClock"]


class VirtualClock:
    """As fast as possible: ``sleep`` advances the time and returns at once.

    ``rate`` > 0 makes a real-time clock of it (seconds of the instrument per second on the wall). Threads that sleep
    at the same time add their waits up, as one processor that serves them in turn would.
    """

    def __init__(self, rate: float = 0.0, epoch: float = 1.8e9) -> None:
        self._rate, self._epoch = rate, epoch
        self._now, self._began = 0.0, time.monotonic()
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds since the clock was made."""
        return (time.monotonic() - self._began) * self._rate if self._rate else self._now

    def time(self) -> float:
        """Unix time [s]: that of a fixed day, so that runs are reproducible."""
        return self._epoch + self.now()

    def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        if seconds <= 0:
            return
        if self._rate:
            time.sleep(seconds / self._rate)
            return
        with self._lock:
            self._now += seconds
