"""The framework search as ``credo solve`` runs it: when, with which settings, and what it reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from credo.io.space_group import find_space_group
from credo.solve.composition import parse_formula
from credo.solve.frameworks import T_ELEMENTS, FrameworkSettings, FrameworkSolution, find_framework, holds_framework
from credo.solve.frameworks_fit import Framework

if TYPE_CHECKING:
    from credo.pipeline.solve import ReflectionSet, SolveFileSettings

__all__ = ["FrameworkResult", "framework_numbers", "framework_wanted", "search_framework"]


@dataclass(frozen=True)
class FrameworkResult:
    """What was found, and in which Laue class."""

    found: FrameworkSolution
    laue_group: str


def framework_wanted(data: ReflectionSet, settings: SolveFileSettings) -> bool:
    """As asked, else from composition and resolution."""
    if settings.framework is not None:
        return settings.framework
    return holds_framework(parse_formula(data.composition), float(np.min(data.cell.d_spacing(data.hkl))))


def search_framework(
    data: ReflectionSet, settings: SolveFileSettings, progress: Callable[[str], None] | None = None
) -> FrameworkResult:
    """In the Laue classes in turn: the first that is solved, else the last tried with a net."""
    formula = parse_formula(data.composition)
    element = max(T_ELEMENTS, key=lambda e: formula.get(e, 0.0))
    group = find_space_group(settings.space_group) if settings.space_group else None
    limits = {"seconds": settings.seconds} if "seconds" in settings.model_fields_set else {}
    results: list[FrameworkResult] = []
    for laue in data.laue_groups:
        found = find_framework(
            data.cell, data.centring, laue, data.hkl, data.intensity, data.sigma, data.wavelength, element, group,
            FrameworkSettings(**limits), settings.seed, progress,
        )  # fmt: skip
        results.append(FrameworkResult(found, laue))
        if found.solved:
            break
    return max(results, key=lambda r: (r.found.solved, r.found.best is not None))


def framework_numbers(result: FrameworkResult, data: ReflectionSet) -> dict[str, Any]:
    """The report, with the same keys as that of atoms and a ``framework`` of its own."""
    found, best = result.found, result.found.best
    atoms = best.structure.atoms if best else ()
    return {
        "ok": found.solved,
        "reason": "" if found.solved else "; ".join(found.reasons),
        "solved": found.solved,
        "space_group": best.space_group if best else None,
        "laue_group": result.laue_group,
        "cell": list(data.cell.parameters),
        "framework": _described(best) if best else None,
        "figure_of_merit": best.merit if best else None,
        "r1": _finite(best.r1) if best else None,
        "n_atoms": len(atoms),
        "atoms": [
            {"label": a.label, "element": a.element, "xyz": [round(float(x), 5) for x in a.xyz], "u_iso": a.u_iso}
            for a in atoms
        ],
        "candidates": [
            {"space_group": c.space_group, "r1": _finite(c.r1), "figure_of_merit": c.merit, **_described(c)}
            for c in found.candidates
        ],
        "groups": [{"space_group": g, "trials": n, "merit": _finite(m)} for g, n, m in found.groups],
        "trials": sum(n for _, n, _ in found.groups),
        "d_min": found.d_min,
        "cpu_seconds": round(found.seconds, 2),
        "reasons": list(found.reasons),
        "warnings": list(data.notes),
    }


def _described(f: Framework) -> dict[str, Any]:
    return {
        "name": f.name,
        "codes": list(f.codes),
        "t_sites": f.n_t,
        "t_per_1000_A3": round(f.density, 2),
        "misfit_of_distances": round(f.misfit, 3),
        "smallest_t_o_t": round(f.angle, 1),
        "hits": f.hits,
        "coordination_sequences": [{"share": round(n, 4), "sequence": list(s)} for s, n in f.sequences],
    }


def _finite(v: float) -> float | None:
    return float(v) if np.isfinite(v) else None
