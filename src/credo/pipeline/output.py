"""A command's output folder: new or its own earlier one, a report whatever happens, and reuse of unchanged work."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from credo import __version__
from credo.io.project import write_json
from credo.model import CannotDo, CredoError, UnreadableInput
from credo.pipeline.provenance import MANIFEST, Given, file_hash, given, record, result_files, write_manifest

__all__ = ["Output", "default_folder", "files_to_read", "fingerprint", "read_report", "run_command"]

_STAGING = ".unfinished"


def fingerprint(paths: Sequence[Path], settings: Any) -> str:
    """A hash of which files are given (names, sizes, times of change), of the settings and of the version."""
    digest = hashlib.sha256()
    for path in paths:
        for file in _input_files(path) if path.is_dir() else [path]:
            stat = file.stat()
            digest.update(f"{file}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    digest.update(repr(settings).encode())
    digest.update(__version__.encode())
    return digest.hexdigest()


def _input_files(root: Path) -> list[Path]:
    """All files below a folder, but for what credo wrote about earlier runs."""
    found: list[Path] = []
    for folder, inner, names in os.walk(root):
        if "report.json" in names and Path(folder) != root:
            inner[:] = []
        else:
            found += [file for name in names if (file := Path(folder, name)).is_file()]
    return sorted(found)


def files_to_read(root: Path) -> list[Path]:
    """The files of a folder that a command reads: those of data, or what an earlier command left there for others."""
    report = read_report(root)
    return result_files(root, report) if report.get("files") else _input_files(root)


def read_report(folder: Path) -> dict[str, Any]:
    """The ``report.json`` in a folder; empty where there is none that can be read."""
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def default_folder(command: str, paths: Sequence[Path]) -> Path:
    """``NAME-command`` in the current folder; numbered where that name holds the result of other input.

    Nothing is made for a path that does not exist: it is most likely misspelt.
    """
    for path in paths:
        if not path.exists():
            raise UnreadableInput(f"{path}: no such file or folder", "check the path")
    name = paths[0].resolve().name.split(".")[0] if paths else ""
    base = f"{name}-{command}" if name else command
    given = [str(p.resolve()) for p in paths]
    for i in range(1, 10_000):
        folder = Path(base if i == 1 else f"{base}-{i}")
        if not folder.exists():
            return folder
        earlier = read_report(folder)
        if earlier.get("command") == command and earlier.get("input") == given:
            return folder
    raise CannotDo(f"{base}: there are ten thousand of them", "give a new folder by --out")


class Output:
    """``folder`` with the report of ``command``; refuses a folder that holds anything not made by that command.

    ``inputs``: what people gave; ``beside``: what is read besides; ``settings``: a model, a mapping, or a tuple of
    these, which the report tells; ``hashed``: false where the inputs are too large to read for what is done with them.
    """

    def __init__(
        self, folder: Path, command: str, key: str = "", inputs: Sequence[Path] = (), settings: Any = None,
        beside: Sequence[Path] = (), hashed: bool = True,
    ) -> None:  # fmt: skip
        self.folder, self.command, self.key, self.settings = Path(folder), command, key, settings
        self._read = list(dict.fromkeys(Path(p).resolve() for p in (*inputs, *beside))) if hashed else []
        self._given = [str(p) for p in inputs]
        self._inputs = [str(Path(p).resolve()) for p in inputs]
        self._start = time.perf_counter()
        self._refuse_foreign()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotDo(f"{folder}: could not be made ({error.strerror})", "give another --out") from error
        self.earlier = read_report(self.folder)

    def _refuse_foreign(self) -> None:
        folder = self.folder
        if str(folder.resolve()) in self._inputs:
            raise UnreadableInput(f"{folder}: is the input itself", "give another folder by --out")
        if folder.exists() and not folder.is_dir():
            raise UnreadableInput(f"{folder}: is a file", "give a new folder by --out")
        # a kill may leave the report's own temporary file, and nothing else
        there = folder.is_dir() and any(p for p in folder.iterdir() if not p.match(".report.json.*.part"))
        if there and read_report(folder).get("command") != self.command:
            raise UnreadableInput(
                f"{folder}: not empty, and not an earlier result of `credo {self.command}`",
                "give a new folder by --out",
            )

    @property
    def report_path(self) -> Path:
        return self.folder / "report.json"

    @property
    def hidden(self) -> Path:
        """Where files lie until all of them are done."""
        return self.folder / _STAGING

    def placed(self, reason: str) -> str:
        """``reason`` with the folder that people named instead of the hidden one, and with the input's name."""
        reason = reason.replace(str(self.hidden), str(self.folder))
        known = (*self._given, *self._inputs, str(self.folder))
        return reason if not self._given or any(name in reason for name in known) else f"{self._given[0]}: {reason}"

    def reusable(self) -> dict[str, Any] | None:
        """The earlier report, if it ended well with the same input, settings and version."""
        report = self.earlier
        whole = all((self.folder / name).exists() for name in report.get("files", ()))
        same = bool(self.key) and report.get("input_hash") == self.key
        return report if report.get("ok") and same and whole else None

    def write(self, numbers: dict[str, Any], files: Sequence[str], ok: bool = True, reason: str = "") -> dict[str, Any]:
        """``report.json`` with the keys that every command has; ``files``: what lies beside it, made by us."""
        seconds = round(time.perf_counter() - self._start, 3)
        if ok and "provenance" not in numbers:
            numbers = {**numbers, "provenance": self.provenance(self.read_hashes(), self.folder, files)}
        head = {"command": self.command, "version": __version__, "ok": ok, "reason": reason, "seconds": seconds}
        report = {**head, **numbers, "input": self._inputs, "files": list(files), "input_hash": self.key}
        write_json(self.report_path, report)
        return report

    def read_hashes(self) -> list[tuple[Given, dict[str, str]]]:
        """The hashes of every input as it is now."""
        here = self.folder.resolve()
        return [given(p, files_to_read(p) if p.is_dir() else [], here) for p in self._read if p.exists()]

    def provenance(
        self, read: Sequence[tuple[Given, dict[str, str]]], place: Path, files: Sequence[str]
    ) -> dict[str, Any]:
        """Where the result comes from: what was ``read``, and the hashes of the ``files`` that now lie in ``place``."""
        written = {name: file_hash(place / name) for name in files if (place / name).is_file()}
        return record(self.settings, [entry for entry, _ in read], written)

    def fail(self, reason: str, remedy: str = "", **more: Any) -> None:
        """The report of a failure; the files of an earlier run stay. A full disk must not hide the first error."""
        with suppress(CredoError):
            self.write({**more, "remedy": remedy}, self.earlier.get("files", ()), ok=False, reason=reason)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A hidden folder whose files move into ``folder`` when the block ends well, and vanish when it does not."""
        hidden = self.hidden
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir()
        try:
            yield hidden
            for name in set(self.earlier.get("files", ())) - set(_files(hidden)):
                (self.folder / name).unlink(missing_ok=True)
            for name in _files(hidden):
                target = self.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                (hidden / name).replace(target)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def _files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def run_command(output: Output, work: Callable[[Path], dict[str, Any]], force: bool = False) -> dict[str, Any]:
    """Do the work unless it is done already; ``work(folder)`` writes its files into ``folder`` and returns the keys
    of the report, which is written also when the work fails, is interrupted or, as a first word, killed."""
    if not force and (earlier := output.reusable()):
        return {**earlier, "reused": True}
    try:
        output.write({}, output.earlier.get("files", ()), ok=False, reason="unfinished: still running, or killed")
        read = output.read_hashes()
        with output.staging() as folder:
            numbers = work(folder)
            write_manifest(folder / MANIFEST, read)
            files = _files(folder)
            origin = output.provenance(read, folder, files)
        return output.write({**numbers, "provenance": origin}, files)
    except CredoError as error:
        error.reason = output.placed(error.reason)
        output.fail(error.reason, error.remedy, **error.numbers)
        raise
    except KeyboardInterrupt:
        output.fail("interrupted", "run it again")
        raise
    except MemoryError as error:
        raise _failed(output, "not enough memory", "use fewer frames: --frames FIRST LAST") from error
    except OSError as error:
        reason = f"{error.filename or output.folder}: {error.strerror or error}"
        raise _failed(output, reason, "check the disk and the permissions") from error
    except Exception as error:
        reason = f"a mistake in credo: {type(error).__name__}: {error}"
        remedy = f"please report it, with {output.report_path}"
        raise _failed(output, reason, remedy, traceback=traceback.format_exc()) from error


def _failed(output: Output, reason: str, remedy: str, **more: Any) -> CannotDo:
    output.fail(reason, remedy, **more)
    return CannotDo(reason, remedy)
