"""A socket that takes paths of data sets, as Instamatic and edtools send them to the thesis's indexing servers.

A message is a JSON object with ``path`` (Instamatic adds ``rotrange``, ``nframes`` and ``osc``), or a bare path; the
words ``close`` and ``kill`` end the connection, never this program. The answer is ``OK`` or ``error: `` with the
reason. Only this machine is listened to unless another address is given.

Ours adds a question: ``ask``, a crystal as :class:`credo.collect.advice.CrystalNow` tells it, and ``wait_s``, how long
the answer may take; then the answer is one line of JSON, a :class:`credo.collect.advice.Decision`.
"""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from credo.collect.advice import CrystalNow, Decision
from credo.model import CannotDo
from credo.pipeline.advise import crystal_of

__all__ = ["PORT", "Ask", "PathServer", "message_of"]

#: The crystal, and how long the answer may take [s].
Ask = Callable[[CrystalNow, float], Decision]

#: Instamatic's default for its indexing server.
PORT = 8089
MAX_MESSAGE = 2**16
MAX_PATH = 4096
_IDLE_S = 30.0
_MOST_PEERS = 16


def message_of(data: bytes) -> dict[str, Any] | None:
    """The message in ``data``; ``None`` where it is JSON that has not ended yet. ValueError says what is wrong."""
    text = data.decode("utf-8", "strict").strip()
    if text.startswith("{"):
        try:
            found = json.loads(text)
        except json.JSONDecodeError:
            if len(data) >= MAX_MESSAGE:
                raise ValueError("the message is too long") from None
            return None
        path = found.get("path")
    else:
        found, path = {}, text
    if not isinstance(path, str) or not 0 < len(path) <= MAX_PATH or "\0" in path:
        raise ValueError("no path in it")
    numbers = {k: float(found[k]) for k in ("rotrange", "nframes", "osc") if _is_number(found.get(k))}
    if "ask" in found:
        wait = float(found["wait_s"]) if _is_number(found.get("wait_s")) else 0.0
        return {"path": path, **numbers, "ask": found["ask"], "wait_s": max(wait, 0.0)}
    return {"path": path, **numbers}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6


class PathServer:
    """Listens in threads of its own from construction to :meth:`close`; ``take(path, message)`` is called for each
    path that exists, and may refuse it by CannotDo; ``ask(crystal, wait_s)`` answers questions."""

    def __init__(
        self, take: Callable[[Path, dict[str, Any]], None], host: str = "127.0.0.1", port: int = PORT,
        ask: Ask | None = None,
    ) -> None:  # fmt: skip
        peers = threading.Semaphore(_MOST_PEERS)

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.settimeout(_IDLE_S)
                if not peers.acquire(blocking=False):
                    self.request.sendall(b"error: too many connections\n")
                    return
                try:
                    _serve(self.request, take, ask)
                except OSError:
                    return
                finally:
                    peers.release()

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        try:
            self._server = Server((host, port), Handler)
        except OSError as error:
            raise CannotDo(f"{host}:{port}: {error.strerror or error}", "give another --port") from error
        self.address: tuple[str, int] = self._server.server_address[:2]  # type: ignore[assignment]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _serve(peer: Any, take: Callable[[Path, dict[str, Any]], None], ask: Ask | None) -> None:
    """One connection, message after message."""
    data = b""
    while block := peer.recv(4096):
        data += block
        if len(data) > MAX_MESSAGE:
            peer.sendall(b"error: the message is too long\n")
            return
        if data.strip().lower() in (b"close", b"kill"):
            peer.sendall(b"closed\n")
            return
        try:
            message = message_of(data)
            if message is None:
                continue
            path = Path(message["path"])
            if not path.exists():
                raise ValueError(f"{path}: no such file or folder")
            if "ask" in message:
                answer = _asked(message, ask)
            else:
                take(path, message)
                answer = "OK"
        except (ValueError, OSError) as error:
            answer = f"error: {error}"
        except CannotDo as error:
            answer = f"error: {error.reason}"
        data = b""
        peer.sendall(answer.encode("utf-8", "replace") + b"\n")


def _asked(message: dict[str, Any], ask: Ask | None) -> str:
    if ask is None:
        raise ValueError("nobody is here to be asked")
    return json.dumps(ask(crystal_of(message["ask"], message["path"]), message["wait_s"]).to_dict())
