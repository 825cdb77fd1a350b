"""The registry of frame formats: which reader knows a file, by its content first and its name second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from credo.io.frame_file import FrameFile
from credo.model.errors import UnreadableInput

__all__ = ["FORMATS", "FrameFormat", "format_of", "frame_suffixes", "open_frames"]


@dataclass(frozen=True)
class FrameFormat:
    """``module`` offers sniff(path) -> bool and read(path) -> FrameFile, and is imported when first needed.

    ``likely``: suffixes that make it the first to be asked; ``magic``: it knows its files by their content alone.
    """

    name: str
    module: str
    likely: tuple[str, ...]
    magic: bool = True

    def sniff(self, path: Path) -> bool:
        """Whether the file is of this format."""
        return import_module(self.module).sniff(path)

    @property
    def read(self) -> Callable[[Path], FrameFile]:
        """Opens one file: its headers are read and checked, its images are not."""
        return import_module(self.module).read


FORMATS = (
    FrameFormat("SMV", "credo.io.smv", (".img", ".smv")),
    FrameFormat("TIFF", "credo.io.tiff", (".tif", ".tiff")),
    FrameFormat("MRC", "credo.io.mrc", (".mrc", ".mrcs", ".st")),
    FrameFormat("CBF", "credo.io.cbf", (".cbf",)),
    FrameFormat("NXmx", "credo.io.nxmx", (".nxs", ".h5", ".hdf5")),
    FrameFormat("TVIPS", "credo.io.tvips", (".tvips",)),
    FrameFormat("MIB", "credo.io.mib", (".mib",)),
    FrameFormat(
        "rosettasciio",
        "credo.io.rosettasciio",
        (".ser", ".dm3", ".dm4", ".emd", ".blo", ".hspy", ".zspy", ".emi", ".hdr"),
        magic=False,
    ),
)


def frame_suffixes() -> frozenset[str]:
    """Suffixes, in lower case, of files that may hold frames."""
    return frozenset(s for f in FORMATS for s in f.likely)


def format_of(path: Path) -> FrameFormat | None:
    """The format of a file, or ``None``."""
    if not path.is_file():
        raise UnreadableInput(f"{path}: no such file", "check the path")
    suffix = path.suffix.lower()
    first = [f for f in FORMATS if suffix in f.likely]
    rest = [f for f in FORMATS if suffix not in f.likely and f.magic]
    return next((f for f in (*first, *rest) if f.sniff(path)), None)


def open_frames(path: Path) -> FrameFile:
    """Open one file of frames of any format."""
    found = format_of(path)
    if found is None:
        raise UnreadableInput(
            f"{path}: not a format of frames that credo knows ({', '.join(f.name for f in FORMATS)})",
            "convert the frames to SMV, MRC, TIFF, CBF or NXmx",
        )
    return found.read(path)
