"""One phase of a batch: its data sets merged, then its structure solved and refined, each in a folder of its own."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from credo.io.atomic import atomic_write
from credo.io.text import write_text
from credo.model import CannotDo, CredoError
from credo.pipeline.batch_work import in_place
from credo.pipeline.corrected import CORRECTED, corrected, refinement_of
from credo.pipeline.data_set import DataSet
from credo.pipeline.merge import Merged, MergeSettings, merge_sets
from credo.pipeline.merge_input import read_set
from credo.pipeline.merge_output import numbers_of, write_phase
from credo.pipeline.output import Output, fingerprint, read_report, run_command
from credo.pipeline.page.merging import merging_page
from credo.pipeline.refine import refine
from credo.pipeline.solve import SolveFileSettings, solve_file
from credo.solve.composition import parse_formula
from credo.solve.refine.prepare import RefineSettings

__all__ = ["phase", "read_crystal", "structure"]

#: What the batch keeps of a merged phase's report.
MERGED = (
    "ok", "reason", "cell", "cell_esd", "space_group", "laue_group", "centring", "candidates", "members", "rejected",
    "completeness", "multiplicity", "r_int", "r_meas", "r_pim", "cc_half", "cc_half_by_crystals", "i_over_sigma",
    "resolution", "n_observations", "n_unique", "wavelength", "warnings",
)  # fmt: skip
#: Refinement of a model that has the hydrogens it can have.
_AS_GIVEN = RefineSettings(optimise_weights=True)
#: CC½ within shells below which data sets have nothing in common, of at least so many pairs.
_NOISE, _FEW = 0.3, 50
_SOLVED = ("ok", "reason", "space_group", "r1", "n_atoms", "figure_of_merit", "framework", "warnings")
_REFINED = ("ok", "reason", "r1_obs", "r1_all", "wr2", "goof", "n_parameters", "residual_max", "residual_min")


def read_crystal(folder: Path, name: str) -> DataSet:
    """A processed crystal under the name that people know it by."""
    return replace(read_set(Path(folder) / "experiment.json"), name=name)


def phase(task: dict[str, Any]) -> dict[str, Any]:
    """Merge ``members`` (each ``name``, ``folder``) into ``target``; ``settings`` are those of merging."""
    target, settings = Path(task["target"]), MergeSettings.model_validate(task["settings"])
    earlier = read_report(target)
    if earlier.get("input_hash") == task["key"] and earlier.get("command") == "merge":
        return {**{k: earlier.get(k) for k in MERGED}, "reused": True}
    folders = [Path(m["folder"]) for m in task["members"]]
    with in_place(target) as folder:
        inputs = [*folders, *([settings.model] if settings.model else [])]
        output = Output(folder, "merge", task["key"], inputs, settings)

        def work(inner: Path) -> dict[str, Any]:
            sets = [read_crystal(f, m["name"]) for f, m in zip(folders, task["members"])]
            found = merge_sets(sets, settings, task["name"])
            _refuse_noise(found)
            write_phase(inner, found, settings, target)
            write_text(inner / "report.html", merging_page([found], [], f"phase {task['name']}"))
            numbers = numbers_of(found)
            return {**numbers, "engine": "credo", "phases": [{"name": found.name, **numbers}], "failed": []}

        try:
            report = run_command(output, work)
        except CredoError:
            report = read_report(folder)
    return {**{k: report.get(k) for k in MERGED}, "reused": False}


def _refuse_noise(found: Merged) -> None:
    """What has a common lattice and no common intensities is no phase; that all fade alike with resolution is none."""
    shells = [s for s in found.inside.shells if np.isfinite(s.cc_half) and s.pairs]
    pairs = np.array([s.pairs for s in shells])
    if pairs.sum() < _FEW:
        return
    cc = float(np.average([s.cc_half for s in shells], weights=pairs))
    if cc < _NOISE:
        names = ", ".join(s.name for s in found.sets)
        raise CannotDo(f"{names}: intensities do not agree (CC½ within shells {cc:.2f})", "collect others")


def structure(task: dict[str, Any]) -> dict[str, Any]:
    """Solve ``merged`` into solve beside it, and refine that into refine; both are reused where they are whole.

    ``settings``: of solving; ``again``: the task that merged it, to do so without damping once there is a structure, or
    None. The answer has ``solved`` and, where it is, ``refined``: numbers of either report; and ``damping``.
    """
    merged = Path(task["merged"])
    place = merged.parent
    solve_folder, refine_folder = place / "solve", place / "refine"
    settings = SolveFileSettings.model_validate(task["settings"])
    beside = [p for p in (merged, merged.with_suffix(".ins"), merged.with_suffix(".hkl")) if p.is_file()]
    solved = _whole(solve_folder, fingerprint(beside, settings), lambda folder: solve_file(merged, folder, settings))
    answer: dict[str, Any] = {"ok": bool(solved.get("ok")), "solved": {k: solved.get(k) for k in _SOLVED}}
    if not answer["ok"]:
        return {**answer, "reason": solved.get("reason")}
    told = parse_formula(settings.composition)
    rules = _AS_GIVEN.model_copy(update={"hydrogens": "add"}) if "H" in told else _AS_GIVEN
    refined = _refined(solve_folder / "structure.res", solve_folder / "structure.hkl", refine_folder, rules)
    if refined.get("ok") and task.get("again"):
        answer["damping"] = corrected(
            place, lambda model, target: _merged_again(task["again"], model, target),
            lambda model, target: _refined(model, target.parent / "merged.hkl", target, _AS_GIVEN),
        )  # fmt: skip
    else:
        shutil.rmtree(place / CORRECTED, ignore_errors=True)
    last = refinement_of(place)
    refined = read_report(last)
    best = last / "refined.cif" if refined.get("ok") else solve_folder / "structure.cif"
    with atomic_write(merged.with_name("structure.cif")) as stream:
        stream.write(best.read_bytes())
    return {**answer, "reason": "", "refined": {k: refined.get(k) for k in _REFINED}}


def _refined(model: Path, data: Path, target: Path, rules: RefineSettings) -> dict[str, Any]:
    """The report of a refinement; without hydrogens where they could not be added."""
    key = fingerprint([model, data], rules)
    report = _whole(target, key, lambda folder: refine(model, data, folder, rules))
    if report.get("ok") or rules.hydrogens == "as given":
        return report
    return _refined(model, data, target, _AS_GIVEN)


def _merged_again(task: dict[str, Any], model: Path, target: Path) -> dict[str, Any]:
    """The phase merged with a model, its report."""
    settings = {**task["settings"], "model": str(model)}
    key = fingerprint([model], (task["key"], task["settings"]))
    phase({**task, "settings": settings, "key": key, "target": str(target)})
    return read_report(target)


def _whole(target: Path, key: str, work: Any) -> dict[str, Any]:
    """The report of a command whose folder has that key, or is made now, whether it ends well or not."""
    earlier = read_report(target)
    if earlier.get("input_hash") == key:
        return earlier
    with in_place(target) as folder:
        try:
            report = work(folder)
        except CredoError:
            report = read_report(folder)
    return report
