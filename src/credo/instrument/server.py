"""The instrument server: one process owns the hardware; one client at a time controls it, any number read."""

from __future__ import annotations

import ipaddress
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from credo.instrument.connection import Connection
from credo.instrument.errors import HardwareFault, InstrumentError, Refused, WireError
from credo.instrument.lease import Lease
from credo.instrument.safety import Guard
from credo.instrument.service import ALWAYS, CONTROL, METHODS, Service, check_arguments
from credo.instrument.streams import Stream
from credo.instrument.worker import Job, Worker

__all__ = ["Server"]

_CONNECTIONS = 64
_URGENT_S = 2.0
_DEFAULT_S = 30.0
_OWN = ("lease", "beat", "release", "ping", "methods", "subscribe")


class Server:
    """Serves the guard that ``open_guard`` builds (in the hardware's thread, since a COM object lives in its thread).

    ``host``: loopback unless told otherwise; anything else needs a ``token``, which then every client that is not on
    this machine must prove to know. ``port`` 0 takes a free one; ``address`` tells which.
    """

    def __init__(
        self,
        open_guard: Callable[[], Guard],
        host: str = "127.0.0.1",
        port: int = 8701,
        token: bytes | None = None,
        state_hz: float = 10.0,
    ) -> None:
        if not _is_loopback(host) and not token:
            raise Refused(
                f"{host} is reachable from outside and there is no token", "set server.token_file, or 127.0.0.1"
            )
        if token is not None and len(token) < 16:
            raise Refused("the token is shorter than 16 bytes", "make one with `credo serve --new-token`")
        self._open_guard, self._token, self._period = open_guard, token, 1.0 / state_hz
        self.lease = Lease()
        self._guard: Guard | None = None
        self._hardware = Worker("credo-hardware", self._tick)
        self._cameras: dict[str, Worker] = {}
        self._streams: dict[str, Stream] = {}
        self._connections: set[Connection] = set()
        self._subscribers: set[Connection] = set()
        self._pending: dict[int, Job] = {}
        self._listening: threading.Thread | None = None
        self._arrived: deque[Connection] = deque()
        self._bell, self._ring = socket.socketpair()
        self._closing, self._leaving = threading.Event(), threading.Event()
        self._listener = socket.create_server((host, port), backlog=16)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]

    def start(self) -> None:
        """Open the instrument, then listen."""
        self._hardware.start()
        try:
            self._guard = self._hardware.call(self._open_guard)
        except BaseException:
            self.close()
            raise
        self._service = Service(self._guard)
        self._hardware.any_thread = not getattr(self._guard.microscope, "thread_bound", True)
        for name in self._guard.microscope.cameras:
            self._cameras[name] = Worker(f"credo-camera-{name}", period=1.0)
            self._cameras[name].start()
        threading.Thread(target=self._accept, name="credo-accept", daemon=True).start()
        threading.Thread(target=self._watch, name="credo-watch", daemon=True).start()
        self._listening = threading.Thread(target=self._listen, name="credo-network", daemon=True)
        self._listening.start()

    def wait(self) -> None:
        """Until ``stop_waiting`` or ``close`` is called."""
        while not (self._leaving.wait(0.5) or self._closing.is_set()):
            pass

    def stop_waiting(self) -> None:
        """End ``wait``; may be called from a signal's handler."""
        self._leaving.set()

    def close(self) -> None:
        """Stop listening; end control with the beam off and the optics put back; let go of the hardware."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._listener.close()
        self._bell.send(b".")
        for stream in list(self._streams.values()):
            stream.cancel()
        for connection in list(self._connections):
            connection.close()
        if self._guard is not None:
            guard = self._guard
            try:
                self._hardware.call(lambda: self._let_go(guard), timeout=10.0, urgent=True)
            except InstrumentError as error:
                guard.audit.write("close", error=error.reason)
                guard.microscope.halt()
        for worker in (*self._cameras.values(), self._hardware):
            worker.close()
        if self._listening is not None and threading.current_thread() is not self._listening:
            self._listening.join(2.0)
        self._bell.close()
        self._ring.close()
        if self._guard is not None:
            self._guard.audit.close()

    def _let_go(self, guard: Guard) -> None:
        try:
            guard.end(restore=self.lease.session is not None, reason="the server closes")
        finally:
            guard.microscope.close()

    @property
    def guard(self) -> Guard:
        if self._guard is None:
            raise HardwareFault("the instrument is not open")
        return self._guard

    # --- looking after things ---------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._guard is not None:
            self._guard.tick()

    def _watch(self) -> None:
        """Push states, and watch heartbeats, deadlines and vendor calls that hang."""
        next_state = 0.0
        while not self._closing.wait(0.02 if self._subscribers else 0.1):
            now = time.monotonic()
            self._answer_overdue(now)
            if (session := self.lease.expired()) is not None:
                self._lose(session, "the heartbeat stopped")
            busy = self._hardware.busy_since
            if busy is not None and now - busy > self.guard.safety.hang_s and self.guard.alarm is None:
                self.guard.emergency(f"a call of the instrument's interface hangs for {now - busy:.0f} s")
            if self._subscribers and now >= next_state:
                next_state = now + self._period
                job = Job(lambda: self._service.call("status", {}), self._push, now + 1.0)
                self._hardware.submit(job)

    def _push(self, state: Any, error: Exception | None) -> None:
        if error is None:
            for connection in list(self._subscribers):
                connection.push({"state": state})

    def _answer_overdue(self, now: float) -> None:
        for key, job in list(self._pending.items()):
            if job.is_finished:
                self._pending.pop(key, None)
            elif now > job.deadline:
                self._pending.pop(key, None)
                job.finish(error=HardwareFault("the time allowed for the call is over", "ask again or allow more"))

    def _lose(self, session: str, why: str) -> None:
        """The controlling client is gone: stop the stage, blank, put the optics back."""
        if not self.lease.drop(session):
            return
        for stream in list(self._streams.values()):
            stream.cancel()
        guard = self.guard

        def done(_: Any, error: Exception | None) -> None:
            if error is not None:
                guard.emergency(f"control was lost ({why}) and not cleaned up: {error}".splitlines()[0])

        job = Job(lambda: guard.end(restore=True, reason=why), done, time.monotonic() + _URGENT_S + 10)
        self._pending[id(job)] = job
        self._hardware.submit(job, urgent=True)

    # --- clients ----------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                raw, peer = self._listener.accept()
            except OSError:
                return
            if len(self._connections) >= _CONNECTIONS:
                raw.close()
                continue
            token = None if _is_loopback(peer[0]) and _is_loopback(self.address[0]) else self._token
            connection = Connection(raw, token)
            self._connections.add(connection)
            threading.Thread(target=self._greet, args=(connection,), name="credo-greeting", daemon=True).start()

    def _greet(self, connection: Connection) -> None:
        try:
            connection.greet()
        except WireError as error:
            self._connections.discard(connection)
            connection.dismiss(error)
        except (EOFError, OSError):
            self._connections.discard(connection)
            connection.close()
        else:
            self._arrived.append(connection)
            self._bell.send(b".")

    def _listen(self) -> None:
        """One thread reads all requests: threads of Python that read for one client each wait for one another."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._ring, selectors.EVENT_READ)
            while not self._closing.is_set():
                for key, _ in selector.select(1.0):
                    connection = key.data
                    if connection is None:
                        self._ring.recv(64)
                        while self._arrived:
                            new = self._arrived.popleft()
                            selector.register(new.raw, selectors.EVENT_READ, new)
                    elif not self._serve(connection):
                        selector.unregister(key.fileobj)
                        self._leave(connection)

    def _serve(self, connection: Connection) -> bool:
        """Handle what has arrived; False when the connection is over."""
        try:
            for request in connection.read():
                self._handle(connection, request)
            return True
        except WireError as error:
            threading.Thread(target=connection.dismiss, args=(error,), daemon=True).start()
        except (EOFError, OSError):
            connection.close()
        return False

    def _leave(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._subscribers.discard(connection)
        if connection.controls and not self._closing.is_set():
            self._lose(connection.session, "the connection ended")

    def _handle(self, connection: Connection, request: dict[str, Any]) -> None:
        """Answer, or hand on, one request."""
        number, name, given = request.get("id"), request.get("method"), request.get("args") or {}
        try:
            if name in METHODS:
                arguments = check_arguments(name, given)
                if name == "stop":
                    told = (connection, number, f"{arguments.get('reason', 'stop')} ({connection.name})")
                    threading.Thread(target=self._stop, args=told, name="credo-stop", daemon=True).start()
                else:
                    self._hand_on(connection, number, name, arguments, _timeout(request))
            elif isinstance(name, str) and (name in _OWN or name.startswith("stream_")):
                self._own_method(connection, number, name, given)
            else:
                raise Refused(f"there is no method {name!r}"[:200])
        except InstrumentError as error:
            connection.answer(number, error=error)

    def _stop(self, connection: Connection, number: Any, reason: str) -> None:
        """In a thread of its own: whatever else hangs, this does not wait for it."""
        try:
            self.guard.emergency(reason)
        except Exception as error:  # noqa: BLE001 (told; the alarm is set in any case)
            connection.answer(number, error=error)
        else:
            connection.answer(number)
        self._retract()

    def _hand_on(self, connection: Connection, number: Any, name: str, arguments: dict, timeout: float) -> None:
        method, session, lease, service = METHODS[name], connection.session, self.lease, self._service
        urgent = method.role == ALWAYS
        camera = None if method.thread == "hardware" else self._worker_of(arguments.get("camera"))

        def work() -> Any:
            if method.role == CONTROL:
                lease.need(session)
            return service.call(name, arguments, run=self._hardware.call)

        def done(result: Any, error: Exception | None) -> None:
            connection.answer(number, result, error)

        allowed = timeout + float(arguments.get("exposure", 0.0)) if camera else timeout
        job = Job(work, done, time.monotonic() + (_URGENT_S if urgent else allowed))
        self._pending[id(job)] = job
        (camera or self._hardware).submit(job, urgent)

    def _worker_of(self, camera: str | None) -> Worker:
        found = self._cameras.get(camera or next(iter(self._cameras), ""))
        if found is None:
            raise Refused(f"no camera is called {camera!r}")
        return found

    def _retract(self) -> None:
        for name, worker in self._cameras.items():
            info = self.guard.microscope.cameras[name].info
            if info.fragile and info.retractable:
                worker.submit(Job(self.guard.retract_cameras, lambda *_: None), urgent=True)
                return

    def _own_method(self, connection: Connection, number: Any, name: str, given: Any) -> None:
        if not isinstance(given, dict):
            raise Refused(f"{name}: arguments must be named")
        if name == "lease":
            self._take_lease(connection, number, given)
        elif name.startswith("stream_"):
            self._stream_method(connection, number, name, given)
        elif name == "release":
            self._release(connection, number)
        else:
            if name == "beat":
                self.lease.beat(connection.session)
            elif name == "subscribe":
                self._subscribers.add(connection)
            connection.answer(number, sorted(METHODS) if name == "methods" else None)

    def _take_lease(self, connection: Connection, number: Any, given: dict) -> None:
        ttl = given.get("ttl", 3.0)
        if not isinstance(ttl, (int, float)) or not 0.2 <= ttl <= 60:
            raise Refused("lease: ttl must be 0.2 to 60 s")
        new = self.lease.take(connection.session, connection.name, float(ttl))
        connection.controls = True
        if not new:
            connection.answer(number)
            return

        def done(_: Any, error: Exception | None) -> None:
            if error is not None:
                self.lease.drop(connection.session)
            connection.answer(number, error=error)

        guard, caller = self.guard, connection.name
        self._submit(Job(lambda: guard.begin(caller), done, time.monotonic() + _DEFAULT_S))

    def _release(self, connection: Connection, number: Any) -> None:
        self.lease.need(connection.session)
        guard = self.guard

        def done(_: Any, error: Exception | None) -> None:
            self.lease.drop(connection.session)
            connection.answer(number, error=error)

        self._submit(Job(lambda: guard.end(), done, time.monotonic() + _DEFAULT_S))

    def _submit(self, job: Job) -> None:
        self._pending[id(job)] = job
        self._hardware.submit(job)

    def _stream_method(self, connection: Connection, number: Any, name: str, given: dict) -> None:
        self.lease.need(connection.session)
        if name == "stream_start":
            frames = given.pop("frames", None)
            arguments = check_arguments("image", given)
            if frames is not None and (not isinstance(frames, int) or not 0 < frames <= 1_000_000):
                raise Refused("stream_start: frames must be a positive whole number")
            worker = self._worker_of(arguments.get("camera"))
            if connection.session in self._streams and not self._streams[connection.session].ended:
                raise Refused("a stream runs already", "stop it first")
            lease, session = self.lease, connection.session
            stream = Stream(self.guard, arguments, frames, self._hardware.call, lambda: lease.need(session))
            self._streams[session] = stream
            worker.submit(Job(stream.run, lambda *_: None))
            connection.answer(number)
            return
        stream = self._streams.get(connection.session)
        if stream is None or name not in ("stream_next", "stream_stop"):
            raise Refused(f"{name}: no stream runs", "start one")
        if name == "stream_next":
            stream.next_to(lambda result, error: connection.answer(number, result, error))
        else:
            stream.cancel()
            connection.answer(number)


def _timeout(request: dict[str, Any]) -> float:
    given = request.get("timeout", _DEFAULT_S)
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given <= 3600:
        raise Refused("timeout must be 0 to 3600 s")
    return float(given)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False
