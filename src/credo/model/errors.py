"""What credo raises when it cannot go on: each error names the place and the remedy."""

from __future__ import annotations

from typing import Any

__all__ = ["CannotDo", "CredoError", "UnreadableInput"]


class CredoError(Exception):
    """Base of credo's errors. ``remedy`` says what to try; ``exit_code`` is what the command line returns;
    ``numbers``: what was found until then, for report.json."""

    exit_code = 1

    def __init__(self, reason: str, remedy: str = "", numbers: dict[str, Any] | None = None) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy
        self.numbers = numbers or {}

    def __str__(self) -> str:
        return f"{self.reason}\n  -> {self.remedy}" if self.remedy else self.reason


class UnreadableInput(CredoError):
    """A file or an argument that cannot be used (exit code 2)."""

    exit_code = 2


class CannotDo(CredoError):
    """The data were read, but the step could not be done (exit code 1)."""
