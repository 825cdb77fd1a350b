"""``credo simulate frames`` and ``credo demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from credo.app.options import Force, Json, Out
from credo.app.progress import progress
from credo.app.show import show
from credo.app.summary import demo_summary, loop_summary, simulate_summary
from credo.io.samples import SAMPLES
from credo.physics.rotation_series import SeriesSettings
from credo.pipeline.demo import demo as run_demo
from credo.pipeline.demo_loop import demo_loop
from credo.pipeline.demo_scenes import SCENES
from credo.pipeline.output import default_folder
from credo.pipeline.simulate import simulate_frames

__all__ = ["demo", "frames"]

_SCENES = "; ".join(f"{name} ({one.what})" for name, one in SCENES.items())
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
    sample: Annotated[
        str, Parameter(help=f"The whole loop: {_SCENES}. Only the frames of one crystal: {_NAMES}.")
    ] = "zsm5",
    crystals: Annotated[
        int | None, Parameter(help="Whole loop: data sets to collect (default: as many as needed).")
    ] = None,
    seed: Annotated[int, Parameter(help="Another seed, another grid, instrument and noise.")] = 0,
    out: Out = None,
    json: Json = False,
    force: Force = False,
) -> None:
    """From the grid to refined structures on the simulated microscope; ends with 0 only if they are the true ones.

    The whole loop (zsm5, garnet, ...): the microscope is calibrated, the grid mapped, crystals found, rotated and
    followed; meanwhile their data are reduced, then sorted into phases, merged, solved and refined. It is told the
    composition only. A structure by its name (grossular, ...): only a rotation series of one crystal with an
    instrument's faults, reduced to intensities.
    """
    folder = out or Path("demo")
    with progress() as say:
        if sample in SCENES:
            report = demo_loop(folder, sample, crystals, seed, force, say)
        else:
            report = run_demo(folder, sample, seed, force, say)
    show(report, folder, json, loop_summary if sample in SCENES else demo_summary)
