"""``credo demo`` of the whole loop: from grid to refined structures, judged by what the simulator knew."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from credo.collect.atlas import Atlas
from credo.collect.serial_red import SerialRED
from credo.collect.session import GRID
from credo.instrument.calibration_file import read_calibration
from credo.instrument.config import Configuration, validated
from credo.model import CannotDo, CredoError
from credo.pipeline.batch import batch
from credo.pipeline.batch_settings import BatchSettings, Link, Tick
from credo.pipeline.calibrate_instrument import calibrate_instrument
from credo.pipeline.collect import collect
from credo.pipeline.demo_scenes import Scene, scene
from credo.pipeline.demo_truth import errors_of, wrong
from credo.pipeline.output import Output, fingerprint, run_command

__all__ = ["demo_loop", "demo_plan"]

Progress = Callable[[str], None]
#: Radius of the map of the grid [µm]; brightness at which the beam lights a good part of a tile [units].
_MAPPED_UM, _WIDE = 30.0, 60000.0


def demo_loop(
    out: Path,
    sample: str,
    crystals: int | None = None,
    seed: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Collect into ``out``/session, reduce, sort, merge, solve and refine into ``out``/result; returns the report.

    Data sets are processed while others are collected. Raises CannotDo, with the numbers, when a phase on the grid was
    not found or its structure is not what the simulator knew.
    """
    say = progress or (lambda _: None)
    shown = scene(sample)
    plan = demo_plan(shown, crystals)
    output = Output(out, "demo", fingerprint([], (sample, plan, seed)), settings={"sample": sample, "seed": seed})

    def work(_: Path) -> dict[str, Any]:
        session, result = output.folder / "session", output.folder / "result"
        frames, settings = session / "crystals", batch_settings(shown)
        instrument = _calibrated(_instrument(shown, seed), output.folder / "calibration", say)
        grid = _mapped(instrument, output.folder / "atlas", say)
        with _processed_meanwhile(frames, result, settings):
            collected = collect(
                plan, session, resume_it=session.exists(), config=instrument,
                progress=lambda what: say(f"collecting and processing: {what}"),
            )  # fmt: skip
        shutil.copytree(grid, session / grid.name, dirs_exist_ok=True)
        found = batch(frames, result, settings, progress=lambda tick: say(_sentence(tick)))
        errors = errors_of(found["phases"], shown, result, found["sets"])
        report = _report(sample, shown, collected, found, errors)
        if faults := wrong(errors):
            raise CannotDo(f"not what is on the grid: {'; '.join(faults)}", f"look at {result / 'report.html'}", report)
        return report

    return run_command(output, work, force)


def demo_plan(shown: Scene, crystals: int | None = None) -> SerialRED:
    """The plan of a scene: fast rotations, as the demonstration's time is short."""
    return SerialRED(
        max_crystals=crystals or shown.crystals, speed_deg_s=1.8, exposure_s=0.5, radius_um=200.0, gap_um=2.0
    )


def _mapped(instrument: Configuration, folder: Path, say: Progress) -> Path:
    """An atlas of the middle of the grid, for the report; where it is."""
    collect(
        Atlas(radius_um=_MAPPED_UM, brightness=_WIDE), folder, resume_it=folder.exists(), config=instrument,
        progress=lambda what: say(f"mapping the grid: {what}"),
    )  # fmt: skip
    return folder / GRID


def batch_settings(shown: Scene) -> BatchSettings:
    """All that credo is told: the composition, and the resolution to which it pays to look."""
    return BatchSettings(composition=(shown.composition,), d_min=shown.d_min)


def _instrument(shown: Scene, seed: int) -> Configuration:
    options = {"seed": seed, "sample": shown.sample_settings()}
    return validated({"microscope": {"driver": "simulated", "options": options}}, "the demonstration's instrument")


def _calibrated(instrument: Configuration, folder: Path, say: Progress) -> Configuration:
    """With the scale and the ellipse of its patterns, from a gold film that is in the microscope first; all else that
    collection needs it measures on its own grid."""
    part = instrument.microscope
    gold = part.model_copy(update={"options": {"seed": part.options["seed"], "sample": {"gold": True}}})
    say("calibrating: the rings of gold")
    calibrate_instrument(
        "pixel-size", folder, config=instrument.model_copy(update={"microscope": gold}),
        progress=lambda what: say(f"calibrating: {what}"),
    )  # fmt: skip
    return instrument.model_copy(update={"calibration": read_calibration(folder / "calibration.toml")})


@contextmanager
def _processed_meanwhile(frames: Path, result: Path, settings: BatchSettings) -> Iterator[None]:
    """Within, data sets are processed as they come; on leaving, when the one at work is done."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set() and not any(frames.glob("*/collect.json")):
            over.wait(0.5)
        if over.is_set():
            return
        try:
            early = settings.model_copy(update={"watch": True, "quiet": 3.0, "merge": False, "workers": 1})
            batch(frames, result, early, link=Link(stop=over.is_set))
        except CredoError:
            pass  # told by the run over all data sets that follows

    thread = threading.Thread(target=run, name="processing")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _sentence(tick: Tick) -> str:
    return f"{tick.stage} {tick.done} of {tick.total}" if tick.total else tick.stage


def _report(
    sample: str, shown: Scene, collected: dict[str, Any], found: dict[str, Any], errors: dict[str, Any]
) -> dict[str, Any]:
    keys = ("name", "cell", "cell_esd", "space_group", "completeness", "r_int", "cc_half", "resolution")
    phases = [
        {k: p.get(k) for k in keys} | {"members": len(p["members"]), "formula": shown.composition, "r1": _r1(p)}
        for p in found["phases"]
        if p.get("ok")
    ]
    kept, given_up = collected["datasets"], collected["rejected"]
    return {
        "sample": sample,
        "crystals_found": len(kept) + len(given_up),
        "crystals_collected": len(kept),
        "datasets_indexed": found["indexed"],
        "phases": phases,
        "truth": {"phases": list(shown.phases)},
        "errors_vs_truth": errors,
        "rejected": [*given_up, *found["rejected"]],
        "page": "result/report.html",
    }


def _r1(phase: dict[str, Any]) -> float | None:
    structure = phase.get("structure") or {}
    return (structure.get("refined") or {}).get("r1_obs") or (structure.get("solved") or {}).get("r1")
