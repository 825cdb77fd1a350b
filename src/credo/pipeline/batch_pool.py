"""Tasks in processes of their own, here or on a Dask cluster: what crashes or hangs costs one task, never the rest.

A task is plain JSON, ``{"task": NAME, ...}``, and so is its answer. Either way it runs in a child process that speaks
JSON lines (:mod:`credo.pipeline.batch_child`): locally one child for each worker, on Dask one for each worker thread.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from queue import Empty, Queue
from typing import Any, Protocol

from credo.model import CannotDo, UnreadableInput
from credo.pipeline.batch_child import perform

__all__ = ["Child", "DaskPool", "InlinePool", "LocalPool", "Pool", "make_pool"]

Task = dict[str, Any]
Answer = dict[str, Any]
#: No answer is longer; a child that writes more is broken.
MAX_LINE = 2**26
_CALM = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


class Pool(Protocol):
    """``submit`` returns at once; ``answers`` yields (place, answer) as they come, until all are in or ``patience``
    seconds pass without one (``None``: for ever); ``running`` names the tasks at work."""

    workers: int

    def submit(self, place: Any, task: Task, timeout: float) -> None: ...

    def answers(self, patience: float | None = None) -> Iterator[tuple[Any, Answer]]: ...

    def running(self) -> tuple[str, ...]: ...

    def close(self) -> None: ...


class Child:
    """A process that does one task after another; begun when first needed, and again after it died or was ended.

    It ends itself when its parent is gone, however that went. ``keep``: file descriptors it inherits (POSIX);
    ``nice``: by how much it gives way.
    """

    def __init__(self, keep: Sequence[int] = (), nice: int = 0) -> None:
        self._keep, self._nice = tuple(keep), nice
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, task: Task, timeout: float) -> Answer:
        """The answer; one with ``ok`` false and ``lost`` true where the process died or exceeded ``timeout`` [s]."""
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(timeout, end)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(json.dumps(task).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline(MAX_LINE)
        except (OSError, ValueError):
            line = b""
        finally:
            timer.cancel()
        try:
            return json.loads(line)
        except ValueError:
            return self._lost(late.is_set(), timeout)

    def _lost(self, late: bool, timeout: float) -> Answer:
        code = self._end()
        if code is None:
            return {"ok": False, "lost": True, "reason": "ended with the batch"}
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        reason = f"still at work after {timeout:g} s, and ended" if late else f"its process died ({how})"
        return {"ok": False, "lost": True, "reason": reason}

    def _end(self) -> int | None:
        """Kill the process if there is one; its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        code = process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        return code

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", "credo.pipeline.batch_child", str(self._nice)]
            fds = self._keep if os.name == "posix" else ()
            process: subprocess.Popen[bytes] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **_CALM}, pass_fds=fds
            )
            self._process = process
        return self._process

    def close(self) -> None:
        """End the process now."""
        self._end()


class LocalPool:
    """``workers`` children of this machine; tasks start in the order of submission."""

    def __init__(self, workers: int, keep: Sequence[int] = (), nice: int = 0) -> None:
        self.workers = workers
        self._tasks: Queue[tuple[Any, Task, float] | None] = Queue()
        self._done: Queue[tuple[Any, Answer]] = Queue()
        self._open, self._closed = 0, False
        self._now: dict[int, str] = {}
        self._children = [Child(keep, nice) for _ in range(workers)]
        self._threads = [threading.Thread(target=self._work, args=(i,), daemon=True) for i in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, place: Any, task: Task, timeout: float) -> None:
        self._open += 1
        self._tasks.put((place, task, timeout))

    def answers(self, patience: float | None = None) -> Iterator[tuple[Any, Answer]]:
        while self._open:
            try:
                place, answer = self._done.get(timeout=patience)
            except Empty:
                return
            self._open -= 1
            yield place, answer

    def running(self) -> tuple[str, ...]:
        return tuple(self._now.copy().values())

    def close(self) -> None:
        self._closed = True
        for child in self._children:
            child.close()
        for _ in self._threads:
            self._tasks.put(None)

    def _work(self, i: int) -> None:
        while (item := self._tasks.get()) is not None and not self._closed:
            place, task, timeout = item
            self._now[i] = str(task.get("title", task["task"]))
            answer = self._children[i].run(task, timeout)
            self._now.pop(i, None)
            self._done.put((place, answer))


class InlinePool:
    """No other process: each task is done here, when its answer is asked for. There is no timeout, and a crash ends
    all; for looking into what goes wrong, and for small work that is not worth a process."""

    workers = 1

    def __init__(self) -> None:
        self._tasks: list[tuple[Any, Task]] = []
        self._now = ""

    def submit(self, place: Any, task: Task, timeout: float) -> None:
        self._tasks.append((place, task))

    def answers(self, patience: float | None = None) -> Iterator[tuple[Any, Answer]]:
        from credo.io.project import plain

        while self._tasks:
            place, task = self._tasks.pop(0)
            self._now = str(task.get("title", task["task"]))
            answer = plain(perform(json.loads(json.dumps(task))))
            self._now = ""
            yield place, answer

    def running(self) -> tuple[str, ...]:
        return (self._now,) if self._now else ()

    def close(self) -> None:
        self._tasks.clear()


class DaskPool:
    """The same over a Dask scheduler; the workers see the same files, and have the same credo."""

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client, as_completed  # type: ignore[import-not-found]
        except ImportError as error:
            raise CannotDo("dask.distributed is not installed", "pip install 'credo[dask]'") from error
        try:
            self._client: Any = Client(address, timeout=20)
        except (OSError, ValueError, TimeoutError) as error:
            raise CannotDo(f"{address}: no Dask scheduler answers ({error})", "start one: dask scheduler") from error
        self.workers = max(sum(self._client.nthreads().values()), 1)
        self._completed = as_completed
        self._futures: dict[Any, tuple[Any, str]] = {}

    def submit(self, place: Any, task: Task, timeout: float) -> None:
        future = self._client.submit(run_here, task, timeout, pure=False, retries=0)
        self._futures[future] = (place, str(task.get("title", task["task"])))

    def answers(self, patience: float | None = None) -> Iterator[tuple[Any, Answer]]:
        waiting = self._completed(list(self._futures), timeout=patience)
        while self._futures:
            try:
                future: Any = next(waiting)
            except (TimeoutError, StopIteration):
                return
            place, _ = self._futures.pop(future)
            error = future.exception() if future.status != "finished" else None
            if error is None:
                yield place, future.result()
            else:
                yield place, {"ok": False, "lost": True, "reason": f"its Dask worker was lost: {error}"}

    def running(self) -> tuple[str, ...]:
        return tuple(title for _, title in list(self._futures.values())[: self.workers])

    def close(self) -> None:
        self._client.cancel(list(self._futures))
        self._client.close()


_mine = threading.local()


def run_here(task: Task, timeout: float) -> Answer:
    """A task in the child process of this thread (what a Dask worker calls)."""
    if not hasattr(_mine, "child"):
        _mine.child = Child()
    return _mine.child.run(task, timeout)


def make_pool(executor: str, workers: int, scheduler: str | None, keep: Sequence[int] = (), nice: int = 0) -> Pool:
    """``executor``: local or dask; no ``workers``: in this process."""
    if executor == "local":
        return LocalPool(workers, keep, nice) if workers else InlinePool()
    if not scheduler:
        raise UnreadableInput("--executor dask: which scheduler?", "give --scheduler tcp://HOST:8786")
    return DaskPool(scheduler)
