"""What report.json tells of where a result comes from: hashes of what was read and written, settings, versions."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from credo import __version__
from credo.io.text import write_text

__all__ = [
    "MANIFEST",
    "Given",
    "digest_of",
    "file_hash",
    "given",
    "hash_if_readable",
    "record",
    "result_files",
    "write_manifest",
]

#: The hash of every file of the folders that were read, in the form that ``sha256sum -c`` checks.
MANIFEST = "inputs.sha256"

#: Written for people, or about the run: no other command reads them, and they hold dates.
_ABOUT = (".html", "report.json", MANIFEST)
#: Stands for the hash of a file that could not be read.
UNREADABLE = "unreadable"
_LIBRARIES = ("numpy", "scipy", "numba", "gemmi", "h5py")

Given = dict[str, Any]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_if_readable(path: Path) -> str:
    """A word instead of the hash where the file cannot be read: it may be none that the command needs."""
    try:
        return file_hash(path)
    except OSError:
        return UNREADABLE


def result_files(folder: Path, report: Mapping[str, Any]) -> list[Path]:
    """What a command left in its folder for others to read, of what its report lists."""
    names = [str(n) for n in report.get("files", ()) if not str(n).endswith(_ABOUT)]
    return sorted(path for n in names if (path := folder / n).is_file())


def digest_of(hashes: Mapping[str, str]) -> str:
    """One hash of a folder: of the lines ``hash  name`` of its files, in the order of their names."""
    lines = "".join(f"{h}  {name}\n" for name, h in sorted(hashes.items()))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def given(path: Path, files: Sequence[Path], folder: Path) -> tuple[Given, dict[str, str]]:
    """One input as report.json tells it, and for a folder the hash of each of its ``files`` by its name in there.

    path: absolute; the entry also holds the way to it from ``folder``, so that both can be moved together.
    """
    entry: Given = {"path": str(path), "from_here": _relative(path, folder)}
    if path.is_file():
        return entry | {"sha256": hash_if_readable(path), "files": 1, "bytes": path.stat().st_size}, {}
    files = [f for f in files if f.is_file()]
    hashes = {f.relative_to(path).as_posix(): hash_if_readable(f) for f in files}
    size = sum(f.stat().st_size for f in files)
    return entry | {"sha256": digest_of(hashes), "files": len(files), "bytes": size}, hashes


def _relative(path: Path, folder: Path) -> str | None:
    """None across drives."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return None


def write_manifest(path: Path, inputs: Iterable[tuple[Given, Mapping[str, str]]]) -> None:
    """The hashes of every file of every folder among the inputs; no file when there is no folder."""
    lines = [
        f"{h}  {(entry['from_here'] or entry['path'])}/{name}"
        for entry, hashes in inputs
        for name, h in sorted(hashes.items())
        if h != UNREADABLE
    ]
    # sha256sum has a form of its own for such names
    lines = [line for line in lines if "\n" not in line and "\\" not in line and line.isprintable()]
    if lines:
        write_text(path, "\n".join(lines) + "\n")


def record(settings: Any, inputs: Sequence[Given], outputs: Mapping[str, str]) -> dict[str, Any]:
    """The part ``provenance`` of report.json; ``settings``: a model, a mapping, or a tuple of these."""
    everything, changed = _settings(settings)
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"), "settings": everything, "changed": changed,
        "versions": dict(_versions()), "inputs": list(inputs), "outputs": dict(outputs),
    }  # fmt: skip


def _settings(settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """All settings, and those that are not the default."""
    everything: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    for part in settings if isinstance(settings, tuple) else (settings,):
        if isinstance(part, BaseModel):
            values = part.model_dump(mode="json")
            fields = type(part).model_fields
            plain = {n: f.get_default(call_default_factory=True) for n, f in fields.items() if not f.is_required()}
            other = {n: v for n, v in values.items() if n not in plain or getattr(part, n) != plain[n]}
        else:
            values = dict(part or {})
            other = {n: v for n, v in values.items() if v is not None}
        everything |= values
        changed |= other
    return everything, changed


@lru_cache(maxsize=1)
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("credo", __version__), ("python", platform.python_version())]
    for name in _LIBRARIES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)
