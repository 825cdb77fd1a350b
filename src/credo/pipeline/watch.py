"""``credo watch``: crystals processed while their frames arrive, and merged by phase as soon as each is in.

Two things go on at once. This process reads frames as they come and tells each crystal's cell, quality, resolution and
phase; beside it a batch (:mod:`credo.pipeline.batch`), with less priority, processes the data sets that have come to
rest, and merges each phase anew. What the batch finds is what crystals are compared with.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from credo.collect.advice import CrystalNow, Decision
from credo.io.open import GeometryOverrides
from credo.io.project import write_json
from credo.io.reflection_files import read_any
from credo.merge.live_cells import SortedCells, add
from credo.model import Cell, CredoError, UnreadableInput
from credo.physics.symmetry import laue_rotations, unique_reflections
from credo.pipeline.batch import BatchSettings, Link, Tick, batch
from credo.pipeline.batch_find import FEWEST
from credo.pipeline.cluster_known import known_phases
from credo.pipeline.merge import Merged
from credo.pipeline.watch_company import Company, Outlook
from credo.pipeline.watch_decide import after, while_turning
from credo.pipeline.watch_frames import Growing, find_growing
from credo.pipeline.watch_next import Advice, Goal, PhaseAdvice, PhaseNow, missing, next_plan, phase_of
from credo.pipeline.watch_set import LiveSet, LiveState
from credo.pipeline.watch_socket import PORT, PathServer

__all__ = ["Seen", "WatchSettings", "Watcher", "phase_now", "phases_of", "watch"]

#: How often folders are looked through for new data sets, and open ones for frames [s]; a data set that grew no more
#: for so long is closed, whether the batch has it or not [s].
_LOOK, _POLL, _CLOSED = 2.0, 0.1, 600.0
#: Frames that are read before the others get their turn.
_TURN = 40


class WatchSettings(BatchSettings):
    """As for a batch, and what is wanted of the crystals."""

    port: int | None = Field(
        default=None, ge=0, le=65535, description=f"take paths by this socket too ({PORT} is what Instamatic expects)"
    )
    host: str = Field(default="127.0.0.1", description="address at which the socket listens")
    completeness: float = Field(default=0.95, gt=0, le=1, description="of a phase that is complete")
    cc_half: float = Field(default=0.9, gt=0, le=1, description="of a phase that is complete")
    wanted: tuple[str, ...] = Field(default=(), description="phases of interest, by letter or known name (none: all)")
    poorest: float | None = Field(default=None, gt=0, description="crystals that diffract less are given up [Å]")
    tilt: tuple[float, float] = Field(default=(-60.0, 60.0), description="limits of the stage [deg]")

    @property
    def goal(self) -> Goal:
        return Goal(self.completeness, self.cc_half, self.poorest, self.wanted)

    def for_batch(self) -> BatchSettings:
        """Those of the batch beside, which leaves a processor free."""
        own = {k: getattr(self, k) for k in BatchSettings.model_fields}
        workers = max((os.cpu_count() or 2) - 1, 1) if self.workers is None else self.workers
        return BatchSettings(**{**own, "watch": True, "workers": workers, "nice": self.nice or 10})


@dataclass(frozen=True)
class Seen:
    """A crystal as of now: its state, the phase it is taken for with its probability, and what to do with it.
    ``latency_s``: wall time from the last frame's arrival to this; ``like``: how many earlier crystals have its
    lattice, whether their phase is merged or not."""

    state: LiveState
    phase: str | None
    probability: float
    advice: Advice
    latency_s: float = 0.0
    like: int = 0

    def to_dict(self) -> dict[str, Any]:
        s = self.state
        crystal = s.crystal
        return {
            "dataset": s.name, "frames": s.frames, "turned_deg": s.turned_deg, "n_spots": s.n_spots,
            "n_indexed": s.n_indexed, "indexed_fraction": s.indexed_fraction, "resolution": s.resolution,
            "spots_per_frame": s.spots_per_frame, "reason": s.reason, "cpu_seconds": s.seconds,
            "cell": crystal and crystal.cell.parameters, "cell_esd": crystal and crystal.cell.esd,
            "centring": crystal and crystal.centring, "laue_group": crystal and crystal.laue_group,
            "phase": self.phase, "probability": self.probability, "advice": asdict(self.advice),
            "latency_s": self.latency_s, "like": self.like,
        }  # fmt: skip


@dataclass
class _Open:
    """A data set that may still grow: ``waiting``: its newest frames are not in its state yet. ``live`` is None once it
    is closed: its frames and spots are let go, which hundreds of data sets could not keep."""

    source: Growing
    live: LiveSet | None
    newest: float = field(default_factory=time.monotonic)
    waiting: bool = False
    rough: bool = False


class Watcher:
    """Data sets below ``root`` as they grow. :meth:`step` does what there is to do and returns what changed.

    It may be asked from another thread for :meth:`next_plan`; ``phases`` is replaced as a whole.
    """

    def __init__(self, root: Path, out: Path, settings: WatchSettings | None = None) -> None:
        self.root, self.out, self.settings = Path(root), Path(out), settings or WatchSettings()
        self.phases: tuple[PhaseNow, ...] = ()
        self.seen: dict[str, Seen] = {}
        self.more: tuple[Path, ...] = ()
        self._known = [
            PhaseNow(p.name, p.cell, p.centring, "-1", known=p.name) for p in known_phases(self.settings.known)
        ]
        self._keys: set[tuple[str, str]] = set()
        self._open: dict[str, _Open] = {}
        self._ended: set[str] = set()
        self._steps: dict[str, float] = {}
        self._looked = -1e9
        self._lock = threading.Lock()
        # files and folders of data sets that the batch has taken in
        self.merged: frozenset[str] = frozenset()
        self._company = Company(self.settings.tilt)
        self._outlook = Outlook(0.0, self.settings.tilt)
        self._outlook_of: tuple[Any, ...] = ()
        self._cells, self._sorted = SortedCells.empty(), set[str]()

    def take(self, path: Path, message: dict[str, Any] | None = None) -> None:
        """A data set named from outside, in or out of the root; ``osc`` of the message is its rotation per frame."""
        place = Path(path).resolve()
        with self._lock:
            if message and message.get("osc"):
                self._steps[str(place)] = float(message["osc"])
            if self.root.resolve() not in (place, *place.parents) and place not in self.more:
                self.more = (*self.more, place)
            self._looked = -1e9

    def renew(self, report: dict[str, Any]) -> None:
        """The batch beside has a new report."""
        self.phases = phases_of(self.out, report)
        self.merged = frozenset(_places(report))

    def step(self) -> list[Seen]:
        """New data sets, new frames, new lattices: those crystals of which something new is known."""
        now = time.monotonic()
        if now - self._looked > _LOOK:
            self._looked = now
            self._look()
        changed = [seen for o in list(self._open.values()) for seen in self._advance(o)]
        self.seen |= {s.state.name: s for s in changed}
        self._look_ahead()
        return changed

    def _look_ahead(self) -> None:
        """The outlook anew where crystals came to rest, or phases were merged, since it was made."""
        rest = self._at_rest()
        for name in (n for n in rest if n not in self._sorted):
            self._sorted.add(name)
            crystal = self.seen[name].state.crystal
            if crystal is not None:
                self._cells, _ = add(self._cells, crystal.cell, crystal.centring)
        if (len(rest), id(self.phases)) != self._outlook_of:
            self._outlook_of = len(rest), id(self.phases)
            self._outlook = self._company.outlook([self.seen[n].state for n in rest], self.phases, self.settings.goal)

    def _at_rest(self) -> list[str]:
        """Data sets that grow no more: a newer one does, or collection said so. Those that the batch has are closed."""
        newest = max((o.newest for o in self._open.values()), default=0.0)
        rest = []
        for name, o in self._open.items():
            folder = str(o.source.folder.resolve())
            if not o.waiting and name in self.seen and (o.newest < newest or folder in self._ended):
                rest.append(name)
                if folder in self.merged or newest - o.newest > _CLOSED:
                    o.live = None
        return rest

    def next_plan(self, name: str) -> Advice:
        """What to do with a crystal now, by the name of its data set; a state that is not there yet says go on."""
        seen = self.seen.get(name)
        if seen is None:
            return Advice("continue", "nothing is known of it yet")
        return next_plan(seen.state, self.phases, self.settings.goal, self.settings.tilt, self._outlook.pace)

    def decide(self, crystal: CrystalNow, wait_s: float = 0.0) -> Decision:
        """What a collection is to do (see :mod:`credo.collect.advice`); from another thread than that of :meth:`step`.

        ``wait_s``: how long to wait for the crystal's frames to be seen, or its data set to be merged.
        """
        end = time.monotonic() + wait_s
        if crystal.ended:
            self._ended.add(str(Path(crystal.folder).resolve()))
        while not self._up_to_date(crystal) and time.monotonic() < end:
            time.sleep(_POLL)
        goal = self.settings.goal
        if crystal.ended:
            return after(crystal, self.phases, goal, self._outlook)
        seen = self._seen_of(crystal)
        if seen is None:
            return Decision(reason="nothing is known of it yet")
        return while_turning(crystal, seen.state, self.phases, goal, self.settings.tilt, self._outlook)

    def _up_to_date(self, crystal: CrystalNow) -> bool:
        if crystal.ended:  # what is too short to be a data set never gets into the batch
            merged = str(Path(crystal.folder).resolve()) in self.merged and self._outlook_of[1:] == (id(self.phases),)
            return merged or crystal.frames < FEWEST
        seen = self._seen_of(crystal)
        return seen is not None and seen.state.frames >= crystal.frames

    def _seen_of(self, crystal: CrystalNow) -> Seen | None:
        folder = Path(crystal.folder).resolve()
        return next(
            (
                self.seen[n]
                for n, o in list(self._open.items())
                if o.source.folder.resolve() == folder and n in self.seen
            ),
            None,
        )

    def lacking(self) -> tuple[PhaseAdvice, ...]:
        """What each wanted phase still lacks."""
        goal = self.settings.goal
        return tuple(missing(p, goal) for p in self.phases if p.wanted(goal))

    def to_dict(self) -> dict[str, Any]:
        """All that is known, for ``live.json``."""
        return {
            "datasets": [s.to_dict() for s in self.seen.values()],
            "phases": [
                {"name": p.name, "known": p.known, "cell": p.cell.parameters, "members": p.members,
                 "completeness": p.completeness, "cc_half": p.cc_half, "resolution": p.d_min}
                for p in self.phases
            ],
            "next": [asdict(a) for a in self.lacking()],
        }  # fmt: skip

    def _look(self) -> None:
        for root in (self.root, *self.more):
            if not root.exists():
                continue
            folder = root if root.is_dir() else root.parent
            for source in find_growing(folder, self._keys, {self.out.resolve()}):
                source.overrides = self._overrides(source)
                name, i = source.name, 2
                while name in self._open:
                    name, i = f"{source.name}-{i}", i + 1
                self._open[name] = _Open(source, LiveSet(name, source.experiment))

    def _overrides(self, source: Growing) -> GeometryOverrides:
        folders = {str(p) for p in (source.folder.resolve(), *source.folder.resolve().parents)}
        step = next((v for k, v in self._steps.items() if k in folders), None)
        return GeometryOverrides() if step is None else GeometryOverrides(step=step)

    def _advance(self, o: _Open) -> list[Seen]:
        """Frames first; a lattice when they suffice, or when there are none left to read: then at once what the last
        lattice makes of them, and after it the lattice settled anew."""
        count = 0
        if o.live is None:
            return []
        for image in o.source.new():
            o.live.add(image.number, image.data)
            o.newest, o.waiting, count = time.monotonic(), True, count + 1
            if o.live.due():
                return [self._told(o, o.live.update())]
            if count >= _TURN:
                return []
        if count or not o.waiting:
            return []
        try:
            if not o.rough and o.live.state.indexed:
                o.rough = True
                return [self._told(o, o.live.glance())]
            o.rough = o.waiting = False
            return [self._told(o, o.live.update())]
        except CredoError as error:
            o.waiting = False
            return [self._told(o, o.live.failed(error.reason))]

    def _told(self, o: _Open, state: LiveState) -> Seen:
        known = (*self.phases, *(k for k in self._known if k.name not in {p.known for p in self.phases}))
        phase, probability, _ = phase_of(state, known)
        advice = next_plan(state, self.phases, self.settings.goal, self.settings.tilt, self._outlook.pace)
        latency = time.monotonic() - o.newest
        return Seen(state, phase.name if phase else None, probability, advice, latency, self._like(state))

    def _like(self, state: LiveState) -> int:
        """How many of the crystals that came to rest have the lattice of this one."""
        if state.crystal is None or state.name in self._sorted:
            return 0
        labels, (_, found) = self._cells.labels, add(self._cells, state.crystal.cell, state.crystal.centring)
        return int(np.sum(labels == found.label))


def phases_of(out: Path, report: dict[str, Any]) -> tuple[PhaseNow, ...]:
    """The merged phases of a batch's report."""
    found = []
    for p in report["phases"]:
        if not p["ok"]:
            continue
        _, table = read_any(Path(out) / p["folder"] / "scaled.HKL")
        hkl, times = _counted(table.hkl, Cell(*p["cell"]), p["laue_group"], float(p["resolution"]))
        found.append(
            PhaseNow(p["name"], Cell(*p["cell"]), p["centring"], p["laue_group"], hkl, len(p["members"]),
                     float(p["completeness"] or 0.0), p["cc_half"], float(p["resolution"]), p["known"], times)
        )  # fmt: skip
    return tuple(found)


def _places(report: dict[str, Any]) -> Iterator[str]:
    """Files and folders of the data sets that a report speaks of."""
    for row in report["sets"]:
        place = Path(row["place"]).resolve()
        yield from (str(place), str(place.parent))


def phase_now(merged: Merged) -> PhaseNow:
    """A phase that is merged in memory."""
    laue, inside = merged.laue, merged.inside.overall
    hkl, times = _counted(merged.observations.hkl, merged.cell, laue.laue_group, merged.resolution)
    members = sum(m.kept for m in merged.members)
    return PhaseNow(merged.name, merged.cell, laue.centring, laue.laue_group, hkl, members, inside.completeness,
                    inside.cc_half, merged.resolution, None, times)  # fmt: skip


def _counted(hkl: np.ndarray, cell: Cell, laue_group: str, d_min: float) -> tuple[Any, tuple[int, ...]]:
    """Unique reflections within the resolution, and how often each was measured."""
    unique, of = unique_reflections(hkl[cell.d_spacing(hkl) >= d_min], laue_rotations(laue_group))
    return tuple(map(tuple, unique.tolist())), tuple(np.bincount(of, minlength=len(unique)).tolist())


def watch(
    root: Path,
    out: Path,
    settings: WatchSettings | None = None,
    told: Callable[[Watcher, Sequence[Seen]], None] | None = None,
    progress: Callable[[Tick], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Watch ``root`` until ``stop()`` or an interruption; returns the report of the batch in ``out`` at the end.

    ``told(watcher, changed)`` is called whenever something new is known of a crystal; ``out/live.json`` has it too.
    """
    root, settings = Path(root), settings or WatchSettings()
    if not root.is_dir():
        raise UnreadableInput(f"{root}: no such folder", "give the folder into which data sets are written")
    watcher, ended = Watcher(root, out, settings), threading.Event()
    outcome: dict[str, Any] = {}

    def beside() -> None:
        link = Link(ended.is_set, watcher.renew, lambda: watcher.more)
        try:
            outcome["report"] = batch(root, out, settings.for_batch(), progress=progress, link=link)
        except CredoError as error:
            outcome["error"] = error

    thread = threading.Thread(target=beside, daemon=True)
    server = None if settings.port is None else PathServer(watcher.take, settings.host, settings.port, watcher.decide)
    thread.start()
    try:
        _loop(watcher, thread, told, stop or (lambda: False))
    except KeyboardInterrupt:
        pass
    finally:
        ended.set()
        if server is not None:
            server.close()
        thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["report"]


def _loop(watcher: Watcher, thread: threading.Thread, told: Any, stop: Callable[[], bool]) -> None:
    """Step after step, live.json at most once a second, and rest where there is nothing to do."""
    written, dirty, phases = 0.0, True, watcher.phases
    while thread.is_alive() and not stop():
        changed = watcher.step()
        dirty |= bool(changed) or watcher.phases is not phases
        phases = watcher.phases
        if changed and told is not None:
            told(watcher, changed)
        # the batch makes the folder, and its report is there first
        if dirty and time.monotonic() - written > 1.0 and (watcher.out / "report.json").is_file():
            write_json(watcher.out / "live.json", watcher.to_dict())
            written, dirty = time.monotonic(), False
        if not changed:
            time.sleep(_POLL)
