"""ASI's Timepix3 and Medipix3 through Serval's REST interface. Never run on hardware by its authors; tested on a fake.

Commands are HTTP (JSON, actions are GET); for frames Serval connects to us and sends ``jsonimage``: one JSON object on
a line, its ``dataSize`` bytes of big-endian pixels, a newline. Source: the SERVAL manual 3.0 and public clients.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.instrument.clock import Clock
from credo.instrument.errors import HardwareFault, Refused, WireError
from credo.instrument.protocols import CameraInfo, Frame

__all__ = ["ServalCamera", "ServalSettings", "open_camera"]

_DTYPES = {8: ">u1", 16: ">u2", 32: ">u4"}
_HEADER_LIMIT, _ANSWER_LIMIT = 1 << 16, 1 << 22


class ServalSettings(BaseModel):
    """The driver's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    host: str = Field(description="the PC that runs Serval")
    port: int = Field(default=8080, ge=1, le=65535, description="its port")
    name: str = Field(default="cheetah", description="name of the camera")
    shape: tuple[int, int] = Field(default=(512, 512), description="rows and columns")
    saturation: int = Field(default=65535, gt=0, description="largest count that can be trusted")
    dead_time_s: float = Field(default=0.0021, gt=0, le=1, description="between frames (Timepix3 needs over 2 ms) [s]")
    reach_us_at: str | None = Field(default=None, description="our address as Serval sees it (found if absent)")
    timeout_s: float = Field(default=5.0, gt=0, le=60, description="longest wait beyond the exposure [s]")


def open_camera(settings: Mapping[str, Any], clock: Clock) -> ServalCamera:
    """The camera driver "serval"."""
    return ServalCamera(ServalSettings.model_validate(dict(settings)), clock)


class ServalCamera:
    """Frames' times are those of their arrival; the detector's own is in ``extra`` (``serval_time``)."""

    def __init__(self, settings: ServalSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self.info = CameraInfo(
            settings.name,
            settings.shape,
            55.0,
            (1e-4, 10.0),
            saturation=settings.saturation,
            dead_time=settings.dead_time_s,
            fragile=False,
        )

    def acquire(self, exposure: float, binning: int = 1) -> Frame:
        return next(iter(self.stream(exposure, binning, 1)))

    def stream(self, exposure: float, binning: int = 1, frames: int | None = None) -> Iterator[Frame]:
        if binning != 1:
            raise Refused(f"{self.info.name} does not bin")
        self._refuse_when_busy()
        with socket.create_server((self._our_address(), 0)) as listener:
            listener.settimeout(self._settings.timeout_s)
            self._prepare(exposure, 1_000_000_000 if frames is None else frames, listener.getsockname())
            self._ask("GET", "/measurement/start")
            try:
                yield from self._frames(listener, exposure, frames)
            finally:
                self._ask("GET", "/measurement/stop")

    def _refuse_when_busy(self) -> None:
        measurement = self._ask("GET", "/dashboard").get("Measurement") or {}
        if measurement.get("Status", "DA_IDLE") != "DA_IDLE":
            raise HardwareFault(f"Serval is busy ({measurement['Status']})", "stop its measurement")

    def _prepare(self, exposure: float, frames: int, address: tuple[str, int]) -> None:
        config = self._ask("GET", "/detector/config") | {
            "TriggerMode": "AUTOTRIGSTART_TIMERSTOP",
            "ExposureTime": exposure,
            "TriggerPeriod": exposure + self._settings.dead_time_s,
            "nTriggers": frames,
        }
        self._ask("PUT", "/detector/config", config)
        image = {"Base": f"tcp://connect@{address[0]}:{address[1]}", "Format": "jsonimage", "Mode": "count"}
        self._ask("PUT", "/server/destination", {"Image": [image | {"FilePattern": "frame%d"}]})

    def _frames(self, listener: socket.socket, exposure: float, frames: int | None) -> Iterator[Frame]:
        try:
            connection, _ = listener.accept()
        except OSError:
            raise HardwareFault("Serval did not connect to send frames", "check reach_us_at and the firewall") from None
        with connection:
            connection.settimeout(self._settings.timeout_s + exposure)
            with connection.makefile("rb", buffering=1 << 20) as stream:
                count = 0
                while frames is None or count < frames:
                    frame = self._frame(stream, exposure)
                    count = frame.number + 1  # what the detector counts: a gap is a lost frame
                    yield frame

    def _frame(self, stream: Any, exposure: float) -> Frame:
        try:
            line = stream.readline(_HEADER_LIMIT)
            told = json.loads(line)
            rows, columns, depth = int(told["height"]), int(told["width"]), int(told["bitDepth"])
            size, number = int(told["dataSize"]), int(told["frameNumber"])
            dtype = np.dtype(_DTYPES[depth])
        except OSError as error:
            raise HardwareFault(f"Serval sent nothing in time ({error})", "look at the detector") from None
        except (ValueError, KeyError, TypeError):
            raise WireError(f"Serval sent what is no frame we can read: {line[:60]!r}") from None
        if (rows, columns) != self.info.shape or size != rows * columns * dtype.itemsize:
            raise WireError(f"Serval's frame of {rows} x {columns}, {depth} bits, came with {size} bytes")
        data = stream.read(size + 1)
        if len(data) != size + 1 or data[-1:] != b"\n":
            raise WireError("Serval's frame is cut off")
        ended = self._clock.time()
        image = np.frombuffer(data[:size], dtype).reshape(rows, columns).astype(dtype.newbyteorder("="))
        extra = {"serval_time": told.get("timeAtFrame")}
        return Frame(image, ended - exposure, ended, exposure, 1, number, extra)

    def _our_address(self) -> str:
        if self._settings.reach_us_at:
            return self._settings.reach_us_at
        try:
            with socket.create_connection((self._settings.host, self._settings.port), self._settings.timeout_s) as one:
                return one.getsockname()[0]
        except OSError as error:
            raise self._absent(error) from None

    def _ask(self, verb: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer of one request as a dictionary (empty for one that is no JSON object)."""
        s = self._settings
        connection = http.client.HTTPConnection(s.host, s.port, timeout=s.timeout_s)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(verb, path, text, {"Content-Type": "application/json"} if text else {})
            response = connection.getresponse()
            answer = response.read(_ANSWER_LIMIT).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise self._absent(error) from None
        finally:
            connection.close()
        if response.status not in (200, 204):
            raise HardwareFault(f"Serval: {verb} {path} was answered with {response.status}: {answer[:200]}")
        try:
            found = json.loads(answer) if answer else {}
        except ValueError:
            found = {}
        return found if isinstance(found, dict) else {}

    def _absent(self, error: Exception) -> HardwareFault:
        return HardwareFault(
            f"Serval does not answer at {self._settings.host}:{self._settings.port} ({error})", "start it"
        )

    def is_inserted(self) -> bool:
        return True

    def insert(self, on: bool) -> None:
        raise Refused("this camera is moved in its own software")
