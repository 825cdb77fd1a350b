"""``credo watch``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from credo.app.batching import batch_summary
from credo.app.options import Json, Out
from credo.app.show import show
from credo.pipeline.output import default_folder
from credo.pipeline.watch import Seen, Watcher, WatchSettings
from credo.pipeline.watch import watch as run_watch

__all__ = ["watch"]

#: Crystals shown at once.
_ROWS = 12


def watch(
    root: Annotated[Path, Parameter(help="The folder into which data sets are written, each in a folder of its own.")],
    /,
    *,
    out: Out = None,
    json: Json = False,
    settings: Annotated[WatchSettings | None, Parameter(name="*")] = None,
) -> None:
    """Process crystals while their frames arrive, and merge them by phase; Ctrl-C ends it.

    Tells each crystal's cell, how well the lattice explains its spots, its resolution and its phase while it turns, and
    whether to go on with it. Data sets that have come to rest are processed in full and merged, as `credo batch` does
    it, in the same project folder. With --port, Instamatic may name data sets by its indexing server's socket.
    """
    folder = out or default_folder("watch", [root])
    with _view() as told:
        report = run_watch(root, folder, settings, told)
    show(report, folder, json, batch_summary)


@contextmanager
def _view() -> Iterator[Callable[[Watcher, Sequence[Seen]], None]]:
    """A table on a terminal; a line for each piece of news elsewhere."""
    if not sys.stderr.isatty():
        yield _lines
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), refresh_per_second=4, transient=True) as live:
        yield lambda watcher, _: live.update(_table(watcher))


def _lines(_: Watcher, changed: Sequence[Seen]) -> None:
    for seen in changed:
        sys.stderr.write(f"{seen.state.name}: {'; '.join(x for x in _words(seen) if x)}\n")


def _words(seen: Seen) -> tuple[str, str, str, str, str]:
    s = seen.state
    turned = f"{s.frames} frames, {s.turned_deg:.1f}°"
    spots = f"{s.n_indexed} of {s.n_spots} spots indexed"
    cell = s.reason
    if s.crystal is not None:
        cell = " ".join(f"{x:.2f}" for x in s.crystal.cell.parameters) + f" {s.crystal.centring}"
        cell += f", {s.resolution:.2f} Å" if s.resolution else ""
    phase = f"phase {seen.phase} ({seen.probability:.2f})" if seen.phase else ""
    phase = phase or (f"as {seen.like} before" if seen.like else "")
    return turned, spots, cell, phase, f"{seen.advice.verdict}: {seen.advice.reason}"


def _table(watcher: Watcher):
    from rich.console import Group
    from rich.table import Table

    crystals = Table("crystal", "turned", "spots", "cell and resolution", "phase", "what to do", expand=True)
    for seen in list(watcher.seen.values())[-_ROWS:]:
        crystals.add_row(seen.state.name, *_words(seen))
    phases = Table("phase", "sets", "complete", "CC½", "next", expand=True)
    for p, advice in zip(watcher.phases, watcher.lacking()):
        cc = "" if p.cc_half is None else f"{p.cc_half:.3f}"
        name = p.name + (f" ({p.known})" if p.known else "")
        phases.add_row(name, str(p.members), f"{p.completeness:.0%}", cc, advice.reason)
    return Group(crystals, phases)
