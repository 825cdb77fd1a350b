"""What a project folder holds, read for its report: crystals, phases with their structures, and what was left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from credo.io.project import read_experiment
from credo.io.structure import read_structure
from credo.model import CredoError, Experiment, Structure
from credo.pipeline.corrected import CORRECTED, corrected_by, refinement_of
from credo.pipeline.output import read_report

__all__ = ["Session", "SessionCrystal", "SessionPhase", "read_map", "read_session"]

#: Folders below the project in which reports are looked for.
_LEVELS = 4
_MAX_JSON = 2**26

Report = Mapping[str, Any]


@dataclass(frozen=True)
class SessionCrystal:
    """One data set: ``folder`` of its report; ``experiment`` None where it was not processed to the end; ``phase``: its
    name, empty for none; ``reason``: why it is in no merge; ``log``: what its collect.json says."""

    name: str
    folder: Path
    report: Report
    experiment: Experiment | None
    phase: str = ""
    reason: str = ""
    log: Report = field(default_factory=dict)
    log_path: Path | None = None

    @property
    def turn(self) -> tuple[float, float] | None:
        """Where its rotation began and ended [deg]; None if nobody said."""
        e = self.experiment
        if e is not None and len(e.scan) and "angles" in e.known:
            return float(e.scan.start_deg[0]), float(e.scan.end_deg[-1])
        return _pair(self.log.get("start_deg"), self.log.get("end_deg"))

    @property
    def place(self) -> tuple[float, float] | None:
        """Where it lay on the stage (x, y) [µm], as its log says."""
        told = self.log.get("position_um")
        return _pair(*told[:2]) if isinstance(told, list | tuple) and len(told) > 1 else None


def _pair(a: Any, b: Any) -> tuple[float, float] | None:
    """Two numbers, or nothing."""
    both = [float(v) for v in (a, b) if isinstance(v, int | float) and np.isfinite(v)]
    return (both[0], both[1]) if len(both) == 2 else None


@dataclass(frozen=True)
class SessionPhase:
    """``merge``, ``solve``, ``refine``: reports, empty where there is none; ``structure``: the refined one, else the
    solved one; ``maps``: CCP4 files by name; ``folders``: of the commands, by what they do; ``corrected``: the
    report of the merge without damping."""

    name: str
    title: str
    folder: Path
    merge: Report
    solve: Report = field(default_factory=dict)
    refine: Report = field(default_factory=dict)
    structure: Structure | None = None
    maps: Mapping[str, Path] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)
    corrected: Report = field(default_factory=dict)


@dataclass(frozen=True)
class Session:
    """``batch``: the report of the command that made the folder, if one did; ``rejected``: (data set, reason);
    ``sorting``: what sorting into phases found, where it was kept; ``grid``: the folder of the atlas, if there is one;
    ``passed``: why crystals were passed over while collecting, and how many.
    """

    folder: Path
    crystals: tuple[SessionCrystal, ...]
    phases: tuple[SessionPhase, ...]
    rejected: tuple[tuple[str, str], ...]
    batch: Report = field(default_factory=dict)
    sorting: Report = field(default_factory=dict)
    grid: Path | None = None
    passed: Mapping[str, int] = field(default_factory=dict)


def read_session(folder: Path, batch: Report | None = None) -> Session:
    """Everything below ``folder`` that a command of credo left there; ``batch``: its report, if not the one there."""
    folder = Path(folder)
    found = list(_reports(folder, _LEVELS))
    batch = batch if batch is not None else read_report(folder)
    batch = batch if "phases" in batch and "datasets" in batch else {}
    phases = _phases(found, batch)
    crystals = _crystals(folder, found, phases, batch)
    crystals += _collected(folder, [c.log_path for c in crystals if c.log_path])
    left = [(str(x.get("path")), str(x.get("reason"))) for x in batch.get("left") or ()]
    rejected = [(c.name, c.reason) for c in crystals if c.reason]
    known = {name for name, _ in rejected}
    rejected += [(n, r) for n, r in _said(phases, batch) if n not in known]
    return Session(folder, tuple(crystals), tuple(phases), (*rejected, *left), batch, _json(folder / "sorting.json"),
                   _grid(folder, crystals), _passed(folder, crystals))  # fmt: skip


def _reports(folder: Path, levels: int) -> Iterator[tuple[Path, Report]]:
    """Folders with a report of theirs, from the top down, in the order of their names."""
    try:
        inner = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and not p.is_symlink())
    except OSError:
        return
    for path in inner:
        report = read_report(path)
        if report.get("command"):
            yield path, report
        if levels > 1:
            yield from _reports(path, levels - 1)


def _phases(found: Sequence[tuple[Path, Report]], batch: Report) -> list[SessionPhase]:
    titles = {p.get("name"): p.get("known") for p in batch.get("phases") or () if isinstance(p, dict)}
    merges = {folder for folder, r in found if r.get("command") == "merge" and r.get("ok")}
    out: list[SessionPhase] = []
    used: set[Path] = set()
    for folder, report in found:
        # a merge in the folder of another is the same phase again, without damping
        if folder not in merges or any(p in merges for p in folder.parents):
            continue
        several = report.get("phases") or [report]
        for one in several:
            place = folder if len(several) == 1 else folder / str(one.get("name"))
            name = str(one.get("name") or "A")
            name = folder.name if name in {p.name for p in out} else name
            solve = _made_from(found, "solve", [place])
            refine = _made_from(found, "refine", [place, *([solve[0]] if solve else [])])
            used |= {x[0] for x in (solve, refine) if x} | {f for f, _ in found if place / CORRECTED in f.parents}
            if refine and refine[0] == place / "refine":
                refine = refinement_of(place), read_report(refinement_of(place))
            whole = {**one, **{k: report.get(k) for k in ("command", "version", "provenance")}}
            out.append(_phase(name, titles.get(name), place, whole, solve, refine))
    # structures of data that were merged elsewhere
    for folder, report in found:
        if report.get("command") == "solve" and folder not in used:
            refine = _made_from(found, "refine", [folder])
            used |= {x[0] for x in (refine,) if x}
            out.append(_phase(folder.name, None, folder, {}, (folder, report), refine))
    alone = [(f, r) for f, r in found if r.get("command") == "refine" and f not in used]
    return out + [_phase(f.name, None, f, {}, None, (f, r)) for f, r in alone]


def _made_from(
    found: Sequence[tuple[Path, Report]], command: str, places: Sequence[Path]
) -> tuple[Path, Report] | None:
    """The last good report of a command whose input lies in one of the places, or that lies there itself."""
    places = [p.resolve() for p in places]
    for folder, report in reversed(found):
        # an unsolved structure has its reasons to tell
        if report.get("command") != command or not (report.get("ok") or command == "solve"):
            continue
        entries = dict(report.get("provenance") or {}).get("inputs") or ()
        beside = [(folder / str(e.get("from_here"))).resolve().parent for e in entries if isinstance(e, dict)]
        if folder.resolve().parent in places or any(b in places for b in beside):
            return folder, report
    return None


def _phase(name: str, known: Any, place: Path, merge: Report, solve, refine) -> SessionPhase:
    files = [f / n for f, n in ((refine and refine[0], "refined.cif"), (solve and solve[0], "structure.cif")) if f]
    structure = next((s for f in files if (s := _structure(f)) is not None), None)
    maps = {"Fo − Fc": refine and refine[0] / "difference.ccp4", "Fo": solve and solve[0] / "observed.ccp4"}
    there = {n: p for n, p in maps.items() if p and p.is_file()}
    title = f"Phase {name}" + (f" ({known})" if known else "")
    merged = place if (place / "report.json").is_file() else place.parent
    again = corrected_by(place)
    corrected = read_report(again)
    made = {"merging": merged if merge else None, "solution": solve and solve[0], "refinement": refine and refine[0],
            "merging without damping": again if corrected.get("ok") else None}  # fmt: skip
    return SessionPhase(
        name, title, place, merge, solve[1] if solve else {}, refine[1] if refine else {}, structure, there,
        {n: f for n, f in made.items() if f}, corrected,
    )  # fmt: skip


def _structure(path: Path) -> Structure | None:
    try:
        return read_structure(path) if path.is_file() else None
    except CredoError:
        return None


def read_map(path: Path) -> np.ndarray | None:
    """A map of one cell (nx, ny, nz), None if it cannot be read."""
    import gemmi

    try:
        return np.array(gemmi.read_ccp4_map(str(path), setup=True).grid.array, dtype=np.float32)
    except (OSError, RuntimeError, ValueError):
        return None


def _crystals(
    root: Path, found: Sequence[tuple[Path, Report]], phases: Sequence[SessionPhase], batch: Report
) -> list[SessionCrystal]:
    sets = {_place(s): s for s in batch.get("sets") or () if isinstance(s, dict) and s.get("number") is not None}
    members, reasons = _membership(phases)
    out = []
    for folder, report in found:
        if report.get("command") != "process":
            continue
        number, _, cell_of = folder.name.partition("-")
        told = sets.get((int(number), cell_of)) if number.isdigit() else None
        if told is None and number.isdigit() and any(n == int(number) for n, _ in sets):
            continue  # the batch tried the cell of a phase, in vain, or with it made the other one obsolete
        own = folder.relative_to(root).as_posix()
        name = str(told["dataset"]) if told else own
        keys = [name, str(folder.resolve()), str(folder.resolve() / "experiment.json")]
        phase = str(told.get("phase") or "") if told else next((members[k] for k in keys if k in members), "")
        reason = str(told.get("reason") or "") if told else next((reasons[k] for k in keys if k in reasons), "")
        if not report.get("ok"):
            reason = reason or str(report.get("reason") or "it could not be processed")
        log = _collect_json(folder, report)
        told_by = _json(log) if log else {}
        out.append(SessionCrystal(name, folder, report, _experiment(folder), phase, reason, told_by, log))
    return sorted(out, key=lambda c: c.folder)


def _place(told: Report) -> tuple[int, str]:
    """Of the batch's folder of a data set: its number, and the phase whose cell it was processed with."""
    return int(told["number"]), str(told.get("cell_of") or "")


def _membership(phases: Sequence[SessionPhase]) -> tuple[dict[str, str], dict[str, str]]:
    """Phase, and reason for being left out, by the name or the file of a data set."""
    members: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for p in phases:
        for key in p.merge.get("members") or ():
            members |= dict.fromkeys(_names(p, str(key)), p.name)
        for r in p.merge.get("rejected") or ():
            text = f"left out of phase {p.name}: {r.get('reason')}"
            reasons |= dict.fromkeys(_names(p, str(r.get("dataset"))), text)
    return members, reasons


def _names(phase: SessionPhase, key: str) -> list[str]:
    """A name as it is, and as the file below the merge's inputs, which may have been moved with the merge."""
    parts = Path(key).parts
    names = [key]
    for entry in dict(phase.merge.get("provenance") or {}).get("inputs") or ():
        given = Path(str(entry.get("path"))).parts
        for n in range(1, len(parts) + 1):
            if given[-n:] == parts[:n] and entry.get("from_here"):
                names.append(str((phase.folder / entry["from_here"]).resolve().joinpath(*parts[n:])))
    return names


def _said(phases: Sequence[SessionPhase], batch: Report) -> list[tuple[str, str]]:
    """Data sets that reports refuse and of which nothing else is there."""
    if batch:
        return [(str(r.get("dataset")), str(r.get("reason"))) for r in batch.get("rejected") or ()]
    return []


def _experiment(folder: Path) -> Experiment | None:
    try:
        path = folder / "experiment.json"
        return read_experiment(path) if path.is_file() else None
    except CredoError:
        return None


def _collected(root: Path, known: Sequence[Path]) -> list[SessionCrystal]:
    """Data sets of a collection that were not processed yet."""
    out = []
    for path in sorted(root.glob("crystals/*/collect.json")):
        log = _json(path)
        if path.resolve() not in known and log:
            ended = f"not processed; the collection ended: {log.get('reason_ended') or 'nobody said why'}"
            out.append(SessionCrystal(path.parent.name, path.parent, {}, None, "", ended, log, path.resolve()))
    return out


def _sessions(root: Path, crystals: Sequence[SessionCrystal]) -> list[Path]:
    """This folder, and those that the data were collected in."""
    above = [c.log_path.parents[2] for c in crystals if c.log_path and len(c.log_path.parents) > 2]
    return list(dict.fromkeys([root.resolve(), *above]))


def _grid(root: Path, crystals: Sequence[SessionCrystal]) -> Path | None:
    places = _sessions(root, crystals)
    return next((p / "grid" for p in places if (p / "grid" / "atlas.json").is_file()), None)


def _passed(root: Path, crystals: Sequence[SessionCrystal]) -> dict[str, int]:
    """Reasons of the crystals that ``credo collect`` rejected, the commonest first."""
    count: dict[str, int] = {}
    for place in _sessions(root, crystals):
        report = read_report(place)
        for one in report.get("rejected") or () if report.get("command") == "collect" else ():
            reason = str(one.get("reason") or "no reason") if isinstance(one, dict) else str(one)
            count[reason] = count.get(reason, 0) + 1
    return dict(sorted(count.items(), key=lambda item: -item[1]))


def _collect_json(folder: Path, report: Report) -> Path | None:
    """collect.json of the crystal, or beside the frames that were processed."""
    entries = dict(report.get("provenance") or {}).get("inputs") or ()
    places = [folder]
    for entry in entries:
        if isinstance(entry, dict):
            near = (folder / str(entry["from_here"])) if entry.get("from_here") else Path(str(entry.get("path")))
            places += [near, near.parent, Path(str(entry.get("path")))]
    for place in places:
        path = place / "collect.json"
        if path.is_file():
            return path.resolve()
    return None


def _json(path: Path) -> Report:
    """A JSON object of a file; empty where there is none that can be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size < _MAX_JSON else {}
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
