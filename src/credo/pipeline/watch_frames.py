"""Frames as they arrive: a folder that fills with files, or one file that grows; each image once, in order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from credo.io.formats import open_frames
from credo.io.open import GeometryOverrides, open_experiment
from credo.io.series import NOT_FOLDERS, Series, rank, series_in
from credo.model import CredoError, Experiment

__all__ = ["Growing", "Image", "find_growing"]


@dataclass(frozen=True)
class Image:
    """``number`` as in the file's name or stack; ``data`` (ny, nx)."""

    number: int
    data: np.ndarray


class Growing:
    """One data set while it is written: files ``FOLDER/*SUFFIX`` that share a pattern, or a single stack.

    Files that cannot be read yet (they are being written) are tried again at the next poll. A file that stays
    unreadable while ``patience`` later ones come is left out.
    """

    def __init__(self, series: Series, overrides: GeometryOverrides | None = None, patience: int = 5) -> None:
        self.folder, self.first = series.folder, series.files[0]
        self.suffix = self.first.suffix
        self.overrides = overrides or GeometryOverrides()
        self._pattern, self._patience = _pattern(self.first), patience
        self._taken: set[str] = set()
        self._given_up: set[str] = set()
        self._images = 0
        self.stack = _is_stack(self.first)

    @property
    def key(self) -> tuple[str, str]:
        """The same for the same data set."""
        return str(self.folder.resolve()), self.first.name if self.stack else self._pattern + self.suffix

    @property
    def name(self) -> str:
        """The data set's own folder, or the stack's file."""
        place = Series(self.folder, (self.first,), np.array([1])).dataset
        return f"{place.name}/{self.first.stem}" if self.stack else place.name

    def new(self) -> Iterator[Image]:
        """Images that came since the last call."""
        yield from self._of_stack() if self.stack else self._of_files()

    def experiment(self, numbers: np.ndarray) -> Experiment:
        """The geometry that the files tell of the images ``numbers``, in that order; angles that nothing tells are a
        placeholder of 1° each, with a sentence in ``problems``."""
        if self.stack:
            found = open_experiment(self.first, self.overrides, need_angles=False).experiment
        else:
            files = sorted(self.folder / n for n in self._taken)
            paths: list[Path] | Path = files if len(files) > 1 else files[0]
            found = open_experiment(paths, self.overrides, need_angles=False).experiment
        rows = np.searchsorted(found.scan.numbers, numbers)
        rows = np.clip(rows, 0, len(found.scan) - 1)
        return found.replace(scan=found.scan.part(rows), source=str(self.folder.resolve()))

    def _of_files(self) -> Iterator[Image]:
        names = [e.name for e in os.scandir(self.folder) if e.name.endswith(self.suffix)]
        fresh = [
            n for n in names if n not in self._taken and n not in self._given_up and _pattern(Path(n)) == self._pattern
        ]
        for k, name in enumerate(sorted(fresh, key=_number)):
            path = self.folder / name
            try:
                data = open_frames(path).read(0)
            except CredoError:
                if len(fresh) - k > self._patience:
                    self._given_up.add(name)
                    continue
                return
            self._taken.add(name)
            yield Image(_number(name), data)

    def _of_stack(self) -> Iterator[Image]:
        try:
            file = open_frames(self.first)
            n = file.shape[0]
        except CredoError:
            return
        numbers = file.numbers if file.numbers is not None else np.arange(1, n + 1)
        while self._images < n:
            try:
                data = file.read(self._images)
            except CredoError:
                return
            self._images += 1
            yield Image(int(numbers[self._images - 1]), data)


def find_growing(root: Path, seen: set[tuple[str, str]], besides: set[Path]) -> list[Growing]:
    """Data sets below ``root`` that are not in ``seen``, one for each place; of several formats the preferred."""
    found: list[Growing] = []
    for where, inner, names in os.walk(root):
        folder = Path(where)
        inner[:] = sorted(
            d for d in inner
            if not d.startswith(".") and d not in NOT_FOLDERS and (folder / d).resolve() not in besides
        )  # fmt: skip
        series = sorted(series_in(folder, sorted(names)), key=lambda s: (rank(s), -len(s), str(s.files[0])))
        for s in series:
            try:
                growing = Growing(s)
            except (CredoError, OSError):
                continue
            if growing.key not in seen:
                seen.add(growing.key)
                found.append(growing)
    return found


def _pattern(path: Path) -> str:
    return re.sub(r"\d+", "#", path.stem)


def _number(name: str) -> int:
    digits = re.findall(r"\d+", Path(name).stem)
    return int(digits[-1][-18:]) if digits else 0


def _is_stack(path: Path) -> bool:
    try:
        return open_frames(path).shape[0] > 1 or path.suffix.lower() in (".h5", ".nxs", ".mrcs", ".tvips", ".mib")
    except CredoError:
        return path.suffix.lower() in (".h5", ".nxs", ".mrcs", ".tvips", ".mib")
