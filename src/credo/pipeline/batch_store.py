"""The project folder of a batch: who works in it, which data set has which number, and the state of each."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from credo.model import CannotDo

__all__ = ["Store", "alone_in", "stamp_of"]

_TABLES = """
create table if not exists datasets (
  number integer primary key, name text not null unique, kind text not null, what text not null, place text not null,
  stamp text not null default '', key text not null default '', content text not null default '',
  state text not null default 'new', reason text not null default '', phase text not null default '',
  numbers text not null default '{}'
);
create table if not exists phases (
  name text primary key, key text not null, state text not null, numbers text not null default '{}'
);
"""


@contextmanager
def alone_in(folder: Path, patience_s: float = 20.0) -> Iterator[int]:
    """The right to work in a folder, which ends with the process and its children; yields the lock's descriptor.

    Children of a run that was killed may need a moment to end: so long it waits.
    """
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        end = time.monotonic() + patience_s
        while not _locked(handle):
            if time.monotonic() > end:
                raise CannotDo(f"{folder}: another `credo batch` works in it", "wait for it, or give another --out")
            time.sleep(0.1)
        yield handle
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    if os.name == "posix":
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
    import msvcrt

    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        return False
    return True


def stamp_of(files: Sequence[Path]) -> str:
    """Names, sizes and times of change: where these are the same, the content is not read again."""
    digest = hashlib.sha256()
    for path in files:
        try:
            info = path.stat()
        except OSError:
            digest.update(f"{path}|gone\n".encode())
            continue
        digest.update(f"{path}|{info.st_size}|{info.st_mtime_ns}\n".encode())
    return digest.hexdigest()


class Store:
    """``catalogue.sqlite`` and the folders it speaks of. Only one process writes to it (see :func:`alone_in`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._db = sqlite3.connect(self.folder / "catalogue.sqlite")
        self._db.row_factory = sqlite3.Row
        try:
            self._db.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            raise CannotDo(
                f"{self.folder / 'catalogue.sqlite'}: {error}", "remove it: nothing that was processed is lost"
            ) from error
        # what a kill left half done, of data sets, of phases, and of what is made within a phase's folder
        for part in ("crystals/.*.part", "phases/**/.*.part", ".first/**/.*.part"):
            for left in list(self.folder.glob(part)):
                shutil.rmtree(left, ignore_errors=True)

    def close(self) -> None:
        self._db.close()

    def number(self, name: str, kind: str, what: str, place: str) -> int:
        """That of a data set, the next free one where it is new."""
        with self._db:
            self._db.execute(
                "insert into datasets (number, name, kind, what, place) "
                "values ((select coalesce(max(number), 0) + 1 from datasets), ?, ?, ?, ?) "
                "on conflict (name) do update set kind = excluded.kind, what = excluded.what, place = excluded.place",
                (name, kind, what, place),
            )
        return int(self.row(name)["number"])

    def crystal(self, number: int) -> Path:
        return self.folder / "crystals" / f"{number:04d}"

    def row(self, name: str) -> dict[str, Any]:
        """A data set's entry; empty where there is none."""
        found = self._db.execute("select * from datasets where name = ?", (name,)).fetchone()
        return {} if found is None else {**dict(found), "numbers": json.loads(found["numbers"])}

    def settle(self, name: str, **columns: Any) -> None:
        """Change a data set's entry: any of stamp, key, content, state, reason, phase, numbers."""
        if "numbers" in columns:
            columns["numbers"] = json.dumps(columns["numbers"], sort_keys=True)
        assert set(columns) <= {"stamp", "key", "content", "state", "reason", "phase", "numbers"}
        text = ", ".join(f"{k} = ?" for k in columns)
        with self._db:
            self._db.execute(f"update datasets set {text} where name = ?", (*columns.values(), name))

    def set_phases(self, phases: Sequence[tuple[str, str, str, dict[str, Any]]]) -> None:
        """All phases (name, key, state, numbers); folders of others are removed."""
        with self._db:
            self._db.execute("delete from phases")
            rows = [(n, k, s, json.dumps(v, sort_keys=True)) for n, k, s, v in phases]
            self._db.executemany("insert into phases values (?, ?, ?, ?)", rows)
        names = {p[0] for p in phases}
        if (self.folder / "phases").is_dir():
            for path in (self.folder / "phases").iterdir():
                if path.is_dir() and path.name not in names:
                    with suppress(OSError):
                        shutil.rmtree(path)
