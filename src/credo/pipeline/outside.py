"""Solution and refinement by a program of somebody else, from the same files and into the same folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from credo.io.reflection_files import read_any
from credo.io.shelx import read_hkl
from credo.model import UnreadableInput
from credo.pipeline.output import Output, fingerprint, run_command
from credo.pipeline.solve import ReflectionSet, SolveFileSettings, read_reflections, write_structure
from credo.solve.adapters.outcome import Outcome, Task
from credo.solve.adapters.shelxl import refine_with_shelxl
from credo.solve.adapters.shelxt import solve_with_shelxt
from credo.solve.adapters.sir import solve_with_sir
from credo.solve.adapters.superflip import solve_with_superflip
from credo.solve.refine.prepare import RefineSettings, prepared_model
from credo.solve.refine.run import refined_structure

__all__ = ["RefiningProgram", "SolvingProgram", "refine_outside", "solve_outside"]

SolvingProgram = Literal["shelxt", "superflip", "sir2014"]
RefiningProgram = Literal["shelxl"]

_SOLVERS: dict[str, Callable[..., Outcome]] = {
    "shelxt": solve_with_shelxt, "superflip": solve_with_superflip, "sir2014": solve_with_sir,
}  # fmt: skip
#: A run that takes longer is stopped [s].
_SECONDS = 600.0


def solve_outside(
    path: Path,
    out: Path,
    engine: SolvingProgram,
    settings: SolveFileSettings | None = None,
    program: Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """``credo solve --engine``: structure.cif, structure.res and .hkl and observed.ccp4 of the program's first
    solution, refined isotropically by credo; its own files stay in ``out``/ENGINE."""
    path, settings = Path(path), settings or SolveFileSettings()
    beside = [p for p in (path, path.with_suffix(".ins"), path.with_suffix(".hkl")) if p.is_file()]
    key = fingerprint(beside, settings) + engine
    output = Output(out, "solve", key, [path], (settings, {"engine": engine}), beside)

    def work(folder: Path) -> dict[str, Any]:
        data = read_reflections(path, settings)
        laue = data.laue_groups[0]
        task = Task(
            data.cell, data.centring, laue, data.hkl, data.intensity, data.sigma, data.wavelength,
            data.composition or "", path.stem,
        )  # fmt: skip
        told = {"space_group": settings.space_group or ""} if engine == "sir2014" else {}
        found = _SOLVERS[engine](task, output.folder / engine, program, seconds=_SECONDS, **told)
        write_structure(folder, found.structure, _on_its_axes(found, data), path.stem, solution=found.program)
        return _solution(found, laue, data)

    return run_command(output, work, force)


def _on_its_axes(found: Outcome, data: ReflectionSet) -> ReflectionSet:
    """The intensities that belong to the structure: SHELXT may have chosen other axes."""
    if found.reflections.name == "credo.hkl":
        return data
    table = read_hkl(found.reflections)
    return ReflectionSet(
        found.structure.cell, data.centring, data.laue_groups, table.hkl.astype(int), table["intensity"],
        table["sigma"], data.wavelength, data.composition, data.notes, data.acquisition,
    )  # fmt: skip


def _solution(found: Outcome, laue: str, data: ReflectionSet) -> dict[str, Any]:
    atoms = found.structure.atoms
    return {
        "engine": found.program, "solved": True, "space_group": found.space_group, "laue_group": laue,
        "cell": list(found.structure.cell.parameters), "figure_of_merit": None, "r1": found.r1,
        "r1_from": found.r1_from, "n_atoms": len(atoms),
        "atoms": [
            {"label": a.label, "element": a.element, "xyz": [round(float(x), 5) for x in a.xyz], "u_iso": a.u_iso}
            for a in atoms
        ],
        "candidates": [{"space_group": c.space_group, "r1": c.r1, "file": c.path.name} for c in found.candidates],
        "reasons": [f"{found.program} offers this structure; credo has not judged it"],
        "warnings": [*data.notes, *found.notes],
    }  # fmt: skip


def refine_outside(
    model: Path,
    reflections: Path,
    out: Path,
    settings: RefineSettings | None = None,
    program: Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """``credo refine --engine shelxl``: refined.res and refined.lst, as SHELXL wrote them in ``out``/shelxl."""
    model, reflections, settings = Path(model), Path(reflections), settings or RefineSettings()
    if settings.optimise_weights or settings.scale_cell:
        raise UnreadableInput("SHELXL is not asked to optimise weights or to scale a cell", "use credo's own engine")
    inputs = [model, reflections]
    key = fingerprint([p for p in inputs if p.exists()], settings) + "shelxl"
    output = Output(out, "refine", key, inputs, (settings, {"engine": "shelxl"}))

    def work(folder: Path) -> dict[str, Any]:
        prepared = prepared_model(model, settings)
        experiment, table = read_any(reflections)
        start = refined_structure(prepared, experiment, table, settings.model_copy(update={"cycles": 0}))
        done = refine_with_shelxl(
            prepared.model, start.merged.observed, start.wavelength, output.folder / "shelxl", program, _SECONDS,
            prepared.source, settings.instruction, prepared.z,
        )  # fmt: skip
        shutil.copyfile(done.result, folder / "refined.res")
        shutil.copyfile(done.result.with_suffix(".lst"), folder / "refined.lst")
        return {
            "engine": "SHELXL", "r1_obs": done.r1, "r1_all": done.r1_all, "wr2": done.wr2, "goof": done.goof,
            "n_observed": done.n_observed, "n_reflections": done.n_all, "space_group": done.space_group,
            "cell": list(done.structure.cell.parameters), "n_atoms": len(done.structure.atoms),
            "wavelength": start.wavelength, "warnings": list(prepared.notes),
        }  # fmt: skip

    return run_command(output, work, force)
