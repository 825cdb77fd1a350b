"""The registry of processing files: which format a file is, and reading or writing any of them in one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from credo.model import Experiment, Reflections
from credo.model.errors import CannotDo, UnreadableInput

__all__ = ["FORMATS", "ProcessingFormat", "read_any", "sniff", "write_any", "writer_of"]


@dataclass(frozen=True)
class ProcessingFormat:
    """``module`` offers the named functions and is imported when first needed.

    sniffer(path) -> bool; reader(path) -> (Experiment | None, Reflections), a leading underscore marks one of this
    file; writer(path, experiment, reflections); ``names``: file names and suffixes, in lower case, that it writes;
    ``needs``: what the writer cannot do without: geometry, crystal, axis (and angles), or columns.
    """

    name: str
    module: str
    sniffer: str
    reader: str
    writer: str = ""
    names: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()

    def sniff(self, path: Path) -> bool:
        """Whether the file is of this format."""
        return getattr(import_module(self.module), self.sniffer)(path)

    def _function(self, name: str) -> Callable:
        return globals()[name] if name.startswith("_") else getattr(import_module(self.module), name)

    @property
    def read(self) -> Callable[[Path], tuple[Experiment | None, Reflections]]:
        """Reads a file."""
        return self._function(self.reader)

    @property
    def write(self) -> Callable[[Path, Experiment, Reflections], None]:
        """Writes a file."""
        return self._function(self.writer)


def _format(name: str, module: str, reader: str, writer: str = "", *names: str, needs: str = "") -> ProcessingFormat:
    return ProcessingFormat(
        name, f"credo.io.{module}", f"sniff_{name}", reader, writer, names, frozenset(needs.split())
    )  # fmt: skip


_DATA = "h k l intensity sigma"
FORMATS = (
    _format("refl", "dials_refl", "read_refl", "_write_dials", ".refl", needs="geometry x y phi"),
    _format("expt", "dials", "_read_expt", "_write_dials", ".expt", needs="geometry"),
    _format("mtz", "mtz", "read_mtz", "write_mtz", ".mtz", needs=f"crystal {_DATA}"),
    _format(
        "xds_ascii", "xds_hkl", "read_xds_ascii", "write_xds_ascii", "xds_ascii.hkl",
        needs=f"geometry crystal x y phi {_DATA}",
    ),
    _format("integrate_hkl", "xds_hkl", "read_integrate_hkl"),
    _format("xparm", "xds", "_read_xparm", "_write_xparm", "xparm.xds", "gxparm.xds", needs="geometry crystal"),
    _format("spot_xds", "xds", "_read_spot", "_write_spot", "spot.xds", needs="geometry x y phi intensity"),
    _format("xds_inp", "xds_inp", "_read_xds_inp", "_write_xds_inp", "xds.inp", needs="geometry"),
    _format("lp", "xds_lp", "_read_lp"),
    _format(
        "cif_pets", "cif_pets", "read_cif_pets", "write_cif_pets", ".cif_pets", needs=f"axis crystal frame {_DATA}"
    ),
    _format("pts", "pets", "read_pts", "_write_pts", ".pts", needs="geometry"),
    _format("ed3d", "redp", "_read_ed3d", "_write_ed3d", ".ed3d", needs="geometry"),
    _format("cif", "cif", "read_cif", "write_cif", ".cif", needs=f"crystal {_DATA}"),
    _format("ins", "shelx_ins", "_read_ins", "_write_ins", ".ins", needs="crystal"),
    _format("hkl", "shelx", "_read_hkl", "_write_hkl", ".hkl", needs=_DATA),
    _format("cells_yaml", "edtools", "_read_cells", "_write_cells", "cells.yaml", needs="crystal"),
)  # fmt: skip


def sniff(path: Path | str) -> str | None:
    """The name of the format, or None."""
    path = Path(path)
    if not path.is_file():
        raise UnreadableInput(f"{path}: no such file", "check the path")
    return next((f.name for f in FORMATS if f.sniff(path)), None)


def read_any(path: Path | str) -> tuple[Experiment | None, Reflections]:
    """Any processing file that credo knows, also gzipped text; the geometry of SPOT.XDS and .refl is looked for beside
    them, as is the cell of a SHELX .hkl (.ins, .res). ``Experiment.known`` says what the files really held."""
    path = Path(path)
    name = sniff(path)
    if name is None:
        raise UnreadableInput(
            f"{path}: not a processing file that credo knows ({', '.join(f.name for f in FORMATS)})", "check the path"
        )
    return next(f for f in FORMATS if f.name == name).read(path)


def writer_of(path: Path | str, format: str | None = None) -> ProcessingFormat:
    """The format to write: named, or by the file's name (XDS_ASCII.HKL, SPOT.XDS, XDS.INP …) and suffix."""
    name = Path(path).name.lower()
    suffix = Path(path).suffix.lower()
    writable = [f for f in FORMATS if f.writer]
    found = [f for f in writable if f.name == format] if format else [f for f in writable if name in f.names]
    found = found or ([] if format else [f for f in writable if suffix in f.names])
    if not found:
        raise UnreadableInput(
            f"{path}: which format? ({format or name} is none that credo writes)",
            f"give a name that ends in one of {', '.join(n for f in writable for n in f.names)}",
        )
    return found[0]


def write_any(
    path: Path | str, experiment: Experiment | None, reflections: Reflections, format: str | None = None
) -> tuple[str, ...]:
    """Write in the format that the name says, or ``format``; returns sentences about what the format cannot hold.

    A .refl and an .expt are written together; a SHELX .hkl gets an .ins beside it, a SPOT.XDS an XDS.INP, unless there
    is one that is not ours.
    """
    path = Path(path)
    chosen = writer_of(path, format)
    _require(path, chosen, experiment, reflections)
    chosen.write(path, experiment, reflections)  # type: ignore[arg-type] - None only where nothing of it is needed
    return () if experiment is None else _losses(chosen, experiment)


def _require(path: Path, chosen: ProcessingFormat, e: Experiment | None, r: Reflections) -> None:
    """An error that says what this format needs and the data lack."""
    if e is None and chosen.needs & {"geometry", "axis", "crystal"}:
        raise CannotDo(f"{path}: {chosen.name} needs a cell or a geometry, which the source does not hold",
                       "put the .ins, .expt or XDS.INP that belongs to it beside the source")  # fmt: skip
    if "crystal" in chosen.needs and e is not None and not e.crystals:
        raise CannotDo(f"{path}: {chosen.name} needs an indexed crystal", "index the data first (credo process)")
    missing = sorted(chosen.needs - {"geometry", "axis", "crystal"} - set(r))
    if missing:
        raise CannotDo(
            f"{path}: {chosen.name} needs the column(s) {', '.join(missing)}, which the source does not hold",
            "choose another format, or process the frames with `credo process`",
        )


def _losses(chosen: ProcessingFormat, e: Experiment) -> tuple[str, ...]:
    """What is left behind."""
    if chosen.name in ("hkl", "ins", "mtz", "cif", "cells_yaml"):
        return ()
    out = []
    d = e.detector
    if d.ellipse.amplitude_percent and chosen.name not in ("pts", "ed3d"):
        out.append(f"the elliptical distortion of {d.ellipse.amplitude_percent:.2f} %")
    if d.barrel or any(d.gap):
        out.append("the barrel distortion" if d.barrel else "the gap between the chips")
    if e.scan.beam_shift is not None and np.abs(e.scan.beam_shift).max(initial=0) > 0.1 and chosen.name not in (
        "refl", "expt"
    ):  # fmt: skip
        out.append("the drift of the beam")
    if e.scan.misset_deg is not None and chosen.name != "cif_pets":
        out.append("the missets of single frames")
    if not out:
        return ()
    return (f"{chosen.name} cannot hold {', '.join(out)}: it is not in the file.",)


# ---------------------------------------------------------------- readers that look beside


def _beside(path: Path, *names: str) -> Path | None:
    """The first of some file names in any case in the same folder."""
    here = {p.name.upper(): p for p in sorted(path.parent.iterdir()) if p.is_file()}
    return next((here[n.upper()] for n in names if n.upper() in here), None)


def _read_expt(path: Path) -> tuple[Experiment | None, Reflections]:
    from credo.io.dials import read_expt
    from credo.io.dials_refl import read_refl

    table = path.with_suffix(".refl")
    return read_refl(table, path) if table.is_file() else (read_expt(path), Reflections())


def _read_spot(path: Path) -> tuple[Experiment | None, Reflections]:
    """With XPARM.XDS's refined geometry and crystal if it is there, else with XDS.INP's; the frames are XDS.INP's."""
    from credo.io.xds import read_spot_xds, read_xparm
    from credo.io.xds_inp import read_frame_numbers, read_xds_inp

    inp, xparm = _beside(path, "XDS.INP"), _beside(path, "XPARM.XDS")
    if xparm is not None:
        return read_spot_xds(path, read_xparm(xparm), None if inp is None else read_frame_numbers(inp))
    if inp is not None:
        return read_spot_xds(path, *read_xds_inp(inp))
    raise UnreadableInput(f"{path}: no geometry beside it", "put XDS.INP or XPARM.XDS into its folder")


def _read_xparm(path: Path) -> tuple[Experiment | None, Reflections]:
    """XPARM.XDS has no range of frames: XDS.INP's beside it, or the starting frame alone."""
    from credo.io.frame_file import reading
    from credo.io.xds import read_xparm
    from credo.io.xds_inp import read_frame_numbers

    geometry = read_xparm(path)
    inp = _beside(path, "XDS.INP")
    numbers = None if inp is None else read_frame_numbers(inp)
    if numbers is None:
        numbers = np.array([geometry.starting_frame])
    with reading(path, "an XPARM.XDS"):
        return geometry.experiment(numbers, source=str(path)), Reflections()


def _read_xds_inp(path: Path) -> tuple[Experiment | None, Reflections]:
    from credo.io.frame_file import reading
    from credo.io.xds_inp import read_xds_inp

    geometry, numbers = read_xds_inp(path)
    if numbers is None:
        numbers = np.array([geometry.starting_frame])
    with reading(path, "an XDS.INP"):
        return geometry.experiment(numbers, source=str(path)), Reflections()


def _read_lp(path: Path) -> tuple[Experiment | None, Reflections]:
    from credo.io.merged import without_geometry
    from credo.io.xds_lp import read_lp

    statistics = read_lp(path)
    if statistics.cell is None:
        raise UnreadableInput(f"{path}: no cell in it", "run CORRECT to its end")
    number = statistics.space_group if (statistics.space_group or 0) > 1 else None
    return without_geometry(statistics.cell, number, source=str(path), kind=statistics.program), Reflections()


def _read_ed3d(path: Path) -> tuple[Experiment | None, Reflections]:
    from credo.io.redp import read_ed3d

    return read_ed3d(path), Reflections()


def _read_ins(path: Path) -> tuple[Experiment | None, Reflections]:
    from credo.io.shelx_ins import experiment_of_ins

    return experiment_of_ins(path), Reflections()


def _read_hkl(path: Path) -> tuple[Experiment | None, Reflections]:
    """HKLF 4, with the cell and symmetry of the .ins or .res of the same name, or of the only .ins that no other list
    of reflections there claims."""
    from credo.io.shelx import read_hkl
    from credo.io.shelx_ins import experiment_of_ins

    table = read_hkl(path)
    stem = path.name.split(".")[0]
    found = _beside(path, f"{stem}.ins", f"{stem}.res")
    if found is None:
        others = [p for p in path.parent.iterdir() if p.suffix.lower() == ".ins"]
        free = len(others) == 1 and _beside(path, f"{others[0].stem}.hkl", f"{others[0].stem}.hkl.gz") is None
        found = others[0] if free else None
    return (None if found is None else experiment_of_ins(found)), table


def _read_cells(path: Path) -> tuple[Experiment | None, Reflections]:
    from credo.io.edtools import read_cells_yaml
    from credo.io.merged import without_geometry

    records = read_cells_yaml(path)
    if len(records) != 1:
        raise UnreadableInput(f"{path}: the cells of {len(records)} data sets", "give it to `credo cluster`")
    record = records[0]
    return without_geometry(record.cell, record.space_group, source=str(path), kind="edtools"), Reflections()


# ---------------------------------------------------------------- writers of several files or of geometry alone


def _write_dials(path: Path, experiment: Experiment, reflections: Reflections) -> None:
    from credo.io.dials_refl import write_refl
    from credo.io.dials_write import write_expt

    write_expt(path.with_suffix(".expt"), experiment)
    if {"x", "y", "phi"} <= set(reflections):
        write_refl(path.with_suffix(".refl"), experiment, reflections)


def _write_spot(path: Path, experiment: Experiment, reflections: Reflections) -> None:
    from credo.io.text import head
    from credo.io.xds import write_spot_xds
    from credo.io.xds_inp import write_xds_inp

    write_spot_xds(path, experiment, reflections)
    inp = path.with_name("XDS.INP")
    if not inp.exists() or head(inp, 64).startswith("! Written by credo"):
        write_xds_inp(inp, experiment)


def _write_xparm(path: Path, experiment: Experiment, reflections: Reflections) -> None:
    from credo.io.xds import write_xparm

    write_xparm(path, experiment)


def _write_xds_inp(path: Path, experiment: Experiment, reflections: Reflections) -> None:
    from credo.io.xds_inp import write_xds_inp

    write_xds_inp(path, experiment)


def _write_pts(path: Path, experiment: Experiment, reflections: Reflections) -> None:
    from credo.io.pets import write_pts

    write_pts(path, experiment)


def _write_ed3d(path: Path, experiment: Experiment, reflections: Reflections) -> None:
    from credo.io.redp import write_ed3d

    write_ed3d(path, experiment)


def _write_ins(path: Path, experiment: Experiment, reflections: Reflections) -> None:
    from credo.io.shelx_ins import write_ins

    write_ins(path, experiment)


def _write_hkl(path: Path, experiment: Experiment | None, reflections: Reflections) -> None:
    from credo.io.shelx import write_hkl
    from credo.io.shelx_ins import write_ins
    from credo.io.text import head

    write_hkl(path, reflections)
    ins = path.with_suffix(".ins")
    if experiment is not None and experiment.crystals and (not ins.exists() or head(ins, 64).startswith("TITL credo")):
        write_ins(ins, experiment)


def _write_cells(path: Path, experiment: Experiment, reflections: Reflections) -> None:
    """One entry, of this data set."""
    from credo.io.edtools import CellRecord, write_cells_yaml

    c = experiment.crystal
    record = CellRecord(experiment.source, c.cell, c.cell, c.space_group or "", float(max(len(reflections), 1)))
    write_cells_yaml(path, [record])
