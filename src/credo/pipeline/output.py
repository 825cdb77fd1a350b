"""A command's output folder: new or its own earlier one, a report whatever happens, and reuse of unchanged work."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from credo import __version__
from credo.io.project import write_json
from credo.model import CannotDo, CredoError, UnreadableInput

__all__ = ["Output", "fingerprint", "run_command"]


def fingerprint(paths: Sequence[Path], settings: Any) -> str:
    """A hash of which files are given (names, sizes, times of change) and of the settings."""
    digest = hashlib.sha256()
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            stat = file.stat()
            digest.update(f"{file}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    digest.update(repr(settings).encode())
    digest.update(__version__.encode())
    return digest.hexdigest()


class Output:
    """``folder`` with the report of ``command``; refuses a folder that holds anything not made by that command."""

    def __init__(self, folder: Path, command: str, key: str = "") -> None:
        self.folder, self.command, self.key = Path(folder), command, key
        self._start = time.perf_counter()
        if self.folder.exists() and not self.folder.is_dir():
            raise UnreadableInput(f"{folder}: is a file", "give a new folder by --out")
        if self.folder.is_dir() and any(self.folder.iterdir()) and self._earlier().get("command") != command:
            raise UnreadableInput(
                f"{folder}: not empty, and not an earlier result of `credo {command}`", "give a new folder by --out"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotDo(f"{folder}: could not be made ({error.strerror})", "give another --out") from error

    @property
    def report_path(self) -> Path:
        return self.folder / "report.json"

    def _earlier(self) -> dict[str, Any]:
        try:
            report = json.loads(self.report_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return report if isinstance(report, dict) else {}

    def reusable(self) -> dict[str, Any] | None:
        """The earlier report, if it ended well with the same input, settings and version."""
        report = self._earlier()
        return report if report.get("ok") and self.key and report.get("input_hash") == self.key else None

    def write(self, numbers: dict[str, Any], ok: bool = True, reason: str = "") -> dict[str, Any]:
        """``report.json`` with the keys that every command has."""
        seconds = round(time.perf_counter() - self._start, 3)
        head = {"command": self.command, "version": __version__, "ok": ok, "reason": reason, "seconds": seconds}
        report = {**head, **numbers, "input_hash": self.key}
        write_json(self.report_path, report)
        return report


def run_command(output: Output, work: Callable[[], dict[str, Any]], force: bool = False) -> dict[str, Any]:
    """Do the work unless it is done already; the report is written also when it fails or is interrupted."""
    if not force and (earlier := output.reusable()):
        return {**earlier, "reused": True}
    try:
        return output.write(work())
    except CredoError as error:
        output.write({"remedy": error.remedy}, ok=False, reason=error.reason)
        raise
    except KeyboardInterrupt:
        output.write({}, ok=False, reason="interrupted")
        raise
    except MemoryError as error:
        output.write({}, ok=False, reason="not enough memory")
        raise CannotDo("not enough memory", "process fewer frames with --frames FIRST LAST") from error
    except OSError as error:
        reason = f"{error.filename or output.folder}: {error.strerror or error}"
        output.write({}, ok=False, reason=reason)
        raise CannotDo(reason, "check the disk and the permissions") from error
