"""Which files of a folder belong to one rotation series, and the number of each frame, from the file's name."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from credo.io.formats import frame_suffixes
from credo.model.errors import UnreadableInput

__all__ = ["Series", "choose_series", "find_series", "rank", "same_frames", "series_in", "series_of"]

MAX_FILES = 500_000
MAX_DEPTH = 6
#: Tables that XDS keeps as images, and credo's own files.
_NOT_FRAMES = re.compile(
    r"(x-?corr(ections)?|y-?corr(ections)?|gx-corr|gy-corr|bkgpix|bkginit|abs|absorp|decay|modpix|gain|blank|frame|"
    r"gxparm|reflections|shadow|mask|flatfield.*|.*_pxmask.*)\.(cbf|h5|tiff?)",
    re.IGNORECASE,
)
#: Instamatic's real-space images taken while a crystal is tracked.
NOT_FOLDERS = {"tiff_image", "__pycache__", "node_modules"}
#: Folders that only say the format: the data set is the folder above them.
_FORMAT_FOLDERS = {"smv", "data", "tiff", "tif", "red", "mrc", "cbf", "img", "frames", "images", "raw", "diff"}
_PREFERENCE = [".h5", ".nxs", ".img", ".smv", ".cbf", ".tiff", ".tif", ".mrc"]
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Series:
    """``files`` in the order of their ``numbers``, all in ``folder``; ``ordered``: numbers are only a count."""

    folder: Path
    files: tuple[Path, ...]
    numbers: np.ndarray
    ordered: bool = False

    def __len__(self) -> int:
        return len(self.files)

    @property
    def dataset(self) -> Path:
        """The folder of the whole data set, above SMV/data, tiff, RED and the like."""
        folder = self.folder
        while folder.name.lower() in _FORMAT_FOLDERS and folder.parent != folder:
            folder = folder.parent
        return folder

    def __str__(self) -> str:
        return f"{self.folder} ({len(self)} x {self.files[0].suffix})"


def find_series(root: Path) -> list[Series]:
    """Every series of files at or below a folder, the longest first."""
    found: list[Series] = []
    count = 0
    for folder, inner, names in os.walk(root):
        depth = len(Path(folder).relative_to(root).parts)
        inner[:] = sorted(d for d in inner if d not in NOT_FOLDERS and not d.startswith(".") and depth < MAX_DEPTH)
        if "report.json" in names and Path(folder) != root:
            # what credo wrote about an earlier run
            inner[:] = []
            continue
        count += len(names)
        if count > MAX_FILES:
            raise UnreadableInput(f"{root}: more than {MAX_FILES} files below it", "give the folder of one data set")
        found += series_in(Path(folder), names)
    return sorted(found, key=lambda s: (-len(s), str(s.files[0])))


def series_in(folder: Path, names: list[str]) -> list[Series]:
    """The series among the files ``names`` of one folder, in no order."""
    groups: dict[tuple[str, str], list[Path]] = defaultdict(list)
    suffixes = frame_suffixes()
    for name in names:
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a Path for each of many thousand names is slow
        if suffix.lower() in suffixes and not name.startswith(".") and not _NOT_FRAMES.fullmatch(name):
            if _is_part(stem, suffix.lower(), names):
                continue
            groups[suffix.lower(), _DIGITS.sub("#", stem)].append(Path(folder, name))
    return [series_of(files) for files in groups.values()]


def _is_part(stem: str, suffix: str, names: list[str]) -> bool:
    """Whether another file, the recording's first or the master file, brings this one with it."""
    if suffix == ".tvips":
        return re.search(r"_0*[1-9]\d*$", stem) is not None
    part = re.fullmatch(r"(.+?)_(data_)?\d+", stem) if suffix in (".h5", ".ser") else None
    if part is None:
        return False
    owners = [f"{part[1]}_master.h5", f"{part[1]}.nxs"] if suffix == ".h5" else [f"{part[1]}.emi"]
    return any(owner in names for owner in owners)


def series_of(files: list[Path]) -> Series:
    """The files of one series, numbered by the part of the name that counts."""
    runs = [[int(d[-18:]) for d in _DIGITS.findall(f.stem)] for f in files]
    numbers = _counting(runs)
    ordered = numbers is None
    if numbers is None:
        files = sorted(files, key=lambda f: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", f.name)])
        numbers = np.arange(1, len(files) + 1)
    order = np.argsort(numbers, kind="stable")
    return Series(files[0].parent, tuple(files[i] for i in order), numbers[order], ordered)


def _counting(runs: list[list[int]]) -> np.ndarray | None:
    """The run of digits that differs from file to file and is densest; ``None`` where there is none."""
    if len({len(r) for r in runs}) != 1:
        return None
    table = np.array(runs, dtype=np.int64)
    if table.shape[1] == 0:
        return None
    if len(table) == 1:
        return table[:, -1]
    dense = {}
    for k in range(table.shape[1]):
        span = int(table[:, k].max() - table[:, k].min())
        if len(np.unique(table[:, k])) == len(table) and span <= 50 * len(table) + 1000:
            dense[k] = span
    return table[:, min(dense, key=lambda k: (dense[k], -k))] if dense else None


def choose_series(found: list[Series], root: Path) -> tuple[Series, tuple[str, ...]]:
    """The one series of a folder, and sentences about what was left aside; several data sets are an error."""
    if not found:
        raise UnreadableInput(
            f"{root}: no frames in it or below it", f"frames end in {', '.join(sorted(frame_suffixes()))}"
        )
    best = found[0]
    copies = [s for s in found if s.dataset == best.dataset and same_frames(s, best)]
    best = min(copies, key=lambda s: (rank(s), str(s.folder)))
    notes = [f"{s.folder.name or s.folder}: the same frames again, left aside." for s in copies if s is not best]
    others = [s for s in found if s not in copies]
    rivals = [s for s in others if 4 * len(s) >= len(best)]
    if rivals:
        listed = "; ".join(str(s) for s in [best, *rivals][:8])
        raise UnreadableInput(
            f"{root}: holds {1 + len(rivals)} series of frames: {listed}",
            "give the folder of one of them, or use `credo batch` for all",
        )
    if others:
        listed = ", ".join(f"{s.folder.name}/ ({len(s)} {s.files[0].suffix})" for s in others[:5])
        notes.append(f"Other images below the folder were left aside: {listed}.")
    return best, tuple(notes)


def same_frames(a: Series, b: Series) -> bool:
    """Whether two series are one in two places or formats.

    In one format the files must have the same names (others are other pictures, such as real-space images of the
    crystal); in two formats the numbers must agree, where one may lack those that the other fills up with zeros.
    """
    if a is b:
        return True
    if a.files[0].suffix == b.files[0].suffix:
        names = {f.name for f in a.files} & {f.name for f in b.files}
        return a.folder != b.folder and len(names) >= 0.8 * max(len(a), len(b))
    common = len(np.intersect1d(a.numbers, b.numbers))
    return common >= 0.8 * max(len(a), len(b)) or (common == min(len(a), len(b)) > 0.1 * max(len(a), len(b)))


def rank(series: Series) -> int:
    """The formats' order of preference where the same frames are there twice, 0 first."""
    suffix = series.files[0].suffix.lower()
    return _PREFERENCE.index(suffix) if suffix in _PREFERENCE else len(_PREFERENCE)
