"""A command's result on stdout: a few lines for people, or the report as JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["show"]


def show(report: dict[str, Any], folder: Path, as_json: bool, summary: Callable[[dict[str, Any], Path], str]) -> None:
    """Write the report, or its summary and warnings."""
    if as_json:
        from credo.io.project import json_text

        sys.stdout.write(json_text(report))
        return
    lines = [summary(report, folder)]
    lines += [f"  ! {warning}" for warning in report.get("warnings", ())]
    if report.get("reused"):
        lines.append("  (nothing has changed since this was computed; --force computes it again)")
    sys.stdout.write("\n".join(lines) + "\n")
