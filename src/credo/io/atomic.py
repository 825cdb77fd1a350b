"""Write a file or folder so that it is either whole or not there: a temporary one beside it, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from credo.model.errors import CannotDo

__all__ = ["atomic_folder", "atomic_path", "atomic_write", "plain_write"]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; it becomes ``path`` when the block ends well, and vanishes when it does not.

    A full disk or an interruption leaves an earlier ``path`` as it was.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())  # noqa: PTH101 - mkstemp makes files private
        os.replace(temporary, path)  # noqa: PTH105 - replaces also on Windows
        temporary = None
    except OSError as error:
        raise CannotDo(
            f"{path}: could not be written ({error.strerror or error})", "free space, or choose another --out"
        ) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary stream that becomes ``path``, see :func:`atomic_path`."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        yield stream
        stream.flush()


def plain_write(path: Path, *parts: bytes | memoryview) -> None:
    """A new file of these parts, quickly: for the files of a folder that is atomic itself."""
    views = [memoryview(part).cast("B") for part in parts]
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            for view in views:
                while len(view):
                    view = view[os.write(handle, view) :]
        finally:
            os.close(handle)
    except OSError as error:
        raise CannotDo(
            f"{path}: could not be written ({error.strerror or error})", "free space, or choose another --out"
        ) from error


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` when the block ends well, and vanishes when it does not.

    A folder that holds something already is written to as it is.
    """
    path = Path(path)
    if path.is_dir() and any(path.iterdir()):
        yield path
        return
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.is_dir():
            path.rmdir()
        temporary.rename(path)
        temporary = None
    except OSError as error:
        raise CannotDo(
            f"{path}: could not be written ({error.strerror or error})", "free space, or choose another folder"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    """The permissions that the user's shell takes away (reading it means setting it)."""
    current = os.umask(0o022)
    os.umask(current)
    return current
