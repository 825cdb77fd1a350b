"""The Serval driver over a fake server that dials out with frames, and its faults."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from credo.instrument.clock import RealClock
from credo.instrument.drivers.cameras import open_cameras
from credo.instrument.errors import HardwareFault, WireError


class FakeServal(ThreadingHTTPServer):
    """``refuse``: path -> HTTP status. ``skip``: frames that get lost. ``fault``: changes header or bytes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.config, self.destination, self.asked = {"BiasVoltage": 100}, {}, []
        self.measurement, self.refuse, self.skip, self.fault, self.depth = None, {}, (), lambda h, b: (h, b), 16
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def send_frames(self):
        host, port = self.destination["Image"][0]["Base"].removeprefix("tcp://connect@").rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            for number in range(min(self.config["nTriggers"], 1000)):
                if number in self.skip:
                    continue
                pixels = (np.arange(12) + number).astype(f">u{self.depth // 8}").tobytes()
                header = {"width": 4, "height": 3, "bitDepth": self.depth, "dataSize": len(pixels)}
                header |= {"frameNumber": number, "timeAtFrame": 1.5}
                header, pixels = self.fault(header, pixels)
                try:
                    connection.sendall(json.dumps(header).encode() + b"\n" + pixels + b"\n")
                except OSError:
                    return


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def _answer(self, body=None):
        status = self.server.refuse.get(self.path, 200)
        data = json.dumps(body).encode() if body is not None else b"ok"
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        return status == 200

    def do_GET(self):
        fake = self.server
        fake.asked.append(self.path)
        if self.path == "/dashboard":
            self._answer({"Measurement": fake.measurement})
        elif self.path == "/detector/config":
            self._answer(fake.config)
        elif self._answer() and self.path == "/measurement/start":
            threading.Thread(target=fake.send_frames, daemon=True).start()

    def do_PUT(self):
        fake = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._answer():
            setattr(fake, "config" if self.path == "/detector/config" else "destination", body)


@pytest.fixture
def serval():
    fake = FakeServal()
    table = {"driver": "serval", "host": "127.0.0.1", "port": fake.server_address[1], "shape": (3, 4), "timeout_s": 2.0}
    yield open_cameras([table], RealClock())["cheetah"], fake
    fake.shutdown()
    fake.server_close()


@pytest.mark.parametrize("depth", [8, 16, 32])
def test_one_frame(serval, depth):
    camera, fake = serval
    fake.depth = depth
    frame = camera.acquire(0.05)
    assert np.array_equal(frame.data, np.arange(12).reshape(3, 4))
    assert frame.data.dtype.isnative
    assert frame.extra == {"serval_time": 1.5}
    assert fake.config["BiasVoltage"] == 100  # the rest of the configuration is left alone
    assert fake.config["TriggerPeriod"] - fake.config["ExposureTime"] > 0.002
    assert fake.asked[-2:] == ["/measurement/start", "/measurement/stop"]


def test_a_stream_with_a_lost_frame_and_one_that_is_left(serval):
    camera, fake = serval
    fake.skip = (1,)
    assert [f.number for f in camera.stream(0.01, frames=4)] == [0, 2, 3]
    frames = camera.stream(0.01)
    next(frames)
    frames.close()
    assert fake.asked[-1] == "/measurement/stop"


def test_what_goes_wrong_is_told(serval):
    camera, fake = serval
    fake.measurement = {"Status": "DA_RECORDING"}
    with pytest.raises(HardwareFault, match="DA_RECORDING"):
        camera.acquire(0.01)
    fake.measurement = {"Status": "DA_IDLE"}
    fake.refuse = {"/detector/config": 409}
    with pytest.raises(HardwareFault, match="409"):
        camera.acquire(0.01)
    fake.refuse = {}
    for fault in (
        lambda h, b: (h | {"width": 5}, b),
        lambda h, b: (h | {"bitDepth": 7}, b),
        lambda h, b: (h, b[:5]),
        lambda h, b: ([1], b),
    ):
        fake.fault = fault
        with pytest.raises(WireError):
            camera.acquire(0.01)
    fake.shutdown()
    fake.server_close()
    with pytest.raises(HardwareFault, match="does not answer"):
        camera.acquire(0.01)
