"""The files of a merged phase, and its numbers for report.json."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from credo.io.edtools import CellRecord, write_cells_yaml
from credo.io.merged import without_geometry
from credo.io.reflection_files import write_any
from credo.io.workbook import save_workbook
from credo.io.xscale import write_scaled
from credo.merge.error_model import chi_squares
from credo.model import Acquisition, Reflections
from credo.pipeline.collection import measured, together
from credo.pipeline.merge_input import wavelengths
from credo.pipeline.merge_outside import scale_outside, write_for_dials, write_for_xscale

if TYPE_CHECKING:
    from credo.pipeline.merge import Merged, MergeSettings

__all__ = ["chi_by", "damping_of", "dataset_rows", "numbers_of", "write_phase"]


def write_phase(folder: Path, found: Merged, settings: MergeSettings, lasting: Path) -> None:
    """merged.hkl and .ins, .mtz, .cif; scaled.HKL (XSCALE's layout), cells.yaml, datasets.xlsx; what XSCALE and
    dials.scale read, if asked for; and what the chosen program makes of it, in ``lasting``."""
    cell, group = found.cell, found.group
    told = found.wavelength if len(wavelengths(found.sets)) else None
    experiment = without_geometry(cell, group, told, source=str(lasting), kind="merged")
    beam = experiment.beam.replace(wavelength=found.wavelength)
    experiment = experiment.replace(beam=beam, acquisition=_collection(found))
    merged = Reflections({n: found.table[n] for n in ("h", "k", "l", "intensity", "sigma")})
    for name in ("merged.hkl", "merged.mtz", "merged.cif"):
        write_any(folder / name, experiment, merged)
    names = [s.name for s in found.sets]
    write_scaled(folder / "scaled.HKL", cell, group.number, found.wavelength, found.observations, names)
    kept = [(s, m) for s, m in zip(found.sets, found.members) if m.kept]
    symbol = str(group.number)
    records = [CellRecord(s.name, s.crystal.cell, s.crystal.cell, symbol, float(m.observations)) for s, m in kept]
    write_cells_yaml(folder / "cells.yaml", records)
    _write_table(folder / "datasets.xlsx", found)
    for engine, wanted, write in (
        ("xscale", settings.xscale, write_for_xscale), ("dials", settings.dials, write_for_dials),
    ):  # fmt: skip
        # a program's own files stay, also when it fails
        place = lasting if settings.engine == engine else folder
        if wanted or settings.engine == engine:
            write(place / engine, found)
    if settings.engine != "credo":
        scale_outside(lasting / settings.engine, settings.engine, found)


def _collection(found: Merged) -> Acquisition:
    """Of the sets that were kept, one crystal each."""
    return together([measured(s.experiment) for s, m in zip(found.sets, found.members) if m.kept])


def dataset_rows(found: Merged) -> list[dict[str, Any]]:
    """One entry for each data set that could be read, kept or not."""
    o, s = found.observations, found.scaled
    residual = np.abs(o["intensity"] - s.intensity[s.of])
    several = (s.multiplicity[s.of] > 1) & ~o["rejected"]
    count = found.data.count

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(o["dataset"][several], values[several], count)

    r = total(residual) / np.maximum(total(o["intensity"]), 1e-30)
    out = []
    for d, (data, m) in enumerate(zip(found.sets, found.members)):
        phi = data.table["phi"] if "phi" in data.table and len(data.table) else np.zeros(1)
        at = s.knots.of(d)
        out.append({
            "dataset": data.name, "kept": m.kept, "reason": m.reason, "posterior": _known(m.posterior),
            "observations": m.observations, "common": m.common, "cc": _known(m.cc), "noise": m.noise,
            "weight": 1 / m.noise**2 if m.kept else 0.0, "delta_cc_half": _known(m.delta_cc_half),
            "r_merge": float(r[d]) if m.kept else None, "rotation_deg": float(np.ptp(phi)),
            "thickness_nm": None if (t := _thickness(found, d)) is None else 0.1 * t,
            "scale": float(np.exp(s.values[0, at].mean())) if m.kept else None,
            "b": float(s.values[1, at].mean()) if m.kept else None, "cell": list(data.crystal.cell.parameters),
        })  # fmt: skip
    return out


def _thickness(found: Merged, d: int) -> float | None:
    """[Å] of a crystal by its damping, where that was taken out."""
    return _known(float(found.damping.thickness[d])) if found.damping is not None and found.damping.applied else None


def damping_of(found: Merged) -> dict[str, Any] | None:
    """Whether the damping of strong reflections was taken out, and why; None where no model was given."""
    if (d := found.damping) is None:
        return None
    return {
        "applied": d.applied, "reason": d.reason, "gain_held_out": float(d.gain.sum()), "gain_crystals": d.crystals,
        "least_factor": float(d.factor.min(initial=1.0)), "share_below_0.9": float(np.mean(d.factor < 0.9)),
    }  # fmt: skip


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def chi_by(found: Merged) -> dict[str, list[list[float]]]:
    """χ² of observations about their means, in tenths by intensity and by 1/d²."""
    s = found.scaled
    several = s.multiplicity[s.of] > 1
    z2, intensity = s.z2[several], s.intensity[s.of][several]
    inverse = 1 / found.cell.d_spacing(found.data.hkl[several]) ** 2
    by = {"intensity": intensity, "inverse_d_squared": inverse}
    return {name: [[x, c] for x, c in chi_squares(z2, values)] for name, values in by.items()} if len(z2) else {}


def numbers_of(found: Merged) -> dict[str, Any]:
    """The keys of the contract and more."""
    o = found.inside.overall
    rows = dataset_rows(found)
    out = [{"dataset": r["dataset"], "reason": r["reason"]} for r in rows if not r["kept"]]
    out += [{"dataset": x.name, "reason": x.reason} for x in found.refused]
    e = found.scaled.errors
    return {
        "space_group": found.group.xhm(), "laue_group": found.laue.laue_group, "centring": found.laue.centring,
        "cell": list(found.cell.parameters), "cell_esd": list(found.cell.esd or ()), "wavelength": found.wavelength,
        "collection": _collection(found).to_dict(),
        "candidates": [_candidate(g) for g in found.candidates[:10]],
        "laue_candidates": [
            {"laue_group": c.laue_group, "probability": c.probability, "cc": _known(c.cc), "strain": c.strain}
            for c in found.laue_candidates[:8]
        ],
        "completeness": o.completeness, "multiplicity": o.multiplicity, "r_int": o.r_int, "r_meas": o.r_meas,
        "r_pim": o.r_pim, "cc_half": o.cc_half, "cc_half_by_crystals": _known(found.halves[0]),
        "i_over_sigma": o.i_over_sigma, "resolution": found.resolution, "resolution_by": found.resolution_by,
        "n_observations": o.observations, "n_unique": o.unique,
        "n_outliers": int(found.observations["rejected"].sum()),
        "members": [r["dataset"] for r in rows if r["kept"]], "rejected": out, "datasets": rows,
        "damping": damping_of(found), "error_model": asdict(e), "chi_square": chi_by(found),
        "shells": [
            {**s, "cc_half_by_crystals": _known(h)}
            for s, h in zip(found.everything.to_dict()["shells"], found.halves[1:])
        ],
        "warnings": list(found.warnings),
    }  # fmt: skip


def _candidate(g) -> dict[str, Any]:
    return {
        "space_group": g.symbol, "number": g.group.number, "probability": g.probability,
        "enantiomorph": None if g.twin is None else g.twin.xhm(), "forbidden_observed": g.n_absent,
    }  # fmt: skip


_COLUMNS = (
    "spgr", "a", "b", "c", "al", "be", "ga", "volume", "rotation_angle", "total_completeness", "file", "kept", "reason",
    "posterior", "observations", "common", "cc", "r_merge", "weight", "scale", "b_relative", "delta_cc_half",
)  # fmt: skip


def _write_table(path: Path, found: Merged) -> None:
    """edtools's columns of cells.xlsx, numbered from 1, and after them what merging found."""
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "datasets"
    sheet.append(["", *_COLUMNS])
    possible = max(found.everything.overall.possible, 1)
    unique = _unique_of(found)
    for i, r in enumerate(dataset_rows(found), start=1):
        cell = found.sets[i - 1].crystal.cell
        row = [
            found.group.number, *(round(x, 4) for x in cell.parameters), round(cell.volume, 2), r["rotation_deg"],
            100 * unique[i - 1] / possible, r["dataset"], r["kept"], r["reason"], r["posterior"], r["observations"],
            r["common"], r["cc"], r["r_merge"], r["weight"], r["scale"], r["b"], r["delta_cc_half"],
        ]  # fmt: skip
        sheet.append([i, *(_safe(v) for v in row)])
    for x in found.refused:
        sheet.append(["", *[None] * 10, _safe(x.name), False, _safe(x.reason)])
    save_workbook(book, path)


def _safe(value: Any) -> Any:
    """Text that a spreadsheet neither takes for a formula nor refuses."""
    if not isinstance(value, str):
        return value
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "\N{REPLACEMENT CHARACTER}", value)
    return "'" + text if text[:1] in "=+-@" and text else text


def _unique_of(found: Merged) -> np.ndarray:
    pairs = np.unique(np.stack([found.data.dataset, found.scaled.of]), axis=1)
    return np.bincount(pairs[0], minlength=found.data.count)
