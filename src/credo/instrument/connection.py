"""One client's connection at the server: greeting, proof, requests in, answers out without holding up the hardware."""

from __future__ import annotations

import contextlib
import hmac
import secrets
import select
import socket
import struct
import sys
import threading
from collections import deque
from typing import Any

from credo.instrument import wire
from credo.instrument.errors import WireError
from credo.instrument.protocols import Frame
from credo.model.errors import CredoError

__all__ = ["Connection"]

_GREETING_S = 5.0
_SEND_S = 10
_BACKLOG = 256
_DONT_WAIT = getattr(socket, "MSG_DONTWAIT", None)  # Windows has none
REQUEST_LIMIT = wire.HEADER_LIMIT // 16


class Connection:
    """``session`` and ``name`` are the client's after ``greet``. ``answer`` may be called from any thread."""

    def __init__(self, raw: socket.socket, token: bytes | None) -> None:
        self.raw, self._token = raw, token
        self._reader = wire.Reader(raw)
        self.session = self.name = ""
        self.controls = self.closed = False
        self._sending = threading.Lock()
        self._outbox: deque[tuple[dict[str, Any], Any]] = deque()
        self._posted = threading.Semaphore(0)
        self._writer: threading.Thread | None = None
        wire.tune(raw)
        limit = _SEND_S * 1000 if sys.platform == "win32" else struct.pack("ll", _SEND_S, 0)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def greet(self) -> None:
        """Exchange greetings and proofs; ``WireError`` when the client does not know the token."""
        self.raw.settimeout(_GREETING_S)
        nonce = secrets.token_hex(16)
        wire.send(self.raw, {"credo": wire.VERSION, "nonce": nonce, "auth": self._token is not None})
        hello, _ = self._reader.header(4096)
        args = hello.get("args")
        args = args if isinstance(args, dict) else {}
        theirs, session = str(args.get("nonce", "")), str(args.get("session", ""))
        if hello.get("method") != "hello" or args.get("version") != wire.VERSION or not 16 <= len(session) <= 64:
            raise WireError(f"the client does not speak version {wire.VERSION} of the protocol")
        answer: dict[str, Any] = {"version": wire.VERSION}
        if self._token is not None:
            expected = wire.mac(self._token, "client", nonce, theirs)
            if not hmac.compare_digest(expected.encode(), str(args.get("mac", "")).encode()):
                raise WireError("the token is wrong", "copy the token file of the server")
            answer["mac"] = wire.mac(self._token, "server", nonce, theirs)
        self.session, self.name = session, str(args.get("name", ""))[:100]
        wire.send(self.raw, {"id": 0, "result": answer})
        self.raw.settimeout(None)

    def read(self) -> list[dict[str, Any]]:
        """The requests that are complete after what has arrived; called when something has."""
        return self._reader.headers(REQUEST_LIMIT)

    def answer(self, number: Any, result: Any = None, error: Exception | None = None) -> None:
        """Send a result, a frame or an error."""
        if error is not None:
            self._post({"id": number, "error": _described(error)})
        elif isinstance(result, Frame):
            data = result.data if result.data.flags.c_contiguous else result.data.copy()
            header = {"id": number, "frame": wire.frame_header(result)}
            self._post_later(header, data.reshape(-1).view("uint8").data if data.size else None)
        else:
            self._post({"id": number, "result": result})

    def push(self, header: dict[str, Any]) -> None:
        """Send if the client reads; otherwise forget it (the next state replaces it)."""
        self._send_now(header)

    def _post(self, header: dict[str, Any]) -> None:
        if self._outbox or not self._send_now(header):
            self._post_later(header, None)

    def _send_now(self, header: dict[str, Any]) -> bool:
        """Send without waiting; False when the way is not free."""
        if self.closed or not self._sending.acquire(blocking=False):
            return self.closed
        try:
            return self._put(wire.packed(header))
        except (ValueError, TypeError) as error:  # not finite, or no JSON: nothing was sent
            wire.send(self.raw, {"id": header.get("id"), "error": _described(error)})
            return True
        except OSError:
            self.close()
            return True
        finally:
            self._sending.release()

    def _put(self, data: bytes) -> bool:
        """Into the system's buffer if it has room; a client that has read nothing for megabytes is dropped."""
        if _DONT_WAIT is None:
            if not select.select([], [self.raw], [], 0)[1]:
                return False
            self.raw.sendall(data)
            return True
        try:
            if self.raw.send(data, _DONT_WAIT) < len(data):
                self.close()
        except BlockingIOError:
            return False
        return True

    def _post_later(self, header: dict[str, Any], blob: Any) -> None:
        if self.closed:
            return
        if len(self._outbox) > _BACKLOG:
            self.close()
            return
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, name="credo-writer", daemon=True)
            self._writer.start()
        self._outbox.append((header, blob))
        self._posted.release()

    def _write(self) -> None:
        while True:
            self._posted.acquire()
            if self.closed:
                return
            header, blob = self._outbox[0]
            try:
                with self._sending:
                    wire.send(self.raw, header, blob)
            except (OSError, ValueError):
                self.close()
            self._outbox.popleft()

    def dismiss(self, error: Exception) -> None:
        """Say why, and hang up so that the words arrive (unread bytes would make the system drop them)."""
        with contextlib.suppress(OSError):
            with self._sending:
                wire.send(self.raw, {"id": None, "error": _described(error)})
            self.raw.shutdown(socket.SHUT_WR)
            self.raw.settimeout(0.2)
            for _ in range(16):
                if not self.raw.recv(1 << 14):
                    break
        self.close()

    def close(self) -> None:
        self.closed = True
        self._posted.release()
        for step in (lambda: self.raw.shutdown(socket.SHUT_RDWR), self.raw.close):
            with contextlib.suppress(OSError):
                step()


def _described(error: Exception) -> dict[str, str]:
    """What a client may know of an error: ours in full, of others only the kind (no traceback leaves the house)."""
    if isinstance(error, CredoError):
        return {"kind": type(error).__name__, "reason": error.reason, "remedy": error.remedy}
    kind = type(error).__name__
    return {
        "kind": "HardwareFault",
        "reason": f"the driver failed: {kind}: {error}"[:500],
        "remedy": "see the server's log",
    }
