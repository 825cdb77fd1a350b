"""What breaks on purpose: switches that a test throws while the simulated instrument runs."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Faults"]


@dataclass
class Faults:
    """``beam_lost``: no electrons arrive (emission, or a closed valve; ``readiness`` tells). ``camera_fails``: the
    camera raises HardwareFault. ``jammed``: axes that do not move, though the stage reports no error (a pole touch, or
    a move that JEOL's interface acknowledges and does not make)."""

    beam_lost: bool = False
    camera_fails: bool = False
    jammed: set[str] = field(default_factory=set)
