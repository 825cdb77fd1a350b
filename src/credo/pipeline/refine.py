"""``credo refine``: a model and its data to .res, CIF, .fcf, a difference map and a page to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi

from credo.io.reflection_files import read_any
from credo.io.shelx import write_hkl
from credo.io.text import read_text, write_text
from credo.model import Acquisition, Reflections
from credo.pipeline.collection import collection_beside, corrections_beside, solved_by
from credo.pipeline.output import Output, fingerprint, run_command
from credo.pipeline.page.refinement import refinement_page
from credo.solve.fourier import write_ccp4
from credo.solve.refine.data import completeness
from credo.solve.refine.dynamical import Dynamical
from credo.solve.refine.prepare import RefineSettings, prepared_model
from credo.solve.refine.result import outliers
from credo.solve.refine.run import Refinement, refined_structure
from credo.solve.refine.to_cif import CifExtras, fcf_text, structure_cif
from credo.solve.refine.to_shelx import res_text

__all__ = ["numbers_of", "refine"]


def refine(
    model: Path,
    reflections: Path,
    out: Path,
    settings: RefineSettings | None = None,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """``credo refine``: refined.res, refined.cif, refined.fcf, difference.ccp4, report.html; returns the report."""
    model, reflections, settings = Path(model), Path(reflections), settings or RefineSettings()
    inputs = [model, reflections]
    output = Output(out, "refine", fingerprint([p for p in inputs if p.exists()], settings), inputs, settings)

    def work(folder: Path) -> dict[str, Any]:
        prepared = prepared_model(model, settings)
        experiment, table = read_any(reflections)
        done = refined_structure(prepared, experiment, table, settings, progress)
        how = collection_beside(reflections)
        _write(folder, done, model.stem, how, solved_by(model), corrections_beside(reflections))
        return {**numbers_of(done), "collection": how.to_dict()}

    return run_command(output, work, force)


def numbers_of(done: Refinement) -> dict[str, Any]:
    """The keys of report.json."""
    refined, a, structure = done.refined, done.refined.agreement, done.refined.structure
    worst = [
        {
            "hkl": list(o.hkl),
            "fo2": round(o.fo2, 3),
            "fc2": round(o.fc2, 3),
            "error_over_esd": round(o.error_over_esd, 2),
        }
        for o in outliers(refined, 20)
    ]
    w = refined.model.weights
    return {
        "r1_obs": a.r1, "r1_all": a.r1_all, "wr2": a.wr2, "goof": a.goof, "goof_restrained": a.goof_restrained,
        "n_parameters": refined.n_parameters, "n_restraints": len(refined.restraint_rows),
        "n_observed": a.n_observed, "n_reflections": a.n_all, "n_read": done.merged.read,
        "n_absent": done.merged.absent, "resolution": float(structure.cell.d_spacing(refined.data.hkl).min()),
        "completeness": completeness(refined.data.hkl, gemmi.SpaceGroup(structure.space_group), structure.cell),
        "mean_i_over_sigma": float((refined.data.f2 / refined.data.sigma).mean()),
        "r_int": done.merged.r_int, "shift_over_esd": refined.shift_over_esd,
        "cycles": refined.cycles, "residual_max": float(done.difference.max()),
        "residual_min": float(done.difference.min()), "residual_rms": float(done.difference.std()),
        "space_group": refined.structure.space_group, "cell": list(refined.structure.cell.parameters),
        "cell_factor": done.cell_factor, "wavelength": done.wavelength, "weights": [w.a, w.b],
        "extinction": refined.model.extinction, "twin_fractions": list(refined.model.twin.fractions)
        if refined.model.twin else [], "n_atoms": len(refined.structure.atoms), "outliers": worst,
        "warnings": list(done.notes),
    } | ({"dynamical": _dynamical_numbers(done.dynamical)} if done.dynamical else {})  # fmt: skip


def _dynamical_numbers(d: Dynamical) -> dict[str, Any]:
    """R1 over single observations, thickness [Å], and what was fitted to each frame."""
    return {
        "r1": d.fit.r1, "r1_all": d.fit.r1_all, "n_observations": d.fit.n_observed, "r1_kinematical": d.kinematical.r1,
        "r1_inverted": d.r1_inverted, "thickness": d.fit.thickness, "thickness_spread": d.fit.spread,
        "cycles": d.cycles, "frames": [
            {"number": f.number, "scale": f.scale**2, "tilt_deg": list(f.tilt_deg)} for f in d.fit.frames
        ],
    }  # fmt: skip


def _write(
    folder: Path, done: Refinement, name: str, how: Acquisition, solution: str, corrections: tuple[str, ...]
) -> None:
    refined = done.refined
    peaks = tuple((p.xyz, p.height) for p in done.peaks)
    z = done.prepared.z
    res = res_text(refined, done.wavelength, z, done.prepared.source, done.instructions, peaks)
    write_text(folder / "refined.res", res)
    data = refined.data
    write_hkl(folder / "refined.hkl", Reflections({
        "h": data.hkl[:, 0], "k": data.hkl[:, 1], "l": data.hkl[:, 2], "intensity": data.f2, "sigma": data.sigma
    }))  # fmt: skip
    residual = (float(done.difference.max()), float(done.difference.min()), float(done.difference.std()))
    extras = CifExtras(
        done.wavelength,
        done.merged,
        residual,
        res,
        read_text(folder / "refined.hkl"),
        z,
        notes=(*done.notes, *corrections),
        acquisition=how,
        theory="dynamical" if done.dynamical else "kinematical",
        solution=solution,
    )
    write_text(folder / "refined.cif", structure_cif(refined, extras, name))
    write_text(folder / "refined.fcf", fcf_text(refined, name))
    write_ccp4(folder / "difference.ccp4", done.difference, refined.structure)
    write_text(folder / "report.html", refinement_page(done, name))
