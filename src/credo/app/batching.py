"""``credo batch``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from credo.app.options import Force, Json, Out
from credo.app.show import show
from credo.pipeline.batch import BatchSettings, Tick
from credo.pipeline.batch import batch as run_batch
from credo.pipeline.output import default_folder

__all__ = ["batch"]


def batch(
    root: Annotated[Path, Parameter(help="A folder with data sets in any form, nested as it is, or one data set.")],
    /,
    *,
    out: Out = None,
    json: Json = False,
    force: Force = False,
    settings: Annotated[BatchSettings | None, Parameter(name="*")] = None,
) -> None:
    """Every data set below a folder processed once, sorted by cell and intensity, merged, solved and refined.

    Writes a project folder: crystals/NNNN and phases/A with the results of process, merge, solve and refine,
    catalogue.sqlite, report.json and report.html. Interrupted at any moment, it goes on where it was when run again.
    """
    folder = out or default_folder("batch", [root])
    with batch_progress() as view:
        report = run_batch(root, folder, settings, force, view)
    show(report, folder, json, batch_summary)


@contextmanager
def batch_progress() -> Iterator[Callable[[Tick], None]]:
    """A bar with what is at work below it, and failures above it as they come; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[running]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None, running="")

        def view(tick: Tick) -> None:
            if tick.message:
                bar.console.print(f"[yellow]{tick.message}", markup=True, highlight=False)
            bar.update(task, description=tick.stage, completed=tick.done, total=tick.total or None,
                       running=", ".join(tick.running)[:80])  # fmt: skip

        yield view


def batch_summary(report: dict, folder: Path) -> str:
    """Phases with their structures, and who was left out."""
    lines = [f"{report['datasets']} data sets, {report['indexed']} processed, {len(report['phases'])} phases"]
    for p in report["phases"]:
        name = p["name"] + (f" ({p['known']})" if p.get("known") else "")
        if not p["ok"]:
            lines.append(f"phase {name}: not merged, {p['reason']}")
            continue
        cell = " ".join(f"{x:.2f}" for x in p["cell"])
        lines.append(f"phase {name}: {len(p['members'])} data sets, {cell}, {p['space_group']}")
        lines.append(
            f"  {100 * p['completeness']:.1f} % complete to {p['resolution']:.2f} Å, R_meas {_number(p['r_meas'])}, "
            f"CC½ {_number(p['cc_half'])}"
        )
        lines += _structure(p["structure"])
    if report["rejected"]:
        lines.append(f"{len(report['rejected'])} not merged:")
        lines += [f"  {r['dataset']}: {r['reason']}" for r in report["rejected"][:20]]
    if report["left"]:
        lines.append(f"{len(report['left'])} places were not read (see the page)")
    return "\n".join([*lines, f"page {folder / 'report.html'}"])


def _structure(s: dict | None) -> list[str]:
    if s is None:
        return []
    if not s["ok"]:
        return [f"  not solved: {s.get('reason')}"]
    solved, refined = s["solved"], s.get("refined") or {}
    r1 = f", R1 {_number(refined.get('r1_obs'))} refined" if refined.get("ok") else ""
    lines = [f"  solved in {solved['space_group']}, {solved['n_atoms']} atoms{r1}"]
    if d := s.get("damping"):
        what = "taken out" if d["kept"] else "not taken out" if not d["applied"] else "taken out in vain"
        before = f", R1 {_number(d['r1_obs_before'])} before" if d["kept"] else ""
        lines.append(f"  damping of strong reflections {what}{before}: {d['reason']}")
    return lines


def _number(value: float | None) -> str:
    return "not determined" if value is None else f"{value:.3f}"
