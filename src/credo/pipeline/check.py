"""What is this, and can it be processed? The files' own words, and both hands of the axis tried on the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from credo.io.check import check as check_files
from credo.io.open import Opened, in_memory, open_experiment
from credo.io.overrides import GeometryOverrides
from credo.model import CannotDo
from credo.pipeline.output import Output, fingerprint, run_command

__all__ = ["check"]

#: Degrees between the file's axis and the data's that are worth a sentence.
_AXIS_OFF = 3.0


def check(
    paths: Sequence[Path],
    out: Path,
    overrides: GeometryOverrides | None = None,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """``credo check``: writes ``out``/report.json and returns it. See the contract for the keys."""
    paths, overrides = [Path(p) for p in paths], overrides or GeometryOverrides()
    key = fingerprint([p for p in paths if p.exists()], overrides)
    output = Output(out, "check", key, paths, overrides, hashed=False)
    say = progress or (lambda _: None)

    def work(_: Path) -> dict[str, Any]:
        say("opening")
        report = check_files(paths, overrides)
        numbers = dict(report.numbers)
        return {**numbers, **_axis(paths, overrides, numbers, say)}

    return run_command(output, work, force)


def _axis(paths: list[Path], overrides: GeometryOverrides, said: dict[str, Any], say: Callable[[str], None]) -> dict:
    """The axis found from the data, the likelihoods of both hands, and what contradicts the files."""
    problems = list(said["problems"])
    try:
        found, hands = _try_axis(open_experiment(paths, overrides), say)
    except CannotDo as error:
        return {"hand_score": None, "rotation_axis_found_deg": None, "problems": [*problems, f"{error.reason}."]}
    stated = said["rotation_axis_deg"]
    if stated is not None and abs((found - stated + 180) % 360 - 180) > _AXIS_OFF:
        problems.append(f"The files give a rotation axis of {stated:.1f}°, the data say {found:.1f}°.")
    return {"hand_score": hands, "rotation_axis_found_deg": found, "problems": problems}


def _try_axis(opened: Opened, say: Callable[[str], None]) -> tuple[float, dict[str, float]]:
    from credo.reduce.index import index

    experiment, spots = opened.experiment, opened.spots
    if spots is None:
        experiment, spots = _find_spots(opened, say)
    say("axis and lattice")
    experiment, _, report = index(experiment, spots)
    return experiment.goniometer.angle_deg, report.numbers["hand_score"]


def _find_spots(opened: Opened, say: Callable[[str], None]):
    from credo.reduce.background import mean_background
    from credo.reduce.beam import find_beam
    from credo.reduce.mask import find_mask
    from credo.reduce.spots import find_spots

    experiment, frames = opened.experiment, opened.frames
    if frames is None or len(frames) < 3:
        raise CannotDo("Fewer than 3 frames: the axis cannot be tried")
    frames = in_memory(frames)
    say("background and mask")
    background = mean_background(frames)
    bad, _ = find_mask(experiment, frames, background=background)
    say("direct beam and spots")
    experiment, _ = find_beam(experiment, frames, bad, background=background)
    experiment, spots, _ = find_spots(experiment, frames, bad, background=background)
    return experiment, spots
