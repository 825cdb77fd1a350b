"""Microscopes and cameras behind one controller: protocols, safety, drivers, server and client.

``from credo.instrument import TEMController; ctrl = TEMController.initialize()`` is all it takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from credo.instrument.controller import TEMController

__all__ = ["TEMController"]


def __getattr__(name: str) -> object:
    if name == "TEMController":  # late, so that a driver or the wire can be imported without the rest
        from credo.instrument.controller import TEMController

        return TEMController
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
