"""A simulated rotation series on disk: frames as an instrument writes them, and the truth beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from credo.io.convert import FRAME_WRITERS, write_frames
from credo.io.project import write_experiment
from credo.io.samples import sample
from credo.io.structure import read_structure
from credo.io.xds_inp import write_xds_inp
from credo.model import Experiment, UnreadableInput
from credo.physics.rotation_series import FaultSettings, SeriesSettings, simulate_series
from credo.physics.truth import write_truth
from credo.pipeline.output import Output, fingerprint, run_command

__all__ = ["simulate_frames"]


def simulate_frames(
    out: Path,
    cif: Path | None = None,
    sample_name: str | None = None,
    settings: SeriesSettings | None = None,
    faults: FaultSettings | None = None,
    form: str = "smv",
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """``credo simulate frames``: the frames, ``truth.json`` and ``report.json`` in ``out``; returns the report.

    The structure is that of a CIF or of a shipped sample; ``form``: any format of frames that credo writes.
    """
    if (cif is None) == (sample_name is None):
        raise UnreadableInput("which structure?", "give one of --cif FILE and --sample NAME")
    if sample_name is not None:
        sample(sample_name)  # an unknown name is refused before anything is written
    settings = settings or SeriesSettings()
    if faults is not None:
        settings = settings.model_copy(update={"faults": faults})
    inputs = [] if cif is None else [Path(cif)]
    key = fingerprint([p for p in inputs if p.exists()], (settings, sample_name, form))
    output = Output(out, "simulate frames", key, inputs, (settings, {"sample": sample_name, "form": form}))
    say = progress or (lambda _: None)

    def work(folder: Path) -> dict[str, Any]:
        structure = read_structure(Path(cif)) if cif is not None else sample(str(sample_name))
        series = simulate_series(structure, settings, progress=lambda i, n: say(f"frame {i} of {n}"))
        write_frames(folder, form, series.experiment, series.frames)
        _write_header(folder, form, series.experiment)
        write_truth(folder / "truth.json", series.truth)
        return {
            "n_frames": len(series.frames),
            "truth": "truth.json",
            "sample": structure.name,
            "space_group": structure.space_group,
            "cell": list(structure.cell.parameters),
            "n_reflections": len(series.truth.reflections),
            "settings": settings.model_dump(mode="json"),
        }

    return run_command(output, work, force)


def _write_header(folder: Path, form: str, experiment: Experiment) -> None:
    """What the frames' format cannot say, beside them: an XDS.INP as instruments write it, or our experiment.json."""
    if form in ("smv", "cbf"):
        write_xds_inp(folder / "XDS.INP", experiment, f"?????{FRAME_WRITERS[form]}", "SMV" if form == "smv" else "CBF")
    elif form in ("tiff", "mrc", "mrcs"):
        write_experiment(folder / "experiment.json", experiment.replace(source=str(folder.parent.resolve())))
