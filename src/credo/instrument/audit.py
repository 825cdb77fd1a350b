"""The append-only log of every command: JSON lines with caller, values before and after, outcome and latency."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from credo.instrument.clock import Clock

__all__ = ["AuditLog"]


class AuditLog:
    """Lines to ``path`` (None: kept in memory, the last ``keep``). A file above ``max_bytes`` is renamed with the
    time of its last line and a new one begun; nothing is ever rewritten. Every line is flushed to the system."""

    def __init__(self, clock: Clock, path: Path | None = None, max_bytes: int = 50_000_000, keep: int = 1000) -> None:
        self._clock, self._path, self._max_bytes = clock, path, max_bytes
        self._lock = threading.Lock()
        self._file = None
        self.recent: deque[dict[str, Any]] = deque(maxlen=keep)

    def write(self, event: str, /, **fields: Any) -> None:
        line = {"time": round(self._clock.time(), 6), "event": event, **fields}
        with self._lock:
            self.recent.append(line)
            if self._path is not None:
                self._append(json.dumps(line, default=str, ensure_ascii=False) + "\n")

    def _append(self, text: str) -> None:
        assert self._path is not None
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8")
        self._file.write(text)
        self._file.flush()
        if self._file.tell() > self._max_bytes:
            self._file.close()
            self._file = None
            self._path.rename(_free_name(self._path, self._clock.time()))

    @contextmanager
    def command(self, event: str, caller: str, /, **args: Any) -> Iterator[dict[str, Any]]:
        """Log one command whatever its end; the block may put ``before`` and ``after`` into the dictionary."""
        entry: dict[str, Any] = {"caller": caller, **args}
        began = self._clock.now()
        try:
            yield entry
        except BaseException as error:
            entry["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
            raise
        finally:
            entry["ms"] = round(1e3 * (self._clock.now() - began), 3)
            self.write(event, **entry)

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                self._file = None

    @property
    def folder(self) -> Path | None:
        return None if self._path is None else self._path.parent


def _free_name(path: Path, time: float) -> Path:
    stem = f"{path.stem}-{int(time)}"
    names = (path.with_name(f"{stem}{f'-{k}' if k else ''}{path.suffix}") for k in range(10_000))
    return next(n for n in names if not n.exists())
