"""An instrument on another PC behind ``legacy_server.py`` (or another server): its readings and settings as a driver.

The far side keeps limits, lease and dead-man; the guard here adds arrival, order, restoring and the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from credo.instrument.client import Client
from credo.instrument.clock import RealClock
from credo.instrument.drivers.cameras import open_cameras
from credo.instrument.drivers.table import Entry, Table
from credo.instrument.opening import read_token
from credo.instrument.protocols import Camera, Holder, Property, StagePosition, StageState, Value

__all__ = ["RemoteMicroscope", "RemoteSettings", "open_microscope"]


class RemoteSettings(BaseModel):
    """``microscope.options`` of the driver "remote"."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    host: str = Field(description="the microscope's PC")
    port: int = Field(default=8701, ge=1, le=65535, description="port of its server")
    token_file: Path | None = Field(default=None, description="file with the secret of its server")
    cameras: list[dict[str, Any]] = Field(default=[], description="cameras, each with its own driver")


def open_microscope(settings: Mapping[str, Any]) -> RemoteMicroscope:
    """The driver "remote"."""
    chosen = RemoteSettings.model_validate(dict(settings))
    client = Client((chosen.host, chosen.port), read_token(chosen.token_file))
    client.control()
    return RemoteMicroscope(client, chosen.cameras)


class RemoteMicroscope:
    """``client`` has the lease of the far side."""

    def __init__(self, client: Client, cameras: list[dict[str, Any]]) -> None:
        self._client, self.clock = client, RealClock()
        about = client.call("describe")
        self.name = f"{about['name']} (remote)"
        tables = {m: tuple(t) for m, t in about["magnifications"].items()}
        self.lenses = Table(self._entries(about, "lens"), tables)
        self.deflectors = Table(self._entries(about, "deflector"))
        self.apertures = Table(self._entries(about, "aperture"))
        self.stage, self.blanker = RemoteStage(client, about), RemoteBlanker(client)
        self.screen = RemoteScreen(client, about["screen_movable"])
        self.cameras: Mapping[str, Camera] = open_cameras(cameras, self.clock)

    def _entries(self, about: Mapping[str, Any], group: str) -> dict[str, Entry]:
        named = {n: p for n, p in about["settings"].items() if p["group"] == group}
        return {n: self._entry(n, Property.of(p)) for n, p in named.items()}

    def _entry(self, name: str, about: Property) -> Entry:
        def read() -> Value:
            value = self._client.call("get", names=[name])[name]
            return (float(value[0]), float(value[1])) if isinstance(value, list) else value

        def write(value: Any) -> None:
            self._client.call("set", name=name, value=value)

        return Entry(about, read, write if about.writable else None)

    def readiness(self) -> Mapping[str, bool]:
        return {"no_remote_alarm": self._client.call("status")["alarm"] is None}

    def halt(self) -> None:
        self._client.call("stop", reason="halt")

    def close(self) -> None:
        self._client.close()


class RemoteStage:
    """The far side starts moves; the guard here watches them."""

    def __init__(self, client: Client, about: Mapping[str, Any]) -> None:
        self._client = client
        self.axes = {n: Property.of(p) for n, p in about["axes"].items()}
        self.can_stop = bool(about["can_stop"])
        self.rotation_speeds = Property.of(about["rotation_speeds"])

    def position(self) -> StagePosition:
        return StagePosition(*self._client.call("position"))

    def state(self) -> StageState:
        return StageState(self._client.call("status")["stage"])

    def holder(self) -> Holder:
        told = self._client.call("holder")
        return Holder(told["name"], told["inserted"], tuple(told["tilts"]))

    def start(self, target: Mapping[str, float]) -> None:
        self._client.call("move", target=dict(target), wait=False)

    def stop(self) -> None:
        self._client.call("stop_stage")

    def rotation_speed(self) -> float:
        return self._client.call("status")["rotation_speed"]

    def set_rotation_speed(self, degrees_per_second: float) -> None:
        self._client.call("set_rotation_speed", value=degrees_per_second)


class RemoteBlanker:
    """The far side's blanker."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def is_blanked(self) -> bool:
        return self._client.call("status")["blanked"]

    def blank(self, on: bool) -> None:
        self._client.call("blank" if on else "unblank")


class RemoteScreen:
    """The far side's screen."""

    def __init__(self, client: Client, movable: bool) -> None:
        self._client, self.movable = client, movable

    def is_up(self) -> bool:
        return self._client.call("status")["screen_up"]

    def set_up(self, up: bool) -> None:
        self._client.call("screen", up=up)
