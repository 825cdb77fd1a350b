"""What a run leaves on disk: the event log, and a folder for every data set. A listener of the engine.

``SESSION/log.jsonl`` has one line for each event, appended and never changed; ``SESSION/crystals/NAME/`` has frames.h5
and collect.json; ``SESSION/calibration.toml`` has what the run had to calibrate itself. ``resume`` finishes what a
crash left open and tells a new engine what is done already.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from credo.collect.calibration.ready import USED
from credo.collect.calibration.result import RESULT, with_result
from credo.collect.dataset import DataSet, recover, signed_speed
from credo.collect.engine import Event
from credo.collect.rig import Rig
from credo.instrument.calibration_file import write_calibration
from credo.instrument.config import Calibration
from credo.io.project import plain
from credo.model.errors import CannotDo, CredoError, UnreadableInput

__all__ = ["STORE", "Session", "read_log", "resume"]

LOG = "log.jsonl"
CRYSTALS, GRID = "crystals", "grid"
STORE = "calibration.toml"
#: Longest line of a log and longest log that are read.
_LINE, _LINES = 1_000_000, 20_000_000

Export = Callable[[Path], None]


class Session:
    """``export``: called with the folder of every data set that was closed (other formats). ``datasets``: their
    records; ``rejected``: facts of the plan's notes of kind "rejected", each with its reason."""

    def __init__(self, folder: Path, rig: Rig, export: Export | None = None) -> None:
        self.folder, self.rig, self.export = Path(folder), rig, export
        self.datasets: list[dict[str, Any]] = []
        self.rejected: list[dict[str, Any]] = []
        self._open: DataSet | None = None
        self._log: IO[str] | None = None
        self._used: dict[str, dict[str, Any]] = {}

    def __call__(self, event: Event) -> None:
        if event.kind == "frame":
            self._frame(event)
        elif event.kind == "begin":
            self._begin(event)
        elif event.kind in ("end", "end run"):
            self._end(event)
        else:
            if event.kind == "turn" and self._open is not None:
                self._open.turned(event.facts)
            if event.kind == "rejected":
                self.rejected.append(dict(event.facts))
            if event.kind == RESULT:
                self._calibrated(event.facts)
            if event.kind == USED:
                self._used[str(event.facts["what"])] = dict(event.facts)
            self.write(event.time, event.kind, event.facts)

    @property
    def place(self) -> Path | None:
        """The folder of the data set that is open, else of the last one."""
        if self._open is not None:
            return self._open.folder
        return self.folder / self.datasets[-1]["directory"] if self.datasets else None

    def write(self, time: float, kind: str, facts: Mapping[str, Any]) -> None:
        """One line of the log, on its way to the disk when this returns."""
        try:
            if self._log is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._log = (self.folder / LOG).open("a", encoding="utf-8")
                if self._log.tell() and not _ends_with_newline(self.folder / LOG):
                    self._log.write("\n")  # what a crash cut off stays a line of its own
            line = {"time": round(time, 6), "kind": kind, **plain(dict(facts))}
            self._log.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
            self._log.flush()
        except OSError as error:
            raise CannotDo(f"{self.folder / LOG}: could not be written ({error})", "free space on the disk") from error

    def _calibrated(self, facts: Mapping[str, Any]) -> None:
        """A result of this run: data sets that are opened from now on have it, and runs that resume find it."""
        self.rig = replace(self.rig, calibration=with_result(self.rig.calibration, facts))
        write_calibration(self.folder / STORE, with_result(Calibration(), facts))

    def _begin(self, event: Event) -> None:
        if self._open is not None:
            self._close(event.time, "the next data set began", {})
        about = {"began": event.time, **event.facts["about"], "calibrations": list(self._used.values())}
        parent = place_of(about)
        name = self._free(parent, str(event.facts["name"]))
        self._open = DataSet(self.folder / parent / name, name, str(event.facts["sort"]), about, self.rig)
        self.write(event.time, "begin", {"name": name, "sort": event.facts["sort"], "about": about})

    def _free(self, parent: str, name: str) -> str:
        """``name``, or with a number where a run before a crash used it."""
        if not name or any(c in name for c in '/\\:*?"<>|') or name.startswith("."):
            raise UnreadableInput(f"{name!r}: no name for a data set", "letters, digits, - and _")
        folder, free, i = self.folder / parent, name, 1
        while (folder / free).exists():
            i += 1
            free = f"{name}-{i}"
        return free

    def _frame(self, event: Event) -> None:
        shot, facts = event.shot, dict(event.facts)
        assert shot is not None
        if self._open is not None and facts.get("role") == "data":
            try:
                facts["frame"] = self._open.add(shot, facts)
            except CredoError:
                self._open.abandon()
                raise
        frame, before, after = shot.frame, shot.before, shot.after
        facts |= {"began": frame.began, "ended": frame.ended, "a": [before.a, after.a], "at": [before.time, after.time]}
        facts |= {"xyzb": [before.x, before.y, before.z, before.b]}
        self.write(event.time, "frame", facts)

    def _end(self, event: Event) -> None:
        reason, facts = str(event.facts["reason"]), event.facts.get("facts", {})
        if self._open is not None:
            self._close(event.time, reason, facts)
        if event.kind == "end run":
            with suppress(CredoError):
                self.write(event.time, "end run", {"reason": reason})
            if self._log is not None:
                self._log.close()
                self._log = None

    def _close(self, time: float, reason: str, facts: Mapping[str, Any]) -> None:
        assert self._open is not None
        data_set, self._open = self._open, None
        told = data_set.close(reason, facts)
        if not told["n_frames"]:
            self.rejected.append({"data_set": data_set.name, "reason": reason})
            self.write(time, "end", {"name": data_set.name, "reason": reason, "n_frames": 0})
            return
        summary = {k: told[k] for k in ("n_frames", "start_deg", "end_deg", "rotation_range_deg")}
        self.write(time, "end", {"name": data_set.name, "reason": reason, **summary})
        if place_of(data_set.about) == CRYSTALS:
            self.datasets.append(told | {"directory": f"{CRYSTALS}/{data_set.name}"})
            if self.export is not None:
                self.export(data_set.folder)


def place_of(about: Mapping[str, Any]) -> str:
    """The folder of a data set: images of the grid are apart from the crystals."""
    return GRID if about.get("imaging") else CRYSTALS


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read(1) == b"\n"


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The events of a session, oldest first; a line that a crash cut off is left out. Empty where there is no log."""
    path, events = folder / LOG, []
    try:
        with path.open("r", encoding="utf-8", errors="replace") as stream:
            for i, line in enumerate(stream):
                if i > _LINES or len(line) > _LINE:
                    raise UnreadableInput(f"{path}: line {i + 1} is no event of ours", "was it made by credo collect?")
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict) and isinstance(event.get("kind"), str):
                    events.append(event)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UnreadableInput(f"{path}: {error.strerror}", "check its permissions") from error
    return events


def resume(session: Session) -> dict[str, dict[str, Any]]:
    """Finish what a crash left open, take up what was collected, and return what ``Once`` is to be told: by the names
    of ``Done``, and by "data set NAME" the range of each data set that holds frames."""
    done: dict[str, dict[str, Any]] = {}
    open_ones: dict[str, dict[str, Any]] = {}
    for event in read_log(session.folder):
        if event["kind"] == "done" and isinstance(event.get("name"), str):
            done[event["name"]] = dict(event.get("facts") or {})
        elif event["kind"] == "begin":
            open_ones[str(event.get("name"))] = event
        elif event["kind"] == "turn" and open_ones:
            _turned(list(open_ones.values())[-1], event)
        elif event["kind"] == "end":
            open_ones.pop(str(event.get("name")), None)
        elif event["kind"] == "rejected":
            session.rejected.append({k: v for k, v in event.items() if k not in ("time", "kind")})
    for name, event in open_ones.items():
        _finish(session, name, event)
    for path in sorted((session.folder / CRYSTALS).glob("*/collect.json")):
        told = _told(path)
        if told.get("n_frames"):
            session.datasets.append(told | {"directory": f"{CRYSTALS}/{path.parent.name}"})
            keys = ("n_frames", "start_deg", "end_deg", "reason_ended")
            done[f"data set {path.parent.name}"] = {k: told.get(k) for k in keys}
    return done


def _turned(begin: dict[str, Any], event: Mapping[str, Any]) -> None:
    with suppress(KeyError, TypeError, ValueError):
        begin["about"]["turn_speed"] = signed_speed(event)


def _finish(session: Session, name: str, event: Mapping[str, Any]) -> None:
    sort, about = str(event.get("sort")), event.get("about")
    about = about if isinstance(about, dict) else {}
    folder = session.folder / place_of(about) / name
    if Path(name).name != name or not folder.is_dir():
        return
    told = recover(folder, sort, about, session.rig, "the run was killed")
    summary = {k: told[k] for k in ("n_frames", "start_deg", "end_deg", "rotation_range_deg")} if told else {}
    session.write(float(event.get("time", 0.0)), "end", {"name": name, "reason": "the run was killed", **summary})
    if told and session.export is not None and place_of(about) == CRYSTALS:
        session.export(folder)


def _told(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
