"""The controller's handles: deflectors, lenses, stage, beam, screen and mode, under the names that scripts know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from credo.instrument.clock import Clock
from credo.instrument.errors import Refused
from credo.instrument.protocols import Frame, StagePosition

__all__ = ["Beam", "Deflector", "DeflectorTuple", "Lens", "Link", "Magnification", "Mode", "Reading", "Screen", "Stage"]


class Link(Protocol):
    """The way to an instrument: in this process (``service.LocalLink``) or to a server (``client.Client``)."""

    @property
    def clock(self) -> Clock: ...

    def call(self, name: str, /, **arguments: Any) -> Any: ...

    def stream(
        self, camera: str | None, exposure: float, binning: int = 1, frames: int | None = None
    ) -> Iterator[Frame]: ...

    def close(self) -> None: ...


class DeflectorTuple(NamedTuple):
    """A deflector's setting [unit of the instrument]."""

    x: float
    y: float


class Reading:
    """A value that can only be read: ``get()`` or ``value``."""

    def __init__(self, link: Link, name: str, about: Mapping[str, Any]) -> None:
        self._link, self.name, self.about = link, name, about

    @property
    def unit(self) -> str:
        return self.about.get("unit", "")

    @property
    def value(self) -> Any:
        return self._link.call("get", names=[self.name])[self.name]

    def get(self) -> Any:
        return self.value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}={self.get()!r} {self.unit})".replace(" )", ")")


class Lens(Reading):
    """A lens or another setting of one value. Values outside ``min()`` to ``max()`` are refused, not clipped."""

    @property
    def value(self) -> Any:
        return self._link.call("get", names=[self.name])[self.name]

    @value.setter
    def value(self, value: Any) -> None:
        self.set(value)

    def set(self, value: Any, **_: Any) -> None:
        self._link.call("set", name=self.name, value=value)

    def min(self) -> float | None:
        return self.about.get("low")

    def max(self) -> float | None:
        return self.about.get("high")

    def neutral(self) -> None:
        """Set to the vendor's centre."""
        centre = self.about.get("neutral")
        if centre is None:
            raise Refused(f"{self.name} has no neutral value on this instrument")
        self.set(centre)


class DiffFocus(Lens):
    """The lens that focuses the diffraction pattern."""

    _focused: Any = None

    @property
    def is_defocused(self) -> bool:
        return self._focused is not None

    def defocus(self, offset: float) -> None:
        """Shift the focus by ``offset``, remembering where it was."""
        if self.is_defocused:
            raise Refused("the pattern is defocused already", "refocus first")
        focused = self.value
        self.set(focused + offset)
        self._focused = focused

    def refocus(self) -> None:
        if self.is_defocused:
            self.set(self._focused)
            self._focused = None

    @contextmanager
    def defocused(self, offset: float) -> Iterator[None]:
        self.defocus(offset)
        try:
            yield
        finally:
            self.refocus()


class Magnification(Lens):
    """Magnification, or in diffraction the camera length [mm], from the table of the present mode."""

    def __init__(self, link: Link, name: str, about: Mapping[str, Any], tables: Mapping[str, Sequence[float]]) -> None:
        super().__init__(link, name, about)
        self._tables = tables

    def _table(self) -> Sequence[float]:
        mode = self._link.call("get", names=["mode"])["mode"]
        return self._tables.get(mode, ())

    @property
    def index(self) -> int:
        """Place in the table of the present mode, from 0."""
        return list(self._table()).index(self.value)

    @index.setter
    def index(self, index: int) -> None:
        table = self._table()
        if not 0 <= index < len(table):
            raise Refused(f"magnification index {index} is outside 0 to {len(table) - 1}")
        self.set(table[index])

    @property
    def absolute_index(self) -> int:
        """Place in all tables one after another."""
        mode = self._link.call("get", names=["mode"])["mode"]
        before = list(self._tables)[: list(self._tables).index(mode)]
        return sum(len(self._tables[m]) for m in before) + self.index

    def increase(self) -> None:
        self.index += 1

    def decrease(self) -> None:
        self.index -= 1

    def get_ranges(self) -> dict[str, list[float]]:
        return {m: list(t) for m, t in self._tables.items()}


class Deflector(Reading):
    """A pair of coils: ``x``, ``y``, ``xy``, ``get()``, ``set(x, y)``."""

    def get(self) -> DeflectorTuple:
        return DeflectorTuple(*self._link.call("get", names=[self.name])[self.name])

    def set(self, x: float | None = None, y: float | None = None) -> None:
        """What is not given stays."""
        if x is None or y is None:
            here = self.get()
            x, y = here.x if x is None else x, here.y if y is None else y
        self._link.call("set", name=self.name, value=(float(x), float(y)))

    @property
    def x(self) -> float:
        return self.get().x

    @x.setter
    def x(self, value: float) -> None:
        self.set(x=value)

    @property
    def y(self) -> float:
        return self.get().y

    @y.setter
    def y(self, value: float) -> None:
        self.set(y=value)

    @property
    def xy(self) -> DeflectorTuple:
        return self.get()

    @xy.setter
    def xy(self, values: Sequence[float]) -> None:
        self.set(*values)

    def neutral(self) -> None:
        """Set to the vendor's centre."""
        centre = self.about.get("neutral")
        if centre is None:
            raise Refused(f"{self.name} has no neutral value on this instrument")
        self.set(*centre)


class Stage:
    """The goniometer: x, y, z [nm], a, b [deg]. Setting an attribute moves and waits until it has arrived."""

    def __init__(self, link: Link) -> None:
        self._link, self._wait = link, True

    def get(self) -> StagePosition:
        return StagePosition(*self._link.call("position"))

    def set(
        self, x: float | None = None, y: float | None = None, z: float | None = None, a: float | None = None,
        b: float | None = None, wait: bool = True, backlash: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Move to absolute values; with ``wait`` False return at once. ``backlash``: axes to approach from below."""
        given = {n: float(v) for n, v in (("x", x), ("y", y), ("z", z), ("a", a), ("b", b)) if v is not None}
        if given:
            self._link.call("move", target=given, backlash=list(backlash), wait=wait and self._wait)

    @property
    def xy(self) -> tuple[float, float]:
        return self.get()[:2]

    @xy.setter
    def xy(self, values: Sequence[float]) -> None:
        self.set(x=values[0], y=values[1])

    @property
    def holder(self) -> str:
        return self._link.call("holder")["name"]

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """Where each axis may go with the present holder [nm, deg]."""
        return {n: (low, high) for n, (low, high) in self._link.call("ranges").items()}

    def is_moving(self) -> bool:
        return self._link.call("status")["moving"]

    def wait(self, timeout: float | None = None) -> None:
        """Until the stage rests; raises what went wrong on its way."""
        self._link.call("wait", timeout=timeout)

    def stop(self) -> None:
        self._link.call("stop_stage")

    def neutral(self) -> None:
        """All axes that the holder has to 0."""
        self._link.call("move", target=dict.fromkeys(self.limits, 0.0), wait=self._wait)

    @contextmanager
    def no_wait(self) -> Iterator[None]:
        """Within, moves return at once."""
        self._wait = False
        try:
            yield
        finally:
            self._wait = True

    def get_rotation_speed(self) -> float:
        """Speed of axis a [deg/s]."""
        return self._link.call("status")["rotation_speed"]

    def set_rotation_speed(self, speed: float) -> float:
        """Set it [deg/s]; returns the nearest that the goniometer can do, which it has now."""
        return self._link.call("set_rotation_speed", value=float(speed))

    @contextmanager
    def rotation_speed(self, speed: float) -> Iterator[float]:
        """Within, axis a turns at ``speed`` [deg/s]; afterwards, whatever happens, as before."""
        before = self.get_rotation_speed()
        try:
            yield self.set_rotation_speed(speed)
        finally:
            if self.is_moving():
                self.stop()
            self.set_rotation_speed(before)

    def set_a_with_speed(self, a: float, speed: float, wait: bool = True) -> None:
        """Turn to ``a`` at ``speed`` [deg/s]. With ``wait`` False the speed stays set; control's end resets it."""
        if wait:
            with self.rotation_speed(speed):
                self.set(a=a)
        else:
            self.set_rotation_speed(speed)
            self.set(a=a, wait=False)

    def set_xy_with_backlash_correction(self, x: float | None = None, y: float | None = None) -> None:
        """Approach from below by the overshoot of the safety settings."""
        self.set(x=x, y=y, backlash=("x", "y"))

    def move_xy_with_backlash_correction(self, shift_x: float = 0.0, shift_y: float = 0.0) -> None:
        here = self.get()
        self.set(x=here.x + shift_x, y=here.y + shift_y, backlash=("x", "y"))

    def eliminate_backlash_xy(self) -> None:
        self.move_xy_with_backlash_correction()

    def eliminate_backlash_a(self, target_angle: float | None = None) -> None:
        """Come to the angle (the present one) from below."""
        self.set(a=self.get().a if target_angle is None else target_angle, backlash=("a",))

    def __repr__(self) -> str:
        p = self.get()
        return f"Stage(x={p.x:.0f} nm, y={p.y:.0f} nm, z={p.z:.0f} nm, a={p.a:.2f} deg, b={p.b:.2f} deg)"


def _axis(name: str) -> property:
    def read(self: Stage) -> float:
        return getattr(self.get(), name)

    def write(self: Stage, value: float) -> None:
        self._link.call("move", target={name: float(value)}, wait=self._wait)

    return property(read, write, doc=f"Axis {name} [{'deg' if name in 'ab' else 'nm'}]")


for _name in ("x", "y", "z", "a", "b"):
    setattr(Stage, _name, _axis(_name))


class Beam:
    """The blanker. An open beam is closed by ``blank``, by any exception in a ``with``, and when its time is over."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def is_blanked(self) -> bool:
        return self._link.call("status")["blanked"]

    @property
    def state(self) -> str:
        return "blanked" if self.is_blanked else "unblanked"

    def get(self) -> str:
        return self.state

    def set(self, state: str) -> None:
        if state not in ("blanked", "unblanked"):
            raise Refused(f"the beam is 'blanked' or 'unblanked', not {state!r}")
        (self.blank if state == "blanked" else self.unblank)()

    def blank(self, delay: float = 0.0) -> None:
        self._link.call("blank")
        self._link.clock.sleep(delay)

    def unblank(self, delay: float = 0.0) -> None:
        self._link.call("unblank")
        self._link.clock.sleep(delay)

    @contextmanager
    def blanked(self, delay: float = 0.0) -> Iterator[None]:
        """Within the beam is off, afterwards as it was; after an exception it stays off."""
        was_blanked = self.is_blanked
        self.blank(delay)
        yield
        if not was_blanked:
            self.unblank()

    @contextmanager
    def unblanked(self, delay: float = 0.0) -> Iterator[None]:
        """Within the beam is on, afterwards off."""
        self.unblank(delay)
        try:
            yield
        finally:
            self.blank()

    def __bool__(self) -> bool:
        return self.is_blanked

    def __call__(self, on: bool) -> None:
        """The thesis' ``ctrl.beamblank(True)``."""
        (self.blank if on else self.unblank)()

    def __repr__(self) -> str:
        return f"Beam({self.state})"


class Screen:
    """The fluorescent screen."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def is_up(self) -> bool:
        return self._link.call("status")["screen_up"]

    @property
    def state(self) -> str:
        return "up" if self.is_up else "down"

    def get(self) -> str:
        return self.state

    def up(self) -> None:
        self._link.call("screen", up=True)

    def down(self) -> None:
        self._link.call("screen", up=False)

    def set(self, state: str) -> None:
        if state not in ("up", "down"):
            raise Refused(f"the screen is 'up' or 'down', not {state!r}")
        (self.up if state == "up" else self.down)()

    def __repr__(self) -> str:
        return f"Screen({self.state})"


class Mode(Lens):
    """The mode of the optics: compares with text, and as in the thesis ``ctrl.mode("diff")`` sets it."""

    @property
    def state(self) -> str:
        return self.value

    def __call__(self, mode: str) -> None:
        self.set(mode)

    def __eq__(self, other: object) -> bool:
        return self.value == (other.value if isinstance(other, Mode) else other)

    __hash__: Callable[..., int] | None = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.value
