"""``credo process --engine dials`` or ``xds``: another program indexes and integrates, from credo's files to credo's.

credo finds the beam and, where no file tells it, the rotation axis and its hand, and hands both over with the frames;
symmetry and scale of what comes back are credo's, so that the results can be compared.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from credo.io.open import GeometryOverrides, Opened, in_memory, open_experiment
from credo.model import CannotDo, Experiment, Reflections, Report, UnreadableInput
from credo.pipeline.collection import measured
from credo.pipeline.numbered_frames import write_numbered
from credo.pipeline.output import Output, fingerprint, run_command
from credo.pipeline.process import Processed, ProcessSettings, laue_and_scale, summary, write_result
from credo.pipeline.process_dials import run_dials
from credo.pipeline.process_xds import run_xds

__all__ = ["ProcessEngine", "process_outside"]

ProcessEngine = Literal["credo", "dials", "xds"]

Progress = Callable[[str], None]

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
        whole = write_numbered(place / "frames", start, in_memory(opened.frames))
        run = run_dials if engine == "dials" else run_xds
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
    e = e.replace(detector=e.detector.replace(gain=float(background.gain)))
    bad, _ = find_mask(e, frames, background=background)
    e, _ = find_beam(e, frames, bad, background=background)
    say("rotation axis")
    try:
        e, spots, _ = find_spots(e, frames, bad, background=background)
        found, _, _ = index(e, spots)
    except CannotDo:
        return e, "axis" in e.known
    return e.replace(goniometer=found.goniometer, detector=e.detector.replace(origin=found.detector.origin)), True


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
