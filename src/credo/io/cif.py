"""Reflections in CIF through gemmi: core and mmCIF names, SHELX's embedded hkl, fcf; written with uncertainties."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gemmi
import numpy as np

from credo import __version__
from credo.io.cif_electron import collection_items, source_items
from credo.io.frame_file import reading
from credo.io.merged import cell_or_none, without_geometry
from credo.io.space_group import find_space_group
from credo.io.text import head, number, read_text, write_text
from credo.model import Cell, Experiment, Reflections
from credo.model.errors import CannotDo, UnreadableInput

__all__ = ["cell_of_block", "column", "read_cif", "sniff_cif", "space_group_of_block", "with_esd", "write_cif"]

_CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
#: (intensity, sigma) in the order of preference, after the prefix _refln_ or _refln. or _diffrn_refln_.
_PAIRS = (
    ("F_squared_meas", "F_squared_sigma"), ("intensity_meas", "intensity_sigma"), ("intensity_net", "intensity_sigma"),
    ("intensity_net", "intensity_u"), ("pdbx_I_plus", "pdbx_I_plus_sigma"), ("F_squared_meas", "F_squared_meas_su"),
    ("intensity_meas", "intensity_meas_su"),
)  # fmt: skip
_AMPLITUDES = (("F_meas", "F_sigma"), ("F_meas_au", "F_meas_sigma_au"), ("F_meas", "F_meas_su"))


def sniff_cif(path: Path) -> bool:
    """Whether a file is a CIF (also .fcf): its first words outside comments begin a data block."""
    text = head(path, 2**16)
    if text.startswith("###CBF"):
        return False
    start = re.sub(r"^\s*(#[^\n]*\n\s*)*", "", text)
    return start[:5].lower() == "data_" or (not start.strip() and path.suffix.lower() in (".cif", ".fcf", ".mmcif"))


def parse(path: Path) -> Any:
    """gemmi's document, from bounded text."""
    with reading(path, "a CIF"):
        return gemmi.cif.read_string(read_text(path))


def value_of(block: Any, *names: str) -> str | None:
    """The first of some items that the block has, unquoted; ? and . count as absent."""
    for name in names:
        raw = block.find_value(name)
        if raw is not None and raw not in ("?", ".", "??"):
            return gemmi.cif.as_string(raw)
    return None


def cell_of_block(block: Any) -> Cell | None:
    """The cell with the uncertainties in parentheses, None if there is none or it spans no volume."""
    constants, esd = [], []
    for item in _CELL:
        text = value_of(block, f"_cell_{item}", f"_cell.{item}")
        if text is None:
            return None
        try:
            constants.append(number(text))
        except ValueError:
            return None
        esd.append(_esd(text))
    return cell_or_none(constants, esd)


def _esd(text: str) -> float:
    """0.004 of ``10.732(4)``, 0 without parentheses."""
    match = re.match(r"\s*[-+]?\d*(?:\.(\d*))?\((\d{1,6})\)", text)
    return int(match[2]) * 10.0 ** -len(match[1] or "") if match else 0.0


def space_group_of_block(block: Any) -> gemmi.SpaceGroup | str | None:
    """From the symbol, the Hall symbol, the operations or the number; the symbol itself if none of them is known."""
    symbol = value_of(
        block, "_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M", "_space_group.name_H-M_alt",
        "_symmetry.space_group_name_H-M", "_space_group_name_H-M_full",
    )  # fmt: skip
    operations = block.find_values("_space_group_symop_operation_xyz") or block.find_values(
        "_symmetry_equiv_pos_as_xyz"
    )
    if 0 < len(operations) <= 192:
        try:
            found = gemmi.find_spacegroup_by_ops(gemmi.GroupOps([gemmi.Op(gemmi.cif.as_string(o)) for o in operations]))
        except (RuntimeError, ValueError):
            found = None
        if found is not None:
            return found
    hall = value_of(block, "_space_group_name_Hall", "_symmetry_space_group_name_Hall", "_space_group.name_Hall")
    if hall is not None and len(hall) < 60:
        from credo.io.space_group import from_hall

        found = from_hall(hall)
        if found is not None:
            return found
    number_text = value_of(block, "_space_group_IT_number", "_symmetry_Int_Tables_number", "_space_group.IT_number")
    return find_space_group(symbol) or find_space_group(number_text) or symbol


def column(block: Any, name: str) -> np.ndarray | None:
    """A loop's column of numbers (n,), NaN for ? and .; None if there is none."""
    found = block.find_loop(name)
    if not len(found):
        return None
    values = list(found)
    try:
        return np.array(values, dtype=float)
    except ValueError:
        return np.array([gemmi.cif.as_number(v) for v in values])


def read_cif(path: Path) -> tuple[Experiment | None, Reflections]:
    """The first reflections in the file: a _refln loop, _diffrn_refln, or the hkl file that SHELXL embeds. A CIF with a
    cell and no reflections gives an empty table; amplitudes become F² (σ(F²) = 2 F σ(F))."""
    document = parse(path)
    with reading(path, "a CIF"):
        for block in document:
            found = _loop(block) or _embedded(path, block)
            if found is not None:
                return _experiment(path, document, block), found
        for block in document:
            if cell_of_block(block) is not None:
                return _experiment(path, document, block), Reflections()
    raise UnreadableInput(f"{path}: neither reflections nor a cell in it", "give a CIF with a _refln loop")


def _experiment(path: Path, document: Any, block: Any) -> Experiment | None:
    """The crystal of the reflections' own block, else of the first block that has one."""
    for b in (block, *document):
        cell = cell_of_block(b)
        if cell is not None:
            wave = value_of(b, "_diffrn_radiation_wavelength", "_diffrn_radiation_wavelength.wavelength")
            try:
                wavelength = number(wave) if wave else None
            except ValueError:
                wavelength = None
            return without_geometry(cell, space_group_of_block(b), wavelength, source=str(path), kind="CIF")
    return None


def _loop(block: Any) -> Reflections | None:
    """A reflection loop of any of the dictionaries."""
    for prefix in ("_refln_", "_refln.", "_diffrn_refln_", "_diffrn_refln."):
        h = column(block, f"{prefix}index_h")
        if h is None:
            continue
        out = {"h": h, "k": column(block, f"{prefix}index_k"), "l": column(block, f"{prefix}index_l")}
        out |= _values(block, prefix)
        if "intensity" not in out or any(v is None for v in out.values()):
            continue
        keep = np.all([np.isfinite(v) for v in out.values()], axis=0)
        if np.any(np.abs(np.stack([out[n] for n in "hkl"]))[:, keep] > 10**6):
            raise ValueError("h, k, l are too large")
        return Reflections({k: v[keep] for k, v in out.items()})
    return None


def _values(block: Any, prefix: str) -> dict[str, np.ndarray]:
    for names, square in ((_PAIRS, False), (_AMPLITUDES, True)):
        for value_name, sigma_name in names:
            value, sigma = column(block, prefix + value_name), column(block, prefix + sigma_name)
            if value is None:
                continue
            if sigma is None or len(sigma) != len(value):
                sigma = np.zeros(len(value))
            return {"intensity": value**2, "sigma": 2 * np.abs(value) * sigma} if square else {
                "intensity": value, "sigma": sigma
            }  # fmt: skip
    return {}


def _embedded(path: Path, block: Any) -> Reflections | None:
    """The hkl file in a CIF of SHELXL, or of the IUCr's text item; other text there is passed over."""
    from credo.io.shelx import parse_lines

    for name in ("_shelx_hkl_file", "_iucr_refine_reflections_details", "_refln_hkl_file"):
        raw = block.find_value(name)
        if raw is None:
            continue
        lines = [line for line in gemmi.cif.as_string(raw).split("\n") if line.strip()]
        try:
            return parse_lines(path, lines)
        except UnreadableInput:
            continue
    return None


# ---------------------------------------------------------------- writing


def with_esd(value: float, esd: float | None, digits: int = 4) -> str:
    """``10.732(4)``: the uncertainty in units of the last digit, between 2 and 19 (the rule of 19 of Acta Cryst.)."""
    if esd is None or not 0 < esd < 1e9 or not np.isfinite(value):
        return f"{value:.{digits}f}"
    places = int(np.ceil(-np.log10(esd))) + 1
    if round(esd * 10.0**places) > 19:
        places -= 1
    scaled = round(esd * 10.0**places)
    if places < 0:
        return f"{round(value, places):.0f}({scaled * 10**-places})"
    return f"{value:.{places}f}({scaled})"


def write_cif(path: Path, experiment: Experiment, reflections: Reflections, name: str = "credo") -> None:
    """Core CIF: the crystal with uncertainties, electrons, how it was measured, and all reflections: a _refln loop when
    they are merged, _diffrn_refln when the table has phi."""
    r = reflections
    if not experiment.crystals or not all(n in r for n in ("h", "k", "l", "intensity", "sigma")):
        raise CannotDo(f"{path}: CIF needs a cell, indices, intensities and sigmas", "integrate the data first")
    if "rejected" in r:
        r = r.select(~r["rejected"])
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:60] or "credo"
    wavelength = experiment.beam.wavelength if "wavelength" in experiment.known else None
    told = collection_items(experiment.acquisition, wavelength, None, experiment.beam.convergence_deg)
    items = _audit() + _crystal(experiment) + quoted(source_items(wavelength) + told) + _measurement(experiment, r)
    text = f"data_{safe}\n" + "".join(f"{key:<42s} {value}\n" for key, value in items)
    text += _operations(experiment) + (_unmerged(r) if "phi" in r else _merged(r))
    write_text(path, text)


def _audit() -> list[tuple[str, str]]:
    today = datetime.now(UTC).date().isoformat()
    return [("_audit_creation_date", today), ("_audit_creation_method", f"'credo {__version__}'")]


def _crystal(experiment: Experiment) -> list[tuple[str, str]]:
    crystal = experiment.crystal
    cell, esd = crystal.cell, crystal.cell.esd
    out = [
        (f"_cell_{item}", with_esd(v, esd[i] if esd else None))
        for i, (item, v) in enumerate(zip(_CELL, cell.parameters))
    ]
    out.append(("_cell_volume", with_esd(cell.volume, _volume_esd(cell), 2)))
    group = find_space_group(crystal.space_group)
    if group is not None:
        out += [
            ("_space_group_name_H-M_alt", f"'{group.xhm()}'"),
            ("_space_group_name_Hall", f"'{group.hall}'"),
            ("_space_group_IT_number", str(group.number)),
            ("_space_group_crystal_system", group.crystal_system_str()),
        ]
    return out


def _volume_esd(cell: Cell) -> float | None:
    """σ(V) = sqrt(gᵀ C g) with the gradient g of V by differences."""
    if cell.covariance is None:
        return None
    x = np.array(cell.parameters)
    steps = np.diag(1e-5 * x)
    g = np.array([(Cell(*(x + d)).volume - Cell(*(x - d)).volume) / (2 * np.max(d)) for d in steps])
    return float(np.sqrt(max(g @ cell.covariance @ g, 0.0)))


def quoted(items: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Values as a CIF writes them, in one line each unless quotes of both kinds are in it."""
    return [(key, value if value in ("?", ".") else _quote(" ".join(value.split()))) for key, value in items]


def _quote(text: str) -> str:
    out = gemmi.cif.quote(text)
    return f"\n{out}" if out.startswith(";") else out


def _measurement(experiment: Experiment, r: Reflections) -> list[tuple[str, str]]:
    d = 1 / np.linalg.norm(r.hkl @ experiment.crystal.cell.B.T, axis=1) if len(r) else np.array([1.0])
    theta = np.degrees(np.arcsin(np.clip(experiment.beam.wavelength / (2 * d), 0, 1)))
    out = []
    if "phi" in r:
        out += [
            ("_diffrn_reflns_number", str(len(r))),
            ("_diffrn_reflns_theta_min", f"{theta.min():.4f}"),
            ("_diffrn_reflns_theta_max", f"{theta.max():.4f}"),
        ]
    else:
        out += [
            ("_reflns_number_total", str(len(r))),
            ("_reflns_number_gt", str(int(np.sum(r["intensity"] > 2 * r["sigma"])))),
            ("_reflns_threshold_expression", "'I > 2\\s(I)'"),
            ("_reflns_d_resolution_high", f"{d.min():.4f}"),
            ("_reflns_d_resolution_low", f"{d.max():.4f}"),
        ]
    for k, axis in enumerate("hkl"):
        prefix = "_diffrn_reflns_limit_" if "phi" in r else "_reflns_limit_"
        if len(r):
            out += [(f"{prefix}{axis}_min", str(r.hkl[:, k].min())), (f"{prefix}{axis}_max", str(r.hkl[:, k].max()))]
    return out


def _operations(experiment: Experiment) -> str:
    group = find_space_group(experiment.crystal.space_group)
    if group is None:
        return ""
    rows = "".join(f"{i} '{op.triplet()}'\n" for i, op in enumerate(group.operations(), start=1))
    return f"\nloop_\n_space_group_symop_id\n_space_group_symop_operation_xyz\n{rows}"


def _merged(r: Reflections) -> str:
    names = ("index_h", "index_k", "index_l", "F_squared_meas", "F_squared_sigma", "observed_status")
    rows = zip(*(v.tolist() for v in (r["h"], r["k"], r["l"], r["intensity"], r["sigma"])))
    body = "".join(f"{h} {k} {l} {i:.6g} {s:.6g} {'o' if i > 2 * s else '<'}\n" for h, k, l, i, s in rows)
    return "\nloop_\n" + "".join(f"_refln_{n}\n" for n in names) + body


def _unmerged(r: Reflections) -> str:
    names = ("index_h", "index_k", "index_l", "intensity_net", "intensity_u", "angle_phi")
    rows = zip(*(v.tolist() for v in (r["h"], r["k"], r["l"], r["intensity"], r["sigma"], r["phi"])))
    body = "".join(f"{h} {k} {l} {i:.6g} {s:.6g} {phi:.4f}\n" for h, k, l, i, s, phi in rows)
    return "\nloop_\n" + "".join(f"_diffrn_refln_{n}\n" for n in names) + body
