"""Calibrations written into a TOML file in place: whole or not at all, with the comments that stand in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import BaseModel
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from credo.instrument.config import Calibration, read, validated
from credo.io.atomic import atomic_write
from credo.model.errors import UnreadableInput

__all__ = ["merged", "read_calibration", "write_calibration"]


def merged(old: Calibration, new: Calibration) -> Calibration:
    """``old`` with everything that ``new`` has; tables are merged entry by entry."""
    was, now = (one.model_dump(mode="json", exclude_defaults=True) for one in (old, new))
    return Calibration.model_validate(_joined(was, now))


def _joined(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(old)
    for key, value in new.items():
        both = isinstance(value, Mapping) and "value" not in value and isinstance(out.get(key), Mapping)
        out[key] = _joined(out[key], value) if both else value
    return out


def read_calibration(path: Path) -> Calibration:
    """Of a configuration or a session's calibration.toml: the table [calibration]."""
    return read(path).calibration


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Put every value of ``calibration`` into [calibration] of the file at ``path``, which is made if it is not there.

    What else stands in the file, comments and order too, stays. What would not be a valid configuration is not written.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        document = tomlkit.parse(text)
    except OSError as error:
        raise UnreadableInput(f"{path}: {error.strerror}", "check the path and the permissions") from None
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise UnreadableInput(f"{path} is not TOML: {error}", "mend that line") from None
    if "calibration" not in document:
        document.add("calibration", tomlkit.table())
    _put(document["calibration"], calibration, Calibration.model_fields)
    made = tomlkit.dumps(document)
    validated(tomlkit.parse(made).unwrap(), str(path))
    with atomic_write(path) as stream:
        stream.write(made.encode("utf-8"))


def _put(table: Any, values: BaseModel, fields: Mapping[str, Any]) -> None:
    for name in fields:
        value = getattr(values, name)
        if value == fields[name].get_default(call_default_factory=True):
            continue
        if isinstance(value, BaseModel):
            table[name] = _inline(value)
        else:
            table[name] = _table(table.get(name), value)


def _table(found: Any, values: Mapping[str, Any]) -> Any:
    """The table ``found``, or a new one, with ``values`` put in: entries inline, others as tables."""
    table = found if isinstance(found, Table) else tomlkit.table()
    if found is not None and table is not found:
        for key, old in found.items():
            table[key] = old
    for key, value in values.items():
        table[key] = _inline(value) if isinstance(value, BaseModel) else _table(table.get(key), value)
    return table


def _inline(entry: BaseModel) -> Any:
    out = tomlkit.inline_table()
    for name, value in entry.model_dump(exclude_defaults=True).items():
        if isinstance(value, dict):
            inner = tomlkit.inline_table()
            inner.update(value)
            value = inner
        elif isinstance(value, tuple):
            value = [list(v) if isinstance(v, tuple) else v for v in value]
        out.append(name, value)
    return out
