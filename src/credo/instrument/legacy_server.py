# ruff: noqa: UP004, UP032, B904, BLE001, SIM105, SIM117, PTH123, RUF012
# pyright: reportOptionalMemberAccess=false, reportMissingImports=false, reportOptionalSubscript=false, reportArgumentType=false
"""The instrument server for old microscope PCs: this one file, Python 3.4 or later, the standard library only.

Copy it to the PC and run ``python legacy_server.py settings.json``; it speaks the protocol of ``wire.py``. The
settings are a JSON object: ``host``, ``port``, ``token`` (16 characters or more, needed unless host is 127.0.0.1),
``limits`` ({"x": [nm, nm], ..., "a": [deg, deg]}), ``log`` (a file for JSON lines), ``device`` ("temscripting" or
"memory"). It refuses what lies outside the limits, keeps one control lease with heartbeat, blanks and stops when the
lease is lost, lets stop and blank pass everything that waits, and logs every command. Arrival, safe order, optics to
put back and the rest of safety are the guard's, in the credo that connects (driver "remote").
"""

import binascii
import hashlib
import hmac
import itertools
import json
import math
import os
import queue
import socket
import struct
import sys
import threading
import time

VERSION = 1
REQUEST_LIMIT = 1 << 16
AXES = ("x", "y", "z", "a", "b")
NAN_FREE = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
READ = ("describe", "get", "position", "status", "holder", "ranges", "wait")
CONTROL = ("set", "move", "stop_stage", "set_rotation_speed", "unblank", "screen", "reset")
ALWAYS = ("stop", "blank")


class Failure(Exception):
    """An error that is told to the client: its kind, reason and remedy."""

    def __init__(self, kind, reason, remedy=""):
        Exception.__init__(self, reason)
        self.kind, self.reason, self.remedy = kind, reason, remedy


# --- framing ----------------------------------------------------------------------------------------------------------


def send(connection, header):
    data = NAN_FREE.encode(header).encode("utf-8")
    connection.sendall(struct.pack(">IQ", len(data), 0) + data)


def read(connection, limit):
    """The next header; None when the other side has closed."""
    head = read_exactly(connection, 12)
    if head is None:
        return None
    size, blob = struct.unpack(">IQ", head)
    if size > limit or blob:
        raise Failure("WireError", "a frame of {} + {} bytes is larger than allowed".format(size, blob))
    data = read_exactly(connection, size)
    if data is None:
        raise Failure("WireError", "the connection ended in the middle of a frame")
    try:
        header = json.loads(data.decode("utf-8"), parse_constant=refuse_constant)
    except (ValueError, RuntimeError):
        raise Failure("WireError", "a frame's header is not JSON")
    if not isinstance(header, dict):
        raise Failure("WireError", "a frame's header is not an object")
    return header


def refuse_constant(name):
    raise ValueError(name)


def read_exactly(connection, size):
    parts, missing = [], size
    while missing:
        part = connection.recv(missing)
        if not part:
            return None
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def proof(token, side, server_nonce, client_nonce):
    text = side + server_nonce + client_nonce
    return hmac.new(token, text.encode("utf-8"), hashlib.sha256).hexdigest()


def nonce():
    return binascii.hexlify(os.urandom(16)).decode("ascii")


# --- devices ----------------------------------------------------------------------------------------------------------


class MemoryDevice(object):
    """Remembers what it is told; for tests and for trying the connection."""

    clock = staticmethod(time.time)

    def __init__(self, settings):
        self.values = {"brightness": 32768, "beamshift": [32768.0, 32768.0], "mode": "diff"}
        self.where, self.blanked, self.up, self.speed = dict.fromkeys(AXES, 0.0), True, True, 10.0

    def describe(self):
        pair = {"about": "beam shift", "unit": "raw", "kind": "pair", "low": 0, "high": 65535, "group": "deflector"}
        number = {"about": "CL3", "unit": "raw", "kind": "int", "low": 0, "high": 65535, "group": "lens"}
        mode = {"about": "mode", "kind": "str", "choices": ["mag1", "diff"], "group": "lens", "transient": True}
        return {
            "name": "memory",
            "settings": {"mode": mode, "brightness": number, "beamshift": pair},
            "magnifications": {"mag1": [], "diff": []},
            "can_stop": True,
            "rotation_speeds": {"about": "speed", "unit": "deg/s", "low": 0.1, "high": 20.0},
            "screen_movable": True,
            "cameras": {},
        }

    def get(self, name):
        return self.values[name]

    def set(self, name, value):
        self.values[name] = value

    def position(self):
        return [self.where[n] for n in AXES]

    def holder(self):
        return {"name": "memory", "inserted": True, "tilts": ["a"]}

    def stage_state(self):
        return "ready"

    def start(self, target):
        self.where.update(target)

    def stop(self):
        pass

    def is_blanked(self):
        return self.blanked

    def blank(self, on):
        self.blanked = on

    def screen_up(self):
        return self.up

    def set_screen(self, up):
        self.up = up

    def rotation_speed(self):
        return self.speed

    def set_rotation_speed(self, value):
        self.speed = value

    def halt(self):
        """Any thread: stop and blank."""
        self.stop()
        self.blank(True)


class TEMScripting(object):
    """Thermo Fisher's scripting object (SI units) through comtypes; NEVER RUN ON HARDWARE by credo's authors."""

    STATES = {0: "ready", 3: "moving", 4: "moving", 5: "moving"}
    MASKS = {"x": 1, "y": 2, "z": 4, "a": 8, "b": 16}
    HOLDERS = {0: "none", 1: "single tilt", 2: "double tilt", 4: "invalid", 5: "polara", 6: "dual axis", 7: "rotation"}
    NUMBERS = {"brightness": ("Illumination", "Intensity"), "spotsize": ("Illumination", "SpotsizeIndex")}
    PAIRS = {
        "beamshift": ("Illumination", "Shift"),
        "diffshift": ("Projection", "DiffractionShift"),
        "imageshift1": ("Projection", "ImageShift"),
    }

    def __init__(self, settings):
        self._tem = self._open()
        self._speed = float(settings.get("speed", 1.0))
        self._top = float(settings.get("degrees_per_second_at_full_speed", 21.14))
        self._mover = None

    @staticmethod
    def _open():
        import comtypes.client

        comtypes.CoInitialize()
        return comtypes.client.CreateObject("TEMScripting.Instrument.1")

    def describe(self):
        settings = {
            "brightness": {"about": "intensity", "kind": "float", "low": 0, "high": 1, "group": "lens"},
            "spotsize": {"about": "spot size", "kind": "int", "low": 1, "high": 11, "group": "lens"},
            "mode": {"about": "mode", "kind": "str", "choices": ["mag1", "diff"], "group": "lens", "transient": True},
        }
        for name in self.PAIRS:
            unit = "rad" if name == "diffshift" else "m"
            settings[name] = {"about": name, "unit": unit, "kind": "pair", "group": "deflector"}
        speeds = {"about": "speed", "unit": "deg/s", "low": 0.01 * self._top, "high": self._top}
        return {
            "name": "temscripting",
            "settings": settings,
            "magnifications": {"mag1": [], "diff": []},
            "can_stop": False,
            "rotation_speeds": speeds,
            "screen_movable": True,
            "cameras": {},
        }

    def get(self, name):
        if name == "mode":
            return "diff" if self._tem.Projection.Mode == 2 else "mag1"
        if name in self.PAIRS:
            group, key = self.PAIRS[name]
            pair = getattr(getattr(self._tem, group), key)
            return [pair.X, pair.Y]
        group, key = self.NUMBERS[name]
        return getattr(getattr(self._tem, group), key)

    def set(self, name, value):
        if name == "mode":
            self._tem.Projection.Mode = 2 if value == "diff" else 1
            return
        if name in self.PAIRS:
            group, key = self.PAIRS[name]
            pair = getattr(getattr(self._tem, group), key)
            pair.X, pair.Y = value
            setattr(getattr(self._tem, group), key, pair)  # the pair is a copy: it must be written back
            return
        group, key = self.NUMBERS[name]
        setattr(getattr(self._tem, group), key, value)

    def position(self):
        here = self._tem.Stage.Position
        return [1e9 * here.X, 1e9 * here.Y, 1e9 * here.Z, math.degrees(here.A), math.degrees(here.B)]

    def holder(self):
        kind = self._tem.Stage.Holder
        tilts = ["a", "b"] if kind == 2 else ["a"]
        return {"name": self.HOLDERS.get(kind, "unknown"), "inserted": kind not in (0, 4), "tilts": tilts}

    def stage_state(self):
        if self._mover is not None and self._mover.is_alive():
            return "moving"
        return self.STATES.get(self._tem.Stage.Status, "unavailable")

    def start(self, target):
        """GoTo blocks, so it runs in a thread with a connection of its own; with a speed, one axis per call."""
        self._mover = threading.Thread(target=self._go, args=(dict(target),), daemon=True)
        self._mover.start()

    def _go(self, target):
        stage = self._open().Stage
        steps = [{n: v} for n, v in target.items()] if self._speed < 1.0 else [target]
        for step in steps:
            there, mask = stage.Position, 0
            for name, value in step.items():
                si = math.radians(value) if name in "ab" else 1e-9 * value
                setattr(there, name.upper(), si)
                mask |= self.MASKS[name]
            if self._speed < 1.0 and step.keys() <= {"a", "b"}:
                stage.GoToWithSpeed(there, mask, self._speed)
            else:
                stage.GoTo(there, mask)

    def stop(self):
        raise Failure("Refused", "Thermo Fisher's scripting cannot stop the stage", "use the panel")

    def is_blanked(self):
        return bool(self._tem.Illumination.BeamBlanked)

    def blank(self, on):
        self._tem.Illumination.BeamBlanked = on

    def screen_up(self):
        return self._tem.Camera.MainScreen == 2

    def set_screen(self, up):
        self._tem.Camera.MainScreen = 2 if up else 3

    def rotation_speed(self):
        return self._speed * self._top

    def set_rotation_speed(self, value):
        self._speed = value / self._top

    def halt(self):
        self._open().Illumination.BeamBlanked = True


DEVICES = {"memory": MemoryDevice, "temscripting": TEMScripting}


# --- the server -------------------------------------------------------------------------------------------------------


class Job(object):
    def __init__(self, work):
        self.work, self.ready, self.result, self.error = work, threading.Event(), None, None


class LegacyServer(object):
    """One thread owns the device; each client has a thread that waits for its own answers."""

    def __init__(self, settings, device=None):
        self.settings = settings
        host, token = settings.get("host", "127.0.0.1"), settings.get("token", "")
        if not host.startswith("127.") and len(token) < 16:
            raise ValueError("a token of 16 characters or more is needed unless host is 127.0.0.1")
        self.token = token.encode("utf-8") if token else None
        self.make = device or DEVICES[settings.get("device", "memory")]
        self.device, self.alarm = None, None
        self.jobs, self.counter = queue.PriorityQueue(), itertools.count()
        self.lock = threading.Lock()
        self.session, self.holder, self.ttl, self.until = None, "", 0.0, 0.0
        self.closing = threading.Event()
        self.log_lock = threading.Lock()
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if os.name != "nt":
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((host, int(settings.get("port", 8701))))
        self.listener.listen(16)
        self.address = self.listener.getsockname()

    def start(self):
        threading.Thread(target=self.own_device, daemon=True).start()
        self.on_device(lambda: self.device, 60.0)
        threading.Thread(target=self.accept, daemon=True).start()
        threading.Thread(target=self.watch, daemon=True).start()

    def close(self):
        self.closing.set()
        self.listener.close()
        self.on_device(lambda: self.device.blank(True), 5.0, True)
        self.jobs.put((2, next(self.counter), None))

    # the device's thread

    def own_device(self):
        try:
            self.device = self.make(self.settings)
        except Exception as error:
            self.alarm = "the device did not open: {}".format(error)
        while True:
            job = self.jobs.get()[2]
            if job is None:
                return
            try:
                if self.device is None:
                    raise Failure("HardwareFault", self.alarm)
                job.result = job.work()
            except Exception as error:
                job.error = error
            job.ready.set()

    def on_device(self, work, timeout, urgent=False):
        job = Job(work)
        self.jobs.put((0 if urgent else 1, next(self.counter), job))
        if not job.ready.wait(timeout):
            raise Failure("HardwareFault", "the instrument did not answer in {:g} s".format(timeout))
        if job.error is not None:
            raise job.error
        return job.result

    # who is in control

    def watch(self):
        while not self.closing.wait(0.1):
            with self.lock:
                late = self.session is not None and time.monotonic() > self.until
                session = self.session
            if late:
                self.lose(session, "the heartbeat stopped")

    def lose(self, session, why):
        with self.lock:
            if session is None or self.session != session:
                return
            self.session = None
        self.log("lease lost", reason=why)
        try:
            self.on_device(self.stop_and_blank, 5.0, True)
        except Exception as error:
            self.stop("control was lost and not cleaned up: {}".format(error))

    def stop_and_blank(self):
        try:
            self.device.blank(True)
        finally:
            if self.device.describe()["can_stop"]:
                self.device.stop()

    def stop(self, reason):
        self.alarm = reason
        self.log("emergency", reason=reason)
        self.device.halt()

    def need(self, session):
        with self.lock:
            if self.session != session:
                who = self.holder if self.session else "nobody"
                raise Failure("LeaseLost", "{} controls the instrument".format(who), "take the lease first")

    # clients

    def accept(self):
        while not self.closing.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session, took = None, False
        try:
            connection.settimeout(5.0)
            session, name = self.greet(connection)
            connection.settimeout(None)
            while True:
                request = read(connection, REQUEST_LIMIT)
                if request is None:
                    return
                if request.get("method") == "subscribe":
                    self.push(connection, request)
                    return
                took = self.reply(connection, request, session, name) or took
        except Failure as error:
            self.tell(connection, None, error)
            self.hang_up(connection)
        except (OSError, EOFError):
            pass
        finally:
            if took:
                self.lose(session, "the connection ended")
            connection.close()

    def hang_up(self, connection):
        """So that the last words arrive: unread bytes would make the system drop them."""
        try:
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(0.2)
            for _ in range(16):
                if not connection.recv(1 << 14):
                    return
        except OSError:
            pass

    def greet(self, connection):
        ours = nonce()
        send(connection, {"credo": VERSION, "nonce": ours, "auth": self.token is not None})
        hello = read(connection, 4096) or {}
        args = hello.get("args") or {}
        session, theirs = str(args.get("session", "")), str(args.get("nonce", ""))
        if hello.get("method") != "hello" or args.get("version") != VERSION or not 16 <= len(session) <= 64:
            raise Failure("WireError", "the client does not speak version 1 of the protocol")
        answer = {"version": VERSION}
        if self.token is not None:
            expected = proof(self.token, "client", ours, theirs)
            if not hmac.compare_digest(expected.encode("ascii"), str(args.get("mac", "")).encode("utf-8")):
                raise Failure("WireError", "the token is wrong")
            answer["mac"] = proof(self.token, "server", ours, theirs)
        send(connection, {"id": 0, "result": answer})
        return session, str(args.get("name", ""))[:100]

    def push(self, connection, request):
        connection.settimeout(2.0)
        send(connection, {"id": request.get("id"), "result": None})
        while not self.closing.wait(0.1):
            send(connection, {"state": self.on_device(self.do_status, 10.0)})

    def tell(self, connection, number, error):
        kind = getattr(error, "kind", "HardwareFault")
        reason = getattr(error, "reason", "the driver failed: {}: {}".format(type(error).__name__, error)[:500])
        told = {"kind": kind, "reason": reason, "remedy": getattr(error, "remedy", "")}
        try:
            send(connection, {"id": number, "error": told})
        except OSError:
            pass

    def reply(self, connection, request, session, name):
        number, method, args = request.get("id"), request.get("method"), request.get("args") or {}
        try:
            result = self.answer(method, args, request.get("timeout", 30.0), session, name)
        except Exception as error:
            self.tell(connection, number, error)
            return False
        send(connection, {"id": number, "result": result})
        return method == "lease"

    def answer(self, method, args, timeout, session, name):
        if not isinstance(args, dict):
            raise Failure("Refused", "arguments must be named")
        timeout = check_number("timeout", timeout, 0.0, 3600.0)
        if method == "lease":
            return self.take(session, name, check_number("ttl", args.get("ttl", 3.0), 0.2, 60.0))
        if method in ("beat", "release"):
            self.need(session)
            if method == "release":
                self.on_device(lambda: self.device.blank(True), timeout)
            with self.lock:
                self.session = None if method == "release" else session
                self.until = time.monotonic() + self.ttl
            return None
        if method == "ping":
            return None
        if method == "methods":
            return sorted(READ + CONTROL + ALWAYS)
        if method == "stop":
            return self.stop("{} ({})".format(args.get("reason", "stop"), name))
        if method == "wait":
            return self.do_wait(timeout, **args)
        if method == "move" and args.get("wait", True):
            self.on_device(lambda: self.act(method, dict(args, wait=False), session, name), timeout)
            return self.do_wait(timeout)
        if method not in READ + CONTROL + ALWAYS:
            raise Failure("Refused", "there is no method {!r}".format(method)[:200])
        return self.on_device(lambda: self.act(method, args, session, name), timeout, method in ALWAYS)

    def take(self, session, name, ttl):
        with self.lock:
            if self.session not in (None, session):
                raise Failure("LeaseLost", "{} controls the instrument".format(self.holder), "wait")
            new, self.session, self.holder, self.ttl = self.session is None, session, name, ttl
            self.until = time.monotonic() + ttl
        if new:
            self.on_device(lambda: self.device.blank(True), 10.0)

    # what is done in the device's thread

    def act(self, method, args, session, name):
        if method in CONTROL:
            self.need(session)
            if self.alarm is not None and method != "reset":
                raise Failure("Stopped", "stopped: " + self.alarm, "look at the instrument, then reset the alarm")
            self.log(method, caller=name, args=args)
        try:
            return getattr_of(self, method)(**args)
        except TypeError as error:
            raise Failure("Refused", "{}: wrong arguments ({})".format(method, error)[:300])

    def do_describe(self):
        found = self.device.describe()
        for known in found["settings"].values():
            known["writable"] = known.get("writable", True)
        limits = self.limits()
        found["axes"] = {
            n: {"about": n, "unit": "deg" if n in "ab" else "nm", "low": low, "high": high}
            for n, (low, high) in limits.items()
        }
        return found

    def do_get(self, names):
        known = self.device.describe()["settings"]
        for name in names:
            if name not in known:
                raise Failure("Refused", "this instrument has no setting {!r}".format(name)[:200])
        return {name: self.device.get(name) for name in names}

    def do_position(self):
        return self.device.position()

    def do_holder(self):
        return self.device.holder()

    def do_ranges(self):
        return {n: list(pair) for n, pair in self.limits().items()}

    def do_status(self):
        device = self.device
        return {
            "time": time.time(),
            "position": device.position(),
            "moving": device.stage_state() == "moving",
            "stage": device.stage_state(),
            "rotation_speed": device.rotation_speed(),
            "blanked": device.is_blanked(),
            "screen_up": device.screen_up(),
            "alarm": self.alarm,
            "controlled_by": self.holder if self.session else "",
        }

    def do_wait(self, allowed, timeout=None):
        limit = time.monotonic() + (allowed if timeout is None else check_number("timeout", timeout, 0.0, 3600.0))
        while True:
            state = self.on_device(self.do_status, 10.0)
            if not state["moving"]:
                return state["position"]
            if time.monotonic() > limit:
                raise Failure("HardwareFault", "the stage still moves", "wait longer or stop it")
            time.sleep(0.05)

    def do_set(self, name, value):
        known = self.device.describe()["settings"].get(name)
        if known is None or not known.get("writable", True):
            raise Failure("Refused", "{!r} cannot be set".format(name)[:200])
        check_value(name, value, known)
        self.device.set(name, value)
        return self.device.get(name)

    def do_move(self, target, backlash=None, wait=True):
        if not isinstance(target, dict) or not target:
            raise Failure("Refused", "move: target must name axes and values")
        if self.device.stage_state() != "ready":
            raise Failure("Refused", "the stage is " + self.device.stage_state(), "wait for it or stop it first")
        limits, holder = self.limits(), self.device.holder()
        for name, value in target.items():
            if name not in limits or (name in "ab" and not (holder["inserted"] and name in holder["tilts"])):
                raise Failure("NotReady", "axis {} cannot be moved".format(name)[:100])
            check_number("stage " + name, value, *limits[name])
        self.device.start(target)

    def do_stop_stage(self):
        self.device.stop()

    def do_set_rotation_speed(self, value):
        speeds = self.device.describe()["rotation_speeds"]
        self.device.set_rotation_speed(check_number("rotation speed", value, speeds["low"], speeds["high"]))
        return self.device.rotation_speed()

    def do_unblank(self, seconds=None):
        self.device.blank(False)

    def do_blank(self):
        self.device.blank(True)
        if not self.device.is_blanked():
            raise Failure("HardwareFault", "the beam does not blank", "close the gun valve by hand")

    def do_screen(self, up):
        self.device.blank(True)
        self.device.set_screen(bool(up))

    def do_reset(self):
        self.device.blank(True)
        self.alarm = None

    def limits(self):
        given = self.settings.get("limits", {})
        usual = {"x": [-9e5, 9e5], "y": [-9e5, 9e5], "z": [-2e5, 2e5], "a": [-30.0, 30.0], "b": [-30.0, 30.0]}
        return {n: given.get(n, usual[n]) for n in AXES}

    def log(self, event, **fields):
        path = self.settings.get("log")
        if not path:
            return
        line = dict(fields, time=time.time(), event=event)
        with self.log_lock:
            with open(path, "a") as file:
                file.write(json.dumps(line, sort_keys=True) + "\n")


def getattr_of(server, method):
    """A closed table, so that no name from outside is ever looked up as an attribute."""
    table = {
        "describe": server.do_describe,
        "get": server.do_get,
        "position": server.do_position,
        "status": server.do_status,
        "holder": server.do_holder,
        "ranges": server.do_ranges,
        "set": server.do_set,
        "move": server.do_move,
        "stop_stage": server.do_stop_stage,
        "set_rotation_speed": server.do_set_rotation_speed,
        "unblank": server.do_unblank,
        "blank": server.do_blank,
        "screen": server.do_screen,
        "reset": server.do_reset,
    }
    return table[method]


def check_number(name, value, low, high):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise Failure("Refused", "{} = {!r} is outside {:g} to {:g}".format(name, value, low, high)[:300])
    return float(value)


def check_value(name, value, known):
    kind, low, high = known.get("kind", "float"), known.get("low", -1e300), known.get("high", 1e300)
    if kind == "pair":
        if not isinstance(value, list) or len(value) != 2:
            raise Failure("Refused", "{} must be a pair".format(name))
        for part in value:
            check_number(name, part, low, high)
    elif kind in ("int", "float"):
        number = check_number(name, value, low, high)
        if kind == "int" and number != int(number):
            raise Failure("Refused", "{} = {} is not a whole number".format(name, value))
    elif kind == "bool" and not isinstance(value, bool):
        raise Failure("Refused", "{} must be true or false".format(name))
    if known.get("choices") and value not in known["choices"]:
        raise Failure("Refused", "{} = {!r} is not one of {}".format(name, value, known["choices"])[:300])


def main(arguments):
    if len(arguments) != 2:
        sys.stderr.write("usage: python legacy_server.py settings.json\n")
        return 2
    with open(arguments[1]) as file:
        settings = json.load(file)
    server = LegacyServer(settings)
    server.start()
    sys.stderr.write("credo legacy server at {}:{}\n".format(*server.address))
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
