"""The recipe of a batch over one tree: what is new is processed, all is sorted, and every phase merged and solved."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from credo.io.nxmx_stream import being_written
from credo.io.project import write_json
from credo.merge.known_phases import KnownPhase
from credo.model import CannotDo, Cell
from credo.pipeline.batch_find import Found, Tree, find_data_sets, natural
from credo.pipeline.batch_phase import read_crystal
from credo.pipeline.batch_pool import Pool
from credo.pipeline.batch_report import batch_report, nothing_found, twins_of
from credo.pipeline.batch_settings import BatchSettings, Link, Progress, Tick, compositions
from credo.pipeline.batch_sort import Sorting, name_of, sort_sets
from credo.pipeline.batch_store import Store, stamp_of
from credo.pipeline.batch_work import key_of
from credo.pipeline.data_set import DataSet
from credo.pipeline.merge import MergeSettings, letters
from credo.pipeline.process import ProcessSettings
from credo.pipeline.solve import SolveFileSettings

__all__ = ["Batch"]

#: A file that a collection has not closed is taken for what a crash left when it rests so long [s].
_LEFT_S = 600.0
#: Phases whose cells are tried on what fits nowhere, how many spots it must have, and the share of them that a cell
#: must explain, in all and of what the set's own cell explains.
_CELLS, _SPOTS, _EXPLAINS, _NO_WORSE = 4, 30, 0.5, 0.9
#: Relative difference of cells of which only one is tried.
_SAME_CELL = 0.003


@dataclass(frozen=True)
class _Standing:
    """What is in by now, and the phases that it makes. ``second``: what fits nowhere had its second chance."""

    tree: Tree
    rows: dict[str, dict[str, Any]]
    twins: dict[str, str]
    sets: list[DataSet]
    sorting: Sorting
    phases: list[dict[str, Any]]
    second: bool

    @property
    def unsolved(self) -> bool:
        """Whether a structure was not tried yet."""
        return any(p["ok"] and p["structure"] is None for p in self.phases)


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
        self._now: _Standing | None = None
        self._helped: dict[str, dict[str, Any]] = {}
        self._tried: list[dict[str, Any]] = []

    def once(self) -> dict[str, Any]:
        """Find, process, sort, merge, solve; nothing that is there already is done again."""
        self.progress(Tick("looking for data sets", 0, 0))
        tree = self._find()
        if not tree.sets and not self.settings.watch:
            raise CannotDo(nothing_found(self.root, tree), "give a folder with data sets, or the data set itself")
        if self.settings.watch:
            return self._bring(tree, self._quiet(tree))
        self._bring(tree, tree.sets)
        return self._solved()

    def again(self) -> dict[str, Any] | None:
        """Look for data sets that are new or have changed, and are quiet, and take them in. Second chances, solutions
        wait until none came: nobody waits for them who asks what the phases lack. ``None``: nothing new."""
        tree = self._find()
        ready = [s for s in self._quiet(tree) if self._taken.get(s.name) != self._since[s.name][0]]
        if not ready and self._now is not None and not self._now.second:
            self._now = self._phases(self._now.tree, True)
            return self._numbers(self._now)
        if not ready and self._now is not None and self._now.unsolved and self.settings.solve:
            return self._solved()
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
        """Those unchanged for the time that the settings say. A collection that waits for an answer writes nothing
        meanwhile: what it has not closed yet is still growing."""
        now, out = time.monotonic(), []
        for s in tree.sets:
            stamp = stamp_of(s.files)
            if self._since.get(s.name, ("", 0.0))[0] != stamp:
                age = time.time() - max((f.stat().st_mtime for f in s.files if f.exists()), default=0.0)
                self._since[s.name] = stamp, now - max(age, 0.0)
            growing = any(being_written(f) for f in s.files)
            if now - self._since[s.name][1] >= (max(self.settings.quiet, _LEFT_S) if growing else self.settings.quiet):
                out.append(s)
        return out

    def _bring(self, tree: Tree, sets: Sequence[Found]) -> dict[str, Any]:
        """Process ``sets``, then sort and merge all that are in by now."""
        self._taken |= {s.name: stamp_of(s.files) for s in sets}
        self._each(sets)
        tree = replace(tree, sets=tuple(s for s in tree.sets if s.name in self._taken))
        self._now = self._phases(tree, not self.settings.watch)
        return self._numbers(self._now)

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

    def _phases(self, tree: Tree, second: bool) -> _Standing:
        """Sort everything that was processed, with a second chance or without, and merge each phase."""
        rows = {s.name: self._row(s.name) for s in tree.sets}
        rows |= {n: r for n, r in self._helped.items() if n in rows and r["stamp"] == rows[n]["stamp"]}
        twins = twins_of(rows)
        sets, sorting = self._sorted(rows, twins)
        todo = self._lone(tree, rows, twins, sets, sorting)
        # where the cell of a phase helped a set that fits nowhere all the same, it is as it was
        back = {s.name: self._row(s.name) for s in todo if self._helped.pop(s.name, None)}
        again = self._second(todo, rows | back, sets, sorting) if todo and second else {}
        if again or back:
            self._helped |= again
            rows |= back | again
            sets, sorting = self._sorted(rows, twins)
        # for the page; n² distances would be most of it
        write_json(self.out / "sorting.json", {k: v for k, v in sorting.numbers.items() if k != "distance"})
        return _Standing(
            tree, rows, twins, sets, sorting, self._merged(sets, sorting, rows, "phases"), second or not todo
        )

    def _numbers(self, now: _Standing) -> dict[str, Any]:
        """Tell all, in the catalogue and to the report."""
        self.store.set_phases([(p["name"], p["key"], "done" if p["ok"] else "failed", p) for p in now.phases])
        numbers = batch_report(now.tree, now.rows, now.twins, now.sets, now.sorting, now.phases)
        for row in numbers["sets"]:
            self.store.settle(row["dataset"], phase=row["phase"] or "")
        return numbers

    def _row(self, name: str) -> dict[str, Any]:
        row = self.store.row(name)
        return {**row, "folder": self.store.crystal(row["number"]).resolve(), "cell_of": None}

    def _sorted(self, rows: dict[str, Any], twins: dict[str, str]) -> tuple[list[DataSet], Sorting]:
        good = [n for n, r in rows.items() if r["state"] == "done" and n not in twins and self.settings.merge]
        self.progress(Tick(f"sorting {len(good)} data sets", 0, 0))
        sets = [read_crystal(rows[n]["folder"], n) for n in good]
        return sets, sort_sets(sets, fewest=self.settings.fewest)

    def _lone(
        self, tree: Tree, rows: dict[str, Any], twins: dict[str, str], sets: list[DataSet], sorting: Sorting
    ) -> list[Found]:
        """Frames without a lattice, or with one that fits nowhere, where there is a phase whose cell may be tried."""
        lone = {sets[i].name for i in sorting.alone} | {r.name for r in sorting.refused}
        lone |= {n for n, r in rows.items() if r["state"] == "failed" and not r["numbers"].get("unreadable")}
        spots = {n: r["numbers"].get("n_spots") for n, r in rows.items()}
        lone -= {n for n, many in spots.items() if many is not None and many < _SPOTS}
        known = self.settings.second and any(len(g) > 1 for g in sorting.groups)
        return [s for s in tree.sets if known and s.name in lone and s.kind == "frames" and s.name not in twins]

    def _second(self, todo: list[Found], rows: dict[str, Any], sets: list[DataSet], sorting: Sorting) -> dict[str, Any]:
        """``todo`` processed with the cells of the phases found; the rows of those that this helped."""
        # hidden, for these are not the final ones
        phases = [p for p in self._merged(sets, sorting, rows, ".first") if p["ok"] and len(p["members"]) > 1][:_CELLS]
        for s in todo:
            for p in phases:
                folder = self.store.crystal(rows[s.name]["number"])
                settings = self._process.model_copy(update=self._shape(p))
                task = {**self._task(s, rows[s.name]["number"]), "settings": settings.model_dump(mode="json"),
                        "target": str(folder.with_name(f"{folder.name}-{p['name']}").resolve()),
                        "title": f"{s.name} with the cell of phase {p['name']}"}  # fmt: skip
                self.pool.submit((s.name, p["name"]), task, self.settings.timeout)
        found: dict[str, Any] = {}
        for (name, letter), answer in self._answers("trying known cells", 0, len(todo) * len(phases)):
            share, own = (n.get("indexed_fraction") or 0.0 for n in (answer, rows[name]["numbers"]))
            best = (found[name]["numbers"]["indexed_fraction"], found[name]["cell_of"]) if name in found else (0.0, "")
            if answer.get("ok") and share > max(_EXPLAINS, _NO_WORSE * own) and (share, letter) > best:
                folder = self.store.crystal(rows[name]["number"])
                found[name] = {**rows[name], "state": "done", "reason": "", "key": answer["key"], "numbers": answer,
                               "folder": folder.with_name(f"{folder.name}-{letter}").resolve(),
                               "cell_of": letter}  # fmt: skip
        return found

    def _shape(self, phase: dict[str, Any]) -> dict[str, Any]:
        """Cell and space group to try; those tried before in this run where the cell is nearly the same, so that a
        member more or less gives nothing to try again."""
        cell, group = _rounded(phase["cell"]), phase["space_group"]
        off = [max(abs(a - b) / a for a, b in zip(t["cell"], cell)) for t in self._tried]
        near = [t for t, d in zip(self._tried, off) if d < _SAME_CELL and t["space_group"][0] == group[0]]
        if not near:
            near = [{"cell": cell, "space_group": group}]
            self._tried += near
        return near[0]

    def _merged(self, sets: list[DataSet], sorting: Sorting, rows: dict[str, Any], place: str) -> list[dict[str, Any]]:
        """Every phase merged into ``place``/A, B, ..."""
        phases: list[dict[str, Any]] = []
        for k, group in enumerate(sorting.groups):
            names, letter = [sets[i].name for i in group], letters(k)
            key = key_of("merge", letter, [[n, rows[n]["key"]] for n in names], self._merge.model_dump(mode="json"))
            folder = (self.out / place / letter).resolve()
            task = self._merging(letter, names, rows, key, folder)
            phases.append({"name": letter, "key": key, "datasets": names, "folder": f"{place}/{letter}"})
            self.pool.submit(k, task, self.settings.timeout)
        for k, answer in self._answers("merging", 0, len(phases)):
            phases[k] |= answer
        for p in phases:
            p["known"] = p["structure"] = None
            if p["ok"]:
                p["known"], p["known_probability"] = name_of(Cell(*p["cell"]), p["centring"], self.known)
        return phases

    def _merging(
        self, letter: str, names: Sequence[str], rows: dict[str, Any], key: str, folder: Path
    ) -> dict[str, Any]:  # fmt: skip
        """The task of merging one phase."""
        members = [{"name": n, "folder": str(rows[n]["folder"])} for n in names]
        return {"task": "phase", "title": f"merging phase {letter}", "name": letter, "members": members, "key": key,
                "target": str(folder), "settings": self._merge.model_dump(mode="json")}  # fmt: skip

    def _solved(self) -> dict[str, Any]:
        """Structures of the phases that are complete enough, into the entries of the phases; the report with them."""
        assert self._now is not None
        phases, wanted = self._now.phases, compositions(self.settings.composition)
        todo = []
        for k, p in enumerate(phases):
            if not (p["ok"] and self.settings.solve):
                continue
            if (p["completeness"] or 0) < self.settings.solve_completeness:
                p["structure"] = {"ok": False, "reason": f"only {p['completeness']:.0%} complete"}
                continue
            formula = wanted.get(p["name"], wanted.get(p["known"] or "", wanted.get("")))
            more: dict[str, Any] = {} if self.settings.seconds is None else {"seconds": self.settings.seconds}
            asked = SolveFileSettings(composition=formula, **more).model_dump(mode="json", exclude_unset=True)
            folder = (self.out / "phases" / p["name"]).resolve()
            again = self._merging(p["name"], p["datasets"], self._now.rows, p["key"], folder)
            todo.append((k, {"task": "structure", "title": f"solving phase {p['name']}", "settings": asked,
                             "merged": str(folder / "merged.hkl"),
                             "again": again if self.settings.damping else None}))  # fmt: skip
        for k, task in todo:
            self.pool.submit(k, task, self.settings.timeout)
        for k, answer in self._answers("solving", 0, len(todo)):
            phases[k]["structure"] = answer
        return self._numbers(self._now)


def _sleep(seconds: float, stop: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stop():
        time.sleep(min(0.2, seconds))


def _rounded(cell: Sequence[float]) -> tuple[float, ...]:
    """To 0.02 Å and 0.05°: a member more or less does not change what was tried."""
    return (*(round(x / 0.02) * 0.02 for x in cell[:3]), *(round(x / 0.05) * 0.05 for x in cell[3:]))
