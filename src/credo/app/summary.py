"""A report in a few lines for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from credo.io.cif import with_esd

__all__ = [
    "check_summary", "convert_summary", "demo_summary", "loop_summary", "outside_summary", "process_summary",
    "simulate_summary",
    "solve_summary",
]  # fmt: skip


def process_summary(report: dict[str, Any], folder: Path) -> str:
    """Cell, symmetry, statistics, and where the page is."""
    rows = [
        ("cell", _cell(report["cell"], report["cell_esd"])),
        ("lattice", f"{report['centring']}, Laue group {report['laue_group']}" + _lattices(report["lattices"])),
        ("indexed", f"{report['n_indexed']} of {report['n_spots']} spots on {report['n_frames']} frames"),
        ("axis", f"{report['rotation_axis_deg']:.2f}°, beam at {_pair(report['beam_center'])} px"),
    ]
    if report["n_integrated"]:
        rows += [
            ("integrated", f"{report['n_integrated']} intensities, {report['n_unique']} unique"),
            ("complete", f"{100 * report['completeness']:.1f} % to {report['resolution']:.2f} Å"),
            ("merging", f"R_int {_number(report['r_int'])}, CC½ {_number(report['cc_half'])}"),
        ]
    rows.append(("page", str(folder / "report.html")))
    return _table(rows)


def check_summary(report: dict[str, Any], folder: Path) -> str:
    """What it is, its geometry, and the problems."""
    rows = [
        ("what", f"{report['kind']}: {report['source']}"),
        ("frames", f"{report['frames']} of {' x '.join(map(str, report['shape']))} pixels ({report['dtype']})")
        if report["frames"]
        else ("spots", str(report["spots"])),
        ("wavelength", _known(report["wavelength"], "Å", 5)),
        ("pixel", _known(report["pixel_size_inv_angstrom"], "Å⁻¹", 6)),
        ("rotation", _rotation(report)),
        ("axis", f"{_known(report['rotation_axis_deg'], '°', 2)} in the files{_hands(report)}"),
        ("beam", f"{_pair(report['beam_center'])} px" if report["beam_center"] else "not stated"),
    ]
    return _table(rows) + "".join(f"\n  ! {problem}" for problem in report["problems"])


def convert_summary(report: dict[str, Any], target: Path) -> str:
    """How much went where."""
    n = report.get("n_reflections")
    what = f"{report['n_frames']} frames" if n is None else f"{n} reflections"
    return _table([("written", f"{what} to {target}")])


def solve_summary(report: dict[str, Any], folder: Path) -> str:
    """Space group, agreement, atoms, and the groups that came next."""
    others = ", ".join(c["space_group"] for c in report["candidates"][1:4])
    rows = [
        ("solved", "yes" if report["solved"] else "no: " + report["reason"]),
        *([("framework", report["framework"]["name"])] if report.get("framework") else []),
        ("space group", f"{report['space_group']}" + (f" (next: {others})" if others else "")),
        ("R1", _number(report["r1"])),
        ("atoms", f"{report['n_atoms']}: " + " ".join(a["label"] for a in report["atoms"])[:300]),
        ("trials", f"{report['trials']} in {report['cpu_seconds']:.1f} CPU s, to {report['d_min']:.2f} Å"),
        ("page", str(folder / "report.html")),
    ]
    return _table(rows)


def outside_summary(report: dict[str, Any], folder: Path) -> str:
    """What a program of somebody else found."""
    rows = [
        ("solved by", f"{report['engine']} (not judged by credo)"),
        ("space group", report["space_group"]),
        ("R1", f"{_number(report['r1'])}, by {report['r1_from']}"),
        ("atoms", f"{report['n_atoms']}: " + " ".join(a["label"] for a in report["atoms"])[:300]),
        ("model", str(folder / "structure.res")),
    ]
    return _table(rows)


def simulate_summary(report: dict[str, Any], folder: Path) -> str:
    """What was simulated."""
    rows = [
        ("sample", f"{report['sample']}, {report['space_group']}, {_cell(report['cell'], [])}"),
        ("written", f"{report['n_frames']} frames to {folder}"),
        ("truth", f"{report['n_reflections']} reflections in {folder / report['truth']}"),
    ]
    return _table(rows)


def demo_summary(report: dict[str, Any], folder: Path) -> str:
    """Found beside true."""
    true, errors, phase = report["truth"], report["errors_vs_truth"], report["phases"][0]
    rows = [
        ("sample", f"{report['sample']}, {true['space_group']}"),
        ("cell", f"{_cell(phase['cell'], phase['cell_esd'])}  (true {_cell(true['cell'], [])})"),
        ("lattice", f"{phase['centring']}, Laue group {phase['laue_group']}"),
        ("axis", f"{report['rotation_axis_deg']:.2f}°  (true {true['rotation_axis_deg']:.2f}°)"),
        ("beam", f"{_pair(report['beam_center'])} px  (true {_pair(true['beam_center'])} px)"),
        ("ellipse", f"{report['ellipse_percent']:.2f} %  (true {true['ellipse_percent']:.2f} %)"),
        ("orientation", f"off by {errors['orientation_deg']:.4f}°"),
        (
            "intensities",
            f"correlate with the true ones by {errors['intensity_cc']:.4f} ({errors['n_compared']} of them)",
        ),
        ("page", str(folder / report["page"])),
    ]
    return _table(rows)


def loop_summary(report: dict[str, Any], folder: Path) -> str:
    """Crystals, then each true phase with what was found of it."""
    seen, kept = report["crystals_found"], report["crystals_collected"]
    rows = [
        ("sample", report["sample"]),
        ("crystals", f"{seen} seen, {kept} collected, {report['datasets_indexed']} indexed"),
    ]
    for name, e in report["errors_vs_truth"].items():
        r1 = "" if e.get("r1") is None else f", R1 {e['r1']:.3f}"
        found = (
            f"phase {e['phase']}, {e['members']} data sets, {e['space_group']}, cell off by {e['cell_percent']:.2f} %"
        )
        atoms = f"{e['atoms_right']:.0%} of the atoms in place, off by {e['mean_deviation']:.3f} Å in the mean{r1}"
        rows += [(name, found), ("", atoms)]
    rows.append(("page", str(folder / report["page"])))
    return _table(rows)


def _table(rows: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _cell(cell: list[float], esd: list[float]) -> str:
    """a b c α β γ with uncertainties in parentheses; angles that symmetry fixes as whole numbers."""
    texts = []
    for value, sigma in zip(cell, esd or [0.0] * 6):
        texts.append(with_esd(value, sigma) if sigma else f"{value:.4f}".rstrip("0").rstrip("."))
    return " ".join(texts)


def _lattices(n: int) -> str:
    return "" if n == 1 else f", {n} crystals"


def _pair(xy: list[float]) -> str:
    return f"({xy[0]:.1f}, {xy[1]:.1f})"


def _number(value: float | None) -> str:
    return "not determined" if value is None else f"{value:.3f}"


def _known(value: float | None, unit: str, digits: int) -> str:
    return "not stated" if value is None else f"{value:.{digits}f} {unit}".replace(" °", "°")


def _rotation(report: dict[str, Any]) -> str:
    if report["start_deg"] is None:
        return "not stated"
    gaps = f", {report['missing_frames']} frames missing" if report["missing_frames"] else ""
    return f"{report['start_deg']:.2f}° to {report['end_deg']:.2f}° in steps of {report['step_deg']:.4f}°{gaps}"


def _hands(report: dict[str, Any]) -> str:
    scores = report["hand_score"]
    if not scores:
        return ""
    opposite = scores["opposite"]
    against = "" if opposite is None else f", the opposite hand {opposite:.0f}"
    return f", {report['rotation_axis_found_deg']:.2f}° in the data (log-likelihood {scores['this']:.0f}{against})"
