"""Framing of the instrument protocol: two lengths, a JSON header, a raw blob; bounded before anything is read.

A frame is ``>IQ`` (bytes of the header, bytes of the blob), the header (a UTF-8 JSON object), the blob (pixels).

- Server greets: ``{"credo": 1, "nonce": HEX, "auth": true|false}``.
- Client: ``{"id": 0, "method": "hello", "args": {"version": 1, "session": HEX, "name": TEXT, "nonce": HEX,
  "mac": HEX}}``; ``mac`` = HMAC-SHA256(token, "client" + server's nonce + client's nonce), absent without a token.
- Server: ``{"id": 0, "result": {"version": 1, "mac": HEX}}`` with "server" in place of "client": both know the token.
- Then ``{"id": N, "method": NAME, "args": {...}, "timeout": S}``, answered by ``{"id": N, "result": ...}`` or
  ``{"id": N, "error": {"kind", "reason", "remedy"}}``, in any order. A frame's pixels are the blob, described by
  ``{"frame": {"dtype", "shape", "began", "ended", "exposure", "binning", "number", "extra"}}``.
- Beyond the methods of ``service``: ``ping``, ``lease {"ttl"}``, ``beat``, ``release``, ``methods``,
  ``stream_start``, ``stream_next``, ``stream_stop``, and ``subscribe``, after which the server sends
  ``{"state": {...}}`` ten times a second on that connection.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import struct
import sys
from typing import Any

import numpy as np
from pydantic_core import from_json, to_json

from credo.instrument.errors import WireError
from credo.instrument.protocols import Frame

__all__ = ["HEADER_LIMIT", "VERSION", "Reader", "frame_header", "frame_of", "mac", "packed", "patience", "send", "tune"]

VERSION = 1
HEADER_LIMIT = 1 << 20  # bytes; a request may have a sixteenth
BLOB_LIMIT = 1 << 28
_SIZES = struct.Struct(">IQ")
_PIECE = 1 << 14
_strictly = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")


def tune(connection: socket.socket) -> None:
    """No delay for small frames, room for large ones."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        connection.setsockopt(socket.SOL_SOCKET, option, 1 << 22)


def _encode(header: dict[str, Any]) -> bytes:
    """JSON by the quick encoder; what is no number or no JSON is refused with ``ValueError`` or ``TypeError``."""
    head = to_json(header)
    return _strictly(header).encode() if b"NaN" in head or b"Infinity" in head else head


def packed(header: dict[str, Any]) -> bytes:
    """A frame without a blob."""
    head = _encode(header)
    return _SIZES.pack(len(head), 0) + head


def send(connection: socket.socket, header: dict[str, Any], blob: Any = None) -> None:
    """Send one frame; the caller holds the connection's sending lock."""
    head = _encode(header)
    connection.sendall(_SIZES.pack(len(head), 0 if blob is None else len(blob)) + head)
    if blob is not None:
        connection.sendall(blob)


class Reader:
    """Frames from a connection, whose bytes are taken in as large pieces as come."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._kept = connection, b""

    def header(self, limit: int, blob_limit: int = 0) -> tuple[dict[str, Any], int]:
        """The next header and the size of the blob that follows it. ``EOFError`` when the other side has closed."""
        while (found := self._whole(limit, blob_limit)) is None:
            self._more()
        return found

    def headers(self, limit: int) -> list[dict[str, Any]]:
        """Every header that is complete after one more piece; for a connection that has something to read."""
        self._more()
        found = []
        while (one := self._whole(limit, 0)) is not None:
            found.append(one[0])
        return found

    def _more(self) -> None:
        piece = self._connection.recv(_PIECE)
        if not piece:
            if self._kept:
                raise WireError("the connection ended in the middle of a frame")
            raise EOFError
        self._kept = self._kept + piece if self._kept else piece

    def _whole(self, limit: int, blob_limit: int) -> tuple[dict[str, Any], int] | None:
        """A header out of what is kept; None when it is not complete."""
        if len(self._kept) < _SIZES.size:
            return None
        n, blob = _SIZES.unpack_from(self._kept)
        if n > limit or blob > blob_limit:
            raise WireError(f"a frame of {n} + {blob} bytes is larger than allowed ({limit} + {blob_limit})")
        end = _SIZES.size + n
        if len(self._kept) < end:
            return None
        head, self._kept = self._kept[_SIZES.size : end], self._kept[end:]
        try:
            header = from_json(head, allow_inf_nan=False)
        except (ValueError, RecursionError) as error:
            raise WireError(f"a frame's header is not JSON ({error})"[:200]) from None
        if not isinstance(header, dict):
            raise WireError("a frame's header is not an object")
        return header, blob

    def blob(self, size: int) -> np.ndarray:
        """``size`` bytes as a new uint8 array (numpy asks for huge pages: they fault in faster than a bytearray's)."""
        data = np.empty(size, np.uint8)
        head = self._kept[:size]
        self._kept = self._kept[size:]
        data[: len(head)] = np.frombuffer(head, np.uint8)
        view = data.data[len(head) :]
        while len(view):
            got = self._connection.recv_into(view)
            if not got:
                raise WireError("the connection ended in the middle of a frame")
            view = view[got:]
        return data


def patience(connection: socket.socket, seconds: float) -> None:
    """Let a blocking ``recv`` fail with ``BlockingIOError`` after ``seconds`` (Python's own time-out asks the system
    before every piece, which costs as much as the piece)."""
    value = max(int(1000 * seconds), 1)
    packed = value if sys.platform == "win32" else struct.pack("ll", value // 1000, value % 1000 * 1000)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, packed)


def mac(token: bytes, side: str, server_nonce: str, client_nonce: str) -> str:
    """The proof that ``side`` ("client" or "server") knows the token, for this connection only."""
    return hmac.new(token, f"{side}{server_nonce}{client_nonce}".encode(), hashlib.sha256).hexdigest()


def frame_header(frame: Frame) -> dict[str, Any]:
    """What describes a frame's blob."""
    return {
        "dtype": str(frame.data.dtype),
        "shape": list(frame.data.shape),
        "began": frame.began,
        "ended": frame.ended,
        "exposure": frame.exposure,
        "binning": frame.binning,
        "number": frame.number,
        "extra": dict(frame.extra),
    }


def frame_of(header: dict[str, Any], data: np.ndarray) -> Frame:
    """The frame that came over the wire; ``WireError`` when description and blob disagree."""
    shape, dtype = tuple(header.get("shape", ())), header.get("dtype")
    if dtype not in _DTYPES or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise WireError(f"a frame of {shape} {dtype!r} cannot be read")
    if int(np.prod(shape)) * np.dtype(dtype).itemsize != data.nbytes:
        raise WireError(f"a frame of {shape} {dtype} came with {data.nbytes} bytes")
    rest = {k: header[k] for k in ("began", "ended", "exposure", "binning", "number", "extra")}
    return Frame(data.view(dtype).reshape(shape), **rest)
