"""The client of an instrument server: calls with answers of their own, an urgent connection, a heartbeat, states."""

from __future__ import annotations

import getpass
import itertools
import secrets
import socket
import threading
from collections.abc import Iterator
from typing import Any

from credo.instrument import wire
from credo.instrument.clock import RealClock
from credo.instrument.errors import LeaseLost, WireError, by_name
from credo.instrument.protocols import Frame

__all__ = ["Client"]

_MARGIN_S = 5.0
_FRAME_LIMIT = wire.BLOB_LIMIT


class Client:
    """A session at ``address``. Safe to use from several threads: calls take turns on one connection, ``stop``,
    ``blank`` and the heartbeat have another. After ``control`` this session has the lease until ``close``; a lease
    that was lost makes the next control call raise ``LeaseLost``.
    """

    def __init__(
        self, address: tuple[str, int], token: bytes | None = None, name: str | None = None, timeout: float = 30.0
    ) -> None:
        self._address, self._token, self._timeout = address, token, timeout
        self._session = secrets.token_hex(16)
        self._name = name or f"{getpass.getuser()}@{socket.gethostname()}"
        self.clock = RealClock()
        self._calls = _Line(self._connect())
        self._urgent = _Line(self._connect())
        self._ended = threading.Event()
        self._beating: threading.Thread | None = None

    def call(self, name: str, /, *, within: float | None = None, **arguments: Any) -> Any:
        """The result of ``name``; raises what the server raised. ``within`` [s] is kept on both sides."""
        line = self._urgent if name in ("stop", "blank") else self._calls
        allowed = self._timeout if within is None else within
        if name in ("move", "wait") and within is None:
            allowed = 3600.0  # the guard bounds a move by its own deadlines
        return line.call(name, arguments, allowed, allowed + float(arguments.get("exposure") or 0.0) + _MARGIN_S)

    def control(self, ttl: float = 3.0) -> None:
        """Take the lease and keep it alive from a thread."""
        self._calls.call("lease", {"ttl": ttl}, self._timeout, self._timeout + _MARGIN_S)
        if self._beating is None or not self._beating.is_alive():
            self._beating = threading.Thread(target=self._beat, args=(ttl / 3,), name="credo-heartbeat", daemon=True)
            self._beating.start()

    def release(self) -> None:
        self._calls.call("release", {}, self._timeout, self._timeout + _MARGIN_S)

    def stream(
        self, camera: str | None, exposure: float, binning: int = 1, frames: int | None = None
    ) -> Iterator[Frame]:
        """Frames as the camera takes them; gaps in their numbers were dropped because we were too slow."""
        arguments = {"camera": camera, "exposure": exposure, "binning": binning, "frames": frames}
        self.call("stream_start", **arguments)
        try:
            while (frame := self.call("stream_next", within=exposure + self._timeout)) is not None:
                yield frame
        finally:
            self.call("stream_stop")

    def states(self) -> Iterator[dict[str, Any]]:
        """The instrument's state ten times a second, until closed; on a connection of its own."""
        raw = self._connect()
        try:
            wire.send(raw, {"id": 1, "method": "subscribe", "args": {}})
            reader = wire.Reader(raw)
            while True:
                header, _ = reader.header(wire.HEADER_LIMIT)
                if "state" in header:
                    yield header["state"]
        except EOFError:
            return
        finally:
            raw.close()

    def close(self) -> None:
        """Give the lease back (the beam is blanked) and hang up."""
        if self._ended.is_set():
            return
        self._ended.set()
        try:
            if self._beating is not None:
                self.release()
        except (LeaseLost, WireError):
            pass
        finally:
            self._calls.close()
            self._urgent.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _beat(self, period: float) -> None:
        while not self._ended.wait(period):
            try:
                self._urgent.call("beat", {}, 5.0, 5.0)
            except (LeaseLost, WireError):
                return

    def _connect(self) -> socket.socket:
        try:
            raw = socket.create_connection(self._address, timeout=self._timeout)
        except OSError as error:
            raise WireError(
                f"no instrument server answers at {self._address[0]}:{self._address[1]} ({error})",
                "start `credo serve`",
            ) from None
        try:
            self._greet(raw)
        except BaseException:
            raw.close()
            raise
        return raw

    def _greet(self, raw: socket.socket) -> None:
        wire.tune(raw)
        try:
            reader = wire.Reader(raw)
            greeting, _ = reader.header(4096)
            ours, theirs = secrets.token_hex(16), str(greeting.get("nonce"))
            args = {"version": wire.VERSION, "session": self._session, "name": self._name, "nonce": ours}
            if greeting.get("auth"):
                if self._token is None:
                    raise WireError("the server wants a token", "set server.token_file")
                args["mac"] = wire.mac(self._token, "client", theirs, ours)
            wire.send(raw, {"id": 0, "method": "hello", "args": args})
            answer, _ = reader.header(4096)
        except (EOFError, OSError) as error:
            raise WireError(f"the server hung up during the greeting ({error})") from None
        if "error" in answer:
            raise WireError(answer["error"].get("reason", "refused"), answer["error"].get("remedy", ""))
        if greeting.get("auth") and self._token is not None:
            proof = str(answer.get("result", {}).get("mac", ""))
            if not secrets.compare_digest(proof, wire.mac(self._token, "server", theirs, ours)):
                raise WireError("the server does not know the token: it is not the one it pretends to be")


class _Line:
    """One connection on which calls take turns; an answer belongs to the call with its number."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw, self._lock, self._numbers = raw, threading.Lock(), itertools.count(1)
        self._reader, self._patience, self._dead = wire.Reader(raw), 0.0, False
        raw.settimeout(None)

    def call(self, name: str, arguments: dict[str, Any], timeout: float, patience: float) -> Any:
        with self._lock:
            if self._dead:
                raise WireError("the connection to the instrument server is closed", "connect again")
            number = next(self._numbers)
            try:
                if patience != self._patience:
                    wire.patience(self._raw, patience)
                    self._patience = patience
                wire.send(self._raw, {"id": number, "method": name, "args": arguments, "timeout": min(timeout, 3600)})
                while True:
                    header, size = self._reader.header(wire.HEADER_LIMIT, _FRAME_LIMIT)
                    data = self._reader.blob(size) if size else None
                    if header.get("id") in (number, None):
                        return _result(header, data)
            except (OSError, EOFError) as error:
                self._hang_up()
                late = isinstance(error, (TimeoutError, BlockingIOError))
                what = f"did not answer {name} in {patience:g} s" if late else f"hung up during {name}"
                raise WireError(f"the instrument server {what}", "look at the server, then connect again") from None

    def close(self) -> None:
        with self._lock:
            self._hang_up()

    def _hang_up(self) -> None:
        self._dead = True
        self._raw.close()


def _result(header: dict[str, Any], data: Any) -> Any:
    if "error" in header:
        error = header["error"]
        raise by_name(str(error.get("kind")))(str(error.get("reason")), str(error.get("remedy", "")))
    if "frame" in header:
        if data is None:
            data = wire.np.empty(0, "uint8")
        return wire.frame_of(header["frame"], data)
    return header.get("result")
