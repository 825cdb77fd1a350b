"""A process beside the server that blanks, stops and puts the optics back when the server dies or hangs.

``python -m credo.instrument.watchdog CONFIG`` reads "alive" lines from its standard input. "bye" ends it; the end of
the input without it, or silence, means that the server is gone: then it opens the driver itself.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

from credo.instrument.audit import AuditLog
from credo.instrument.config import Configuration, load
from credo.instrument.drivers import open_driver
from credo.instrument.journal import Journal
from credo.instrument.settings_of import SettingsOf
from credo.model.errors import CredoError

__all__ = ["Watchdog", "rescue"]

_BEAT_S, _SILENCE_S = 1.0, 15.0


class Watchdog:
    """The server's side: starts the process and tells it that we live."""

    def __init__(self, config: Path) -> None:
        command = [sys.executable, "-m", "credo.instrument.watchdog", str(config)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        self._ended = threading.Event()
        threading.Thread(target=self._beat, name="credo-watchdog", daemon=True).start()

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_S):
            self._tell(b"alive\n")

    def _tell(self, line: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def close(self) -> None:
        """All is in order: the process ends without doing anything."""
        self._ended.set()
        self._tell(b"bye\n")
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)


def rescue(configuration: Configuration) -> list[str]:
    """Halt, blank, and put back what the journal holds; returns what could not be done. Each step is tried."""
    part, folder = configuration.microscope, configuration.global_.log_directory
    microscope = open_driver(part.driver, part.options)
    audit = AuditLog(microscope.clock, None if folder is None else folder / "watchdog.jsonl")
    failed: list[str] = []

    def put_back() -> None:
        kept = None if folder is None else Journal(folder / "journal.json").read()
        if kept is not None:
            SettingsOf(microscope).restore(kept.get("settings", {}))
            if microscope.stage.rotation_speeds.writable and kept.get("rotation_speed"):
                microscope.stage.set_rotation_speed(float(kept["rotation_speed"]))

    for name, step in (
        ("halt", microscope.halt),
        ("blank", lambda: microscope.blanker.blank(True)),
        ("put back", put_back),
    ):
        try:
            step()
        except CredoError as error:
            failed.append(f"{name}: {error.reason}")
    if not failed and folder is not None:
        Journal(folder / "journal.json").clear()
    audit.write("rescue", failed=failed)
    audit.close()
    microscope.close()
    return failed


def _server_lives() -> bool:
    """Wait for the end: True after "bye", False when the input ended without it or was silent."""
    said = b""
    while True:
        if sys.platform != "win32":  # pipes cannot be waited for there: only the end of the server is seen
            if not select.select([0], [], [], _SILENCE_S)[0]:
                return False
        piece = os.read(0, 4096)
        if not piece:
            return said.endswith(b"bye\n")
        said = (said + piece)[-16:]


def main(arguments: list[str]) -> int:
    """The process."""
    configuration = load(Path(arguments[1]))
    if _server_lives():
        return 0
    sys.stderr.write("credo watchdog: the instrument server is gone; blanking and putting the optics back\n")
    for attempt in range(3):
        try:
            failed = rescue(configuration)
        except CredoError as error:
            failed = [error.reason]
        if not failed:
            return 0
        time.sleep(2.0 * attempt)
    sys.stderr.write(f"credo watchdog: not done: {'; '.join(failed)}. LOOK AT THE INSTRUMENT.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
