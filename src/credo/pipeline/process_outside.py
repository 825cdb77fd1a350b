"""``credo process --engine dials`` or ``xds``: another program indexes and integrates, from credo's files to credo's.

credo finds the beam and, where no file tells it, the rotation axis and its hand, and hands both over with the frames;
symmetry and scale of what comes back are credo's, so that the results can be compared.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from credo.io import smv
from credo.io.dials_refl import read_refl
from credo.io.dials_write import write_expt
from credo.io.open import GeometryOverrides, Opened, in_memory, open_experiment
from credo.io.text import read_text, write_text
from credo.io.xds_hkl import read_xds_ascii
from credo.io.xds_inp import write_xds_inp
from credo.model import CannotDo, Experiment, Frames, Goniometer, Reflections, Report, Scan, UnreadableInput
from credo.pipeline.collection import measured
from credo.pipeline.output import Output, fingerprint, run_command
from credo.pipeline.process import Processed, ProcessSettings, known_group, laue_and_scale, summary, write_result
from credo.solve.adapters.program import Program

__all__ = ["ProcessEngine", "process_outside"]

ProcessEngine = Literal["credo", "dials", "xds"]

Progress = Callable[[str], None]

_HOME = "https://dials.github.io (or apt install dials)"
_XDS = Program("XDS", ("xds_par", "xds"), "https://xds.mr.mpg.de")
#: A step that takes longer is stopped [s].
_SECONDS = 1800.0
#: Spots that a crystal must explain.
_FEWEST = 10


def process_outside(
    paths: Sequence[Path],
    out: Path,
    engine: ProcessEngine,
    settings: ProcessSettings | None = None,
    overrides: GeometryOverrides | None = None,
    program: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The files and the report of ``credo process``; the program's own files stay in ``out``/ENGINE.

    program: XDS's executable; of DIALS, any of its commands, beside which the others lie.
    """
    settings, overrides = settings or ProcessSettings(), overrides or GeometryOverrides()
    paths, say = [Path(p) for p in paths], progress or (lambda _: None)
    missing = next((p for p in paths if not p.exists()), None)
    key = "" if missing else fingerprint(paths, (settings, overrides)) + engine
    output = Output(out, "process", key, paths, (settings, overrides, {"engine": engine}))

    def work(folder: Path) -> dict[str, Any]:
        say("opening")
        opened = open_experiment(paths, overrides)
        if opened.frames is None:
            raise UnreadableInput(f"{opened.experiment.source}: no frames", "give frames, or use credo's own engine")
        place = output.folder / engine
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        start, known = _start(opened, say)
        say("writing frames")
        whole = _write_frames(place / "frames", start, in_memory(opened.frames))
        run = _run_dials if engine == "dials" else _run_xds
        experiment, spots, reflections, notes = run(place, whole, settings, known, program, say)
        found = _result(start, experiment, spots, reflections, settings, [*notes, *_unused(settings)])
        say("writing")
        write_result(folder, found)
        shutil.rmtree(place / "frames")
        return {**found.report.numbers, "engine": engine.upper(), "warnings": list(found.report.warnings)}

    return run_command(output, work, force)


def _unused(settings: ProcessSettings) -> list[str]:
    plain = ProcessSettings()
    return [
        f"{name} is a setting of credo's own engine: not used."
        for name in sorted(set(type(settings).model_fields) - {"cell", "space_group", "d_min"})
        if getattr(settings, name) != getattr(plain, name)
    ]


def _start(opened: Opened, say: Progress) -> tuple[Experiment, bool]:
    """The beam's place; axis and hand by credo's indexing where nobody told them; whether the axis is known now."""
    from credo.reduce.background import mean_background
    from credo.reduce.beam import find_beam
    from credo.reduce.index import index
    from credo.reduce.mask import find_mask
    from credo.reduce.saturation import find_saturation
    from credo.reduce.spots import find_spots

    assert opened.frames is not None
    frames, e = in_memory(opened.frames), opened.experiment
    say("direct beam")
    background = mean_background(frames)
    e, _ = find_saturation(e, frames)
    bad, _ = find_mask(e, frames, background=background)
    e, _ = find_beam(e, frames, bad, background=background)
    say("rotation axis")
    try:
        e, spots, _ = find_spots(e, frames, bad, background=background)
        found, _, _ = index(e, spots)
    except CannotDo:
        return e, "axis" in e.known
    return e.replace(goniometer=found.goniometer, detector=e.detector.replace(origin=found.detector.origin)), True


@dataclass(frozen=True)
class _Whole:
    """The frames on disk, numbered from 1 without gaps: ``experiment`` of these, ``numbers`` (n,) that they had, and
    ``there`` (n,): which are not blanks that fill a gap; ``back``: the stage turned backwards, so that axis and angles
    have the opposite sign here, R(m, φ) = R(−m, −φ), since both programs want angles that increase."""

    experiment: Experiment
    numbers: np.ndarray
    there: np.ndarray
    back: bool = False


def _write_frames(folder: Path, e: Experiment, frames: Frames) -> _Whole:
    """SMV, which both programs read; missing frames as zeros, since DIALS takes no gaps."""
    folder.mkdir()
    scan = e.scan
    numbers = np.arange(scan.numbers[0], scan.numbers[-1] + 1)
    row = np.full(len(numbers), -1)
    row[scan.numbers - numbers[0]] = np.arange(len(scan))
    span = float(scan.end_deg[-1] - scan.start_deg[0])
    sign = -1.0 if span < 0 else 1.0
    e = e.replace(goniometer=Goniometer(sign * e.goniometer.axis))
    regular = Scan.regular(len(numbers), sign * float(scan.start_deg[0]), abs(span) / len(numbers))
    if scan.exposure_s is not None:
        regular = regular.replace(exposure_s=np.full(len(numbers), float(np.median(scan.exposure_s))))
    whole = e.replace(scan=regular, crystals=())
    blank = np.zeros(frames.shape[1:], dtype=frames.dtype)
    for i, k in enumerate(row):
        smv.write(folder / f"{i + 1:05d}.img", frames[int(k)] if k >= 0 else blank, whole, i)
    return _Whole(whole, numbers, row >= 0, span < 0)


# ---------------------------------------------------------------- DIALS


def _run_dials(
    place: Path, whole: _Whole, settings: ProcessSettings, known: bool, program: Path | None, say: Progress
) -> tuple[Experiment, Reflections, Reflections, list[str]]:
    """Import, spots, index, lattice, refinement and integration, with the distance fixed, as it must be for
    electrons."""

    def step(name: str, made: str, *arguments: str) -> None:
        say(f"dials.{name}")
        command = Program(f"dials.{name}", (f"dials.{name}",), _HOME)
        beside = None if program is None else Path(program).resolve().parent / f"dials.{name}"
        said = command.run(command.find(beside, place), arguments, place, _SECONDS)
        if not (place / made).is_file():
            raise command.failed(place, f"there is no {made}", said)

    still = ("detector.fix=distance", "nproc=1")
    step("import", "raw.expt", "template=frames/#####.img", "output.experiments=raw.expt")
    _with_geometry(place, whole.experiment)
    step("find_spots", "strong.refl", "imported.expt", "nproc=1")
    start = "imported.expt"
    if not known:
        step("find_rotation_axis", "optimised.expt", "imported.expt", "strong.refl", "output.plot=None")
        start = "optimised.expt"
    step("index", "indexed.expt", start, "strong.refl", *still, *_symmetry_options(settings))
    names = _setting(place, settings, step, still)
    notes = []
    step("refine", "static.expt", *names, "scan_varying=False", *still, "output.experiments=static.expt",
         "output.reflections=static.refl")  # fmt: skip
    last = ["static.expt", "static.refl"]
    try:
        step("refine", "refined.expt", *last, "scan_varying=True", "detector.fix=all", "nproc=1")
        last = ["refined.expt", "refined.refl"]
    except CannotDo as error:
        notes.append(f"DIALS could not refine along the scan, its static model was used ({error.reason[-120:]}).")
    limit = (f"prediction.d_min={settings.d_min}",) if settings.d_min else ()
    step("integrate", "integrated.refl", *last, "nproc=1", *limit)
    experiment, reflections = read_refl(place / "integrated.refl", place / "integrated.expt")
    _, spots = read_refl(place / "indexed.refl", place / "indexed.expt")
    assert experiment is not None
    return *_renumbered(whole, experiment, spots, reflections), notes


def _with_geometry(place: Path, e: Experiment) -> None:
    """imported.expt: what DIALS made of the frames, with credo's geometry."""
    write_expt(place / "geometry.expt", e)
    raw, ours = (json.loads(read_text(place / name)) for name in ("raw.expt", "geometry.expt"))
    if len(raw["experiment"]) != 1:
        raise CannotDo(f"{place}: DIALS takes the frames for {len(raw['experiment'])} data sets", "see raw.expt there")
    for part in ("beam", "detector", "goniometer"):
        raw[part] = ours[part]
    raw["scan"][0]["oscillation"] = ours["scan"][0]["oscillation"]
    if "properties" in raw["scan"][0]:
        first, width = ours["scan"][0]["oscillation"]
        steps = first + width * np.arange(len(e.scan))
        raw["scan"][0]["properties"]["oscillation"] = steps.tolist()
        raw["scan"][0].pop("oscillation")
    write_text(place / "imported.expt", json.dumps(raw))


def _symmetry_options(settings: ProcessSettings) -> list[str]:
    """A known cell, in P1 unless the space group is known too."""
    if settings.cell is None:
        return []
    name = known_group(settings.space_group).xhm().replace(" ", "") if settings.space_group else "P1"
    text = ",".join(f"{v:.5f}" for v in settings.cell)
    return [f"known_symmetry.unit_cell={text}", f"known_symmetry.space_group={name}"]


def _setting(place: Path, settings: ProcessSettings, step: Callable[..., None], still: tuple[str, ...]) -> list[str]:
    """The lattice of highest symmetry that DIALS recommends; with a known space group that one stands."""
    plain = ["indexed.expt", "indexed.refl"]
    if settings.cell is not None and settings.space_group:
        return plain
    try:
        step("refine_bravais_settings", "bravais_summary.json", *plain, *still)
    except CannotDo:
        # scans in many pieces fail here; the triclinic cell goes on
        return plain
    table = json.loads(read_text(place / "bravais_summary.json"))
    best = max((int(n) for n, row in table.items() if row.get("recommended")), default=1)
    step("reindex", "reindexed.refl", "indexed.refl", f"change_of_basis_op={table[str(best)]['cb_op']}")
    return [f"bravais_setting_{best}.expt", "reindexed.refl"]


def _renumbered(
    whole: _Whole, e: Experiment, spots: Reflections, table: Reflections
) -> tuple[Experiment, Reflections, Reflections]:
    """With the frames' own numbers, without the blanks and the reflections that crossed them."""
    scan = e.scan
    places = np.asarray(scan.numbers) - 1
    scan = scan.replace(numbers=whole.numbers[places]).part(whole.there[places])
    blank = np.concatenate([[0], np.cumsum(~whole.there)])
    if "first" in table:
        first, last = (np.clip(np.asarray(table[n]).astype(int), 0, len(whole.there) - 1) for n in ("first", "last"))
        table = table.select(blank[last + 1] == blank[first])
    edges = np.concatenate([[0], np.cumsum(whole.there)])
    spots, table = (
        r.with_columns(frame=np.interp(r["frame"], np.arange(len(edges)), edges)) if "frame" in r else r
        for r in (spots, table)
    )
    e = e.replace(scan=scan)
    return (_backwards(e), _turned_back(spots), _turned_back(table)) if whole.back else (e, spots, table)


def _backwards(e: Experiment) -> Experiment:
    """About the opposite axis."""
    scan = e.scan.replace(start_deg=-e.scan.start_deg, width_deg=-e.scan.width_deg)
    return e.replace(goniometer=Goniometer(-e.goniometer.axis), scan=scan)


def _turned_back(table: Reflections) -> Reflections:
    return table.with_columns(**{n: -np.asarray(table[n]) for n in ("phi", "phi_calc") if n in table})


# ---------------------------------------------------------------- XDS


def _run_xds(
    place: Path, whole: _Whole, settings: ProcessSettings, known: bool, program: Path | None, say: Progress
) -> tuple[Experiment, Reflections, Reflections, list[str]]:
    """XDS.INP, COLSPOT to CORRECT; where IDXREF stops since few spots are indexed, it goes on, as people do."""
    if not known:
        raise CannotDo(f"{place}: XDS needs the rotation axis, which neither files nor frames tell", "give --axis")
    inp = place / "XDS.INP"
    write_xds_inp(inp, whole.experiment, "frames/?????.img", "SMV")
    write_text(inp, _with_crystal(read_text(inp), whole, settings))
    executable = _XDS.find(program, place)
    say("XDS")
    said = _XDS.run(executable, (), place, _SECONDS)
    result, notes = place / "XDS_ASCII.HKL", []
    if not result.is_file() and (place / "XPARM.XDS").is_file() and "INSUFFICIENT PERCENTAGE" in said:
        notes.append("XDS indexed few of the spots and was told to go on.")
        write_text(inp, read_text(inp).replace("JOB= XYCORR INIT COLSPOT IDXREF DEFPIX", "JOB= DEFPIX"))
        said = _XDS.run(executable, (), place, _SECONDS)
    if not result.is_file():
        raise _XDS.failed(place, "there is no XDS_ASCII.HKL", said)
    experiment, table = read_xds_ascii(result)
    if experiment is None:
        raise _XDS.failed(place, "XDS_ASCII.HKL has no geometry", said)
    spots = _xds_spots(place)
    return *_renumbered(whole, experiment, spots, table), notes


def _with_crystal(text: str, whole: _Whole, settings: ProcessSettings) -> str:
    """A known cell and space group, the resolution limit, and the blanks left out."""
    gaps = [i + 1 for i in np.flatnonzero(~whole.there)]
    lines = [f"EXCLUDE_DATA_RANGE= {i} {i}" for i in gaps]
    if settings.d_min:
        lines.append(f"INCLUDE_RESOLUTION_RANGE= 50 {settings.d_min:g}")
    if settings.cell is not None:
        number = known_group(settings.space_group).number if settings.space_group else 1
        text = text.replace("SPACE_GROUP_NUMBER= 0\n", f"SPACE_GROUP_NUMBER= {number}\n")
        lines.append("UNIT_CELL_CONSTANTS= " + " ".join(f"{v:.4f}" for v in settings.cell))
    return text + "".join(f"{line}\n" for line in lines)


def _xds_spots(place: Path) -> Reflections:
    from credo.io.reflection_files import read_any

    path = place / "SPOT.XDS"
    if path.is_file():
        return read_any(path)[1]
    return Reflections({n: [] for n in ("x", "y", "phi", "frame", "intensity", "lattice")})


# ---------------------------------------------------------------- the result


def _result(
    start: Experiment, e: Experiment, spots: Reflections, table: Reflections, settings: ProcessSettings,
    notes: list[str],
) -> Processed:  # fmt: skip
    """Laue group, scale and statistics by credo, as for its own integration."""
    if len(table) < _FEWEST:
        raise CannotDo(f"{start.source}: {len(table)} reflections were integrated", "look at the program's own files")
    n = len(table)
    if "lattice" not in table:
        table = table.with_columns(lattice=np.zeros(n, dtype=int))
    if "lattice" not in spots:
        hkl = spots.hkl if "h" in spots else np.zeros((len(spots), 3), dtype=int)
        spots = spots.with_columns(lattice=np.where(hkl.any(axis=1), 0, -1))
    e = e.replace(
        source=start.source, kind=start.kind, acquisition=start.acquisition, optics=start.optics,
        known=tuple(dict.fromkeys((*start.known, "axis", "angles"))), problems=start.problems,
    )  # fmt: skip
    stages: dict[str, Report] = {
        "index": Report({
            "indexed_fraction": float(np.mean(spots["lattice"] >= 0)) if len(spots) else 0.0, "hand_score": None,
            "bravais_candidates": [],
        }),
        "refine": Report({}),
    }  # fmt: skip
    e, table = laue_and_scale(e, table, settings, stages)
    e = e.replace(acquisition=measured(e))
    report = summary(e, spots, table, None, stages)
    return Processed(e, spots, table, replace(report, warnings=(*report.warnings, *notes)), None, stages)
