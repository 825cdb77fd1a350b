"""``credo refine``, ``credo map`` and ``credo powder``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from credo.app.options import Force, Json, Out
from credo.app.progress import progress
from credo.app.show import show
from credo.pipeline.maps import MapSettings
from credo.pipeline.maps import fourier as run_map
from credo.pipeline.output import default_folder
from credo.pipeline.outside import refine_outside
from credo.pipeline.powder import PowderSettings
from credo.pipeline.powder import powder as run_powder
from credo.pipeline.refine import refine as run_refine
from credo.pipeline.structures import CompareSettings, compare_structures
from credo.solve.refine.prepare import RefineSettings

__all__ = ["compare", "fourier", "powder", "refine"]

Model = Annotated[Path, Parameter(help="A .res, .ins or CIF with atoms.")]
Data = Annotated[Path, Parameter(help="Reflections: HKLF 4, MTZ, CIF or .fcf, XDS_ASCII.HKL, .cif_pets.")]
Pattern = Annotated[Path | None, Parameter(help="A measured pattern, columns 2θ and intensity (.xy).")]


def refine(
    model: Model,
    data: Data,
    /,
    *,
    out: Out = None,
    json: Json = False,
    force: Force = False,
    engine: Annotated[
        Literal["credo", "shelxl"], Parameter(help="Who refines: credo, or SHELXL (ten cycles) where it is installed.")
    ] = "credo",
    program: Annotated[Path | None, Parameter(help="That program, where it is not on PATH.")] = None,
    settings: Annotated[RefineSettings | None, Parameter(name="*")] = None,
) -> None:
    """Full-matrix least squares on F² of a model against its data, with SHELXL's restraints and constraints.

    Writes refined.res, refined.cif (reflections embedded), refined.fcf, difference.ccp4 and report.html.
    """
    folder = out or default_folder("refine", [model])
    if engine == "shelxl":
        show(refine_outside(model, data, folder, settings, program, force), folder, json, _shelxl_summary)
        return
    with progress() as say:
        report = run_refine(model, data, folder, settings, force, say)
    show(report, folder, json, _refine_summary)


def _shelxl_summary(report: dict[str, Any], folder: Path) -> str:
    return (
        f"SHELXL: R1 {report['r1_obs']:.4f} for {report['n_observed']} reflections over 4 sigma(F), "
        f"{report['r1_all']:.4f} for all {report['n_reflections']}; "
        f"wR2 {report['wr2']:.4f}, GooF {report['goof']:.3f}\n  {folder / 'refined.res'}"
    )


def _refine_summary(report: dict[str, Any], folder: Path) -> str:
    return "\n".join([
        *_dynamical_summary(report.get("dynamical")),
        f"R1 {report['r1_obs']:.4f} for {report['n_observed']} reflections over 2 sigma, {report['r1_all']:.4f} for "
        f"all {report['n_reflections']}; wR2 {report['wr2']:.4f}, GooF {report['goof']:.3f}",
        f"  {report['n_parameters']} parameters, {report['n_restraints']} restraints, {report['cycles']} cycles, "
        f"last shift {report['shift_over_esd']:.3f} esd; difference map {report['residual_min']:.3f} to "
        f"{report['residual_max']:.3f}",
        f"  {folder / 'report.html'}",
    ])  # fmt: skip


def _dynamical_summary(d: dict[str, Any] | None) -> list[str]:
    if not d:
        return []
    other = f"; the mirror image {d['r1_inverted']:.4f}" if d["r1_inverted"] else ""
    return [
        f"dynamical R1 {d['r1']:.4f} of {d['n_observations']} observations over 2 sigma (kinematical "
        f"{d['r1_kinematical']:.4f}{other}), {d['thickness']:.0f} Å thick; against corrected data:"
    ]


def fourier(
    model: Model,
    data: Data,
    /,
    *,
    out: Out = None,
    json: Json = False,
    force: Force = False,
    settings: Annotated[MapSettings | None, Parameter(name="*")] = None,
) -> None:
    """Observed and difference Fourier maps with the phases of a model, as CCP4, with their peaks.

    Only the scale is fitted; the atoms stay where they are.
    """
    folder = out or default_folder("map", [model])
    with progress() as say:
        report = run_map(model, data, folder, settings, force, say)
    show(report, folder, json, _map_summary)


def _map_summary(report: dict[str, Any], folder: Path) -> str:
    lines = [
        f"R1 {report['r1_obs']:.4f}; difference map {report['residual_min']:.3f} to {report['residual_max']:.3f}, "
        f"rms {report['residual_rms']:.3f}"
    ]
    lines += [
        f"  {p['height']:7.3f} at {p['xyz'][0]:.4f} {p['xyz'][1]:.4f} {p['xyz'][2]:.4f}, "
        f"{p['nearest_distance']:.2f} Å from {p['nearest_atom']}"
        for p in report["difference_peaks"][:8]
    ]
    return "\n".join([*lines, f"  {folder / 'difference.ccp4'}"])


def powder(
    model: Annotated[Path, Parameter(help="A CIF, .res or .ins with atoms.")],
    measured: Pattern = None,
    /,
    *,
    out: Out = None,
    json: Json = False,
    force: Force = False,
    settings: Annotated[PowderSettings | None, Parameter(name="*")] = None,
) -> None:
    """The X-ray powder pattern of a structure, laid over a measured one, with R and a picture."""
    folder = out or default_folder("powder", [model])
    with progress() as say:
        report = run_powder(model, measured, folder, settings, force, say)
    show(report, folder, json, _powder_summary)


def _powder_summary(report: dict[str, Any], folder: Path) -> str:
    lines = [f"{report['n_reflections']} reflections to 2θ = {report['two_theta_max']:g}°"]
    if report.get("rwp") is not None:
        lines.append(f"  Rwp {report['rwp']:.4f}, Rp {report['rp']:.4f}, zero shift {report['zero_deg']:+.4f}°")
    return "\n".join([*lines, f"  {folder / 'powder.svg'}"])


def compare(
    structures: Annotated[list[Path], Parameter(help="CIFs, .res files, or folders of credo refine and credo solve.")],
    /,
    *,
    out: Out = None,
    json: Json = False,
    force: Force = False,
    settings: Annotated[CompareSettings | None, Parameter(name="*")] = None,
) -> None:
    """Refinements of one phase side by side: a table of their figures, and how far their atoms lie apart.

    Origin, setting and hand of each are resolved first. Writes table.csv and report.html.
    """
    folder = out or default_folder("compare", structures)
    show(compare_structures(structures, folder, settings, force), folder, json, _compare_summary)


def _compare_summary(report: dict[str, Any], folder: Path) -> str:
    lines = [f"Compared with {report['reference']}:"]
    for s in report["structures"]:
        c = s["comparison"]
        r1 = "" if s["r1_obs"] is None else f", R1 {s['r1_obs']:.4f}"
        if c is None:
            lines.append(f"  {s['name']}: {s['reason']}{r1}")
            continue
        d = c["deviation_angstrom"]
        atoms = ", ".join(f"{e} {v:.3f}" for e, v in d["by_element"].items())
        lines.append(
            f"  {s['name']}: {s['space_group']}, {100 * c['matched']:.0f} % of atoms matched, "
            f"mean {d['mean']:.3f} A, largest {d['max']:.3f} A ({atoms}){r1}"
        )
    return "\n".join([*lines, f"  {folder / 'table.csv'}"])
