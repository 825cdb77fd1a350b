"""A phase once more when its structure is known: merged without the damping of strong reflections, refined again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from credo.pipeline.output import read_report

__all__ = ["AGAIN", "CORRECTED", "corrected", "corrected_by", "refinement_of"]

#: The folder of the second merge, in that of the phase, and of a third in that.
CORRECTED, AGAIN = "corrected", "again"
#: Where R1 falls to less than this part of itself, the first structure was bent by the damping: it is corrected again.
_FAR = 0.5

Merge = Callable[[Path, Path], dict[str, Any]]
Refine = Callable[[Path, Path], dict[str, Any]]


def corrected(place: Path, merge: Merge, refine: Refine) -> dict[str, Any]:
    """What came of it. ``place``: the phase's folder, with its refinement in refine; ``merge``(model, target): merges
    the phase with a structure; ``refine``(model, target): refines a model with the data in the folder above the target.

    ``applied``: whether the correction held (merge/damping.py); ``kept``: whether R1 fell by it, so that the structure
    of the phase is the one that was refined with it.
    """
    report, again = _once(place / "refine", place / CORRECTED, merge, refine)
    damping = report.get("damping") or {"applied": False, "reason": report.get("reason")}
    answer: dict[str, Any] = {"applied": damping["applied"], "reason": damping["reason"], "kept": False}
    if not damping["applied"]:
        return answer
    before = read_report(place / "refine").get("r1_obs")
    if again.get("ok") and before and again["r1_obs"] < _FAR * before:
        _once(place / CORRECTED / "refine", place / CORRECTED / AGAIN, merge, refine)
    best = refinement_of(place)
    report = read_report(corrected_by(place))
    answer["thickness_nm"] = {r["dataset"]: r["thickness_nm"] for r in report["datasets"] if r["kept"]}
    after = read_report(corrected_by(place) / "refine")
    answer |= {"r1_obs_before": before, "r1_obs": after.get("r1_obs") if after.get("ok") else None}
    return answer | {"reason": report["damping"]["reason"], "kept": best != place / "refine"}


def _once(model: Path, target: Path, merge: Merge, refine: Refine) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reports of merging with the structure in the folder ``model``, and of refining it where damping was taken out."""
    report = merge(model / "refined.cif", target)
    applied = bool((report.get("damping") or {}).get("applied"))
    return report, refine(model / "refined.res", target / "refine") if applied else {}


def corrected_by(place: Path) -> Path:
    """The folder of the corrected merge that counts: of the two, the one with which R1 is lower."""
    first, second = place / CORRECTED, place / CORRECTED / AGAIN
    return second if _r1(second / "refine") < _r1(first / "refine") else first


def refinement_of(place: Path) -> Path:
    """The folder of the refinement of a phase that is to be believed: of corrected data where R1 is lower."""
    plain, again = place / "refine", corrected_by(place) / "refine"
    return again if _r1(again) < _r1(plain) else plain


def _r1(folder: Path) -> float:
    report = read_report(folder)
    r1 = report.get("r1_obs") if report.get("ok") else None
    return float("inf") if r1 is None else float(r1)
