"""``credo map``: Fourier maps with the phases of a model, as CCP4 files, and their peaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.io.reflection_files import read_any
from credo.io.text import write_text
from credo.pipeline.output import Output, fingerprint, run_command
from credo.pipeline.page.maps import map_page
from credo.solve.fourier import Peak, fourier_map, peak_list, write_ccp4
from credo.solve.refine.data import Merge
from credo.solve.refine.model import Model
from credo.solve.refine.prepare import RefineSettings, prepared_model
from credo.solve.refine.run import refined_structure, without_factors

__all__ = ["MapSettings", "fourier"]


class MapSettings(BaseModel):
    """Which reflections, and how fine a map."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spacing: float = Field(default=0.2, gt=0.02, le=2, description="of the grid points [Å]")
    peaks: int = Field(default=30, ge=1, le=1000, description="most peaks listed")
    d_min: float = Field(default=0.0, ge=0, description="resolution limit [Å]")
    merge: Merge | None = Field(default=None, description="join equivalents as `credo refine` does")
    omit: tuple[str, ...] = Field(default=(), description="atoms left out of the model, to see them in the map")


def fourier(
    model: Path,
    reflections: Path,
    out: Path,
    settings: MapSettings | None = None,
    force: bool = False,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """``credo map``: observed.ccp4, difference.ccp4, double.ccp4 (2Fo − Fc), report.html, and peaks in report.json."""
    model, reflections, settings = Path(model), Path(reflections), settings or MapSettings()
    inputs = [model, reflections]
    output = Output(out, "map", fingerprint([p for p in inputs if p.exists()], settings), inputs, settings)

    def work(folder: Path) -> dict[str, Any]:
        still = RefineSettings(cycles=0, d_min=settings.d_min, merge=settings.merge)
        prepared = prepared_model(model, still)
        prepared = replace(prepared, model=_still(prepared.model, settings.omit))
        experiment, table = read_any(reflections)
        done = refined_structure(prepared, experiment, table, still, progress)
        refined, data = done.refined, without_factors(done.refined)
        maps = {k: fourier_map(refined.structure, refined, data, k, settings.spacing) for k in _KINDS}
        for kind, rho in maps.items():
            write_ccp4(folder / f"{kind}.ccp4", rho, refined.structure)
        difference = maps["difference"]
        numbers = {
            "r1_obs": refined.agreement.r1, "space_group": refined.structure.space_group,
            "cell": list(refined.structure.cell.parameters), "grid": list(difference.shape),
            "residual_max": float(difference.max()), "residual_min": float(difference.min()),
            "residual_rms": float(difference.std()),
            "observed_peaks": [_peak(p) for p in peak_list(maps["observed"], refined.structure, settings.peaks)],
            "difference_peaks": [_peak(p) for p in peak_list(difference, refined.structure, settings.peaks)],
            "warnings": list(done.prepared.notes),
        }  # fmt: skip
        write_text(folder / "report.html", map_page(maps, refined.structure, numbers, model.stem))
        return numbers

    return run_command(output, work, force)


def _still(model: Model, omit: tuple[str, ...]) -> Model:
    """The model without some atoms, and with nothing that moves but the scale."""
    drop = {model.index(label) for label in omit}
    keep = [i for i in range(len(model.structure.atoms)) if i not in drop]
    structure = model.structure.replace(atoms=tuple(model.structure.atoms[i] for i in keep))
    return Model(
        structure, tuple(model.parts[i] for i in keep), frozenset((i, k) for i in range(len(keep)) for k in range(10)),
        extinction=model.extinction, solvent=model.solvent, twin=model.twin, weights=model.weights,
        factors=model.factors,
    )  # fmt: skip


_KINDS = ("observed", "difference", "double")


def _peak(p: Peak) -> dict[str, Any]:
    return {
        "xyz": np.round(p.xyz, 5).tolist(), "height": p.height, "sigma": p.sigma, "nearest_distance": p.nearest,
        "nearest_atom": p.atom,
    }  # fmt: skip
