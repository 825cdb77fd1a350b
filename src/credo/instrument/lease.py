"""One session may control the instrument: a lease that its heartbeat keeps, and that is lost without."""

from __future__ import annotations

import threading
import time

from credo.instrument.errors import LeaseLost

__all__ = ["Lease"]


class Lease:
    """Who has control. Real time, whatever clock the instrument has: it is the client's life that is watched."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.session: str | None = None
        self.name = ""
        self._ttl = self._until = 0.0

    def take(self, session: str, name: str, ttl: float) -> bool:
        """True when it is newly taken, False when the session had it already; ``LeaseLost`` when another has it."""
        with self._lock:
            if self.session not in (None, session):
                raise LeaseLost(f"{self.name} controls the instrument", "wait until it is released; reading is free")
            new, self.session, self.name, self._ttl = self.session is None, session, name, ttl
            self._until = time.monotonic() + ttl
            return new

    def beat(self, session: str) -> None:
        with self._lock:
            self._need(session)
            self._until = time.monotonic() + self._ttl

    def need(self, session: str) -> None:
        """``LeaseLost`` unless ``session`` has control."""
        with self._lock:
            self._need(session)

    def drop(self, session: str) -> bool:
        """Give it back; True when the session had it."""
        with self._lock:
            had, self.session = self.session == session, None if self.session == session else self.session
            return had

    def expired(self) -> str | None:
        """The session whose heartbeat is overdue."""
        with self._lock:
            return self.session if self.session is not None and time.monotonic() > self._until else None

    def _need(self, session: str) -> None:
        if self.session != session:
            raise LeaseLost(
                f"{self.name} controls the instrument"
                if self.session
                else "this session does not control the instrument",
                "take the lease first",
            )
