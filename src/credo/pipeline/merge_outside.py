"""Other programs' scaling: data sets on common axes for XSCALE and dials.scale, which run where they are installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from credo.io.reflection_files import write_any
from credo.io.text import write_text
from credo.io.xscale import write_xscale_inp
from credo.model import CannotDo
from credo.solve.adapters.program import Program

if TYPE_CHECKING:
    from credo.pipeline.merge import Merged

__all__ = ["scale_outside", "write_for_dials", "write_for_xscale"]

_XSCALE = Program("XSCALE", ("xscale_par", "xscale"), "https://xds.mr.mpg.de")
_DIALS = Program("dials.scale", ("dials.scale",), "https://dials.github.io")
_SECONDS = 1800.0
#: XDS_ASCII.HKL and .refl need places on the detector.
_PLACES = {"x", "y", "phi"}


def write_for_xscale(folder: Path, found: Merged) -> None:
    """1_XDS_ASCII.HKL ... of the sets that were kept and XSCALE.INP, named as edtools does."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for k, s in _kept(found, folder, "XSCALE"):
        experiment = s.experiment.replace(
            crystals=(s.crystal.replace(space_group=found.group.xhm()),), detector=s.experiment.detector
        )
        write_any(folder / f"{k}_XDS_ASCII.HKL", experiment, s.table, "xds_ascii")
        names.append(f"{k}_XDS_ASCII.HKL")
    write_xscale_inp(folder / "XSCALE.INP", names, found.cell, found.group.number, found.everything.overall.d_min)


def write_for_dials(folder: Path, found: Merged) -> None:
    """1.expt, 1.refl ... and scale.sh with the command."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for k, s in _kept(found, folder, "dials.scale"):
        experiment = s.experiment.replace(crystals=(s.crystal.replace(space_group=found.group.xhm()),))
        one = np.ones(len(s.table))
        # without a partiality a table would count as one of spots
        table = s.table.with_columns(
            lattice=0 * one, partiality=s.table.get("partiality", one), d=s.crystal.cell.d_spacing(s.table.hkl)
        )
        write_any(folder / f"{k}.refl", experiment, table)
        names += [f"{k}.expt", f"{k}.refl"]
    write_text(folder / "scale.sh", " ".join(["dials.scale", *_dials_options(), *names]) + "\n")


def _kept(found: Merged, folder: Path, program: str):
    """Numbers and sets that go to the other program."""
    sets = [s for s, m in zip(found.sets, found.members) if m.kept and set(s.table) >= _PLACES]
    if not sets:
        raise CannotDo(
            f"{folder}: no data set has its places on the detector, which {program} needs",
            "give XDS, DIALS or credo's own integrated files",
        )
    return list(enumerate(sets, start=1))


def _dials_options() -> list[str]:
    return ["output.merged_mtz=merged.mtz", "output.unmerged_mtz=unmerged.mtz", "model=KB"]


def scale_outside(folder: Path, engine: str, found: Merged) -> None:
    """Run XSCALE or dials.scale in the folder that was written for it."""
    if engine == "xscale":
        program, arguments, result = _XSCALE, (), "MERGED.HKL"
    else:
        count = len([p for p in folder.iterdir() if p.suffix == ".expt"])
        files = [f"{k}.{kind}" for k in range(1, count + 1) for kind in ("expt", "refl")]
        program, arguments, result = _DIALS, (*_dials_options(), *files), "merged.mtz"
    executable = program.find(None, folder)
    said = program.run(executable, arguments, folder, _SECONDS)
    if not (folder / result).is_file():
        raise program.failed(folder, f"there is no {result}", said)
