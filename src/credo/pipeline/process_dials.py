"""Frames through DIALS: import, spots, index, lattice, refinement, integration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from credo.io.dials_refl import read_refl
from credo.io.dials_write import write_expt
from credo.io.text import read_text, write_text
from credo.model import CannotDo, Experiment, Reflections
from credo.pipeline.numbered_frames import Whole, as_numbered
from credo.pipeline.process import ProcessSettings, known_group
from credo.solve.adapters.program import Program

__all__ = ["run_dials"]

_HOME = "https://dials.github.io (or apt install dials)"
#: A step that takes longer is stopped [s].
_SECONDS = 1800.0


def run_dials(
    place: Path, whole: Whole, settings: ProcessSettings, known: bool, program: Path | None, say: Callable[[str], None]
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
    # without it, a camera whose counts are several for each electron seems full of spots
    gain = f"spotfinder.threshold.dispersion.gain={max(whole.experiment.detector.gain, 1.0):.4f}"
    step("find_spots", "strong.refl", "imported.expt", "nproc=1", gain)
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
    return *as_numbered(whole, experiment, spots, reflections), notes


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
