"""A program of somebody else: found on PATH, run in a folder without a shell, stopped when it takes too long."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from credo.model import CannotDo, UnreadableInput

__all__ = ["Program"]

#: What is quoted of a console in an error [characters].
_TAIL = 400


@dataclass(frozen=True)
class Program:
    """``name`` for people, ``commands``: what it is called on disk, ``home``: where it comes from."""

    name: str
    commands: tuple[str, ...]
    home: str

    def find(self, given: Path | None, folder: Path) -> Path:
        """The executable: ``given``, else the first of the commands on PATH. ``folder`` holds the input already."""
        if given is not None:
            if not Path(given).is_file() or not os.access(given, os.X_OK):
                raise UnreadableInput(f"{given}: is no program that can be run", f"give the path of {self.name} itself")
            return Path(given).resolve()
        for command in self.commands:
            found = shutil.which(command)
            if found:
                return Path(found)
        raise CannotDo(
            f"{self.name} is not on PATH (looked for {', '.join(self.commands)}); its input is in {folder}",
            f"install it from {self.home}, or give the path of the program",
        )

    def run(self, executable: Path, arguments: tuple[str, ...], folder: Path, seconds: float) -> str:
        """What it said; also in FOLDER/COMMAND.console. Exit codes are not documented by these programs: only an end
        by a signal counts as a failure here, the caller looks for the results."""
        console = folder / f"{self.commands[0]}.console"
        try:
            with console.open("wb") as out:
                process = subprocess.Popen(
                    [str(executable), *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=out,
                    stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            raise CannotDo(
                f"{self.name} ({executable}) could not be started in {folder}: {error.strerror}",
                "check that it is a program for this machine",
            ) from error
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise CannotDo(
                f"{self.name} was stopped after {seconds:g} s in {folder}", "allow it more time, or give fewer atoms"
            ) from None
        finally:
            _stop(process)
        said = console.read_bytes()[-(2**20) :].decode("utf-8", "replace")
        if code < 0:
            raise self.failed(folder, f"it was ended by signal {-code}", said)
        return said

    def failed(self, folder: Path, what: str, said: str = "") -> CannotDo:
        """The error for a run without result."""
        tail = " ".join(said[-_TAIL:].split())
        return CannotDo(
            f"{self.name} gave no result in {folder}: {what}" + (f" (it said: {tail})" if tail else ""),
            f"see what it wrote in {folder}; credo's own engine needs no other program",
        )


def _stop(process: subprocess.Popen) -> None:
    """End it with all that it started, whatever became of it."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
