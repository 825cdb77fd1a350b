"""``credo batch``: every data set below a folder processed once, sorted into phases, merged, solved and refined."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from credo import __version__
from credo.io.project import write_json
from credo.io.text import write_text
from credo.merge.known_phases import KnownPhase
from credo.model import CannotDo, Cell, UnreadableInput
from credo.pipeline.batch_find import Found, Tree, find_data_sets, natural
from credo.pipeline.batch_phase import read_crystal
from credo.pipeline.batch_pool import Pool, make_pool
from credo.pipeline.batch_sort import Sorting, name_of, sort_sets
from credo.pipeline.batch_store import Store, alone_in, stamp_of
from credo.pipeline.batch_work import key_of
from credo.pipeline.cluster_known import known_phases
from credo.pipeline.data_set import DataSet
from credo.pipeline.merge import MergeSettings, letters
from credo.pipeline.output import Output, run_command
from credo.pipeline.process import ProcessSettings
from credo.pipeline.solve import SolveFileSettings

__all__ = ["Batch", "BatchSettings", "Link", "Tick", "batch", "compositions"]


class BatchSettings(BaseModel):
    """What may be known of the crystals, and how the work is spread."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    composition: tuple[str, ...] = Field(
        default=(), description="formula of all phases, or NAME=FORMULA of a known phase or of the letter of one"
    )
    known: tuple[str, ...] = Field(
        default=(), description="known phases, by which those found are named: CIFs, or NAME=a,b,c,al,be,ga,CENTRING"
    )
    d_min: float | None = Field(default=None, gt=0, description="resolution limit of integration and merging [Å]")
    fewest: int = Field(default=2, ge=1, description="data sets that make a phase")
    solve: bool = Field(default=True, description="solve and refine each phase that is complete enough")
    solve_completeness: float = Field(
        default=0.5, ge=0, le=1, description="least completeness of a phase that is solved"
    )
    seconds: float | None = Field(default=None, gt=0, description="CPU seconds for each solution")
    workers: int | None = Field(default=None, ge=1, description="processes at once (default: as many as processors)")
    executor: Literal["local", "dask"] = Field(default="local", description="where the work is done")
    scheduler: str | None = Field(default=None, description="address of the Dask scheduler, tcp://HOST:8786")
    timeout: float = Field(default=1800.0, gt=0, description="a data set that takes longer is given up [s]")
    watch: bool = Field(default=False, description="go on as new data sets arrive, until interrupted")
    nice: int = Field(default=0, ge=0, le=19, description="how much the local processes give way to others")
    quiet: float = Field(default=10.0, gt=0, description="a data set has arrived when unchanged for so long [s]")


@dataclass(frozen=True)
class Tick:
    """What a progress view shows: the stage, how many of its tasks are done, and what is at work."""

    stage: str
    done: int
    total: int
    running: tuple[str, ...] = ()
    message: str = ""


Progress = Callable[[Tick], None]


def _ignore(_: dict[str, Any]) -> None:
    pass


@dataclass(frozen=True)
class Link:
    """To whoever runs a batch beside something else: ``stop()`` ends a watch, ``told(numbers)`` gets each new report,
    ``more()`` names folders outside the root that are taken in too."""

    stop: Callable[[], bool] = lambda: False
    told: Callable[[dict[str, Any]], None] = _ignore
    more: Callable[[], Sequence[Path]] = tuple


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
            return numbers

    return run_command(output, work, force=True)


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
    output.write(numbers, ["report.html"], ok=True, reason="")


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
        settings.executor, settings.workers or os.cpu_count() or 1, settings.scheduler, [lock], settings.nice
    )
    try:
        yield pool
    finally:
        pool.close()


def compositions(words: Sequence[str]) -> dict[str, str]:
    """Formula by the name of a phase, that of all others under ``""``."""
    found: dict[str, str] = {}
    for word in words:
        name, _, formula = word.rpartition("=")
        if name in found or not formula.strip():
            raise UnreadableInput(f"--composition {word}: twice, or empty", "give FORMULA, or NAME=FORMULA once each")
        found[name] = formula.strip()
    return found


class Batch:
    """The recipe over one tree: :meth:`once` brings everything up to date and returns the numbers of the report."""

    def __init__(
        self, root: Path, out: Path, settings: BatchSettings, known: Sequence[KnownPhase], store: Store, pool: Pool,
        progress: Progress = lambda _: None, force: bool = False, link: Link | None = None,
    ) -> None:  # fmt: skip
        self.root, self.out, self.settings, self.known = root, out, settings, known
        self.store, self.pool, self.progress, self.force = store, pool, progress, force
        self.link = link or Link()
        self._process = ProcessSettings(d_min=settings.d_min)
        self._merge = MergeSettings(d_min=settings.d_min)
        self._taken: dict[str, str] = {}
        self._since: dict[str, tuple[str, float]] = {}

    def once(self) -> dict[str, Any]:
        """Find, process, sort, merge, solve; nothing that is there already is done again."""
        self.progress(Tick("looking for data sets", 0, 0))
        tree = self._find()
        if not tree.sets and not self.settings.watch:
            raise CannotDo(_nothing(self.root, tree), "give a folder with data sets, or the data set itself")
        return self._bring(tree, tree.sets if not self.settings.watch else self._quiet(tree))

    def again(self) -> dict[str, Any] | None:
        """Look for data sets that are new or have changed, and are quiet, and take them in; ``None``: none came."""
        tree = self._find()
        ready = [s for s in self._quiet(tree) if self._taken.get(s.name) != self._since[s.name][0]]
        if not ready:
            self.progress(Tick(f"waiting for data sets below {self.root}", 0, 0))
            _sleep(min(self.settings.quiet / 4, 2.0), self.link.stop)
            return None
        return self._bring(tree, ready)

    def _find(self) -> Tree:
        trees = [find_data_sets(r, [self.out]) for r in (self.root, *self.link.more()) if r.exists()]
        sets = {str(s.paths[0].resolve()): s for t in reversed(trees) for s in t.sets}
        names: set[str] = set()
        unique = [names.add(s.name) or s for s in sets.values() if s.name not in names]
        return Tree(tuple(sorted(unique, key=lambda s: natural(s.name))), tuple(x for t in trees for x in t.left))

    def _quiet(self, tree: Tree) -> list[Found]:
        """Those unchanged for the time that the settings say."""
        now, out = time.monotonic(), []
        for s in tree.sets:
            stamp = stamp_of(s.files)
            if self._since.get(s.name, ("", 0.0))[0] != stamp:
                age = time.time() - max((f.stat().st_mtime for f in s.files if f.exists()), default=0.0)
                self._since[s.name] = stamp, now - max(age, 0.0)
            if now - self._since[s.name][1] >= self.settings.quiet:
                out.append(s)
        return out

    def _bring(self, tree: Tree, sets: Sequence[Found]) -> dict[str, Any]:
        """Process ``sets``, then sort, merge and solve all that are in by now."""
        self._taken |= {s.name: stamp_of(s.files) for s in sets}
        self._each(sets)
        return self._phases(replace(tree, sets=tuple(s for s in tree.sets if s.name in self._taken)))

    def _each(self, sets: Sequence[Found]) -> None:
        """Process what is not settled; states go to the catalogue as they come."""
        todo = []
        for s in sets:
            number = self.store.number(s.name, s.kind, s.what, str(s.paths[0]))
            stamp = stamp_of(s.files)
            row = self.store.row(s.name)
            asked = key_of(stamp, s.kind, [str(p) for p in s.paths], self._process.model_dump(mode="json"))
            whole = (self.store.crystal(number) / "report.json").is_file()
            if self.force or row["stamp"] != asked or row["state"] not in ("done", "failed") or not whole:
                todo.append((s, number, asked))
        for s, number, _ in todo:
            self.pool.submit(s.name, self._task(s, number), self.settings.timeout)
        stamps = {s.name: asked for s, _, asked in todo}
        done = len(sets) - len(todo)
        self._tick("processing", done, len(sets))
        for name, answer in self._answers("processing", done, len(sets)):
            self._settle(name, answer, stamps[name])

    def _task(self, s: Found, number: int) -> dict[str, Any]:
        return {
            "task": "data set", "title": s.name, "name": s.name, "kind": s.kind, "paths": [str(p) for p in s.paths],
            "files": [str(p) for p in s.files], "target": str(self.store.crystal(number).resolve()),
            "settings": self._process.model_dump(mode="json"), "force": self.force,
        }  # fmt: skip

    def _settle(self, name: str, answer: dict[str, Any], stamp: str) -> None:
        ok, lost = bool(answer.get("ok")), bool(answer.get("lost"))
        state = "done" if ok else "lost" if lost else "failed"
        numbers = {k: v for k, v in answer.items() if k not in ("key", "content", "reused", "ok", "reason", "lost")}
        self.store.settle(
            name, state=state, reason=str(answer.get("reason") or ""), stamp=stamp, key=str(answer.get("key", "")),
            content=str(answer.get("content", "")), numbers=numbers,
        )  # fmt: skip

    def _answers(self, stage: str, done: int, total: int) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Answers as they come, and a tick at least every half second."""
        while done < total:
            before = done
            for place, answer in self.pool.answers(patience=0.5):
                done += 1
                yield place, answer
                self._tick(stage, done, total, "" if answer.get("ok") else f"{place}: {answer.get('reason')}")
            if before == done:
                self._tick(stage, done, total)

    def _tick(self, stage: str, done: int, total: int, message: str = "") -> None:
        self.progress(Tick(stage, done, total, self.pool.running(), message))

    def _phases(self, tree: Tree) -> dict[str, Any]:
        """Sort everything that was processed, merge and solve each phase, and tell all."""
        rows = {s.name: self.store.row(s.name) for s in tree.sets}
        twins = _twins(rows)
        good = [n for n, r in rows.items() if r["state"] == "done" and n not in twins]
        self.progress(Tick(f"sorting {len(good)} data sets", 0, 0))
        sets = [read_crystal(self.store.crystal(rows[n]["number"]), n) for n in good]
        sorting = sort_sets(sets, fewest=self.settings.fewest)
        # for the page; n² distances would be most of it
        write_json(self.out / "sorting.json", {k: v for k, v in sorting.numbers.items() if k != "distance"})
        phases = self._merged(sets, sorting, rows)
        self._solved(phases)
        self.store.set_phases([(p["name"], p["key"], "done" if p["ok"] else "failed", p) for p in phases])
        numbers = _report(tree, rows, twins, sets, sorting, phases)
        for row in numbers["sets"]:
            self.store.settle(row["dataset"], phase=row["phase"] or "")
        return numbers

    def _merged(self, sets: list[DataSet], sorting: Sorting, rows: dict[str, Any]) -> list[dict[str, Any]]:
        phases: list[dict[str, Any]] = []
        for k, group in enumerate(sorting.groups):
            names, letter = [sets[i].name for i in group], letters(k)
            key = key_of("merge", letter, [[n, rows[n]["key"]] for n in names], self._merge.model_dump(mode="json"))
            folder = (self.out / "phases" / letter).resolve()
            members = [{"name": n, "folder": str(self.store.crystal(rows[n]["number"]).resolve())} for n in names]
            task = {"task": "phase", "title": f"merging phase {letter}", "name": letter, "members": members, "key": key,
                    "target": str(folder), "settings": self._merge.model_dump(mode="json")}  # fmt: skip
            phases.append({"name": letter, "key": key, "datasets": names, "folder": f"phases/{letter}"})
            self.pool.submit(k, task, self.settings.timeout)
        for k, answer in self._answers("merging", 0, len(phases)):
            phases[k] |= answer
        for p in phases:
            p["known"] = None
            if p["ok"]:
                p["known"], p["known_probability"] = name_of(Cell(*p["cell"]), p["centring"], self.known)
        return phases

    def _solved(self, phases: list[dict[str, Any]]) -> None:
        """Structures of the phases that are complete enough, into the entries of ``phases``."""
        wanted = compositions(self.settings.composition)
        todo = []
        for k, p in enumerate(phases):
            p["structure"] = None
            if not (p["ok"] and self.settings.solve):
                continue
            if (p["completeness"] or 0) < self.settings.solve_completeness:
                p["structure"] = {"ok": False, "reason": f"only {p['completeness']:.0%} complete"}
                continue
            formula = wanted.get(p["name"], wanted.get(p["known"] or "", wanted.get("")))
            more: dict[str, Any] = {} if self.settings.seconds is None else {"seconds": self.settings.seconds}
            asked = SolveFileSettings(composition=formula, **more).model_dump(mode="json", exclude_unset=True)
            folder = (self.out / "phases" / p["name"]).resolve()
            todo.append((k, {"task": "structure", "title": f"solving phase {p['name']}", "settings": asked,
                             "merged": str(folder / "merged.hkl"), "solve": str(folder / "solve"),
                             "refine": str(folder / "refine")}))  # fmt: skip
        for k, task in todo:
            self.pool.submit(k, task, self.settings.timeout)
        for k, answer in self._answers("solving", 0, len(todo)):
            phases[k]["structure"] = answer


def _sleep(seconds: float, stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stop():
        time.sleep(min(0.2, seconds))


def _nothing(root: Path, tree: Tree) -> str:
    if not tree.left:
        return f"{root}: no data set in it or below it"
    first = tree.left[0]
    more = f" (and {len(tree.left) - 1} more)" if len(tree.left) > 1 else ""
    return f"{root}: no data set in it or below it; {first.path}: {first.reason}{more}"


def _twins(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Data sets that hold what an earlier one holds, by name: counted twice, a crystal would agree with itself."""
    first: dict[str, str] = {}
    twins = {}
    for name, row in rows.items():
        if row["content"] and row["state"] == "done" and first.setdefault(row["content"], name) != name:
            twins[name] = first[row["content"]]
    return twins


def _report(
    tree: Tree, rows: dict[str, Any], twins: dict[str, str], sets: list[DataSet], sorting: Sorting,
    phases: list[dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """The keys of report.json."""
    place = {n: p["name"] for p in phases for n in p["datasets"]}
    why = {n: f"the same frames as {first}" for n, first in twins.items()}
    why |= {n: r["reason"] for n, r in rows.items() if r["state"] != "done"}
    why |= {sets[i].name: "alone: no other data set has its cell" for i in sorting.alone}
    why |= {r.name: r.reason for r in sorting.refused}
    for p in phases:
        why |= {r["dataset"]: f"left out of phase {p['name']}: {r['reason']}" for r in p.get("rejected") or ()}
        if not p["ok"]:
            why |= dict.fromkeys(p["datasets"], f"phase {p['name']} was not merged: {p['reason']}")
    why |= {s.name: "a cell without intensities" for s in sets if not len(s.table)}
    found = [
        {"dataset": s.name, "number": rows[s.name]["number"], "kind": s.kind, "what": s.what, "place": str(s.paths[0]),
         "state": rows[s.name]["state"], "phase": None if s.name in why else place.get(s.name),
         "reason": why.get(s.name, ""), **_some(rows[s.name]["numbers"])}
        for s in tree.sets
    ]  # fmt: skip
    return {
        "datasets": len(tree.sets),
        "indexed": sum(r["state"] == "done" for r in rows.values()),
        "phases": [{k: v for k, v in p.items() if k not in ("reused", "key", "rejected")} for p in phases],
        "rejected": [{"dataset": n, "reason": why[n]} for n in rows if n in why],
        "sets": found,
        "left": [{"path": str(x.path), "reason": x.reason} for x in tree.left],
        "warnings": [],
    }


def _some(numbers: dict[str, Any]) -> dict[str, Any]:
    names = ("cell", "cell_esd", "centring", "laue_group", "n_frames", "n_spots", "indexed_fraction", "completeness",
             "resolution", "r_meas", "cc_half", "mosaicity_deg", "lattices")  # fmt: skip
    return {k: numbers.get(k) for k in names}
