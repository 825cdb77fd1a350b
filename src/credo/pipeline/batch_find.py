"""Every data set below a folder, in any readable form, and what else is there and why it is not one."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from credo.io.archive import is_archive
from credo.io.formats import open_frames
from credo.io.instamatic import nearby
from credo.io.series import NOT_FOLDERS, Series, rank, same_frames, series_in
from credo.model import CredoError, UnreadableInput
from credo.pipeline.output import read_report

__all__ = ["Found", "Left", "Tree", "find_data_sets", "natural"]

#: Commands of ours whose folders hold frames, not results.
_SOURCES = ("simulate frames", "convert", "collect", "check")
#: Integrated intensities, of which the first in a folder is taken: they hold the same data.
_INTEGRATED = ("XDS_ASCII.HKL", "XDS_ASCII.HKL.gz", "INTEGRATE.HKL", "INTEGRATE.HKL.gz")
_SPOTS = ("SPOT.XDS", "strong.refl")
#: Products that are not one crystal's: they are named, but not read.
_PRODUCTS = (".hkl", ".mtz", ".fcf", ".ins", ".res", ".cif")
#: Fewer images than this are no rotation series.
FEWEST = 3


@dataclass(frozen=True)
class Found:
    """One data set. ``name``: its place below the root, unique; ``kind``: frames, intensities or spots; ``paths``: what
    is opened; ``files``: all that its result depends on; ``what``: a phrase for people."""

    name: str
    kind: str
    paths: tuple[Path, ...]
    files: tuple[Path, ...]
    what: str


@dataclass(frozen=True)
class Left:
    """A folder or file that was not read, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Tree:
    """Data sets in the order of their names, and the rest."""

    sets: tuple[Found, ...]
    left: tuple[Left, ...]


def find_data_sets(root: Path, besides: Sequence[Path] = ()) -> Tree:
    """Look through the folder ``root`` (or take one file), but for the folders ``besides``.

    Frames of one crystal in several formats are one data set; so are frames and what XDS or credo made of them, where
    the frames count. Several series in one folder are several data sets. Results of credo's other commands, images of
    the grid, and folders without data are left, each with a sentence.
    """
    root = Path(root)
    if not root.exists():
        raise UnreadableInput(f"{root}: no such file or folder", "check the path")
    look = _Look(root)
    if root.is_file():
        look.file(root)
    else:
        for folder, names in look.folders({Path(b).resolve() for b in besides}):
            look.folder(folder, names)
    look.group()
    return Tree(tuple(sorted(look.sets, key=lambda s: natural(s.name))), tuple(look.left))


def natural(name: str) -> list[tuple[int, int, str]]:
    """x2 before x10."""
    import re

    return [(0, int(p[-18:]), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", name) if p]


class _Look:
    """What was seen so far."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sets: list[Found] = []
        self.left: list[Left] = []
        self._series: dict[Path, list[Series]] = defaultdict(list)
        self._integrated: list[tuple[Path, str, str]] = []
        self._processed: list[tuple[Path, list[str]]] = []

    def folders(self, besides: set[Path]) -> Iterator[tuple[Path, list[str]]]:
        for where, inner, names in os.walk(self.root):
            folder = Path(where)
            inner[:] = sorted(d for d in inner if not d.startswith("."))
            aside = [d for d in inner if d in NOT_FOLDERS]
            self.left += [Left(folder / d, "pictures of the crystal, or nothing of ours") for d in aside]
            inner[:] = [d for d in inner if d not in aside and (folder / d).resolve() not in besides]
            command = read_report(folder).get("command") if "report.json" in names else None
            if command is not None and command not in _SOURCES:
                inner[:] = []
                self._result(folder, str(command))
                continue
            yield folder, sorted(n for n in names if not n.startswith("."))

    def _result(self, folder: Path, command: str) -> None:
        """A folder that credo made: that of a processed crystal is a data set, unless its frames are here too."""
        report = read_report(folder)
        if command == "process" and report.get("ok") and (folder / "reflections.h5").is_file():
            self._processed.append((folder, [str(p) for p in report.get("input", [])]))
        else:
            self.left.append(Left(folder, f"a result of `credo {command}`"))

    def folder(self, folder: Path, names: list[str]) -> None:
        series = series_in(folder, names)
        for s in series:
            inside = self.root in (s.dataset, *s.dataset.parents)
            self._series[s.dataset if inside else self.root].append(s)
        for name in names:
            if is_archive(folder / name) and not any(len(s) >= 10 for s in series):
                self._archive(folder / name)
        for kind, known in (("intensities", _INTEGRATED), ("spots", _SPOTS)):
            first = next((n for n in known if n in names), None)
            if first:
                self._integrated.append((folder, kind, first))
                break
        else:
            self._lists(folder, names)
        if not names and not any(folder.iterdir()):
            self.left.append(Left(folder, "empty"))

    def _lists(self, folder: Path, names: list[str]) -> None:
        """Reflections of DIALS, PETS and others in a folder without those of XDS."""
        pets = [n for n in names if n.lower().endswith(".cif_pets")]
        dials = [n for n in names if n.lower().endswith(".refl") and Path(n).stem + ".expt" in names]
        best = next((n for k in ("scaled", "integrated") for n in dials if Path(n).stem.startswith(k)), None)
        if pets or best:
            self._integrated.append((folder, "intensities", pets[0] if pets else str(best)))
            return
        products = [n for n in names if Path(n).suffix.lower() in _PRODUCTS]
        if products and not any(n == "experiment.json" for n in names):
            self.left.append(
                Left(folder / products[0], "a merged product or a model: for `credo merge` or `credo solve`")
            )

    def _archive(self, path: Path) -> None:
        """Unpacked only when it is processed."""
        name = self._name(path.with_name(path.name.split(".")[0]))
        self.sets.append(Found(name, "frames", (path,), (path,), "an archive"))

    def file(self, path: Path) -> None:
        """One file given instead of a folder."""
        kind = "frames" if is_archive(path) or path.suffix.lower() not in (".hkl", ".refl", ".xds") else "intensities"
        self.sets.append(Found(path.stem, kind, (path,), (path,), path.name))

    def group(self) -> None:
        """Series to data sets, and what was integrated where there are no frames."""
        for place, found in sorted(self._series.items()):
            self._of_place(place, sorted(found, key=lambda s: (-len(s), str(s.files[0]))))
        frames = list(self.sets)
        places = {p for p, found in self._series.items() if any(len(x) >= FEWEST for x in found)}
        for folder, kind, name in self._integrated:
            near = next((p for p in places if p == folder or (p != self.root and p in folder.parents)), None)
            if near is not None:
                self.left.append(Left(folder / name, f"made from the frames in {near}, which are processed instead"))
            else:
                self._add(folder, kind, (folder / name,), f"{name}, {kind} of one crystal")
        taken = {str(p.resolve()) for s in frames for q in s.files for p in (q, q.parent, q.parent.parent)}
        for folder, given in self._processed:
            if set(given) & taken:
                self.left.append(Left(folder, "made by `credo process` from frames that are processed here"))
            else:
                self._add(folder, "intensities", (folder / "experiment.json",), "a result of `credo process`")

    def _of_place(self, place: Path, found: list[Series]) -> None:
        """The data sets among series that share a folder."""
        rest, sets = found, []
        while rest:
            best = rest[0]
            copies = [s for s in rest if s is best or (len(best) >= FEWEST and same_frames(s, best))]
            rest = [s for s in rest if s not in copies]
            if sets and 4 * len(best) < len(sets[0]):
                self.left += [Left(s.folder, f"{_count(s)}: other pictures of {place.name}") for s in copies]
                continue
            sets.append(min(copies, key=lambda s: (rank(s), str(s.folder))))
            again = [s for s in copies if s is not sets[-1]]
            self.left += [Left(s.folder, f"{_count(s)}: the frames of {place.name} again") for s in again]
        for s in sets:
            self._of_series(place, s, len(found) == 1 or len(sets) == 1)

    def _of_series(self, place: Path, series: Series, alone: bool) -> None:
        try:
            n = open_frames(series.files[0]).shape[0]
        except CredoError as error:
            if len(series) < FEWEST:
                self.left.append(Left(series.files[0], error.reason.removeprefix(f"{series.files[0]}: ")))
                return
            n = 1
        if n >= FEWEST:
            stacks = series.files
            for file in stacks:
                one = alone and len(stacks) == 1
                what = f"{n} images in {file.name}" if one else f"images in {file.name}"
                self._frames(place if one else place / file.stem, (file,), one, what)
        elif len(series) < FEWEST:
            self.left.append(Left(series.files[0], f"{_count(series)}: too few for a rotation series"))
        else:
            name = place if alone else place / _stem(series)
            self._frames(name, series.files, alone, _count(series))

    def _frames(self, name: Path, files: tuple[Path, ...], alone: bool, what: str) -> None:
        """The folder is opened where nothing else lies in it, for what stands beside the frames counts."""
        folder = files[0].parent
        beside = [p for p in nearby(folder).values() if p.is_file()]
        project = folder / "experiment.json"
        paths = (folder,) if alone and (project.is_file() or len(files) > 1) else files
        more = [*beside, *([project] if alone and project.is_file() else [])]
        self.sets.append(Found(self._name(name), "frames", paths, (*files, *more), what))

    def _add(self, folder: Path, kind: str, files: tuple[Path, ...], what: str) -> None:
        also = [p for f in files for n in ("reflections.h5", f"{f.stem}.expt", "XPARM.XDS", "XDS.INP")
                if (p := f.with_name(n)).is_file()]  # fmt: skip
        self.sets.append(Found(self._name(folder), kind, files, (*files, *also), what))

    def _name(self, path: Path) -> str:
        """Below the root, in use once."""
        try:
            name = path.relative_to(self.root).as_posix()
        except ValueError:
            name = path.name
        name = self.root.resolve().name if name in (".", "") else name
        used = {s.name for s in self.sets}
        base, i = name, 2
        while name in used:
            name, i = f"{base}-{i}", i + 1
        return name


def _count(series: Series) -> str:
    return f"{len(series)} {series.files[0].suffix.lstrip('.').upper()} images"


def _stem(series: Series) -> str:
    """What the names of a series have in common."""
    first, last = series.files[0].stem, series.files[-1].stem
    n = next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), len(first))
    return first[:n].rstrip("_-. 0123456789") or first
