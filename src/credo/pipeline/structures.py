"""``credo compare``: several refinements of one phase side by side, as a table, and how far their atoms lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.io.cif import parse, value_of
from credo.io.text import number, write_text
from credo.model import CannotDo, Structure, UnreadableInput
from credo.pipeline.output import Output, fingerprint, run_command
from credo.pipeline.page.document import Part, document
from credo.pipeline.page.markup import comma_separated, section, table
from credo.solve.compare import Comparison, compare
from credo.solve.refine.prepare import RefineSettings, prepared_model

__all__ = ["CompareSettings", "compare_structures"]

#: Items of a refinement's CIF: key of the report, name in the CIF.
_ITEMS = {
    "r_int": "_diffrn_reflns_av_R_equivalents", "r1_obs": "_refine_ls_R_factor_gt", "r1_all": "_refine_ls_R_factor_all",
    "wr2": "_refine_ls_wR_factor_ref", "goof": "_refine_ls_goodness_of_fit_ref",
    "completeness": "_diffrn_measured_fraction_theta_max", "resolution": "_reflns_d_resolution_high",
    "n_reflections": "_reflns_number_total", "n_observed": "_reflns_number_gt",
    "n_parameters": "_refine_ls_number_parameters", "n_restraints": "_refine_ls_number_restraints",
    "sigma_over_i": "_diffrn_reflns_av_unetI/netI",
}  # fmt: skip
#: What a folder of ours may hold, the best first.
_IN_FOLDER = ("refined.cif", "structure.cif", "refined.res", "structure.res")


class CompareSettings(BaseModel):
    """What the structures are laid upon, and how near an atom must be to be the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: Path | None = Field(default=None, description="a CIF or .res to compare with (default: the first)")
    within: float = Field(default=0.5, gt=0.01, le=2, description="atoms further apart than this are not matched [Å]")
    strain: float = Field(default=0.05, gt=0, le=0.2, description="most that cell lengths may differ, as a share")


@dataclass(frozen=True)
class _Row:
    name: str
    structure: Structure
    items: dict[str, float | None]
    comparison: Comparison | None
    reason: str


def compare_structures(
    paths: Sequence[Path], out: Path, settings: CompareSettings | None = None, force: bool = False
) -> dict[str, Any]:
    """``credo compare``: table.csv, report.html and report.json; each path a CIF, a .res, or a folder of
    ``credo refine`` or ``credo solve``. A structure of another lattice stays in the table, with the reason."""
    settings = settings or CompareSettings()
    files = [_file(Path(p)) for p in paths]
    if settings.reference is None and len(files) < 2:
        raise UnreadableInput("one structure alone cannot be compared", "give several, or --reference")
    base = _file(Path(settings.reference)) if settings.reference else files[0]
    key = fingerprint([*files, base], settings)
    output = Output(out, "compare", key, [Path(p) for p in paths], settings, [*files, base])

    def work(folder: Path) -> dict[str, Any]:
        target = _structure(base)
        rows = [_row(path, name, target, settings) for path, name in zip(files, _names(files))]
        head, body = _table(rows)
        write_text(folder / "table.csv", comma_separated(head, body))
        note = f"Deviations are of atoms but hydrogen, from {base.name}."
        parts = [Part("table", "Structures", section("table", "Structures", table("structures", note, head, body)))]
        write_text(folder / "report.html", document(f"{len(rows)} structures", "", parts))
        return {"reference": str(base), "structures": [_numbers(r) for r in rows], "warnings": _warnings(rows)}

    return run_command(output, work, force)


def _file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in _IN_FOLDER:
        if (path / name).is_file():
            return path / name
    raise UnreadableInput(f"{path}: holds none of {', '.join(_IN_FOLDER)}", "give a CIF or a folder of credo refine")


def _names(files: Sequence[Path]) -> list[str]:
    """The file's stem, or its folder's name where all files are called alike."""
    stems = [f.stem for f in files]
    return [f.resolve().parent.name if stems.count(s) > 1 else s for f, s in zip(files, stems)]


def _structure(path: Path) -> Structure:
    return prepared_model(path, RefineSettings()).model.structure


def _row(path: Path, name: str, target: Structure, settings: CompareSettings) -> _Row:
    structure = _structure(path)
    try:
        return _Row(name, structure, _items(path), compare(structure, target, settings.within, settings.strain), "")
    except CannotDo as error:
        return _Row(name, structure, _items(path), None, error.reason)


def _items(path: Path) -> dict[str, float | None]:
    if path.suffix.lower() in (".res", ".ins"):
        return dict.fromkeys(_ITEMS)
    blocks = [b for b in parse(path) if b.find_loop("_atom_site_fract_x")]
    items = {key: _value(blocks[0], item) if blocks else None for key, item in _ITEMS.items()}
    if blocks and items["resolution"] is None:
        theta, wavelength = (_value(blocks[0], f"_diffrn_{k}") for k in ("reflns_theta_max", "radiation_wavelength"))
        if theta and wavelength:
            items["resolution"] = wavelength / (2 * float(np.sin(np.radians(theta))))
    return items


def _value(block: Any, item: str) -> float | None:
    text = value_of(block, item)
    try:
        return None if text is None else number(text)
    except ValueError:
        return None


def _numbers(row: _Row) -> dict[str, Any]:
    s, c = row.structure, row.comparison
    numbers: dict[str, Any] = {
        "name": row.name, "space_group": s.space_group, "cell": list(s.cell.parameters), "n_atoms": len(s.atoms),
        **row.items,
    }  # fmt: skip
    if c is None:
        return numbers | {"comparison": None, "reason": row.reason}
    deviations = {"mean": c.mean_deviation, "rms": c.rms_deviation, "max": c.max_deviation, "by_element": c.by_element}
    return numbers | {
        "comparison": {
            "same_space_group": c.same_group, "matched": c.matched, "right_element": c.right, "extra": c.extra,
            "inverted": c.inverted, "deviation_angstrom": deviations,
        }
    }  # fmt: skip


def _warnings(rows: Sequence[_Row]) -> list[str]:
    out = [f"{r.name}: {r.reason}" for r in rows if r.comparison is None]
    out += [f"{r.name}: only its mirror image fits" for r in rows if r.comparison and r.comparison.inverted]
    return out


def _table(rows: Sequence[_Row]) -> tuple[list[str], list[list[str]]]:
    """Columns of thesis Table 1, and the deviations of chapter 3."""
    elements = sorted({e for r in rows if r.comparison for e in r.comparison.by_element})
    head = [
        "Data set", "Space group", "a [Å]", "b [Å]", "c [Å]", "α [°]", "β [°]", "γ [°]", "R_int", "R1 obs", "R1 all",
        "wR2", "GooF", "Completeness [%]", "Resolution [Å]", "Reflections", "I > 2σ", "Parameters", "Restraints",
        "Atoms matched [%]", "Mean deviation [Å]", "Largest [Å]", *(f"{e} [Å]" for e in elements),
    ]  # fmt: skip
    return head, [_cells(r, elements) for r in rows]


def _cells(row: _Row, elements: Sequence[str]) -> list[str]:
    i, c = row.items, row.comparison
    share = None if i["completeness"] is None else 100 * i["completeness"]
    lengths, angles = row.structure.cell.lengths, row.structure.cell.angles
    fit = [None] * (3 + len(elements))
    if c is not None:
        fit = [100 * c.matched, c.mean_deviation, c.max_deviation, *(c.by_element.get(e) for e in elements)]
    return [
        row.name, row.structure.space_group, *(f"{v:.3f}" for v in lengths), *(f"{v:.2f}" for v in angles),
        *(_text(i[k], 4) for k in ("r_int", "r1_obs", "r1_all", "wr2")), _text(i["goof"], 3), _text(share, 1),
        _text(i["resolution"], 2), *(_text(i[k], 0) for k in _COUNTS), _text(fit[0], 0),
        *(_text(v, 3) for v in fit[1:]),
    ]  # fmt: skip


_COUNTS = ("n_reflections", "n_observed", "n_parameters", "n_restraints")


def _text(value: float | None, digits: int) -> str:
    return "–" if value is None or value != value else f"{value:.{digits}f}"
