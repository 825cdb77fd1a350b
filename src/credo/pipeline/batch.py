"""``credo batch``: every data set below a folder processed once, sorted into phases, merged, solved and refined."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from credo import __version__
from credo.io.text import write_text
from credo.model import UnreadableInput
from credo.pipeline.batch_pool import Pool, make_pool
from credo.pipeline.batch_run import Batch
from credo.pipeline.batch_settings import BatchSettings, Link, Progress, Tick, compositions
from credo.pipeline.batch_store import Store, alone_in
from credo.pipeline.cluster_known import known_phases
from credo.pipeline.output import Output, run_command

__all__ = ["Batch", "BatchSettings", "Link", "Tick", "batch"]


class _Project(Output):
    """The folder of a batch: its input is not hashed as a whole, but set by set, by those who process it."""

    def read_hashes(self) -> Any:
        return []


def batch(
    root: Path,
    out: Path,
    settings: BatchSettings | None = None,
    force: bool = False,
    progress: Progress | None = None,
    link: Link | None = None,
) -> dict[str, Any]:
    """Process the tree ``root`` into the project folder ``out``; returns its report.json, see the contract.

    What was done before, here, from the same files with the same settings is not done again, however the earlier run
    ended. With ``settings.watch`` it goes on until an interruption or ``link.stop()``, and the report is renewed each
    time that new sets were taken in.
    """
    root, settings, link = Path(root), settings or BatchSettings(), link or Link()
    compositions(settings.composition)
    known = known_phases(settings.known)
    if not root.exists():
        raise UnreadableInput(f"{root}: no such file or folder", "check the path")
    output = _Project(out, "batch", "", [root], settings)

    def work(folder: Path) -> dict[str, Any]:
        with alone_in(output.folder) as lock, _store(output.folder) as store, _pool(settings, lock) as pool:
            run = Batch(root, output.folder, settings, known, store, pool, progress or (lambda _: None), force, link)
            numbers = run.once()
            link.told(numbers)
            if settings.watch:
                numbers = _watch(run, output, numbers, link)
            write_text(folder / "report.html", _page(output, numbers))
            for name in _own(output.folder):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(output.folder / name, folder / name)
            return numbers

    return run_command(output, work, force=True)


def _own(folder: Path) -> list[str]:
    """Files besides the page that no command inside the project answers for."""
    found = [folder / "sorting.json", *sorted(folder.glob("phases/*/structure.cif"))]
    return [p.relative_to(folder).as_posix() for p in found if p.is_file()]


def _page(output: Output, numbers: dict[str, Any]) -> str:
    from credo.pipeline.page.session import session_page
    from credo.pipeline.session import read_session

    return session_page(read_session(output.folder, {"command": "batch", "version": __version__, **numbers}))


def _watch(run: Batch, output: Output, numbers: dict[str, Any], link: Link) -> dict[str, Any]:
    """Until it is stopped; an interruption is how a watch is meant to end."""
    _show(output, numbers)
    with suppress(KeyboardInterrupt):
        while not link.stop():
            more = run.again()
            if more is not None:
                numbers = more
                _show(output, numbers)
                link.told(numbers)
    return numbers


def _show(output: Output, numbers: dict[str, Any]) -> None:
    """The state so far, while a watch goes on."""
    write_text(output.folder / "report.html", _page(output, numbers))
    output.write(numbers, ["report.html", *_own(output.folder)], ok=True, reason="")


@contextmanager
def _store(folder: Path) -> Iterator[Store]:
    store = Store(folder)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _pool(settings: BatchSettings, lock: int) -> Iterator[Pool]:
    pool = make_pool(
        settings.executor,
        (os.cpu_count() or 1) if settings.workers is None else settings.workers,
        settings.scheduler,
        [lock],
        settings.nice,
    )
    try:
        yield pool
    finally:
        pool.close()
