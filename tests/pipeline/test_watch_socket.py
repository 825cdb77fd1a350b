"""Paths by socket, as Instamatic and edtools send them."""

import json
import socket

import pytest

from credo.model import CannotDo
from credo.pipeline.watch_socket import MAX_MESSAGE, PathServer, message_of


@pytest.fixture
def server():
    got = []

    def take(path, message):
        if path.name == "refused":
            raise CannotDo("not this one", "")
        got.append((path, message))

    with_port = PathServer(take, port=0)
    with_port.got = got
    yield with_port
    with_port.close()


def say(server, *parts: bytes) -> str:
    with socket.create_connection(server.address, timeout=10) as s:
        for part in parts:
            s.sendall(part)
        return s.recv(4096).decode()


def test_instamatics_message(server, tmp_path):
    message = {"path": str(tmp_path), "rotrange": 61.4, "nframes": 267, "osc": 0.23}
    assert say(server, json.dumps(message).encode()) == "OK\n"
    assert server.got == [(tmp_path, message)]


def test_in_pieces_and_a_bare_path(server, tmp_path):
    text = json.dumps({"path": str(tmp_path)}).encode()
    assert say(server, text[:5], text[5:]) == "OK\n"
    assert say(server, str(tmp_path).encode()) == "OK\n"
    assert [p for p, _ in server.got] == [tmp_path, tmp_path]


def test_several_on_one_connection(server, tmp_path):
    with socket.create_connection(server.address, timeout=10) as s:
        for _ in range(2):
            s.sendall(json.dumps({"path": str(tmp_path)}).encode())
            assert s.recv(100) == b"OK\n"
        s.sendall(b"close")
        assert s.recv(100) == b"closed\n" and s.recv(100) == b""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"path": 5}', "no path"),
        (b'{"pat": "x"}', "no path"),
        (b"/nowhere/at/all", "no such file"),
        (b'{"path": "a\\u0000b"}', "no path"),
        (b"\xff\xfe", "decode"),
        (b'{"path": "' + b"x" * 5000 + b'"}', "no path"),
    ],
)
def test_what_is_wrong_is_answered(server, data, reason):
    answer = say(server, data)
    assert answer.startswith("error: ") and reason in answer
    assert server.got == []


def test_bounds(server, tmp_path):
    (tmp_path / "refused").mkdir()
    assert say(server, str(tmp_path / "refused").encode()) == "error: not this one\n"
    assert say(server, b"{" * (MAX_MESSAGE + 10)).startswith("error: ")
    assert say(server, b"kill") == "closed\n"
    assert say(server, str(tmp_path).encode()) == "OK\n"


def test_only_this_machine_and_a_port_in_use(server):
    assert server.address[0] == "127.0.0.1"
    with pytest.raises(CannotDo, match="another --port"):
        PathServer(lambda *_: None, port=server.address[1])


def test_absurd_numbers_are_not_passed_on():
    assert message_of(b'{"path": "x", "osc": 1e99, "nframes": true}') == {"path": "x"}
    assert message_of(b'{"path": "x"') is None
