"""How the intensities of a file were measured: handed on from report to report, from frames to the structure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from credo.model import Acquisition, Experiment
from credo.pipeline.output import read_report

__all__ = ["collection_beside", "corrections_beside", "measured", "solved_by", "together"]

_MEANS = (
    "rotation_deg", "speed_deg_s", "exposed_s", "flux", "precession_deg", "area_size_um", "temperature_k",
    "mosaicity_deg",
)  # fmt: skip
_ALIKE = (
    "mode", "tracking", "tracking_method", "illumination", "area", "microscope", "source", "camera", "software",
    "log",
)  # fmt: skip


def measured(experiment: Experiment) -> Acquisition:
    """Of one processed crystal: what its log said, the rotation and the exposure of its frames where it said nothing,
    and the mosaicity."""
    a, scan = experiment.acquisition, experiment.scan
    more: dict[str, Any] = {}
    if a.rotation_deg is None and len(scan) > 1 and "angles" in experiment.known:
        more["rotation_deg"] = scan.range_deg
    if a.exposed_s is None and scan.exposure_s is not None and not len(scan.missing) and scan.exposure_s.any():
        more["exposed_s"] = float(scan.exposure_s.sum())
    if experiment.crystals and a.mosaicity_deg is None:
        more["mosaicity_deg"] = experiment.crystal.mosaicity_deg
    return a.replace(**more) if more else a


def solved_by(model: Path) -> str:
    """Who solved the structure of a model, for its CIF; ? where no report beside it says so. Of a refined model: who
    solved the one that it was refined from."""
    report = read_report(model.parent)
    if report.get("command") == "refine" and model.name in report.get("files", ()):
        entry = next(iter(dict(report.get("provenance") or {}).get("inputs") or ()), {})
        before = (model.parent / str(entry.get("from_here"))).resolve()
        return solved_by(before) if before.is_file() and before.parent != model.parent.resolve() else "?"
    if report.get("command") != "solve" or not report.get("solved") or model.name not in report.get("files", ()):
        return "?"
    return str(report.get("engine") or f"credo {report.get('version')} (The credo developers, 2026)")


def corrections_beside(reflections: Path) -> tuple[str, ...]:
    """What the report of the merge beside a file of reflections says was taken out of them, for a CIF."""
    report = read_report(reflections.parent)
    damping = report.get("damping")
    if report.get("command") != "merge" or not isinstance(damping, dict) or not damping.get("applied"):
        return ()
    every = [r.get("thickness_nm") for r in report.get("datasets") or () if isinstance(r, dict)]
    known = ", ".join(f"{t:.0f}" for t in every if t is not None)
    return (
        "Intensities were divided by Blackman's two-beam factor (Proc. R. Soc. A 173, 1939, 68) for |Fc| of an earlier "
        f"refinement and the thickness of each crystal: {known} nm.",
    )


def together(parts: Sequence[Acquisition]) -> Acquisition:
    """Of a merge: numbers are the means of one crystal, where every log tells them; words where all are alike."""
    if not parts:
        return Acquisition()
    values: dict[str, Any] = {}
    for name in _MEANS:
        every = [getattr(p, name) for p in parts]
        if all(v is not None for v in every):
            values[name] = sum(every) / len(every)
    # the mean of the doses, not the product of means
    if values.get("exposed_s") and values.get("flux") is not None:
        fluences = [p.fluence for p in parts if p.fluence is not None]
        values["flux"] = sum(fluences) / len(fluences) / values["exposed_s"]
    for name in _ALIKE:
        first = getattr(parts[0], name)
        if all(getattr(p, name) == first for p in parts):
            values[name] = first
    return Acquisition(**values, crystals=sum(p.crystals for p in parts))


def collection_beside(path: Path) -> Acquisition:
    """Of a file of reflections: what the report beside it, or above it for one of several phases, tells."""
    for folder in (path.parent, path.parent.parent):
        report = read_report(folder)
        phases = report.get("phases") if folder != path.parent else None
        named = [p for p in phases or () if isinstance(p, dict) and p.get("name") == path.parent.name]
        for told in (*(p.get("collection") for p in named), report.get("collection") if not phases else None):
            if isinstance(told, dict):
                try:
                    return Acquisition.from_dict(told)
                except (TypeError, ValueError):
                    return Acquisition()
    return Acquisition()
