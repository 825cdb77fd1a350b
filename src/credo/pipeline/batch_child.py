"""The process that does tasks for :mod:`credo.pipeline.batch_pool`: one JSON line in, one out, and gone with its
parent."""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import traceback
from queue import Queue
from typing import Any, BinaryIO

__all__ = ["TASKS", "main", "perform"]

#: What may be asked for, and where it is done.
TASKS = {
    "data set": "credo.pipeline.batch_work:data_set",
    "phase": "credo.pipeline.batch_phase:phase",
    "structure": "credo.pipeline.batch_phase:structure",
}


def perform(task: dict[str, Any]) -> dict[str, Any]:
    """Do a task; whatever goes wrong is told in the answer (``ok``, ``reason``)."""
    from credo.model import CredoError

    place = TASKS.get(str(task.get("task")))
    if place is None:
        return {"ok": False, "reason": f"no task is called {task.get('task')!r}"}
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)(task)
    except CredoError as error:
        return {"ok": False, "reason": error.reason, "remedy": error.remedy}
    except MemoryError:
        return {"ok": False, "reason": "not enough memory", "lost": True}
    except Exception as error:  # noqa: BLE001 - one data set must not stop the others
        reason = f"a mistake in credo: {type(error).__name__}: {error}"
        return {"ok": False, "reason": reason, "traceback": traceback.format_exc()}


def main() -> None:
    """Serve standard input; what libraries print goes to stderr."""
    if len(sys.argv) > 1 and hasattr(os, "nice"):
        os.nice(int(sys.argv[1]))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    tasks: Queue[bytes] = Queue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, tasks), daemon=True).start()
    while True:
        answer = perform(json.loads(tasks.get()))
        answers.write(_line(answer))
        answers.flush()


def _listen(stream: BinaryIO, tasks: Queue[bytes]) -> None:
    """Tasks to the queue; the end of the stream is the end of the parent, and ours."""
    for line in stream:
        tasks.put(line)
    os._exit(1)


def _line(answer: dict[str, Any]) -> bytes:
    from credo.io.project import plain

    return json.dumps(plain(answer), allow_nan=False).encode() + b"\n"


if __name__ == "__main__":
    main()
