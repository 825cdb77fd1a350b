"""Quantum Detectors' Merlin over its two TCP ports. Never run on hardware by its authors; tested against a fake.

A message is ``MPX,<10 digits>,<payload>``, where the digits count the payload and the comma before it. Commands go to
port 6341 and are answered with a code (0 fine, 1 busy, 2 not recognised, 3 out of range); a header and frames (``MQ1``,
big-endian pixels) come on port 6342, which takes one client. Source: the maker's public text protocol as LiberTEM-live
and areaDetector's ADMerlin speak it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.instrument.clock import Clock
from credo.instrument.errors import HardwareFault, Refused, WireError
from credo.instrument.protocols import CameraInfo, Frame

__all__ = ["MerlinCamera", "MerlinSettings", "open_camera"]

_CODES = {1: "busy", 2: "not recognised", 3: "out of range"}
_PIXELS = {"U08": ">u1", "U16": ">u2", "U32": ">u4"}
_MESSAGE_LIMIT, _GARBAGE_LIMIT = 1 << 26, 1 << 20


class MerlinSettings(BaseModel):
    """The driver's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    host: str = Field(description="the Merlin PC")
    control_port: int = Field(default=6341, ge=1, le=65535, description="port of commands")
    data_port: int = Field(default=6342, ge=1, le=65535, description="port of frames")
    name: str = Field(default="merlin", description="name of the camera")
    shape: tuple[int, int] = Field(default=(512, 512), description="rows and columns (514 × 514 with the gap)")
    counter_depth: Literal[1, 6, 12, 24] = Field(default=12, description="bits of the counter")
    continuous: bool = Field(default=False, description="read while the other counter counts: no dead time")
    dead_time_s: float = Field(default=0.0016, ge=0, description="read-out between frames otherwise [s]")
    timeout_s: float = Field(default=5.0, gt=0, le=60, description="longest wait beyond the exposure [s]")


def open_camera(settings: Mapping[str, Any], clock: Clock) -> MerlinCamera:
    """The camera driver "merlin"."""
    return MerlinCamera(MerlinSettings.model_validate(dict(settings)), clock)


class MerlinCamera:
    """Frames' times are those of their arrival; the detector's own is in ``extra``."""

    def __init__(self, settings: MerlinSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self.info = CameraInfo(
            settings.name,
            settings.shape,
            55.0,
            (1e-5, 60.0),
            saturation=min(2**settings.counter_depth - 1, 65535 if settings.counter_depth < 24 else 2**24 - 1),
            dtype="uint32" if settings.counter_depth == 24 else "uint16",
            dead_time=0.0 if settings.continuous else settings.dead_time_s,
            fragile=False,
        )
        self._control: _Messages | None = None

    def acquire(self, exposure: float, binning: int = 1) -> Frame:
        return next(iter(self.stream(exposure, binning, 1)))

    def stream(self, exposure: float, binning: int = 1, frames: int | None = None) -> Iterator[Frame]:
        if binning != 1:
            raise Refused(f"{self.info.name} does not bin")
        settings = self._settings
        data = _Messages(settings.host, settings.data_port, settings.timeout_s)
        try:
            self._prepare(exposure, 1_000_000 if frames is None else frames)
            self._command("CMD", "STARTACQUISITION")
            yield from self._frames(data, exposure, frames)
        finally:
            try:
                self._command("CMD", "STOPACQUISITION")
            finally:
                data.close()

    def _prepare(self, exposure: float, frames: int) -> None:
        period = exposure + self.info.dead_time
        for name, value in (
            ("COUNTERDEPTH", self._settings.counter_depth),
            ("CONTINUOUSRW", int(self._settings.continuous)),
            ("TRIGGERSTART", 0),
            ("TRIGGERSTOP", 0),
            ("FILEENABLE", 0),
            ("ACQUISITIONTIME", f"{1e3 * exposure:.6g}"),
            ("ACQUISITIONPERIOD", f"{1e3 * period:.6g}"),
            ("NUMFRAMESPERTRIGGER", 1),
            ("NUMFRAMESTOACQUIRE", frames),
        ):
            self._command("SET", name, value)

    def _frames(self, data: _Messages, exposure: float, frames: int | None) -> Iterator[Frame]:
        count = 0
        while frames is None or count < frames:
            message = data.read(self._settings.timeout_s + exposure)
            ended = self._clock.time()
            if message.startswith(b"HDR"):
                continue
            frame = _frame(message, exposure, ended)
            count = frame.number + 1  # what the detector counts: a gap is a lost frame
            yield frame

    def _command(self, kind: str, name: str, value: Any = None) -> None:
        if self._control is None:
            self._control = _Messages(self._settings.host, self._settings.control_port, self._settings.timeout_s)
        words = [kind, name] if value is None else [kind, name, str(value)]
        try:
            self._control.send(",".join(words))
            answer = self._control.read(self._settings.timeout_s, last_digit=True).decode("latin-1")
        except (WireError, HardwareFault):
            self._control.close()
            self._control = None
            raise
        code = answer.rsplit(",", 1)[-1].strip()
        if code != "0":
            reason = _CODES.get(int(code), "unknown") if code.isdigit() else answer[:80]
            raise HardwareFault(f"Merlin: {' '.join(words)} was answered with {code} ({reason})")

    def is_inserted(self) -> bool:
        return True

    def insert(self, on: bool) -> None:
        raise Refused("this camera is moved in its own software")


def _frame(message: bytes, exposure: float, ended: float) -> Frame:
    """A frame of ``MQ1,number,header bytes,chips,width,height,pixels,...``; ``WireError`` when it is not one."""
    fields = message[:512].split(b",")
    try:
        number, skip, width, height = (int(fields[k]) for k in (1, 2, 4, 5))
        dtype = np.dtype(_PIXELS[fields[6].decode().strip()])
    except (IndexError, ValueError, KeyError):
        raise WireError(f"Merlin sent what is no frame we can read: {message[:40]!r}") from None
    pixels = message[skip:]
    if len(pixels) != width * height * dtype.itemsize:
        raise WireError(f"Merlin's frame of {height} x {width} {dtype} came with {len(pixels)} bytes")
    image = np.frombuffer(pixels, dtype).reshape(height, width).astype(dtype.newbyteorder("="))
    told = {"merlin_time": fields[9].decode("latin-1").strip()} if len(fields) > 9 else {}
    return Frame(image, ended - exposure, ended, exposure, 1, number - 1, told)


class _Messages:
    """Messages over one connection; bytes that are no message are skipped until the next ``MPX,``."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        try:
            self._socket = socket.create_connection((host, port), timeout=timeout)
        except OSError as error:
            raise HardwareFault(f"Merlin does not answer at {host}:{port} ({error})", "start its software") from None
        self._kept = bytearray()

    def send(self, text: str) -> None:
        try:
            self._socket.sendall(f"MPX,{len(text) + 1:010d},{text}".encode())
        except OSError as error:
            raise HardwareFault(f"the connection to Merlin failed ({error})") from None

    def read(self, timeout: float, last_digit: bool = False) -> bytes:
        """The next payload. ``last_digit``: some servers count an answer one short, so its code is fetched too."""
        self._socket.settimeout(timeout)
        skipped = 0
        while True:
            self._fill(14)
            at = self._kept.find(b"MPX,")
            if at == 0 and self._kept[4:14].isdigit():
                break
            drop = at if at > 0 else 4 if at == 0 else len(self._kept) - 3
            skipped += drop
            if skipped > _GARBAGE_LIMIT:
                raise WireError("Merlin sends what is no message")
            del self._kept[:drop]
        size = int(self._kept[4:14])
        if not 1 <= size <= _MESSAGE_LIMIT:
            raise WireError(f"Merlin announces a message of {size} bytes")
        self._fill(14 + size)
        payload = bytes(self._kept[15 : 14 + size])
        del self._kept[: 14 + size]
        if last_digit and payload.endswith(b","):
            self._fill(1)
            payload += bytes(self._kept[:1])
            del self._kept[:1]
        return payload

    def _fill(self, size: int) -> None:
        while len(self._kept) < size:
            try:
                more = self._socket.recv(1 << 20)
            except OSError as error:
                raise HardwareFault(f"Merlin sent nothing in time ({error})", "look at the detector") from None
            if not more:
                raise HardwareFault("Merlin closed the connection", "another client may have taken it")
            self._kept += more

    def close(self) -> None:
        self._socket.close()
