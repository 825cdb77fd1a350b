"""SHELXL: least squares of a model from .ins and .hkl, with electron scattering factors spelt out in SFAC.

``shelxl name`` reads name.ins and name.hkl and leaves name.res and name.lst (https://shelx.uni-goettingen.de/shelxl_html.php;
G. M. Sheldrick, Acta Cryst. C71 (2015) 3-8). The listing ends with wR2, GooF and R1; errors stand between ``**``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from credo.io.shelx import write_hkl
from credo.io.shelx_res import ShelxRes
from credo.io.text import read_text, write_text
from credo.model import CredoError, Reflections, Structure
from credo.solve.adapters.outcome import cleared
from credo.solve.adapters.program import Program
from credo.solve.refine.data import Observed
from credo.solve.refine.fit import FitSettings, refine_model
from credo.solve.refine.from_shelx import prepared_from_res
from credo.solve.refine.model import Model
from credo.solve.refine.to_shelx import res_text

__all__ = ["SHELXL", "ShelxlResult", "read_figures", "refine_with_shelxl", "write_shelxl"]

SHELXL = Program("SHELXL", ("shelxl", "xl"), "https://shelx.uni-goettingen.de")
_NAME = "credo"
_R1 = re.compile(r"R1\s*=\s*([\d.]+)\s+for\s+(\d+)\s+Fo\s*>\s*4sig\(Fo\)\s+and\s+([\d.]+)\s+for\s+all\s+(\d+)\s+data")
_WR2 = re.compile(r"wR2\s*=\s*([\d.]+),\s*GooF\s*=\s*S\s*=\s*([\d.]+)")


@dataclass(frozen=True)
class ShelxlResult:
    """The refined structure, SHELXL's own figures (``r1`` of ``n_observed`` with Fo > 4σ(Fo)), and its .res."""

    structure: Structure
    r1: float
    r1_all: float
    wr2: float
    goof: float
    n_observed: int
    n_all: int
    result: Path

    @property
    def space_group(self) -> str:
        return self.structure.space_group


def write_shelxl(
    model: Model,
    data: Observed,
    wavelength: float,
    folder: Path,
    name: str = _NAME,
    source: ShelxRes | None = None,
    extra: tuple[str, ...] = (),
    z: float = 0.0,
) -> None:
    """NAME.ins with restraints, AFIX and free variables as the model has them, and NAME.hkl with the merged data.

    ``source``: the .res the model came from, whose instructions are kept; ``extra``: more instructions; ``z``:
    of ZERR.
    """
    start = refine_model(model, data, wavelength, FitSettings(cycles=0))
    text = res_text(start, wavelength, z, source, extra)
    # the remarks hold our R1, which must not be taken for SHELXL's
    lines = [line for line in text.split("\n") if not line.startswith("REM")]
    write_text(folder / f"{name}.ins", "\n".join(lines))
    h, k, l = data.hkl.T
    write_hkl(folder / f"{name}.hkl", Reflections({"h": h, "k": k, "l": l, "intensity": data.f2, "sigma": data.sigma}))


def refine_with_shelxl(
    model: Model,
    data: Observed,
    wavelength: float,
    folder: Path,
    executable: Path | None = None,
    seconds: float = 600,
    source: ShelxRes | None = None,
    extra: tuple[str, ...] = (),
    z: float = 0.0,
) -> ShelxlResult:
    """Ten cycles of SHELXL. Raises CannotDo where it is absent, takes too long or stops with an error."""
    folder = cleared(folder, [f"{_NAME}.{suffix}" for suffix in ("res", "lst", "cif", "fcf")])
    write_shelxl(model, data, wavelength, folder, _NAME, source, extra, z)
    said = SHELXL.run(SHELXL.find(executable, folder), (_NAME,), folder, seconds)
    result, listing = folder / f"{_NAME}.res", folder / f"{_NAME}.lst"
    text = read_text(listing) if listing.exists() else ""
    figures = read_figures(text)
    # an empty .res is what SHELXL leaves when it gives up
    if not result.exists() or not result.stat().st_size or figures is None:
        raise SHELXL.failed(folder, _complaint(text) or "there is no credo.res with its R1 in credo.lst", said)
    try:
        structure = prepared_from_res(result).model.structure
    except CredoError as error:
        raise SHELXL.failed(folder, error.reason, said) from error
    return ShelxlResult(structure, *figures, result)


def read_figures(listing: str) -> tuple[float, float, float, float, int, int] | None:
    """R1 for Fo > 4σ(Fo) and for all, wR2, GooF, and the two numbers of reflections; None if the run did not end."""
    r1, wr2 = _last(_R1, listing), _last(_WR2, listing)
    if r1 is None or wr2 is None:
        return None
    return float(r1[1]), float(r1[3]), float(wr2[1]), float(wr2[2]), int(r1[2]), int(r1[4])


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The last match: earlier ones are of earlier cycles."""
    matches = list(pattern.finditer(text))
    return matches[-1] if matches else None


def _complaint(text: str) -> str:
    """SHELXL's last error, without its asterisks."""
    found = re.findall(r"^\s*\*\*\s+(.+?)\s+\*\*", text, re.MULTILINE)
    return found[-1][:200] if found else ""
