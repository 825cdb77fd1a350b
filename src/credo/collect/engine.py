"""The engine that runs all plans: it does their steps on an instrument, tells its listeners, ends with the beam off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from credo.collect import steps as do
from credo.collect.advice import AskNext, Decision
from credo.collect.steps import Pose, Shot, Step, Steps
from credo.instrument.controller import TEMController
from credo.instrument.protocols import Frame
from credo.model.errors import CannotDo, CredoError

__all__ = ["Engine", "Event", "Listener"]

#: Steps between which a camera's stream goes on.
_WITHIN_STREAM = (do.Look, do.Set, do.Note, do.Read, do.Turn, do.Ask)


@dataclass(frozen=True)
class Event:
    """What happened at ``time`` (Unix, s): ``kind`` is a step's name in small letters, "frame", a note's kind, "begin
    run" or "end run"; ``facts`` are plain JSON; ``shot`` comes with every frame."""

    time: float
    kind: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    shot: Shot | None = None


class Listener(Protocol):
    """Writers and viewers. One that raises a CredoError ends the run (a full disk must); others must not raise."""

    def __call__(self, event: Event) -> None: ...


class Engine:
    """``run`` does a plan's steps in the calling thread; ``pause``, ``proceed`` and ``stop`` may come from another.

    ``done``: what ``Done`` said of each part in an earlier run of the same plan (resume). ``ask``: who is asked what to
    do with a crystal (see :mod:`credo.collect.advice`).
    """

    def __init__(
        self,
        ctrl: TEMController,
        listeners: Sequence[Listener] = (),
        done: Mapping[str, Mapping[str, Any]] | None = None,
        ask: AskNext | None = None,
    ) -> None:
        self.ctrl, self.listeners, self.done, self.ask = ctrl, tuple(listeners), dict(done or {}), ask
        self._stream: tuple[tuple[float, int], Iterator[Frame]] | None = None
        self._streams, self._ahead = 0, 0.0
        self._go, self._stopped, self._unheard = threading.Event(), "", False
        self._go.set()

    def run(self, steps: Steps[Any]) -> Any:
        """What the plan returns. Whatever happens, the beam is off afterwards, and listeners are told of the end.

        A run that fails or is stopped also stops the stage and puts the optics and the rotation speed back.
        """
        before = (self.ctrl.link.call("snapshot"), self.ctrl.stage.get_rotation_speed())
        self._ahead = self._clocks_apart()
        reason = "done"
        try:
            self._tell("begin run")
            return self._run(steps)
        except BaseException as error:
            reason = getattr(error, "reason", "") or f"{type(error).__name__}: {error}".removesuffix(": ")
            raise
        finally:
            self._end_run(reason, before)

    def _end_run(self, reason: str, before: tuple[Mapping[str, Any], float]) -> None:
        """Beam off first; a listener that fails does not keep the others from closing their files."""
        self._close_stream()
        with suppress(CredoError):
            self.ctrl.beam.blank()
        if reason != "done":
            with suppress(CredoError):
                self.ctrl.put_back(*before)
        for listener in self.listeners:
            with suppress(CredoError):
                listener(Event(self._time(), "end run", {"reason": reason}))

    def pause(self) -> None:
        """At the next ``Pause`` of the plan."""
        self._go.clear()

    def proceed(self) -> None:
        self._go.set()

    def stop(self, reason: str = "stopped") -> None:
        """After the step that is being done."""
        self._stopped = reason
        self._go.set()

    def _run(self, steps: Steps[Any]) -> Any:
        outcome: Any = None
        try:
            step = next(steps)
            while True:
                if self._stopped:
                    raise CannotDo(self._stopped, "credo collect --resume goes on")
                try:
                    outcome = self._do(step)
                except CredoError as error:
                    if self._unheard:
                        raise
                    self._tell("fault", step=type(step).__name__.lower(), error=type(error).__name__, reason=str(error))
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as end:
            return end.value
        finally:
            steps.close()

    def _do(self, step: Step) -> Any:
        if not isinstance(step, _WITHIN_STREAM) or (isinstance(step, do.Look) and not step.stream):
            self._close_stream()
        return self._ways[type(step)](self, step)

    # --- the steps ---------------------------------------------------------------------------------------------------

    def _clocks_apart(self) -> float:
        """By how much the instrument's clock, which stamps frames, is ahead of ours; the quickest of three calls."""
        clock, best = self.ctrl.link.clock, (float("inf"), 0.0)
        for _ in range(3):
            asked = clock.time()
            there = float(self.ctrl.status["time"])
            took = clock.time() - asked
            best = min(best, (took, there - asked - 0.5 * took))
        return best[1]

    def _time(self) -> float:
        """Unix time by the instrument's clock [s]."""
        return self.ctrl.link.clock.time() + self._ahead

    def _pose(self) -> Pose:
        """The stage's read-out, at the middle of the call that asked for it."""
        asked = self._time()
        x, y, z, a, b = self.ctrl.stage.get()
        return Pose(x / 1e3, y / 1e3, z / 1e3, a, b, 0.5 * (asked + self._time()))

    def _move(self, step: do.Move) -> Pose:
        um = {n: 1e3 * v for n in "xyz" if (v := getattr(step, n)) is not None}
        self.ctrl.stage.set(**um, a=step.a, b=step.b, backlash=step.from_below)
        pose = self._pose()
        self._tell("move", **vars(pose))
        return pose

    def _turn(self, step: do.Turn) -> float:
        speed = self.ctrl.stage.set_rotation_speed(step.speed)
        self._tell("turn", a=self._pose().a, to=step.a, speed=speed)
        self.ctrl.stage.set(a=step.a, wait=False)
        return speed

    def _wait(self, step: do.Wait) -> Pose:
        self.ctrl.stage.wait()
        self.ctrl.link.clock.sleep(step.seconds)
        return self._pose()

    def _halt(self, _: do.Stop) -> Pose:
        self.ctrl.stage.stop()
        return self._pose()

    def _set(self, step: do.Set) -> None:
        for name, value in step.values.items():
            self.ctrl.link.call("set", name=name, value=value)

    def _read(self, step: do.Read) -> Any:
        return self.ctrl.link.call("get", names=list(step.names)) if step.names else self._pose()

    def _blank(self, step: do.Blank) -> None:
        (self.ctrl.beam.blank if step.on else self.ctrl.beam.unblank)()

    def _look(self, step: do.Look) -> Shot:
        while True:
            before = self._pose()
            frame = self._next(step) if step.stream else self.ctrl.acquire(step.exposure, step.binning)
            shot = Shot(frame, before, self._pose())
            fresh = not step.stream or frame.began >= step.since
            role = step.role if fresh else "passed over"
            self._tell("frame", shot, role=role, number=frame.number, stream=self._streams, **step.about)
            if fresh:
                return shot

    def _next(self, step: do.Look) -> Frame:
        how = (step.exposure, step.binning)
        if self._stream is None or self._stream[0] != how:
            self._close_stream()
            camera = self.ctrl.camera.name
            self._stream = (how, self.ctrl.link.stream(camera, step.exposure, step.binning))
            self._streams += 1
        frame = next(self._stream[1], None)
        if frame is None:
            self._stream = None
            raise CannotDo("the camera ended its stream", "is it still connected?")
        return frame

    def _close_stream(self) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream[1], None
            with suppress(CredoError):
                stream.close()  # pyright: ignore[reportAttributeAccessIssue]

    def _begin(self, step: do.Begin) -> None:
        self._tell("begin", name=step.name, sort=step.kind, about=dict(step.about))

    def _end(self, step: do.End) -> None:
        self._tell("end", reason=step.reason, facts=dict(step.facts))

    def _note(self, step: do.Note) -> None:
        self._tell(step.kind, **step.facts)

    def _ask(self, step: do.Ask) -> Decision:
        if self.ask is None:
            return Decision()
        answer = self.ask(step.crystal)
        if not answer.goes_on or step.crystal.ended:
            self._tell("advice", name=step.crystal.name, ended=step.crystal.ended, **answer.to_dict())
        return answer

    def _once(self, step: do.Once) -> Mapping[str, Any] | None:
        return self.done.get(step.name)

    def _done(self, step: do.Done) -> None:
        self.done[step.name] = dict(step.facts)
        self._tell("done", name=step.name, facts=dict(step.facts))

    def _pause(self, _: do.Pause) -> None:
        if not self._go.is_set():
            self.ctrl.beam.blank()
            self._tell("pause")
            self._go.wait()
            self._tell("proceed")

    def _tell(self, kind: str, shot: Shot | None = None, /, **facts: Any) -> None:
        event = Event(self._time(), kind, facts, shot)
        try:
            for listener in self.listeners:
                listener(event)
        except CredoError:
            self._unheard = True  # what cannot be written down is not done: no plan may go on
            raise

    _ways: Mapping[type, Callable[..., Any]] = {
        do.Move: _move, do.Turn: _turn, do.Wait: _wait, do.Stop: _halt, do.Set: _set,
        do.Read: _read, do.Blank: _blank, do.Look: _look, do.Ask: _ask,
        do.Begin: _begin, do.End: _end, do.Note: _note, do.Once: _once, do.Done: _done, do.Pause: _pause,
    }  # fmt: skip
