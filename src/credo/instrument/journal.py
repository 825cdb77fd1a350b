"""What must be put back if this process dies: a small file beside the log, read by the watchdog."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from credo.instrument.errors import InstrumentError

__all__ = ["Journal"]

_LIMIT = 1_000_000


class Journal:
    """The snapshot of the running session at ``path``; absent when no session runs. Replaced in one step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, snapshot: Mapping[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump(snapshot, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)

    def read(self) -> dict[str, Any] | None:
        """None when there is none; raises when it cannot be read."""
        try:
            with self.path.open(encoding="utf-8") as file:
                found = json.loads(file.read(_LIMIT))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise InstrumentError(f"{self.path}: not a journal ({error})", "restore the optics by hand") from error
        return found if isinstance(found, dict) else None

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)
