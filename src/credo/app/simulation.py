"""``credo simulate frames`` and ``credo demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from credo.app.options import Force, Json, Out
from credo.app.progress import progress
from credo.app.show import show
from credo.app.summary import demo_summary, simulate_summary
from credo.io.samples import SAMPLES
from credo.physics.rotation_series import SeriesSettings
from credo.pipeline.demo import demo as run_demo
from credo.pipeline.output import default_folder
from credo.pipeline.simulate import simulate_frames

__all__ = ["demo", "frames"]

_NAMES = "; ".join(f"{name} ({what})" for name, what in SAMPLES.items())


def frames(
    *,
    cif: Annotated[Path | None, Parameter(help="The structure to simulate.")] = None,
    sample: Annotated[str | None, Parameter(help=f"Or a structure that comes with credo: {_NAMES}.")] = None,
    out: Out = None,
    form: Annotated[str, Parameter(name="--format", help="smv, tiff, mrc, cbf, mrcs or nxmx.")] = "smv",
    json: Json = False,
    force: Force = False,
    settings: Annotated[SeriesSettings | None, Parameter(name="*")] = None,
) -> None:
    """A rotation series of a real structure, kinematical, with an instrument's faults on request, and its truth file.

    All angles in degrees, lengths in pixels or Å⁻¹ as stated; the same seed gives the same series.
    """
    folder = out or (default_folder("simulate", [cif]) if cif else Path(f"{sample}-simulate"))
    with progress() as say:
        report = simulate_frames(folder, cif, sample, settings, form=form, force=force, progress=say)
    show(report, folder, json, simulate_summary)


def demo(
    *,
    sample: Annotated[str, Parameter(help=f"Which structure: {_NAMES}.")] = "grossular",
    seed: Annotated[int, Parameter(help="Another seed, another crystal orientation and noise.")] = 0,
    out: Out = None,
    json: Json = False,
    force: Force = False,
) -> None:
    """Simulate a rotation series with an instrument's faults, process it with nothing given, compare with the truth.

    Ends with 0 only if the result is right.
    """
    folder = out or Path("demo")
    with progress() as say:
        report = run_demo(folder, sample, seed, force, say)
    show(report, folder, json, demo_summary)
