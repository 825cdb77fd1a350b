"""The servers, both of them, under the same clients; and what only the full one does."""

from __future__ import annotations

import ast
import json
import os
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from credo.instrument import legacy_server, wire
from credo.instrument.client import Client
from credo.instrument.clock import RealClock
from credo.instrument.errors import HardwareFault, LeaseLost, Refused, Stopped, WireError
from credo.instrument.legacy_server import LegacyServer, MemoryDevice
from credo.instrument.safety import Guard
from credo.instrument.safety_settings import Safety
from credo.instrument.server import Server

TOKEN = "a token that is long enough"


class Full:
    """The full server over the plain instrument, in real time."""

    thread_bound = True

    def __init__(self, make, safety=None, **options):
        self.microscope = make(RealClock(), shape=(32, 24))
        self.microscope.thread_bound = self.thread_bound
        self.microscope.stage.set_rotation_speed(100.0)
        self.server = Server(lambda: Guard(self.microscope, safety or Safety(poll_s=0.01)), port=0, **options)
        self.server.start()
        self.address = self.server.address

    def close(self):
        self.server.close()

    def blanked(self):
        return self.microscope.blanker.on


class AnyThread(Full):
    """The same over an instrument that may be called from any thread."""

    thread_bound = False


class Legacy:
    """The old PC's server over its memory device."""

    def __init__(self, make, **options):
        settings = {"port": 0, "limits": {"a": [-70, 70]}}
        if "token" in options:
            settings["token"] = options["token"].decode()
        self.server = LegacyServer(settings, MemoryDevice)
        self.server.start()
        self.address = self.server.address

    def close(self):
        self.server.close()

    def blanked(self):
        return self.server.device.blanked


@pytest.fixture(params=[Full, AnyThread, Legacy])
def serve(request, make):
    """``serve(**options)``: a running server of either kind."""
    running = []

    def start(**options):
        running.append(request.param(make, **options))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def full(make):
    running = []

    def start(**options):
        running.append(Full(make, **options))
        return running[-1]

    yield start
    for one in running:
        one.close()


def eventually(what, timeout=5.0):
    """Real threads: poll until it holds; the test fails by the assertion of its caller otherwise."""
    until = time.monotonic() + timeout
    while not what() and time.monotonic() < until:
        time.sleep(0.01)
    return what()


def die(client):
    """What the server sees when a client's process is killed."""
    client._ended.set()
    for line in (client._calls, client._urgent):
        line._raw.shutdown(socket.SHUT_RDWR)
        line.close()


def test_reading_is_free_and_control_needs_the_lease(serve):
    server = serve()
    with Client(server.address, name="reader") as reader, Client(server.address, name="writer") as writer:
        assert reader.call("position") == [0.0] * 5
        assert reader.call("describe")["settings"]["brightness"]["high"] == 65535
        with pytest.raises(LeaseLost):
            reader.call("set", name="brightness", value=5)
        writer.control()
        assert writer.call("set", name="brightness", value=5) == 5
        assert reader.call("get", names=["brightness", "beamshift"]) == {"brightness": 5, "beamshift": [32768.0] * 2}
        with pytest.raises(LeaseLost, match="writer controls"):
            reader.control()
        assert writer.call("move", target={"a": 2.0})[3] == 2.0
        assert writer.call("position")[3] == 2.0


def test_two_clients_at_once_get_only_their_own_answers(serve):
    server = serve()
    wrong, done = [], []

    def hammer(client, names):
        for k in range(500):
            name = names[k % len(names)]
            got = client.call("get", names=[name])
            if list(got) != [name]:
                wrong.append((name, got))
        done.append(len(names))

    with Client(server.address) as one, Client(server.address) as two:
        threads = [
            threading.Thread(target=hammer, args=(one, ["brightness"])),
            threading.Thread(target=hammer, args=(two, ["beamshift", "mode"])),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert len(done) == 2


def test_limits_and_unknown_things_are_refused(serve):
    server = serve()
    with Client(server.address) as client:
        client.control()
        for target in ({"a": 70.5}, {"x": 1e12}, {"q": 1}):
            with pytest.raises(Refused):
                client.call("move", target=target)
        for name, value in (("brightness", 70000), ("brightness", 1.5), ("nothing", 1), ("mode", "mag9")):
            with pytest.raises(Refused):
                client.call("set", name=name, value=value)
        for method in ("__class__", "close", "guard", "open_driver", "eval"):
            with pytest.raises(Refused, match="no method"):
                client.call(method)
        with pytest.raises(Refused):
            client.call("get", names=["brightness"], secret=1)
        assert client.call("position") == [0.0] * 5


def test_the_beam_is_off_when_control_begins_ends_or_is_lost(serve):
    server = serve()
    client = Client(server.address)
    client.control()
    assert server.blanked()
    client.call("unblank")
    assert not server.blanked()
    client.close()
    assert server.blanked()
    other = Client(server.address)
    other.control()
    other.call("unblank")
    die(other)
    assert eventually(server.blanked)


def test_a_heartbeat_that_stops_loses_the_lease(serve):
    server = serve()
    client = Client(server.address)
    client._beat = lambda period: None
    client.control(ttl=0.3)
    client.call("unblank")
    assert eventually(server.blanked)
    with pytest.raises(LeaseLost):
        client.call("set", name="brightness", value=1)
    with Client(server.address) as other:
        other.control()
        assert other.call("set", name="brightness", value=2) == 2
    client.close()


def test_stop_is_for_everybody_and_latches(serve):
    server = serve()
    with Client(server.address) as writer, Client(server.address, name="bystander") as bystander:
        writer.control()
        writer.call("unblank")
        bystander.call("stop", reason="smoke")
        assert server.blanked()
        with pytest.raises(Stopped, match="smoke"):
            writer.call("set", name="brightness", value=1)
        assert writer.call("status")["alarm"].startswith("smoke")
        writer.call("reset")
        assert writer.call("set", name="brightness", value=1) == 1
        bystander.call("blank")


def test_a_token_is_proved_both_ways(serve):
    server = serve(token=TOKEN.encode(), host="127.0.0.1")
    if isinstance(server, Full):  # on loopback the full server asks nobody: make it think otherwise
        server.close()
        server = serve(token=TOKEN.encode(), host="0.0.0.0")
        server.address = ("127.0.0.1", server.address[1])
    for bad in (None, b"another token of that length"):
        with pytest.raises(WireError, match="token"):
            Client(server.address, bad)
    with Client(server.address, TOKEN.encode()) as client:
        assert client.call("position") == [0.0] * 5


def test_states_are_pushed(serve):
    server = serve()
    with Client(server.address) as client:
        states = client.states()
        seen = [next(states) for _ in range(3)]
        states.close()
    assert [s["blanked"] for s in seen] == [server.blanked()] * 3
    assert seen[0]["time"] < seen[2]["time"]


def raw_session(address):
    raw = socket.create_connection(address, timeout=5)
    reader = wire.Reader(raw)
    reader.header(4096)
    hello = {"version": 1, "session": "0123456789abcdef", "nonce": "", "name": "raw"}
    wire.send(raw, {"id": 0, "method": "hello", "args": hello})
    assert "result" in reader.header(4096)[0]
    return raw, reader


@pytest.mark.parametrize(
    "attack",
    [
        struct.pack(">IQ", 1 << 30, 0),
        struct.pack(">IQ", 2, 1 << 40) + b"{}",
        struct.pack(">IQ", 3, 0) + b"[1]",
        struct.pack(">IQ", 60000, 0) + b"[" * 60000,
        struct.pack(">IQ", 9, 0) + b'{"a":NaN}',
        struct.pack(">IQ", 2, 0) + b"\xff\xfe",
    ],
)
def test_a_malformed_frame_ends_that_connection_and_nothing_else(serve, attack):
    server = serve()
    with Client(server.address) as other:
        raw, reader = raw_session(server.address)
        raw.sendall(attack)
        answer = reader.header(1 << 20)[0]
        assert answer["error"]["kind"] == "WireError"
        assert raw.recv(10) == b""
        raw.close()
        assert other.call("position") == [0.0] * 5


def test_no_greeting_no_service(serve):
    server = serve()
    raw = socket.create_connection(server.address, timeout=5)
    reader = wire.Reader(raw)
    reader.header(4096)
    wire.send(raw, {"id": 1, "method": "position", "args": {}})
    assert "error" in reader.header(4096)[0]
    raw.close()


def test_arguments_of_5_kB_pass_and_non_finite_ones_do_not(serve):
    server = serve()
    with Client(server.address) as client:
        assert len(client.call("get", names=["brightness"] * 150)) == 1
    raw, reader = raw_session(server.address)
    wire.send(raw, {"id": 3, "method": "get", "args": {"names": []}, "timeout": "soon"})
    assert reader.header(4096)[0]["error"]["kind"] == "Refused"
    raw.close()


# --- the full server only ---------------------------------------------------------------------------------------------


def test_outside_needs_a_token(make):
    with pytest.raises(Refused, match="token"):
        Server(lambda: Guard(make()), host="0.0.0.0", port=0)
    with pytest.raises(Refused, match="16 bytes"):
        Server(lambda: Guard(make()), host="127.0.0.1", port=0, token=b"short")


def test_a_driver_that_does_not_open_is_told(make):
    def fail():
        raise HardwareFault("no COM object")

    with pytest.raises(HardwareFault, match="no COM object"):
        Server(fail, port=0).start()


def test_frames_come_as_the_camera_made_them(full):
    server = full()
    pixels = np.arange(32 * 24, dtype="uint16").reshape(32, 24)
    acquire = server.microscope.cameras["timepix"].acquire

    def picture(exposure, binning):
        from dataclasses import replace

        return replace(acquire(exposure, binning), data=pixels, extra={"x": 1})

    server.microscope.cameras["timepix"].acquire = picture
    with Client(server.address) as client:
        with pytest.raises(LeaseLost):
            client.call("image", exposure=0.01)
        client.control()
        frame = client.call("image", exposure=0.01, binning=1, camera="timepix")
        assert np.array_equal(frame.data, pixels)
        assert (frame.exposure, frame.extra) == (0.01, {"x": 1})
        assert frame.ended > frame.began
        assert server.blanked()
        with pytest.raises(Refused, match="binning"):
            client.call("image", exposure=0.01, binning=3)
        with pytest.raises(Refused, match="no camera"):
            client.call("image", exposure=0.01, camera="other")


def test_a_stream_runs_while_the_stage_turns_and_ends_with_the_beam_off(full):
    server = full()
    with Client(server.address) as client:
        client.control()
        client.call("move", target={"a": 60.0}, wait=False)
        numbers, angles = [], []
        for frame in client.stream(None, 0.02, frames=8):
            numbers.append(frame.number)
            angles.append(client.call("position")[3])
        assert numbers == list(range(8))
        assert angles == sorted(angles)
        assert angles[-1] > angles[0]
        assert client.call("wait")[3] == 60.0
        assert eventually(server.blanked)
        left = client.stream(None, 0.02)
        next(left)
        assert not server.blanked()
        left.close()
        assert eventually(server.blanked)


def test_a_lost_client_ends_its_stream_and_its_move_and_its_optics_are_put_back(full):
    server = full()
    client = Client(server.address)
    client.control()
    client.call("set_rotation_speed", value=5.0)
    client.call("set", name="difffocus", value=31234)
    client.call("move", target={"a": 60.0}, wait=False)
    client.call("stream_start", exposure=0.02)
    assert client.call("stream_next").number == 0
    die(client)
    assert eventually(lambda: server.server.lease.session is None)
    assert eventually(lambda: server.microscope.lenses.values["difffocus"] == 30000)
    assert eventually(server.blanked)
    assert not eventually(lambda: not server.blanked(), timeout=0.2)
    assert server.microscope.stage.position().a < 60.0
    assert server.microscope.stage.rotation_speed() == 100.0


def test_stop_passes_a_vendor_call_that_hangs(full):
    server = full()
    release = threading.Event()
    entered = threading.Event()
    get = server.microscope.lenses.get

    def hang(name):
        if name == "brightness":
            entered.set()
            release.wait(10)
        return get(name)

    with Client(server.address) as writer, Client(server.address) as bystander:
        writer.control()
        writer.call("unblank")
        server.microscope.lenses.get = hang
        waiting = threading.Thread(target=writer.call, args=("get",), kwargs={"names": ["brightness"]})
        waiting.start()
        assert entered.wait(5)
        bystander.call("stop", reason="fire")
        assert server.blanked()
        assert server.server.guard.alarm == f"fire ({bystander._name})"
        release.set()
        waiting.join()


def test_a_call_that_takes_too_long_is_answered_in_time(full):
    server = full()
    release = threading.Event()
    server.microscope.stage.holder = lambda: release.wait(10)
    with Client(server.address) as client:
        with pytest.raises(HardwareFault, match="time allowed"):
            client.call("holder", within=0.2)
        with pytest.raises(HardwareFault, match="time allowed"):
            client.call("position", within=0.2)
        release.set()
        assert client.call("position") == [0.0] * 5  # late answers are nobody's


def test_a_hanging_vendor_call_raises_the_alarm_by_itself(full):
    server = full(safety=Safety(hang_s=0.2))
    release = threading.Event()
    server.microscope.stage.holder = lambda: release.wait(10)
    with Client(server.address) as client:
        with pytest.raises(HardwareFault):
            client.call("holder", within=1.0)
        assert "hangs" in server.server.guard.alarm
        assert server.blanked()
        release.set()


def test_a_camera_that_hangs_finds_the_beam_off_and_does_not_hold_up_the_rest(full):
    server = full(safety=Safety(exposure_margin_s=0.2))
    release = threading.Event()
    server.microscope.cameras["timepix"].acquire = lambda exposure, binning: release.wait(10)
    with Client(server.address) as client, Client(server.address) as reader:
        client.control()
        with pytest.raises(HardwareFault, match="time allowed"):
            client.call("image", exposure=0.1, within=0.5)
        assert server.blanked()
        assert reader.call("position") == [0.0] * 5
        release.set()


def test_urgent_work_goes_before_what_waits(full):
    server = full()
    order, gate, entered = [], threading.Event(), threading.Event()
    get, blank = server.microscope.lenses.get, server.microscope.blanker.blank

    def slow(name):
        order.append(name)
        entered.set()
        gate.wait(5)
        return get(name)

    server.microscope.lenses.get = slow
    server.microscope.blanker.blank = lambda on: (order.append("blank"), blank(on))
    clients = [Client(server.address) for _ in range(3)]
    threads = [
        threading.Thread(target=c.call, args=("get",), kwargs={"names": [n]})
        for c, n in zip(clients, ("mode", "spotsize"))
    ]
    threads[0].start()
    assert entered.wait(5)
    threads[1].start()
    assert eventually(lambda: server.server._hardware._normal.qsize() >= 1)
    urgent = threading.Thread(target=clients[2].call, args=("blank",))
    urgent.start()
    assert eventually(lambda: len(server.server._hardware._urgent) == 1)
    gate.set()
    for thread in (*threads, urgent):
        thread.join()
    assert order == ["mode", "blank", "spotsize"]
    for client in clients:
        client.close()


def test_closing_the_server_leaves_the_beam_off(full):
    server = full()
    client = Client(server.address)
    client.control()
    client.call("unblank")
    server.close()
    assert server.blanked()
    with pytest.raises(WireError):
        client.call("position")
    client.close()


def test_a_server_that_is_not_there_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
    with pytest.raises(WireError, match="credo serve"):
        Client(address, timeout=1.0)


# --- the old PC's server only -----------------------------------------------------------------------------------------


def test_the_legacy_server_is_python_3_4_and_standard_library(tmp_path):
    source = Path(legacy_server.__file__).read_text()
    tree = ast.parse(source)
    new = (ast.JoinedStr, ast.AnnAssign, ast.AsyncFunctionDef, ast.Await, ast.MatMult, ast.NamedExpr, ast.Match)
    assert not [n for n in ast.walk(tree) if isinstance(n, new)]
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            arguments = node.args
            assert not [a for a in (*arguments.args, *arguments.kwonlyargs) if a.annotation]
            assert not arguments.posonlyargs
        if isinstance(node, ast.FunctionDef):
            assert node.returns is None
        if isinstance(node, ast.Dict):
            assert None not in node.keys  # {**a} is 3.5
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            assert not [e for e in node.elts if isinstance(e, ast.Starred)]  # [*a] is 3.5
        if isinstance(node, ast.Call):
            assert len([a for a in node.args if isinstance(a, ast.Starred)]) <= 1
            assert len([k for k in node.keywords if k.arg is None]) <= 1
    modules = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert modules <= {
        "binascii", "hashlib", "hmac", "itertools", "json", "math", "os", "queue", "socket", "struct", "sys",
        "threading", "time", "comtypes",
    }  # fmt: skip
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    ast.parse(source, feature_version=(3, 4))


def test_the_legacy_server_logs_commands(tmp_path):
    path = tmp_path / "log.jsonl"
    server = LegacyServer({"port": 0, "log": str(path)})
    server.start()
    with Client(server.address, name="wang") as client:
        client.control()
        client.call("set", name="brightness", value=7)
    server.close()
    (line,) = [json.loads(text) for text in path.read_text().splitlines()]
    assert (line["event"], line["caller"], line["args"]) == ("set", "wang", {"name": "brightness", "value": 7})
    with pytest.raises(ValueError, match="token"):
        LegacyServer({"host": "0.0.0.0", "port": 0})


def old_python():
    """An interpreter older than ours, if there is one: ``CREDO_OLD_PYTHON``, else the oldest of pyenv's."""
    if named := os.environ.get("CREDO_OLD_PYTHON"):
        return named
    found = (Path.home() / ".pyenv" / "versions").glob("3.*/bin/python")
    ages = {tuple(map(int, p.parts[-3].split(".")[:2])): p for p in found if p.parts[-3].replace(".", "").isdigit()}
    return str(ages[min(ages)]) if ages and min(ages) < (3, 9) else None


@pytest.mark.skipif(old_python() is None, reason="no interpreter before 3.9: the old PC's server ran on this one only")
def test_the_legacy_server_on_an_old_interpreter(tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"port": 0, "log": str(tmp_path / "log.jsonl"), "token": TOKEN}))
    command = [str(old_python()), str(Path(legacy_server.__file__)), str(settings)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("credo legacy server at 127.0.0.1:"), line
            address = ("127.0.0.1", int(line.rsplit(":", 1)[1]))
            with Client(address, TOKEN.encode()) as client, Client(address, TOKEN.encode()) as reader:
                client.control()
                assert client.call("move", target={"a": 3.0})[3] == 3.0
                with pytest.raises(Refused):
                    client.call("move", target={"a": 31.0})
                client.call("unblank")
                wrong = []
                names = (("brightness", client), ("beamshift", reader))
                threads = [
                    threading.Thread(
                        target=lambda n=n, c=c: wrong.extend(
                            k for k in range(500) if list(c.call("get", names=[n])) != [n]
                        )
                    )
                    for n, c in names
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert wrong == []
                die(client)
                assert eventually(lambda: reader.call("status")["blanked"])
        finally:
            process.terminate()
