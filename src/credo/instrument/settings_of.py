"""All settings of a microscope as one table by name: checked, read, written, kept and put back in order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from credo.instrument.errors import HardwareFault, InstrumentError, Refused
from credo.instrument.protocols import Microscope, Property, Settings, Value

__all__ = ["SettingsOf", "checked"]

# whatever a driver offers, these are read only: high tension, emission, valves, vacuum
_NEVER = re.compile(r"tension|^ht|emission|filament|valve|vacuum|extractor", re.IGNORECASE)


class SettingsOf:
    """Lenses, deflectors and apertures of ``microscope`` by name."""

    def __init__(self, microscope: Microscope) -> None:
        self._lenses = microscope.lenses
        self._groups: tuple[Settings, ...] = (microscope.lenses, microscope.deflectors, microscope.apertures)
        self._home = {n: (g, p) for g in self._groups for n, p in g.properties.items()}

    def names(self) -> list[str]:
        return list(self._home)

    def property(self, name: str) -> Property:
        return self._find(name)[1]

    def _find(self, name: str) -> tuple[Settings, Property]:
        if name not in self._home:
            raise Refused(f"this instrument has no setting {name!r}", f"it has {', '.join(self._home)}")
        return self._home[name]

    def is_writable(self, name: str) -> bool:
        return self._find(name)[1].writable and not _NEVER.search(name)

    def get(self, name: str) -> Value:
        value = self._find(name)[0].get(name)
        return (float(value[0]), float(value[1])) if isinstance(value, (tuple, list)) else value

    def choices(self, name: str) -> tuple[Any, ...]:
        """The values allowed now (of magnification: in the present mode)."""
        if name == "magnification":
            return tuple(self._lenses.magnifications.get(str(self._lenses.get("mode")), ()))
        if name == "mode":
            return tuple(self._lenses.magnifications)
        return self.property(name).choices

    def check(self, name: str, value: Any) -> Value:
        """``value`` as the property's kind, or ``Refused``; nothing is written."""
        group, prop = self._find(name)
        if not self.is_writable(name):
            raise Refused(f"{name} is never set by software" if prop.writable else f"{name} can only be read")
        mode = group.get("mode") if prop.modes and "mode" in group.properties else None
        if mode is not None and mode not in prop.modes:
            raise Refused(f"{name} cannot be set in mode {mode}", f"it can in {', '.join(prop.modes)}")
        return checked(name, value, prop, self.choices(name))

    def set(self, name: str, value: Any) -> None:
        self._find(name)[0].set(name, self.check(name, value))

    def snapshot(self) -> dict[str, Value]:
        """Everything that can be put back, in the order in which it must be."""
        mode = self.get("mode") if "mode" in self._home else None
        return {
            n: self.get(n)
            for n, (_, p) in self._home.items()
            if p.restore and self.is_writable(n) and (not p.modes or mode in p.modes)
        }

    def restore(self, state: Mapping[str, Any]) -> list[str]:
        """Put ``state`` back as far as it differs; returns the names changed. All are tried before an error is told."""
        changed, failed = [], []
        for name in self._in_order(state):
            value = state[name]
            try:
                value = tuple(value) if isinstance(value, list) else value
                if self.get(name) != value:
                    self.set(name, value)
                    changed.append(name)
            except InstrumentError as error:
                failed.append(f"{name}: {error.reason}")
        if failed:
            raise HardwareFault(f"not restored: {'; '.join(failed)}", "set these by hand")
        return changed

    def _in_order(self, names: Iterable[str]) -> list[str]:
        wanted = set(names)
        return [n for n in self._home if n in wanted]


def checked(name: str, value: Any, prop: Property, choices: tuple[Any, ...] = ()) -> Value:
    """``value`` in the kind of ``prop`` and within its range or ``choices``, else ``Refused``: never clipped."""
    try:
        value = _as_kind(value, prop.kind)
    except (TypeError, ValueError):
        raise Refused(f"{name} = {value!r} is not a {prop.kind}") from None
    if choices and value not in choices:
        raise Refused(f"{name} = {value!r} is not one of {_short(choices)}")
    if prop.kind in ("float", "int", "pair"):
        low = -1e300 if prop.low is None else prop.low
        high = 1e300 if prop.high is None else prop.high
        for part in value if isinstance(value, tuple) else (value,):
            if not low <= part <= high:
                raise Refused(f"{name} = {part:g} is outside {low:g} to {high:g} {prop.unit}".rstrip())
    return value


def _as_kind(value: Any, kind: str) -> Any:
    if kind == "pair":
        x, y = value
        return _as_kind(x, "float"), _as_kind(y, "float")
    if kind in ("str", "bool"):
        if not isinstance(value, str if kind == "str" else bool):
            raise TypeError
        return value
    if isinstance(value, (bool, str)):
        raise TypeError
    number = float(value)
    if kind == "int":
        if number != round(number):
            raise ValueError
        return round(number)
    return number


def _short(choices: tuple[Any, ...]) -> str:
    words = [str(c) for c in choices]
    return ", ".join(words) if len(words) <= 12 else f"{', '.join(words[:5])} ... {', '.join(words[-3:])}"
