"""From a configuration to a guarded instrument: the driver by its name, the log, the journal, the token."""

from __future__ import annotations

import os
from pathlib import Path

from credo.instrument.audit import AuditLog
from credo.instrument.config import Configuration
from credo.instrument.drivers import open_driver
from credo.instrument.errors import Refused
from credo.instrument.journal import Journal
from credo.instrument.safety import Guard

__all__ = ["open_guard", "read_token"]


def open_guard(configuration: Configuration) -> Guard:
    """Open the driver in this thread and set the guard before it. Log and journal go to ``global.log_directory``;
    without one the log is kept in memory only and there is no journal."""
    part, folder = configuration.microscope, configuration.global_.log_directory
    microscope = open_driver(part.driver, part.options)
    audit = AuditLog(microscope.clock, None if folder is None else folder / "instrument.jsonl")
    journal = None if folder is None else Journal(folder / "journal.json")
    return Guard(microscope, part.safety, audit, journal)


def read_token(path: Path | None) -> bytes | None:
    """The secret in ``path``, which others must not be able to read."""
    if path is None:
        return None
    try:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise Refused(f"others can read {path}", f"chmod 600 {path}")
        token = path.read_bytes().strip()
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}", "make one with `credo serve --new-token`") from None
    if not 16 <= len(token) <= 4096:
        raise Refused(f"{path}: a token has 16 bytes or more", "make one with `credo serve --new-token`")
    return token
