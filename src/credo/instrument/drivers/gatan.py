"""A camera in Gatan's DigitalMicrograph through the socket of the SerialEMCCD plugin. Never run on hardware by its
authors; tested against a fake.

Little-endian packets: bytes in all, function code (back: return code), 32-bit integers, BOOLs of 32 bits, doubles. An
image follows its packet in pieces of ⌈bytes/pieces⌉; every piece but the first is asked for by a handshake. Source: the
plugin's public protocol (SerialEMCCD's SocketPathway, SerialEM's socketProtocol.txt).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.instrument.clock import Clock
from credo.instrument.errors import HardwareFault, Refused, WireError
from credo.instrument.protocols import CameraInfo, Frame

__all__ = ["GatanCamera", "GatanSettings", "open_camera"]

_GET_IMAGE, _SELECT, _INSERTED, _INSERT, _HANDSHAKE = 6, 9, 12, 13, 24
_PROCESSING = {"raw": 0, "dark": 1, "gain": 2}
_PACKET_LIMIT = 4096


class GatanSettings(BaseModel):
    """The driver's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    host: str = Field(description="the PC that runs DigitalMicrograph")
    port: int = Field(default=48890, ge=1025, le=65535, description="SERIALEMCCD_PORT of that PC")
    name: str = Field(default="gatan", description="name of the camera")
    index: int = Field(default=0, ge=0, description="number of the camera in DigitalMicrograph")
    shape: tuple[int, int] = Field(default=(2048, 2048), description="rows and columns, unbinned")
    pixel_size_um: float = Field(default=14.0, gt=0, description="pixel size [µm]")
    binnings: tuple[int, ...] = Field(default=(1, 2, 4), description="binnings that it has")
    processing: Literal["raw", "dark", "gain"] = Field(default="gain", description="what DigitalMicrograph corrects")
    retractable: bool = Field(default=False, description="whether it may be moved by software")
    timeout_s: float = Field(default=30.0, gt=0, le=300, description="longest wait beyond the exposure [s]")


def open_camera(settings: Mapping[str, Any], clock: Clock) -> GatanCamera:
    """The camera driver "gatan"."""
    return GatanCamera(GatanSettings.model_validate(dict(settings)), clock)


class GatanCamera:
    """One frame per call; the plugin takes one client, so the connection is kept."""

    def __init__(self, settings: GatanSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._socket: socket.socket | None = None
        s = settings
        self.info = CameraInfo(
            s.name, s.shape, s.pixel_size_um, (1e-3, 60.0), s.binnings, retractable=s.retractable, fragile=True
        )

    def acquire(self, exposure: float, binning: int = 1) -> Frame:
        rows, columns = (n // binning for n in self.info.shape)
        bottom, right = rows * binning, columns * binning
        mode = _PROCESSING[self._settings.processing]
        longs = (rows * columns, columns, rows, mode, binning, 0, 0, bottom, right, 0, 0, 0, 0)
        began = self._clock.time()
        pixels, width, height, pieces = self._ask(_GET_IMAGE, longs, doubles=(exposure, 0.0), back=4, extra=exposure)
        if pixels != width * height or (height, width) != (rows, columns) or not 1 <= pieces <= 64:
            self._hang_up()
            raise WireError(f"the plugin announces {height} x {width} = {pixels} pixels in {pieces} pieces")
        image = self._image(2 * pixels, pieces).view("<u2").reshape(height, width).astype(np.uint16, copy=False)
        ended = self._clock.time()
        return Frame(image, began, ended, exposure, binning, extra={"times": "of the call, exposure and read-out"})

    def stream(self, exposure: float, binning: int = 1, frames: int | None = None) -> Iterator[Frame]:
        number = 0
        while frames is None or number < frames:
            yield replace(self.acquire(exposure, binning), number=number)
            number += 1

    def is_inserted(self) -> bool:
        (inserted,) = self._ask(_INSERTED, (self._settings.index,), back=1)
        return bool(inserted)

    def insert(self, on: bool) -> None:
        if not self._settings.retractable:
            raise Refused(f"{self.info.name} is not moved by software")
        self._ask(_INSERT, (self._settings.index, int(on)))

    def _ask(
        self, code: int, integers: tuple[int, ...], doubles: tuple[float, ...] = (), back: int = 0, extra: float = 0.0
    ) -> tuple[int, ...]:
        """Send one call (integers, then doubles); returns the ``back`` integers of the answer."""
        if self._socket is None:
            self._connect()
        try:
            self._connected().settimeout(self._settings.timeout_s + extra)
            self._send(code, integers, doubles)
            answer = self._receive()
        except (HardwareFault, WireError):
            self._hang_up()
            raise
        if answer[0] != 0:
            raise HardwareFault(
                f"DigitalMicrograph answered function {code} with {answer[0]}", "see its results window"
            )
        if len(answer) != 1 + back:
            self._hang_up()
            raise WireError(f"the plugin answered function {code} with {len(answer) - 1} values, not {back}")
        return answer[1:]

    def _connect(self) -> None:
        s = self._settings
        try:
            self._socket = socket.create_connection((s.host, s.port), s.timeout_s)
        except OSError as error:
            raise HardwareFault(
                f"the SerialEMCCD plugin does not answer at {s.host}:{s.port} ({error})",
                "start DigitalMicrograph with SERIALEMCCD_PORT set",
            ) from None
        self._ask(_SELECT, (s.index,))

    def _send(self, code: int, integers: tuple[int, ...], doubles: tuple[float, ...] = ()) -> None:
        body = struct.pack(f"<{1 + len(integers)}i{len(doubles)}d", code, *integers, *doubles)
        try:
            self._connected().sendall(struct.pack("<i", 4 + len(body)) + body)
        except OSError as error:
            raise HardwareFault(f"the connection to DigitalMicrograph failed ({error})") from None

    def _receive(self) -> tuple[int, ...]:
        (size,) = struct.unpack("<i", self._read(4))
        if not 8 <= size <= _PACKET_LIMIT or size % 4:
            raise WireError(f"the plugin announces an answer of {size} bytes")
        return struct.unpack(f"<{size // 4 - 1}i", self._read(size - 4))

    def _image(self, size: int, pieces: int) -> np.ndarray:
        data, piece = np.empty(size, np.uint8), -(-size // pieces)
        try:
            for start in range(0, size, piece):
                if start:
                    self._send(_HANDSHAKE, ())
                data[start : start + piece] = np.frombuffer(self._read(min(piece, size - start)), np.uint8)
        except (HardwareFault, WireError):
            self._hang_up()
            raise
        return data

    def _read(self, size: int) -> bytes:
        parts, missing = [], size
        while missing:
            try:
                part = self._connected().recv(min(missing, 1 << 22))
            except OSError as error:
                raise HardwareFault(f"DigitalMicrograph sent nothing in time ({error})") from None
            if not part:
                raise HardwareFault("DigitalMicrograph closed the connection", "another client may have taken it")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise HardwareFault("there is no connection to DigitalMicrograph")
        return self._socket

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
