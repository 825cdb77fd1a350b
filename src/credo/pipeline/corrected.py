"""A phase once more when its structure is known: merged without the damping of strong reflections, refined again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from credo.pipeline.output import read_report

__all__ = ["CORRECTED", "corrected", "refinement_of"]

#: The folder of the second merge, in that of the phase.
CORRECTED = "corrected"

Made = Callable[[Path], dict[str, Any]]


def corrected(place: Path, merged: Made, refined: Made) -> dict[str, Any]:
    """What came of it. ``place``: the phase's folder; ``merged`` and ``refined`` make ``place``/corrected and
    ``place``/corrected/refine, and return their reports.

    ``applied``: whether the correction held (merge/damping.py); ``kept``: whether R1 fell by it, so that the structure
    of the phase is the one that was refined with it.
    """
    report = merged(place / CORRECTED)
    damping = report.get("damping") or {"applied": False, "reason": report.get("reason")}
    answer: dict[str, Any] = {"applied": damping["applied"], "reason": damping["reason"], "kept": False}
    if not damping["applied"]:
        return answer
    again = refined(place / CORRECTED / "refine")
    answer["thickness_nm"] = {r["dataset"]: r["thickness_nm"] for r in report["datasets"] if r["kept"]}
    answer["r1_obs_before"] = read_report(place / "refine").get("r1_obs")
    answer["r1_obs"] = again.get("r1_obs") if again.get("ok") else None
    return answer | {"kept": refinement_of(place) != place / "refine"}


def refinement_of(place: Path) -> Path:
    """The folder of the refinement of a phase that is to be believed: of corrected data where R1 is lower."""
    plain, again = place / "refine", place / CORRECTED / "refine"
    first, second = read_report(plain), read_report(again)
    whole = bool(second.get("ok")) and second.get("r1_obs") is not None
    return again if whole and second["r1_obs"] < (first.get("r1_obs") or 1.0) else plain
