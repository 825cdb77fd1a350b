"""What can be asked of an instrument: a closed list of methods with typed arguments, each with the right it needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from credo.instrument.errors import Refused
from credo.instrument.protocols import Frame
from credo.instrument.safety import Guard, Run, direct

__all__ = ["ALWAYS", "CONTROL", "METHODS", "READ", "LocalLink", "Service", "check_arguments"]

READ, CONTROL, ALWAYS = "read", "control", "always"


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 1000:
        raise ValueError("a short text")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("a finite number")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("a whole number")
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _value(value: Any) -> Any:
    """A setting: number, text, truth, or a pair of numbers."""
    if isinstance(value, (list, tuple)):
        if len(value) != 2:
            raise ValueError("a number, a text, or a pair of numbers")
        return _number(value[0]), _number(value[1])
    if isinstance(value, (str, bool)):
        return value
    return value if isinstance(value, int) else _number(value)


def _names(value: Any) -> list[str]:
    if not isinstance(value, (list, tuple)) or len(value) > 200:
        raise ValueError("a list of names")
    return [_text(v) for v in value]


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or len(value) > 200:
        raise ValueError("a table of settings")
    return {_text(k): _value(v) for k, v in value.items()}


def _axes(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping) or len(value) > 5:
        raise ValueError("axes and their values")
    return {_text(k): _number(v) for k, v in value.items()}


def _maybe(kind: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else kind(value)


@dataclass(frozen=True)
class Method:
    """A name of the list: the right it needs, the thread it runs in ("hardware" or "camera"), its arguments."""

    role: str
    arguments: Mapping[str, Callable[[Any], Any]]
    required: tuple[str, ...] = ()
    thread: str = "hardware"


METHODS: dict[str, Method] = {
    "describe": Method(READ, {}),
    "get": Method(READ, {"names": _names}, ("names",)),
    "position": Method(READ, {}),
    "status": Method(READ, {}),
    "holder": Method(READ, {}),
    "ranges": Method(READ, {}),
    "snapshot": Method(READ, {}),
    "wait": Method(READ, {"timeout": _maybe(_number)}),
    "set": Method(CONTROL, {"name": _text, "value": _value}, ("name", "value")),
    "restore": Method(CONTROL, {"state": _table}, ("state",)),
    "move": Method(CONTROL, {"target": _axes, "backlash": _names, "wait": _truth}, ("target",)),
    "stop_stage": Method(CONTROL, {}),
    "set_rotation_speed": Method(CONTROL, {"value": _number}, ("value",)),
    "unblank": Method(CONTROL, {"seconds": _maybe(_number)}),
    "screen": Method(CONTROL, {"up": _truth}, ("up",)),
    "check_dose": Method(CONTROL, {}),
    "confirm": Method(CONTROL, {}),
    "reset": Method(CONTROL, {}),
    "insert_camera": Method(CONTROL, {"camera": _maybe(_text), "on": _truth}, ("on",), "camera"),
    "image": Method(
        CONTROL,
        {"camera": _maybe(_text), "exposure": _number, "binning": _whole, "dark": _truth},
        ("exposure",),
        "camera",
    ),
    "blank": Method(ALWAYS, {}),
    "stop": Method(ALWAYS, {"reason": _text}),
}


def check_arguments(name: str, given: Any) -> dict[str, Any]:
    """The arguments of ``name`` as their types; ``Refused`` for a name or an argument that is not on the list."""
    method = METHODS.get(name) if isinstance(name, str) else None
    if method is None:
        raise Refused(f"there is no method {name!r}"[:200])
    if not isinstance(given, Mapping):
        raise Refused(f"{name}: arguments must be named")
    for key in given:
        if key not in method.arguments:
            raise Refused(f"{name}: there is no argument {key!r}"[:200])
    if missing := [k for k in method.required if k not in given]:
        raise Refused(f"{name}: {', '.join(missing)} missing")
    checked = {}
    for key, value in given.items():
        try:
            checked[key] = method.arguments[key](value)
        except ValueError as error:
            raise Refused(f"{name}: {key} must be {error}") from None
    return checked


class Service:
    """The methods of the list over a guard. Results are plain values, a ``Frame``, or a generator that yields seconds
    to wait and returns the result."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._calls: dict[str, Callable[..., Any]] = {
            "describe": self._describe,
            "get": lambda names: {n: guard.get(n) for n in names},
            "position": lambda: list(guard.position()),
            "status": self._status,
            "holder": lambda: asdict(guard.microscope.stage.holder()),
            "ranges": lambda: {n: list(r) for n, r in guard.ranges().items()},
            "snapshot": guard.settings.snapshot,
            "wait": self._wait,
            "set": guard.set,
            "restore": guard.restore,
            "move": self._move,
            "stop_stage": guard.halt_stage,
            "set_rotation_speed": lambda value: guard.set_rotation_speed(value),
            "unblank": guard.unblank,
            "screen": guard.set_screen,
            "check_dose": guard.check_dose,
            "confirm": guard.confirm,
            "reset": guard.reset,
            "insert_camera": self._insert,
            "image": self._image,
            "blank": guard.blank,
            "stop": self._stop,
        }

    def call(self, name: str, arguments: Mapping[str, Any], run: Run = direct) -> Any:
        """``arguments`` as ``check_arguments`` returned them; ``run`` takes hardware work of camera methods."""
        if name == "image":
            return self._image(**arguments, run=run)
        return self._calls[name](**arguments)

    def _describe(self) -> dict[str, Any]:
        guard = self.guard
        microscope, settings = guard.microscope, guard.settings
        kinds = (("lens", microscope.lenses), ("deflector", microscope.deflectors), ("aperture", microscope.apertures))
        return {
            "name": microscope.name,
            "settings": {
                n: asdict(p) | {"group": kind, "writable": settings.is_writable(n)}
                for kind, group in kinds
                for n, p in group.properties.items()
            },
            "magnifications": {m: list(t) for m, t in microscope.lenses.magnifications.items()},
            "axes": {n: asdict(p) for n, p in microscope.stage.axes.items()},
            "can_stop": microscope.stage.can_stop,
            "rotation_speeds": asdict(microscope.stage.rotation_speeds),
            "screen_movable": microscope.screen.movable,
            "cameras": {n: asdict(c.info) for n, c in microscope.cameras.items()},
        }

    def _status(self) -> dict[str, Any]:
        guard = self.guard
        return {
            "time": guard.clock.time(),
            "position": list(guard.position()),
            "moving": guard.is_moving,
            "stage": guard.microscope.stage.state().value,
            "rotation_speed": guard.microscope.stage.rotation_speed(),
            "blanked": guard.microscope.blanker.is_blanked(),
            "screen_up": guard.microscope.screen.is_up(),
            "alarm": guard.alarm,
            "controlled_by": guard.caller,
        }

    def _wait(self, timeout: float | None = None) -> Generator[float, None, list[float]]:
        return list((yield from self.guard.settle(timeout)))

    def _move(self, target: dict[str, float], backlash: list[str] | None = None, wait: bool = True) -> Any:
        self.guard.move(target, backlash or ())
        return self._wait() if wait else None

    def _insert(self, on: bool, camera: str | None = None) -> None:
        found = self.guard.camera(camera)
        if not found.info.retractable:
            raise Refused(f"{found.info.name} is not moved by software")
        with self.guard.audit.command("insert camera", self.guard.caller, camera=found.info.name, on=on):
            self.guard.gate.close()
            found.insert(on)

    def _image(
        self, exposure: float, camera: str | None = None, binning: int = 1, dark: bool = False, run: Run = direct
    ) -> Frame:
        return self.guard.acquire(camera, exposure, binning, dark, run)

    def _stop(self, reason: str = "stop") -> None:
        self.guard.emergency(reason)


class LocalLink:
    """The controller's link to a guard in this process and thread."""

    def __init__(self, guard: Guard, caller: str = "local") -> None:
        self.guard, self._service = guard, Service(guard)
        self.clock = guard.clock
        guard.begin(caller)

    def call(self, name: str, /, **arguments: Any) -> Any:
        result = self._service.call(name, check_arguments(name, arguments))
        if not isinstance(result, Generator):
            return result
        while True:
            try:
                self.clock.sleep(next(result))
            except StopIteration as done:
                return done.value

    def stream(
        self, camera: str | None, exposure: float, binning: int = 1, frames: int | None = None
    ) -> Iterator[Frame]:
        return self.guard.stream(camera, exposure, binning, frames)

    def close(self) -> None:
        """End control with the beam off and let go of the hardware."""
        try:
            self.guard.end()
        finally:
            self.guard.microscope.close()
            self.guard.audit.close()
