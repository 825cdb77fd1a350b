"""The one thread that owns the hardware: urgent work first, waits that let other work pass, a regular look around."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from credo.instrument.errors import HardwareFault

__all__ = ["Job", "Worker"]

T = TypeVar("T")


class Job:
    """A piece of work whose outcome is told once: ``done(result, error)`` by the first of worker and deadline."""

    __slots__ = ("_claimed", "deadline", "done", "work")

    def __init__(
        self, work: Callable[[], Any], done: Callable[[Any, Exception | None], None], deadline: float = 1e300
    ) -> None:
        self.work, self.done, self.deadline = work, done, deadline
        self._claimed = threading.Lock()

    def finish(self, result: Any = None, error: Exception | None = None) -> bool:
        """Tell the outcome unless it was told; True when it was this call."""
        if not self._claimed.acquire(blocking=False):
            return False
        self.done(result, error)
        return True

    @property
    def is_finished(self) -> bool:
        return self._claimed.locked()


class Worker:
    """Runs jobs in a thread of its own. A job that returns a generator waits in it (it yields seconds) while others
    pass. ``tick`` is called at least every ``period`` seconds between jobs.

    Handing work from thread to thread costs more than a small job. Where the hardware does not mind which thread calls
    it as long as only one does (``any_thread``; COM objects do mind), an idle worker's job is run by who submits it.
    """

    def __init__(self, name: str, tick: Callable[[], None] = lambda: None, period: float = 0.05) -> None:
        self._tick, self._period = tick, period
        self._normal: SimpleQueue[Job | None] = SimpleQueue()
        self._urgent: deque[Job] = deque()
        self._waiting: list[tuple[float, Generator, Job]] = []
        self._closed = False
        self._turn = threading.Lock()
        self.any_thread = False
        self.busy_since: float | None = None
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def submit(self, job: Job, urgent: bool = False) -> None:
        if self._closed:
            job.finish(error=HardwareFault("the instrument is closed"))
        elif self.any_thread and not urgent and self._normal.empty() and self._turn.acquire(blocking=False):
            try:
                self._do(job)
            finally:
                self._turn.release()
            if self._waiting:
                self._normal.put(None)
        elif urgent:
            self._urgent.append(job)
            self._normal.put(None)
        else:
            self._normal.put(job)

    def call(self, work: Callable[[], T], timeout: float = 60.0, urgent: bool = False) -> T:
        """Run ``work`` in the worker's thread and wait for it; from another thread."""
        ready, outcome = threading.Event(), []

        def done(result: Any, error: Exception | None) -> None:
            outcome.append((result, error))
            ready.set()

        job = Job(work, done, time.monotonic() + timeout)
        self.submit(job, urgent)
        if not ready.wait(timeout):
            job.finish(error=HardwareFault(f"the instrument did not answer in {timeout:g} s"))
            ready.wait()
        result, error = outcome[0]
        if error is not None:
            raise error
        return result

    def close(self, timeout: float = 5.0) -> None:
        """Finish what runs, refuse what waits."""
        self._closed = True
        self._normal.put(None)
        if threading.current_thread() is not self.thread:
            self.thread.join(timeout)

    def _run(self) -> None:
        next_tick = 0.0
        while not self._closed:
            now = time.monotonic()
            due = next_tick
            if now >= next_tick or self._waiting:
                with self._turn:
                    if now >= next_tick:
                        next_tick = now + self._period
                        self._guarded(self._tick)
                    due = self._resume_waiting(now)
            job = self._next(min(next_tick, due) - time.monotonic())
            if job is not None:
                with self._turn:
                    self._do(job)
        self._refuse_rest()

    def _next(self, timeout: float) -> Job | None:
        if self._urgent:
            return self._urgent.popleft()
        try:
            job = self._normal.get(timeout=max(timeout, 0.0))
        except Empty:
            return None
        if job is None:  # the bell of urgent work
            return self._urgent.popleft() if self._urgent else None
        if self._urgent:
            self._normal.put(job)  # urgent work came meanwhile: this one goes to the end of the line
            return self._urgent.popleft()
        return job

    def _do(self, job: Job) -> None:
        if job.is_finished:
            return
        self.busy_since = time.monotonic()
        try:
            result = job.work()
            if isinstance(result, Generator):
                self._waiting.append((0.0, result, job))
            else:
                job.finish(result)
        except Exception as error:  # noqa: BLE001 (told to whoever asked)
            job.finish(error=error)
        finally:
            self.busy_since = None

    def _resume_waiting(self, now: float) -> float:
        """Go on with what is due; returns when the next is."""
        still = []
        for due, work, job in self._waiting:
            if job.is_finished:
                work.close()
                continue
            if now >= due:
                try:
                    due = time.monotonic() + next(work)
                except StopIteration as done:
                    job.finish(done.value)
                    continue
                except Exception as error:  # noqa: BLE001 (told to whoever asked)
                    job.finish(error=error)
                    continue
            still.append((due, work, job))
        self._waiting = still
        return min((due for due, _, _ in still), default=1e300)

    def _guarded(self, call: Callable[[], None]) -> None:
        self.busy_since = time.monotonic()
        try:
            call()
        except Exception:  # noqa: BLE001 (the guard has logged it and holds its failure for the next command)
            pass
        finally:
            self.busy_since = None

    def _refuse_rest(self) -> None:
        closed = HardwareFault("the instrument is closed")
        for _, work, job in self._waiting:
            work.close()
            job.finish(error=closed)
        rest = [*self._urgent]
        while not self._normal.empty():
            job = self._normal.get()
            rest += [job] if job else []
        for job in rest:
            job.finish(error=closed)
