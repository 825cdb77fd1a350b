"""Settings as a table of metadata, reader and writer: what the vendors' drivers are mostly made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from credo.instrument.errors import Refused
from credo.instrument.protocols import Property, Value

__all__ = ["Entry", "Table"]


@dataclass(frozen=True)
class Entry:
    """One setting; without ``write`` it can only be read."""

    about: Property
    read: Callable[[], Value]
    write: Callable[[Any], None] | None = None


class Table:
    """Implements ``protocols.Settings``; with ``magnifications`` also ``protocols.Lenses``."""

    def __init__(
        self, entries: Mapping[str, Entry], magnifications: Mapping[str, tuple[float, ...]] | None = None
    ) -> None:
        self._entries = dict(entries)
        self.properties = {n: e.about for n, e in self._entries.items()}
        self.magnifications = dict(magnifications or {})

    def get(self, name: str) -> Value:
        return self._entries[name].read()

    def set(self, name: str, value: Value) -> None:
        write = self._entries[name].write
        if write is None:
            raise Refused(f"{name} can only be read")
        write(value)
