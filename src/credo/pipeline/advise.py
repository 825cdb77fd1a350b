"""Whom a collection asks: its own first frames, and a watch in another process; the first that does not say "go on"."""

from __future__ import annotations

import json
import math
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from credo.collect.advice import AskNext, CrystalNow, Decision
from credo.collect.dataset import geometry
from credo.collect.engine import Event
from credo.collect.quality import Quality, quality
from credo.collect.rig import Rig
from credo.collect.steps import Shot
from credo.model import CannotDo, Scan, UnreadableInput

__all__ = ["Advisers", "FirstFrames", "Remote", "address_of", "crystal_of", "first_of"]

#: Rotations [deg] after which the first frames are judged; by the last one they must show a lattice.
_JUDGED_DEG = (4.0, 10.0)
#: Spots of which a lattice must be found.
_SPOTS = 40
#: Longest answer [bytes], and how long one may take while a crystal turns, and after it [s].
_ANSWER, _SOON_S, _LATER_S = 2**16, 1.0, 10.0
#: Frames from one question to the next while a crystal turns.
_EVERY = 6
#: How long it may take where time stands still meanwhile, as it does on the simulated instrument [s].
_PATIENCE_S = 600.0


def first_of(*asked: AskNext) -> AskNext:
    """The first decision that is not to go on, else the last one."""

    def ask(crystal: CrystalNow) -> Decision:
        said = Decision()
        for one in asked:
            said = one(crystal)
            if not said.goes_on:
                break
        return said

    return ask


class FirstFrames:
    """Gives up a crystal whose first frames show no reflections, too poor a resolution or, 10° later, no lattice that
    explains half of its spots. A listener of the engine, which shows it the frames, and whom the engine asks.

    ``poorest``: resolution that is wanted [Å]; ``at_once``: judge before answering (where time stands still), else
    beside, and the answer comes with a later question.
    """

    def __init__(self, rig: Rig, poorest: float | None = None, at_once: bool = False) -> None:
        self.rig, self.poorest, self.at_once = rig, poorest, at_once
        self._about: dict[str, Any] = {}
        self._shots: list[Shot] = []
        self._left: list[float] = []
        self._judging: tuple[bool, Future[Quality]] | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="first frames")

    def __call__(self, event: Event) -> None:
        if event.kind == "begin":
            self._about = dict(event.facts.get("about") or {})
            self._shots, self._left, self._judging = [], list(_JUDGED_DEG), None
        elif event.kind == "frame" and event.facts.get("role") == "data" and self._left and event.shot is not None:
            self._shots.append(event.shot)
        elif event.kind == "end run":
            self._worker.shutdown(wait=False, cancel_futures=True)

    def ask(self, crystal: CrystalNow) -> Decision:
        """What its first frames say of the crystal that turns."""
        turned = abs(self._shots[-1].after.a - self._shots[0].before.a) if len(self._shots) > 2 else 0.0
        if not crystal.ended and self._left and turned >= self._left[0]:
            del self._left[0]
            self._judging = (not self._left, self._worker.submit(self._quality, list(self._shots)))
        if self._judging is None or not (self.at_once or self._judging[1].done()):
            return Decision()
        (last, future), self._judging = self._judging, None
        reason = self._fault(future.result(), last)
        return Decision("abandon", reason) if reason else Decision()

    def _quality(self, shots: list[Shot]) -> Quality:
        images = np.stack([s.image for s in shots])
        start, end = (np.array([p(s).a for s in shots]) for p in (lambda s: s.before, lambda s: s.after))
        length = float(self._about.get("camera_length_mm") or 0.0)
        found = geometry(self.rig, length, (int(images.shape[1]), int(images.shape[2])), shots[0].frame.binning)
        return quality(images, found.replace(scan=Scan(1 + np.arange(len(shots)), start, end - start)))

    def _fault(self, found: Quality, last: bool) -> str:
        if not found.spots:
            return found.reason or "no reflections"
        if self.poorest and found.resolution and found.resolution > self.poorest:
            return f"its first frames show {found.resolution:.2f} Å, {self.poorest:.2f} Å are wanted"
        if last and found.spots >= _SPOTS and not found.indexable:
            return f"no lattice explains its first frames: {found.reason or f'{found.indexed:.0%} of the spots'}"
        return ""


def address_of(text: str) -> tuple[str, int]:
    """HOST:PORT, or only a port of this machine."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise UnreadableInput(f"{text!r} is no address", "give HOST:PORT, as `credo watch --port PORT` listens")
    return host or "127.0.0.1", int(port)


class Remote:
    """A `credo watch` that listens at ``address``. Where it does not answer in time, the answer is to go on.

    While a crystal turns nobody waits: a question goes out at every sixth frame, and its answer holds from the frame at
    which it is there. ``still``: time stands still meanwhile (the simulated instrument), so that it may take long.
    """

    def __init__(self, address: tuple[str, int], still: bool = False, say: Callable[[str], None] | None = None) -> None:
        self.address, self.still, self._say = address, still, say or (lambda _: None)
        self._lock, self._worker = threading.Lock(), ThreadPoolExecutor(1, thread_name_prefix="asking")
        self._last, self._waiting = ("", 0, Decision()), False
        try:
            socket.create_connection(address, timeout=5).close()
        except OSError as error:
            raise CannotDo(
                f"{address[0]}:{address[1]}: nobody to ask ({error})",
                "start `credo watch FOLDER --port PORT`",
            ) from error

    def ask(self, crystal: CrystalNow) -> Decision:
        """What is to be done with the crystal, as far as it is known."""
        if crystal.ended:
            return self._asked(crystal)
        name, frames, said = self._last
        if name == crystal.name and crystal.frames - frames < _EVERY:
            return said
        self._last = crystal.name, crystal.frames, said if name == crystal.name else Decision()
        if self.still:
            self._answered(crystal)
        elif not self._waiting:
            self._waiting = True
            self._worker.submit(self._answered, crystal)
        return self._last[2]

    def _answered(self, crystal: CrystalNow) -> None:
        """The answer is kept, unless another crystal turns by now."""
        said, self._waiting = self._asked(crystal), False
        name, frames, _ = self._last
        if name == crystal.name:
            self._last = name, frames, said

    def _asked(self, crystal: CrystalNow) -> Decision:
        patience = _PATIENCE_S if self.still else _LATER_S if crystal.ended else _SOON_S
        wait = patience if self.still else 0.0
        message = {"path": crystal.folder, "ask": replace(crystal, folder="").to_dict(), "wait_s": wait}
        try:
            with self._lock, socket.create_connection(self.address, timeout=patience + 5) as peer:
                peer.settimeout(patience + 5)
                peer.sendall(json.dumps(message).encode())
                return self._read(peer)
        except (OSError, ValueError, UnreadableInput) as error:
            self._say(f"no advice: {error}")
            return Decision()

    @staticmethod
    def _read(peer: socket.socket) -> Decision:
        data = b""
        while not data.endswith(b"\n"):
            block = peer.recv(4096)
            if not block or len(data) > _ANSWER:
                raise ValueError("the answer ends early, or not at all")
            data += block
        if not data.startswith(b"{"):
            raise ValueError(data[:200].decode("utf-8", "replace").strip())
        told = json.loads(data)
        return Decision.from_dict(told)


def crystal_of(told: Any, folder: str) -> CrystalNow:
    """The crystal of a message; ValueError says what is wrong."""
    if not isinstance(told, dict):
        raise ValueError("no crystal in the question")
    try:
        numbers = [float(told[k]) for k in ("frames", "tilt_deg", "to_deg")]
    except (KeyError, TypeError, ValueError):
        raise ValueError("the crystal's frames, tilt_deg and to_deg are numbers") from None
    if not all(map(math.isfinite, numbers)) or not 0 <= numbers[0] < 1e7:
        raise ValueError("the crystal's numbers are absurd")
    name, ended = str(told.get("name", ""))[:200], str(told.get("ended") or "")[:500]
    return CrystalNow(name, int(numbers[0]), numbers[1], numbers[2], ended, folder)


@dataclass(frozen=True)
class Advisers:
    """Whom to ask: ``ask``, a function of this process; ``watch``, the address of a `credo watch`; ``judge``: the first
    frames, where they show less than ``poorest`` [Å] or no lattice."""

    ask: AskNext | None = None
    watch: str | None = None
    judge: bool = False
    poorest: float | None = None

    def engaged(
        self, rig: Rig, still: bool, folder: Callable[[], Path | None], say: Callable[[str], None]
    ) -> tuple[AskNext | None, list[FirstFrames]]:
        """Whom the engine asks, and listeners that must see its events; ``still``: on the simulated instrument, whose
        time stands still meanwhile; ``folder()``: where the data set is written."""
        first = [FirstFrames(rig, self.poorest, still)] if self.judge or self.poorest else []
        remote = [Remote(address_of(self.watch), still, say).ask] if self.watch else []
        asked: list[AskNext] = [*(f.ask for f in first), *([self.ask] if self.ask else []), *remote]
        if not asked:
            return None, []
        every = first_of(*asked)
        return lambda crystal: every(replace(crystal, folder=str(folder() or ""))), first
