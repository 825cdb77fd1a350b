"""Integration with orientations that are known: geometry, lattice and every frame's orientation as a file has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from credo.io.project import read_experiment
from credo.model import CannotDo, Experiment, Reflections, Report, UnreadableInput

__all__ = ["lying_as_given"]

#: Share of the spots that a given lattice must explain.
_LEAST = 0.2


def lying_as_given(
    path: Path, opened: Experiment, spots: Reflections, stages: dict[str, Report]
) -> tuple[Experiment, Reflections]:
    """The experiment of ``path`` for the frames that were opened, and their spots with its indices.

    Raises UnreadableInput where it is of other frames, CannotDo where it does not explain the spots.
    """
    from credo.reduce.index import nearest_nodes

    path = path / "experiment.json" if path.is_dir() else path
    given = read_experiment(path)
    if not given.crystals:
        raise UnreadableInput(f"{path}: without a crystal", "give what `credo orient` wrote")
    if not np.array_equal(given.scan.numbers, opened.scan.numbers) or given.detector.shape != opened.detector.shape:
        raise UnreadableInput(
            f"{path}: of {len(given.scan)} frames {given.scan.numbers[0]} to {given.scan.numbers[-1]}, the data have "
            f"{len(opened.scan)}, {opened.scan.numbers[0]} to {opened.scan.numbers[-1]}",
            "give the orientations of these very frames",
        )
    experiment = given.replace(
        source=opened.source, kind=opened.kind, problems=opened.problems,
        detector=given.detector.replace(saturation=opened.detector.saturation),
    )  # fmt: skip
    # angles of spots are those of the frames as they were read
    phi = np.interp(spots["frame"], np.arange(len(given.scan)) + 0.5, given.scan.mid_deg)
    spots = nearest_nodes(experiment, spots.with_columns(phi=phi))
    share = float(np.mean(spots["lattice"] >= 0)) if len(spots) else 0.0
    if share < _LEAST:
        raise CannotDo(f"{path}: explains {100 * share:.0f} % of the spots", "give the orientations of these frames")
    stages["index"] = Report({"indexed_fraction": share, "hand_score": None, "bravais_candidates": []})
    stages["refine"] = Report({})
    return experiment, spots
