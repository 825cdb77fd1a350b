"""The Merlin driver over a fake that speaks its two ports, with the faults that its clients have met."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest

from credo.instrument.clock import RealClock
from credo.instrument.drivers.cameras import open_cameras
from credo.instrument.errors import HardwareFault, InstrumentError, Refused, WireError


class FakeMerlin:
    """``settings``: what was SET. ``short``: answers are counted one short. ``codes``: name -> code to answer with.
    ``garbage``: bytes before every frame. ``skip``: numbers of frames that get lost. ``break_frame``: cut it."""

    def __init__(self):
        self.settings, self.codes, self.commands = {}, {}, []
        self.short, self.garbage, self.skip, self.break_frame, self.kind = 0, b"", (), False, ("U16", ">u2")
        self.control = socket.create_server(("127.0.0.1", 0))
        self.data = socket.create_server(("127.0.0.1", 0))
        self.ports = self.control.getsockname()[1], self.data.getsockname()[1]
        self.clients = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.control.accept()
            except OSError:
                return
            self.clients.append(connection)
            threading.Thread(target=self._commands, args=(connection,), daemon=True).start()

    def _commands(self, connection):
        kept = b""
        try:
            while more := connection.recv(4096):
                kept += more
                while len(kept) >= 14 and len(kept) >= 14 + int(kept[4:14]):
                    size = int(kept[4:14])
                    text, kept = kept[15 : 14 + size].decode(), kept[14 + size :]
                    self._answer(connection, text)
        except OSError:
            pass

    def _answer(self, connection, text):
        kind, name, *value = text.split(",")
        code = self.codes.get(name, 0)
        self.commands.append(name)
        if kind == "SET" and not code:
            self.settings[name] = value[0]
        answer = f"{kind},{name},{code}"
        connection.sendall(f"MPX,{len(answer) + 1 - self.short:010d},{answer}".encode())
        if name == "STARTACQUISITION" and not code:
            threading.Thread(target=self._frames, daemon=True).start()

    def _frames(self):
        connection, _ = self.data.accept()
        self.clients.append(connection)
        try:
            self._send(connection, b"HDR,\r\nFrames in Acquisition (Number):\t3\r\nEnd\t")
            for number in range(1, int(self.settings["NUMFRAMESTOACQUIRE"]) + 1):
                if number in self.skip:
                    continue
                name, dtype = self.kind
                head = f"MQ1,{number:06d},00384,01,0004,0003,{name},   1x1,01,2026-11-25 10:00:00.000000,0.1"
                pixels = (np.arange(12) + number).astype(dtype).tobytes()
                connection.sendall(self.garbage)
                self._send(connection, head.encode().ljust(384, b"\0") + pixels[: 5 if self.break_frame else None])
        except OSError:
            pass

    @staticmethod
    def _send(connection, payload):
        connection.sendall(b"MPX,%010d," % (len(payload) + 1) + payload)

    def close(self):
        for one in (self.control, self.data, *self.clients):
            one.close()


@pytest.fixture
def merlin():
    fake = FakeMerlin()
    control, data = fake.ports
    table = {"driver": "merlin", "host": "127.0.0.1", "control_port": control, "data_port": data, "timeout_s": 2.0}
    camera = open_cameras([table | {"shape": (3, 4)}], RealClock())["merlin"]
    yield camera, fake
    if camera._control is not None:
        camera._control.close()
    fake.close()


@pytest.mark.parametrize("kind", [("U08", ">u1"), ("U16", ">u2"), ("U32", ">u4")])
def test_frames_in_the_machines_byte_order(merlin, kind):
    camera, fake = merlin
    fake.kind = kind
    frame = camera.acquire(0.01)
    assert np.array_equal(frame.data, np.arange(12).reshape(3, 4) + 1)
    assert frame.data.dtype.isnative
    assert (frame.number, frame.exposure, frame.extra["merlin_time"]) == (0, 0.01, "2026-11-25 10:00:00.000000")
    assert fake.settings["ACQUISITIONTIME"] == "10"
    assert fake.settings["ACQUISITIONPERIOD"] == "11.6"
    assert fake.commands[-2:] == ["STARTACQUISITION", "STOPACQUISITION"]


def test_a_stream_with_garbage_short_answers_and_a_lost_frame(merlin):
    camera, fake = merlin
    fake.garbage, fake.short, fake.skip = b"\0\0rubbish MPX, and more", 1, (3,)
    assert [f.number for f in camera.stream(0.001, frames=5)] == [0, 1, 3, 4]


@pytest.mark.parametrize(("code", "told"), [(1, "busy"), (2, "not recognised"), (3, "out of range")])
def test_a_code_that_is_not_0_is_told(merlin, code, told):
    camera, fake = merlin
    fake.codes["ACQUISITIONTIME"] = code
    with pytest.raises(HardwareFault, match=told):
        camera.acquire(0.01)


def test_a_broken_frame_and_a_detector_that_is_not_there(merlin):
    camera, fake = merlin
    with pytest.raises(Refused, match="bin"):
        camera.acquire(0.01, 2)
    fake.break_frame = True
    with pytest.raises(WireError, match="came with 5 bytes"):
        camera.acquire(0.01)
    fake.close()
    with pytest.raises(HardwareFault):
        camera.acquire(0.01)


def test_a_camera_that_nobody_knows():
    with pytest.raises(InstrumentError, match="merlin"):
        open_cameras([{"driver": "falcon"}], RealClock())
