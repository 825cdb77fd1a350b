"""The registry of processing files: which format a file is, and reading or writing any of them in one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from credo.model import Experiment, Reflections
from credo.model.errors import UnreadableInput

__all__ = ["FORMATS", "ProcessingFormat", "read_any", "sniff"]


@dataclass(frozen=True)
class ProcessingFormat:
    """``module`` offers the named functions and is imported when first needed; ``sniffer(path) -> bool``,
    ``reader(path) -> (Experiment | None, Reflections)``."""

    name: str
    module: str
    sniffer: str
    reader: str

    def sniff(self, path: Path) -> bool:
        """Whether the file is of this format."""
        return getattr(import_module(self.module), self.sniffer)(path)

    @property
    def read(self) -> Callable[[Path], tuple[Experiment | None, Reflections]]:
        """Reads a file."""
        if self.reader.startswith("_"):
            return globals()[self.reader]
        return getattr(import_module(self.module), self.reader)


FORMATS = (
    ProcessingFormat("refl", "credo.io.dials_refl", "sniff_refl", "read_refl"),
    ProcessingFormat("expt", "credo.io.dials", "sniff_expt", "_read_expt"),
    ProcessingFormat("xds_ascii", "credo.io.xds_hkl", "sniff_xds_ascii", "read_xds_ascii"),
    ProcessingFormat("integrate", "credo.io.xds_hkl", "sniff_integrate_hkl", "read_integrate_hkl"),
    ProcessingFormat("xparm", "credo.io.xds", "sniff_xparm", "_read_xparm"),
    ProcessingFormat("spot", "credo.io.xds", "sniff_spot_xds", "_read_spot"),
)


def sniff(path: Path | str) -> str | None:
    """The name of the format, or None."""
    path = Path(path)
    if not path.is_file():
        raise UnreadableInput(f"{path}: no such file", "check the path")
    return next((f.name for f in FORMATS if f.sniff(path)), None)


def read_any(path: Path | str) -> tuple[Experiment | None, Reflections]:
    """Any processing file that credo knows; the geometry of SPOT.XDS and .refl is looked for beside them."""
    path = Path(path)
    name = sniff(path)
    if name is None:
        raise UnreadableInput(
            f"{path}: not a processing file that credo knows ({', '.join(f.name for f in FORMATS)})", "check the path"
        )
    return next(f for f in FORMATS if f.name == name).read(path)


def _read_expt(path: Path) -> tuple[Experiment | None, Reflections]:
    from credo.io.dials import read_expt

    table = path.with_suffix(".refl")
    if table.is_file():
        from credo.io.dials_refl import read_refl

        return read_refl(table, path)
    return read_expt(path), Reflections()


def _read_spot(path: Path) -> tuple[Experiment | None, Reflections]:
    """With XPARM.XDS's refined geometry and crystal if it is there, else with XDS.INP's; the frames are XDS.INP's."""
    from credo.io.xds import read_spot_xds, read_xparm
    from credo.io.xds_inp import read_frame_numbers, read_xds_inp

    inp, xparm = (_beside(path, name) for name in ("XDS.INP", "XPARM.XDS"))
    if inp is None and xparm is None:
        raise UnreadableInput(f"{path}: no geometry beside it", "put XDS.INP or XPARM.XDS into its folder")
    if xparm is not None:
        numbers = None if inp is None else read_frame_numbers(inp)
        return read_spot_xds(path, read_xparm(xparm), numbers)
    assert inp is not None
    return read_spot_xds(path, *read_xds_inp(inp))


def _beside(path: Path, name: str) -> Path | None:
    return next((p for p in sorted(path.parent.iterdir()) if p.name.upper() == name and p.is_file()), None)


def _read_xparm(path: Path) -> tuple[Experiment | None, Reflections]:
    """XPARM.XDS has no range of frames: XDS.INP's beside it, or the starting frame alone."""
    from credo.io.xds import read_xparm
    from credo.io.xds_inp import read_frame_numbers

    geometry = read_xparm(path)
    inp = _beside(path, "XDS.INP")
    numbers = None if inp is None else read_frame_numbers(inp)
    return geometry.experiment(
        [geometry.starting_frame] if numbers is None else numbers, source=str(path)
    ), Reflections()
