"""Every number that a stage reports, for those who look for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from credo.pipeline.page.markup import section, table

if TYPE_CHECKING:
    from credo.pipeline.process import Processed

__all__ = ["numbers_section"]


def numbers_section(found: Processed) -> str:
    """A table that opens on demand."""
    rows = [
        (stage, name, value)
        for stage, report in found.stages.items()
        for name, value in _flat(report.numbers)
        if not name.endswith("_candidates")
    ]
    body = table("numbers", "Every number of every stage; report.json holds the same", ("stage", "name", "value"), rows)
    body = body.replace("<table>", '<table class="plain">')
    return section(
        "numbers", "All numbers", f"<details><summary>{len(rows)} numbers</summary>{body}</details>" if rows else ""
    )


def _flat(numbers: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in numbers.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{k}", v) for k, v in _flat(value))
        else:
            yield name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_text(v) for v in value[:40])
    return str(value)
