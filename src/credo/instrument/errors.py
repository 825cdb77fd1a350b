"""What can go wrong at an instrument: refused before anything moved, or failed while it did."""

from __future__ import annotations

from credo.model.errors import CannotDo, CredoError

__all__ = ["HardwareFault", "InstrumentError", "LeaseLost", "NotReady", "Refused", "Stopped", "WireError", "by_name"]


class InstrumentError(CannotDo):
    """Base of the errors of this package."""


class Refused(InstrumentError):
    """The command was not given to the hardware: a limit, a missing capability, a rule."""


class NotReady(Refused):
    """The instrument or its state does not allow it now: vacuum, holder, hand panel, an earlier alarm."""


class LeaseLost(Refused):
    """The caller does not hold the control lease (another client does, or the heartbeat failed)."""


class Stopped(InstrumentError):
    """The emergency stop was pressed."""


class HardwareFault(InstrumentError):
    """The hardware did not do what it was told: no arrival, limiter, time-out, an error code of the vendor."""


class WireError(InstrumentError):
    """The other side of the connection does not keep to the protocol, or is gone."""


def by_name(name: str) -> type[CredoError]:
    """The error class that a server named; ``InstrumentError`` for a name that is not ours."""
    known = (Refused, NotReady, LeaseLost, Stopped, HardwareFault, WireError)
    return next((kind for kind in known if kind.__name__ == name), InstrumentError)
