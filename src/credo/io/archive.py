"""Archives of frames (.tar, .tar.gz, .tar.bz2, .tar.xz, .zip): unpacked once, safely and within bounds, to a cache."""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from credo.io.frame_file import reading
from credo.model.errors import CannotDo, UnreadableInput

__all__ = ["cache_folder", "is_archive", "unpack"]

MAX_BYTES = 40 * 10**9
MAX_MEMBERS = 200_000
#: No archive of frames shrinks more than this; a bomb does.
MAX_RATIO = 1100
_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".zip")


def is_archive(path: Path) -> bool:
    """By its name."""
    return path.name.lower().endswith(_SUFFIXES) and path.is_file()


def cache_folder() -> Path:
    """``$CREDO_CACHE``, or the user's cache folder."""
    given = os.environ.get("CREDO_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return Path(base) / "credo" if base else Path.home() / ".cache" / "credo"


def unpack(path: Path) -> Path:
    """The folder with the archive's regular files; the same archive is unpacked only once."""
    with reading(path, "a readable file"):
        info = path.stat()
    key = hashlib.sha256(f"{path.resolve()}|{info.st_size}|{info.st_mtime_ns}".encode()).hexdigest()[:20]
    target = cache_folder() / "archives" / key
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=target.parent))
    except OSError as error:
        raise CannotDo(f"{target.parent}: {error.strerror}", "set CREDO_CACHE to a folder with space") from error
    try:
        with reading(path, "an archive"):
            try:
                _extract(path, temporary, min(MAX_BYTES, MAX_RATIO * info.st_size + 10**6))
            except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError) as error:
                raise ValueError(str(error)) from error
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        return target
    except OSError as error:
        raise CannotDo(f"{target}: {error.strerror}", "set CREDO_CACHE to a folder with space") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extract(path: Path, folder: Path, limit: int) -> None:
    total = 0
    for count, (name, stream) in enumerate(_members(path)):
        if count >= MAX_MEMBERS:
            raise UnreadableInput(f"{path}: more than {MAX_MEMBERS} files in it", "unpack it yourself")
        target = folder.joinpath(*_safe(path, name))
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            while block := stream.read(2**20):
                total += len(block)
                if total > limit:
                    raise UnreadableInput(
                        f"{path}: grows beyond {limit} bytes when unpacked", "unpack it yourself if you trust it"
                    )
                try:
                    out.write(block)
                except OSError as error:
                    raise CannotDo(f"{target}: {error.strerror}", "set CREDO_CACHE to a folder with space") from error


def _safe(path: Path, name: str) -> tuple[str, ...]:
    """The parts of a member's name, refused when they lead out of the folder."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0] or "\0" in name:
        raise UnreadableInput(f"{path}: holds {name!r}, which would be written elsewhere", "do not use this archive")
    return parts


def _members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and stream of every regular file, in the order of the archive."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for item in archive.infolist():
                kind = stat.S_IFMT(item.external_attr >> 16)
                if not item.is_dir() and kind in (0, stat.S_IFREG):
                    with archive.open(item) as stream:
                        yield item.filename, stream
        return
    with tarfile.open(path) as archive:
        for item in archive:
            if item.isreg() and (stream := archive.extractfile(item)) is not None:
                with stream:
                    yield item.name, stream
