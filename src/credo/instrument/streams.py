"""A camera's stream at the server: frames wait here for the client, the oldest is dropped when there are too many."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from credo.instrument.errors import InstrumentError, Stopped
from credo.instrument.protocols import Frame
from credo.instrument.safety import Guard, Run

__all__ = ["Stream"]

_BYTES = 512_000_000
_Done = Callable[[Any, Exception | None], None]


class Stream:
    """``run`` is the camera thread's part, ``next_to`` the client's: called back with a frame, None at the end, or the
    error. A gap in the frames' numbers tells what was dropped."""

    def __init__(
        self, guard: Guard, arguments: Mapping[str, Any], frames: int | None, run: Run, allowed: Callable[[], None]
    ) -> None:
        self._guard, self._arguments, self._frames = guard, arguments, frames
        self._on_hardware, self._allowed = run, allowed
        self._lock = threading.Lock()
        self._ready: deque[Frame] = deque()
        self._asked: deque[_Done] = deque()
        self._cancelled = threading.Event()
        self._error: Exception | None = None
        self.ended = False

    def run(self) -> None:
        camera, exposure = self._arguments.get("camera"), self._arguments["exposure"]
        binning = self._arguments.get("binning", 1)
        source = self._guard.stream(camera, exposure, binning, self._frames, self._on_hardware)
        try:
            for frame in source:
                self._put(frame)
                if self._cancelled.is_set():
                    break
                self._allowed()
        except InstrumentError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 (told to the client)
            self._error = Stopped(f"the stream failed: {type(error).__name__}: {error}")
        finally:
            try:
                source.close()  # type: ignore[attr-defined]
            except InstrumentError as error:
                self._error = self._error or error
            self._end()

    def cancel(self) -> None:
        """The stream ends after the frame that is being taken."""
        self._cancelled.set()

    def next_to(self, done: _Done) -> None:
        with self._lock:
            if not self._ready and not self.ended:
                self._asked.append(done)
                return
            frame = self._ready.popleft() if self._ready else None
        done(frame, self._error if frame is None else None)

    def _put(self, frame: Frame) -> None:
        with self._lock:
            if not self._asked:
                self._ready.append(frame)
                if len(self._ready) > max(2, _BYTES // max(frame.data.nbytes, 1)):
                    self._ready.popleft()
                return
            done = self._asked.popleft()
        done(frame, None)

    def _end(self) -> None:
        with self._lock:
            self.ended, waiting, self._asked = True, list(self._asked), deque()
        for done in waiting:
            done(None, self._error)
