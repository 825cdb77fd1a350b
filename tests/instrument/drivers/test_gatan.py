"""The Gatan driver over a fake of the SerialEMCCD plugin's socket."""

from __future__ import annotations

import socket
import struct
import threading

import numpy as np
import pytest

from credo.instrument.clock import RealClock
from credo.instrument.drivers.cameras import open_cameras
from credo.instrument.errors import HardwareFault, Refused, WireError

# function code: integers (BOOLs among them) and doubles of a request, as the plugin's table has them
TABLE = {6: (13, 2), 9: (1, 0), 12: (1, 0), 13: (2, 0), 24: (0, 0)}


class FakePlugin:
    """``pieces``: of an image. ``codes``: function -> return code. ``short``: bytes of an image that never come."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.pieces, self.codes, self.calls, self.inserted, self.announce = 1, {}, [], 1, lambda n, w, h: (n, w, h)
        self.handshakes, self.short, self.clients = 0, False, []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
                self.clients.append(connection)
                while self._one(connection):
                    pass
            except OSError:
                if self.listener.fileno() < 0:
                    return

    def _packet(self, connection):
        head = connection.recv(4, socket.MSG_WAITALL)
        if len(head) < 4:
            return None
        (size,) = struct.unpack("<i", head)
        body = connection.recv(size - 4, socket.MSG_WAITALL)
        code = struct.unpack_from("<i", body)[0]
        n, m = TABLE[code]
        assert size == 8 + 4 * n + 8 * m
        return code, struct.unpack(f"<{n}i{m}d", body[4:])

    def _one(self, connection):
        packet = self._packet(connection)
        if packet is None:
            return False
        code, args = packet
        self.calls.append((code, *args))
        result = self.codes.get(code, 0)
        back = ()
        if code == 6 and result == 0:
            back = (*self.announce(args[0], args[1], args[2]), self.pieces)
        elif code == 12:
            back = (self.inserted,)
        elif code == 13:
            self.inserted = args[1]
        back = back if result >= 0 else ()
        connection.sendall(struct.pack(f"<{2 + len(back)}i", 8 + 4 * len(back), result, *back))
        if code == 6 and result == 0:
            self._image(connection, args)
        return True

    def _image(self, connection, args):
        data = np.arange(args[0], dtype="<u2").tobytes()
        piece = -(-len(data) // self.pieces)
        for start in range(0, len(data), piece):
            if start:
                assert self._packet(connection) == (24, ())
                self.handshakes += 1
            connection.sendall(data[start : start + piece][: 3 if self.short else None])
            if self.short:
                connection.close()
                return

    def close(self):
        for one in (self.listener, *self.clients):
            one.close()


@pytest.fixture
def gatan():
    fake = FakePlugin()
    table = {"driver": "gatan", "host": "127.0.0.1", "port": fake.port, "shape": (6, 8), "timeout_s": 2.0, "index": 1}
    camera = open_cameras([table | {"retractable": True}], RealClock())["gatan"]
    yield camera, fake
    camera._hang_up()
    fake.close()


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_an_image_in_pieces(gatan, pieces):
    camera, fake = gatan
    fake.pieces = pieces
    frame = camera.acquire(0.5, 2)
    assert np.array_equal(frame.data, np.arange(12).reshape(3, 4))
    assert fake.calls == [(9, 1), (6, 12, 4, 3, 2, 2, 0, 0, 6, 8, 0, 0, 0, 0, 0.5, 0.0)]
    assert fake.handshakes == pieces - 1
    assert [f.number for f in camera.stream(0.1, frames=3)] == [0, 1, 2]


def test_insertion(gatan):
    camera, fake = gatan
    assert camera.is_inserted()
    camera.insert(False)
    assert not camera.is_inserted()
    fixed = open_cameras([{"driver": "gatan", "host": "127.0.0.1", "port": fake.port}], RealClock())["gatan"]
    with pytest.raises(Refused):
        fixed.insert(True)


def test_what_goes_wrong_is_told_and_the_next_call_connects_again(gatan):
    camera, fake = gatan
    fake.codes[6] = -2
    with pytest.raises(HardwareFault, match="answered function 6 with -2"):
        camera.acquire(0.1)
    fake.codes = {}
    fake.announce = lambda n, w, h: (n, h, w)
    with pytest.raises(WireError, match="announces 8 x 6"):
        camera.acquire(0.1)
    fake.announce = lambda n, w, h: (n, w, h)
    fake.short = True
    with pytest.raises(HardwareFault, match="closed the connection"):
        camera.acquire(0.1)
    fake.short = False
    assert camera.acquire(0.1).data.shape == (6, 8)
    fake.close()
    camera._hang_up()
    with pytest.raises(HardwareFault, match="SERIALEMCCD_PORT"):
        camera.acquire(0.1)
