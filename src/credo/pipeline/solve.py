"""A reflection file to a structure: what is not given is found or tried, and the answer written in every format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from pydantic import Field

from credo.io.cif_electron import CITATION
from credo.io.merged import PLACEHOLDER_WAVELENGTH
from credo.io.reflection_files import read_any
from credo.io.shelx import write_hkl
from credo.io.shelx_ins import read_ins
from credo.io.space_group import centring_and_laue, find_space_group
from credo.io.text import write_text
from credo.model import Acquisition, CannotDo, Cell, CredoError, Experiment, Reflections, Structure, UnreadableInput
from credo.physics.symmetry import LAUE_CLASSES
from credo.pipeline.collection import collection_beside
from credo.pipeline.frameworks import FrameworkResult, framework_numbers, framework_wanted, search_framework
from credo.pipeline.output import Output, fingerprint, run_command
from credo.pipeline.page.framework import framework_page
from credo.pipeline.page.solution import solution_page
from credo.solve.fourier import fourier_map, write_ccp4
from credo.solve.laue import find_centring, likely_laue_groups
from credo.solve.least_squares import LeastSquaresSettings, fit_structure
from credo.solve.refine.constraints import with_displacements
from credo.solve.refine.data import merge_equivalents
from credo.solve.refine.fit import FitSettings, refine_model
from credo.solve.refine.model import Model, Weights
from credo.solve.refine.to_cif import CifExtras, structure_cif
from credo.solve.refine.to_shelx import res_text
from credo.solve.refine.virtual_frames import once_per_crossing
from credo.solve.solve import Solution, SolveSettings, solve

__all__ = ["ReflectionSet", "SolveFileSettings", "read_reflections", "solve_data", "solve_file", "write_structure"]


class SolveFileSettings(SolveSettings):
    """What is known of the crystal beyond what the file says, and how long to try."""

    cell: tuple[float, float, float, float, float, float] | None = Field(
        default=None, description="a, b, c [Å], α, β, γ [°]"
    )
    composition: str | None = Field(default=None, description="formula, or the ratio of the elements: 'Si O2'")
    space_group: str | None = Field(
        default=None,
        description="only its Laue class and centring are used, the group itself is found (frameworks keep to it)",
    )
    framework: bool | None = Field(
        default=None,
        description="search a four-connected framework (a zeolite) instead of atoms; unless said, tried first where "
        "the composition is T atoms and O at about 1:2 and the data are coarser than 1.1 Å",
    )
    laue_group: str | None = Field(default=None, description=f"one of {', '.join(LAUE_CLASSES)}")
    centring: str | None = Field(default=None, pattern="^[PABCIFR]$", description="P A B C I F or R")
    wavelength: float | None = Field(default=None, gt=0.001, lt=0.2, description="[Å]")
    seed: int = Field(default=0, ge=0, description="of the random phases")


@dataclass(frozen=True)
class ReflectionSet:
    """Intensities ready to solve: ``laue_groups`` in the order of trying; ``notes``: what was found, not given."""

    cell: Cell
    centring: str
    laue_groups: tuple[str, ...]
    hkl: np.ndarray
    intensity: np.ndarray
    sigma: np.ndarray
    wavelength: float
    composition: str | None
    notes: tuple[str, ...]
    acquisition: Acquisition = field(default_factory=Acquisition)


def read_reflections(path: Path, settings: SolveFileSettings) -> ReflectionSet:
    """Read a file of intensities of any format, and settle cell, centring, Laue class and composition."""
    path = Path(path)
    experiment, table = read_any(path)
    if path.suffix.lower() in (".ins", ".res") and not table:
        return read_reflections(_hkl_beside(path), settings)
    missing = [c for c in ("h", "k", "l", "intensity") if c not in table]
    if missing or not table:
        raise UnreadableInput(f"{path}: holds no intensities", "give integrated or merged intensities (HKL, MTZ, CIF)")
    cell = _cell(path, experiment, settings)
    if experiment is not None and experiment.kind.startswith("PETS"):
        table = once_per_crossing(experiment, table)
    hkl, i, s = _columns(table)
    centring, groups, notes = _symmetry(cell, experiment, settings, hkl, i, s)
    composition = settings.composition or _composition_beside(path)
    if composition is None:
        notes.append("no composition was given: elements are guessed from peak heights and distances")
    elif settings.composition is None:
        notes.append(f"composition {composition}, from the .ins beside the data")
    known = experiment is not None and "wavelength" in experiment.known
    found = experiment.beam.wavelength if known and experiment else PLACEHOLDER_WAVELENGTH
    wavelength = settings.wavelength or found
    how = collection_beside(path)
    return ReflectionSet(cell, centring, groups, hkl, i, s, wavelength, composition, tuple(notes), how)


def _columns(table: Reflections) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices, intensities and sigmas of what is not rejected; sigmas are guessed where there are none."""
    keep = np.ones(len(table), bool) if "rejected" not in table else ~table["rejected"]
    i = np.asarray(table["intensity"], float)[keep]
    s = np.asarray(table["sigma"], float)[keep] if "sigma" in table else np.full(len(i), np.nan)
    if not np.any(np.isfinite(s) & (s > 0)):
        s = np.sqrt((0.1 * np.abs(i)) ** 2 + (0.02 * np.nanmean(np.abs(i))) ** 2)
    good = np.isfinite(i) & np.isfinite(s) & (s > 0)
    return table.hkl[keep][good].astype(int), i[good], s[good]


def _hkl_beside(path: Path) -> Path:
    beside = path.with_suffix(".hkl")
    if not beside.exists():
        raise UnreadableInput(f"{path}: has no {beside.name} beside it", "give the reflection file itself")
    return beside


def _composition_beside(path: Path) -> str | None:
    for suffix in (".ins", ".res"):
        other = path.with_suffix(suffix)
        if other.exists():
            try:
                contents = read_ins(other).contents
            except CredoError:
                continue
            if contents:
                return " ".join(f"{e}{n:g}" for e, n in contents.items())
    return None


def _cell(path: Path, experiment: Experiment | None, settings: SolveFileSettings) -> Cell:
    if settings.cell is not None:
        try:
            return Cell(*settings.cell)
        except ValueError as error:
            raise UnreadableInput(f"the cell {settings.cell} spans no volume", "check --cell") from error
    if experiment is None or not experiment.crystals:
        raise UnreadableInput(f"{path}: no cell in it or beside it", "give --cell a,b,c,alpha,beta,gamma")
    return experiment.crystal.cell


def _symmetry(cell: Cell, experiment: Experiment | None, settings: SolveFileSettings, hkl, i, s):
    """(centring, Laue classes to try, notes): as given, else from the file's space group, else from the data."""
    notes: list[str] = []
    group = find_space_group(settings.space_group) if settings.space_group else None
    if settings.space_group and group is None:
        raise UnreadableInput(f"the space group {settings.space_group!r} is not known", "write it as P 21/c or 14")
    if group is None and experiment is not None and experiment.crystals and experiment.crystal.space_group:
        group = find_space_group(experiment.crystal.space_group)
        group = None if group is not None and group.number == 1 else group
    known = centring_and_laue(group)
    centring, laue = settings.centring or known.get("centring"), settings.laue_group or known.get("laue_group")
    if centring is None:
        centring = find_centring(cell, hkl, i, s)
        notes.append(f"centring {centring}, from the absences")
    if laue == "-3m":
        laue = None if group is None else _trigonal(group)
    if laue is not None:
        return centring, (laue,), notes
    groups = likely_laue_groups(cell, hkl, i, s)
    notes.append("Laue group tried: " + ", ".join(n + (f" (R_int {r:.2f})" if r else "") for n, r in groups[:2]))
    return centring, tuple(n for n, _ in groups[:2]), notes


def _trigonal(group: gemmi.SpaceGroup) -> str:
    """Which of the two orientations of -3m on hexagonal axes: the second symbol is the axes a, the third between."""
    words = group.hm.split()
    return "-31m" if len(words) == 4 and words[2] == "1" and words[3] != "1" else "-3m1"


def solve_data(
    data: ReflectionSet, settings: SolveFileSettings, progress: Callable[[str], None] | None = None
) -> tuple[Solution, str]:
    """The solution and its Laue class: the first that is solved, else the one with the best R1."""
    tried: list[tuple[Solution, str]] = []
    plain = SolveSettings(**{k: getattr(settings, k) for k in SolveSettings.model_fields})
    for laue in data.laue_groups:
        found = solve(
            data.cell, data.centring, laue, data.hkl, data.intensity, data.sigma, data.wavelength, data.composition,
            plain, settings.seed, progress,
        )  # fmt: skip
        tried.append((found, laue))
        if found.solved:
            break
    return min(tried, key=lambda t: (not t[0].solved, t[0].best.r1 if t[0].best and t[0].best.r1 > 0 else np.inf))


def solve_file(
    path: Path,
    out: Path,
    settings: SolveFileSettings | None = None,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """``credo solve``: structure.cif, structure.res and .hkl, observed.ccp4, report.html and report.json in ``out``.

    An unsolved structure leaves its best trial there too, with ``ok`` false and the reasons.
    """
    path, settings = Path(path), settings or SolveFileSettings()
    beside = [p for p in (path, path.with_suffix(".ins"), path.with_suffix(".hkl")) if p.is_file()]
    output = Output(out, "solve", fingerprint(beside, settings), [path], settings, beside)

    def work(folder: Path) -> dict[str, Any]:
        data = read_reflections(path, settings)
        if framework_wanted(data, settings):
            framework = search_framework(data, settings, progress)
            if framework.found.solved or settings.framework:
                return _write_framework(folder, framework, data, path.stem)
        found, laue = solve_data(data, settings, progress)
        numbers = _numbers(found, laue, data)
        best = None
        if found.best is not None and found.best.structure.atoms:
            best = write_structure(folder, found.best.structure, data, path.stem)
        write_text(folder / "report.html", solution_page(found, numbers, path.stem, best))
        return numbers

    return run_command(output, work, force)


def _write_framework(folder: Path, result: FrameworkResult, data: ReflectionSet, name: str) -> dict[str, Any]:
    numbers, best = framework_numbers(result, data), result.found.best
    numbers["collection"] = data.acquisition.to_dict()
    written = write_structure(folder, best.structure, data, name, best.restraints) if best else None
    write_text(folder / "report.html", framework_page(result.found, numbers, name, written))
    return numbers


def _numbers(found: Solution, laue: str, data: ReflectionSet) -> dict[str, Any]:
    best = found.best
    atoms = best.structure.atoms if best else ()
    finite = lambda v: float(v) if np.isfinite(v) else None  # noqa: E731
    return {
        "ok": found.solved,
        "reason": "" if found.solved else "; ".join(found.reasons),
        "solved": found.solved,
        "space_group": best.space_group if best else None,
        "laue_group": laue,
        "cell": list(data.cell.parameters),
        "figure_of_merit": finite(best.merit) if best else None,
        "r1": finite(best.r1) if best else None,
        "n_atoms": len(atoms),
        "atoms": [
            {"label": a.label, "element": a.element, "xyz": [round(float(x), 5) for x in a.xyz], "u_iso": a.u_iso}
            for a in atoms
        ],
        "candidates": [
            {
                "space_group": c.space_group, "r1": finite(c.r1), "figure_of_merit": finite(c.merit),
                "agreement": c.agreement, "worst_operation": c.worst, "r_e": c.r_e, "n_atoms": len(c.structure.atoms),
                "note": c.note,
            }
            for c in found.candidates
        ],
        "trials": len(found.merits),
        "d_min": found.d_min,
        "collection": data.acquisition.to_dict(),
        "cpu_seconds": round(found.seconds, 2),
        "reasons": list(found.reasons),
        "warnings": [*data.notes, *([best.note] if best and best.note else [])],
    }  # fmt: skip


def write_structure(
    folder: Path,
    structure: Structure,
    data: ReflectionSet,
    name: str,
    restraints: tuple[Any, ...] = (),
    solution: str = CITATION,
) -> tuple[Structure, np.ndarray]:
    """A solved structure, refined isotropically to convergence where that works, in every format.

    Returns what was written: the structure, and its map of Fo (nx, ny, nz).
    """
    structure = structure.replace(name=name)
    group = gemmi.SpaceGroup(structure.space_group)
    merged = merge_equivalents(data.hkl, data.intensity, data.sigma, group, data.cell)
    fixed = frozenset((i, 3) for i in range(len(structure.atoms)))
    model = Model(with_displacements(structure, False), fixed=fixed, restraints=restraints, weights=Weights(0.2, 0.0))
    try:
        refined = refine_model(model, merged.observed, data.wavelength, FitSettings(20, 0.01))
    except CannotDo:
        refined = refine_model(model, merged.observed, data.wavelength, FitSettings(0, 0.01))
    observed = merged.observed
    columns = {n: observed.hkl[:, k] for k, n in enumerate("hkl")}
    write_hkl(folder / "structure.hkl", Reflections({**columns, "intensity": observed.f2, "sigma": observed.sigma}))
    res = res_text(refined, data.wavelength)
    write_text(folder / "structure.res", res)
    extras = CifExtras(data.wavelength, merged, res=res, acquisition=data.acquisition, solution=solution)
    write_text(folder / "structure.cif", structure_cif(refined, extras, name))
    fit = fit_structure(refined.structure, observed, data.wavelength, LeastSquaresSettings(cycles=0))
    seen = fourier_map(refined.structure, fit, observed, "observed")
    write_ccp4(folder / "observed.ccp4", seen, refined.structure)
    return refined.structure, seen
