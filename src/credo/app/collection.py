"""``credo collect``: thin; the work is in pipeline.collect."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from credo.app.options import Json, Out
from credo.app.progress import progress
from credo.app.show import show
from credo.collect.plans import KINDS, template
from credo.io.samples import SAMPLES
from credo.model.errors import UnreadableInput
from credo.pipeline.advise import Advisers
from credo.pipeline.collect import collect as run_collect
from credo.pipeline.output import default_folder

__all__ = ["collect"]


def collect(
    plan: Annotated[Path | None, Parameter(help="The plan, a TOML file.")] = None,
    *,
    new: Annotated[str | None, Parameter(help=f"Print a plan to start from: {', '.join(KINDS)}.")] = None,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Only walk every waypoint through the limits; tell time and dose.")
    ] = False,
    resume: Annotated[bool, Parameter(negative="", help="Go on after a stop, a fault or a crash, in --out.")] = False,
    sample: Annotated[
        str | None, Parameter(help=f"On the simulated instrument's grid: {', '.join(SAMPLES)}, or a CIF.")
    ] = None,
    seed: Annotated[int | None, Parameter(help="Of the simulated instrument.")] = None,
    ask: Annotated[
        str | None, Parameter(help="Ask the `credo watch --port PORT` at HOST:PORT what to do with each crystal.")
    ] = None,
    judge: Annotated[
        bool, Parameter(negative="", help="Give up crystals whose first frames show no lattice or no reflections.")
    ] = False,
    poorest: Annotated[
        float | None, Parameter(help="Give up crystals whose first frames show less than this resolution [Å].")
    ] = None,
    config: Annotated[Path | None, Parameter(help="The instrument's configuration (default: the user's).")] = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Run a plan on the configured instrument, which is the simulated one unless a configuration says otherwise.

    Ctrl-C stops it after the step that is being done, with the beam off; --resume goes on.
    """
    if new is not None:
        sys.stdout.write(template(new))
        return
    if plan is None:
        raise UnreadableInput("no plan was given", "credo collect --new cred > plan.toml makes one to be edited")
    folder = out or default_folder("collect", [plan])
    with progress() as say:
        advice = Advisers(watch=ask, judge=judge, poorest=poorest)
        report = run_collect(plan, folder, dry_run, resume, sample, seed, config, say, advice)
    done_before = report.pop("reused", False) and not json
    show(report, folder, json, _summary)
    if done_before:
        sys.stdout.write("  (this plan was done before; another --out does it again)\n")


def _summary(report: dict[str, Any], folder: Path) -> str:
    rows = [("plan", report["kind"])]
    forecast = report.get("forecast", {})
    if report["dry_run"]:
        dose = forecast.get("dose_e_per_A2")
        rows += [
            ("time", f"{report['duration_s']:.0f} s, {report['waypoints']} waypoints within the limits"),
            ("beam on", f"{report['beam_on_s']:.1f} s" + (f", {dose:.2f} e/Å² on a crystal" if dose else "")),
            ("frames", f"{report['frames']}"),
            ("stage", ", ".join(f"{k} {low:.1f} to {high:.1f}" for k, (low, high) in report["stage_box"].items())),
        ]
    for one in report["datasets"]:
        rotation = f"{one.get('start_deg', 0):.1f}° to {one.get('end_deg', 0):.1f}°"
        rows.append((one["directory"], f"{one['n_frames']} frames, {rotation}, {one['reason_ended']}"))
    if report["rejected"]:
        rows.append(("rejected", f"{len(report['rejected'])} (reasons in report.json)"))
    rows.append(("written", str(folder)))
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:<{width}}{text}" for name, text in rows)
