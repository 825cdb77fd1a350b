"""A report: the numbers of a stage, sentences about them, and the data of its figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """``numbers`` go to report.json (plain JSON types); ``warnings`` are sentences for people;
    ``figures`` hold plain arrays by name, drawn by whoever shows the report."""

    numbers: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)

    def __or__(self, other: Report) -> Report:
        """Both together; the right one wins on equal keys."""
        return Report(
            {**self.numbers, **other.numbers}, (*self.warnings, *other.warnings), {**self.figures, **other.figures}
        )
