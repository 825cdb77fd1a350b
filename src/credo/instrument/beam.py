"""The beam is off unless somebody needs it: opened for a bounded time, verified, closed by everything that ends."""

from __future__ import annotations

from collections.abc import Callable

from credo.instrument.clock import Clock
from credo.instrument.errors import HardwareFault
from credo.instrument.protocols import BeamBlanker
from credo.instrument.safety_settings import Safety

__all__ = ["BeamGate"]


class BeamGate:
    """Opens and closes the blanker and makes sure that it obeyed; ``alarm`` is called when it will not close.

    ``until``: the clock's time at which an open beam is closed by ``expire``, None while we keep it closed.
    """

    def __init__(self, blanker: BeamBlanker, clock: Clock, safety: Safety, alarm: Callable[[str], None]) -> None:
        self._blanker, self._clock, self._safety, self._alarm = blanker, clock, safety, alarm
        self.until: float | None = None

    @property
    def is_open(self) -> bool:
        return self.until is not None

    def open(self, seconds: float | None = None) -> None:
        """Unblank, or prolong, for ``seconds`` (at most ``beam_open_s`` beyond what an exposure needs)."""
        self.until = self._clock.now() + (self._safety.beam_open_s if seconds is None else seconds)
        if self._blanker.is_blanked() and not self._command(False):
            self.close()
            raise HardwareFault(
                "the beam does not unblank", "look whether the column valves or the gun valve are closed"
            )

    def close(self) -> None:
        """Blank and verify; a blanker that stays open raises the alarm."""
        self.until = None
        if not self._command(True):
            self._alarm("the beam does not blank")
            raise HardwareFault("the beam does not blank", "close the gun valve or lower the screen by hand")

    def expire(self) -> bool:
        """Close when the time is over; True when it did."""
        if self.until is None or self._clock.now() <= self.until:
            return False
        self.close()
        return True

    def _command(self, on: bool) -> bool:
        for attempt in range(self._safety.blank_tries):
            if attempt:
                self._clock.sleep(self._safety.blank_retry_s)
            self._blanker.blank(on)
            if self._blanker.is_blanked() is on:
                return True
        return False
