"""A configuration as TOML, each setting under a comment that says what it is and in which unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tomlkit
from pydantic import BaseModel
from tomlkit.items import Table

from credo.instrument.config import Configuration

__all__ = ["to_toml"]


def to_toml(configuration: Configuration, everything: bool = False) -> str:
    """TOML of what differs from the defaults, or of ``everything``. Reading it back gives an equal configuration."""
    document = tomlkit.document()
    document.add(tomlkit.comment("Configuration of an instrument for credo; `credo config validate` checks it."))
    for name, table in _parts(configuration, everything).items():
        document.add(tomlkit.nl())
        document.add(name, table)
    return tomlkit.dumps(document)


def _parts(model: BaseModel, everything: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        default = field.get_default(call_default_factory=True)
        if value is None or not (everything or value != default):
            continue
        found[field.alias or name] = _item(value, everything, field.description or "")
    return dict(sorted(found.items(), key=lambda pair: isinstance(pair[1], Table)))  # TOML wants tables last


def _item(value: Any, everything: bool, about: str = "") -> Any:
    if isinstance(value, BaseModel):
        return _table(_parts(value, everything), about)
    if isinstance(value, dict):
        if value and all(_is_entry(v) for v in value.values()):
            return _table({k: _inline(v) for k, v in value.items()}, about)
        return _table({k: _item(v, everything) for k, v in value.items()}, about)
    item = tomlkit.item(_plain(value))
    return item.comment(about) if about and not isinstance(item, Table) else item


def _table(items: dict[str, Any], about: str) -> Table:
    table = tomlkit.table()
    if about:
        table.comment(about)
    for name, item in items.items():
        table.add(name, item)
    return table


def _is_entry(value: Any) -> bool:
    return isinstance(value, BaseModel) and "value" in type(value).model_fields


def _inline(entry: BaseModel) -> Any:
    table = tomlkit.inline_table()
    for name, value in entry.model_dump(exclude_defaults=True).items():
        table.add(name, _plain(value))
    return table


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {k: _plain(v) for k, v in value.model_dump(exclude_none=True).items()}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value
