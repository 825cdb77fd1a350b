"""What matters first: the cell with its uncertainties, the lattice, the Laue group, how good the data are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from credo.model import Cell, Crystal
from credo.pipeline.page.markup import esc, key_values, label
from credo.pipeline.page.numbers import fixed, percent, short, symbol, with_esd

if TYPE_CHECKING:
    from credo.pipeline.process import Processed

__all__ = ["headline", "lattice_name", "volume_esd"]

_SYSTEMS = {
    "-1": "triclinic", "2/m": "monoclinic", "mmm": "orthorhombic", "4/m": "tetragonal", "4/mmm": "tetragonal",
    "-3": "trigonal", "-31m": "trigonal", "-3m1": "trigonal", "6/m": "hexagonal", "6/mmm": "hexagonal",
    "m-3": "cubic", "m-3m": "cubic",
}  # fmt: skip
_CENTRINGS = {
    "P": "primitive", "A": "A-centred", "B": "B-centred", "C": "C-centred", "I": "body-centred", "F": "face-centred",
    "R": "R-centred",
}  # fmt: skip


def lattice_name(crystal: Crystal) -> tuple[str, str]:
    """Such as "cubic I" and "body-centred"."""
    system = f"{_SYSTEMS.get(crystal.laue_group, '')} {crystal.centring}".strip()
    return system, _CENTRINGS.get(crystal.centring, "")


def headline(found: Processed) -> str:
    """The first screen of the page."""
    n = found.report.numbers
    crystals = found.experiment.crystals
    cells = "".join(_cell(c, len(crystals) > 1, k) for k, c in enumerate(crystals))
    cells = cells or '<p class="cell"><b>No lattice was found.</b></p>'
    rows: list[tuple[str, str]] = []
    if crystals:
        system, centring = lattice_name(crystals[0])
        rows.append(("Lattice", f"{esc(system)}<small>{esc(centring)}</small>"))
        group = esc(symbol(crystals[0].laue_group))
        rows.append(("Laue group", f"{group}<small>{esc(_laue_source(found))}</small>"))
    if n.get("resolution"):
        by = {"cc_half": "where CC½ falls to 0.3", "i_over_sigma": "where ⟨I/σ⟩ falls to 1"}.get(n["resolution_by"], "")
        others = f"R_meas {fixed(n['r_meas'], 3)}, R_pim {fixed(n['r_pim'], 3)}"
        rows += [
            ("Resolution", f"{fixed(n['resolution'])} Å<small>{esc(by)}</small>"),
            (
                "R_int",
                f"{fixed(n['r_int'], 3)}<small>{label(others)}</small>",
            ),
            ("CC½", fixed(n["cc_half"], 3)),
            ("Completeness", percent(n["completeness"])),
            ("Multiplicity", fixed(n["multiplicity"], 1)),
            ("⟨I/σ⟩", fixed(n["i_over_sigma"], 1)),
            ("Unique reflections", f"{n['n_unique']}<small>of {n['n_integrated']} integrated</small>"),
        ]
    rows += _experiment_rows(found)
    return cells + key_values(rows)


def _laue_source(found: Processed) -> str:
    """Where the Laue group comes from."""
    if found.experiment.crystal.space_group:
        return f"space group {found.experiment.crystal.space_group} was given"
    return "from the intensities" if "symmetry" in found.stages else "of the lattice; intensities were not compared"


def _experiment_rows(found: Processed) -> list[tuple[str, str]]:
    n, experiment = found.report.numbers, found.experiment
    scan, rows = experiment.scan, []
    if len(scan):
        gaps = len(scan.missing)
        step = float(np.median(np.abs(scan.width_deg)))
        more = f"<small>steps of {fixed(step, 3)}°" + (f", {gaps} missing" if gaps else "") + "</small>"
        rows.append(("Frames", f"{len(scan)}, {fixed(scan.range_deg, 1)}°{more}"))
    spots, indexed = n.get("n_spots", len(found.spots)), n.get("n_indexed", 0)
    share = n.get("indexed_fraction")
    more = f"<small>{percent(share, 0)} of those outside the beam</small>" if share is not None else ""
    if experiment.crystals:
        rows.append(("Indexed spots", f"{indexed} of {spots}{more}"))
    else:
        rows.append(("Spots", short(spots)))
    refined = found.stages["refine"].numbers if "refine" in found.stages else {}
    if experiment.crystals:
        angle = with_esd(experiment.goniometer.angle_deg, refined.get("rotation_axis_esd_deg"), 1)
        rows.append(("Rotation axis", f"{angle}°<small>from +x (right) towards +y (down)</small>"))
        scale = "determined" if n.get("scale_determined") else "as given: cell lengths scale with it"
        rows.append(("Pixel size", f"{experiment.detector.q_per_pixel:.6f} Å⁻¹<small>{scale}</small>"))
    rows.append(("Wavelength", f"{experiment.beam.wavelength:.5f} Å"))
    return rows


def _cell(crystal: Crystal, several: bool, k: int) -> str:
    values, esds = crystal.cell.parameters, crystal.cell.esd or (None,) * 6
    out = [f"<b>Crystal {k + 1}</b>" if several else ""]
    for name, value, esd, unit in zip("abcαβγ", values, esds, ("Å",) * 3 + ("°",) * 3):
        out.append(f"<span><i>{name}</i> {esc(_constant(value, esd, unit))}</span>")
    volume = f"<span><i>V</i> {with_esd(crystal.cell.volume, volume_esd(crystal.cell), 1)} Å³</span>"
    return f'<p class="cell">{" ".join(out)} {volume}</p>'


def volume_esd(cell: Cell) -> float | None:
    """σ(V) [Å³] from the covariance of the six constants, by central differences."""
    if cell.covariance is None:
        return None
    x, step = np.array(cell.parameters), 1e-4
    slope = np.array([(Cell(*(x + d)).volume - Cell(*(x - d)).volume) / (2 * step) for d in step * np.eye(6)])
    return float(np.sqrt(slope @ cell.covariance @ slope))


def _constant(value: float, esd: float | None, unit: str) -> str:
    """A cell constant; angles that symmetry fixes without decimals."""
    if unit == "°" and not esd and abs(value - round(value)) < 1e-6:
        return f"{round(value)}°"
    return with_esd(value, esd) + ("°" if unit == "°" else " Å")
