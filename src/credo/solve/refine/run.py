"""A prepared model and a table of reflections to a refinement with its difference map, weights and cell as asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gemmi
import numpy as np

from credo.io.merged import PLACEHOLDER_WAVELENGTH
from credo.model import CannotDo, Experiment, Reflections, UnreadableInput
from credo.solve.fourier import Peak, fourier_map, peak_list
from credo.solve.refine.data import Merged, Observed, merge_equivalents
from credo.solve.refine.dynamical import Dynamical, refine_dynamically
from credo.solve.refine.fit import FitSettings, refine_model
from credo.solve.refine.frame_fits import frames_of
from credo.solve.refine.from_shelx import DataOptions, Prepared
from credo.solve.refine.geometry import cell_scaled_to
from credo.solve.refine.model import Model
from credo.solve.refine.prepare import RefineSettings
from credo.solve.refine.result import Refined
from credo.solve.refine.virtual_frames import once_per_crossing
from credo.solve.refine.weights import optimised_weights

__all__ = ["Refinement", "refined_structure", "without_factors"]


@dataclass(frozen=True)
class Refinement:
    """A refined model, its merged data, its difference map [Å⁻²] and that map's peaks;
    ``instructions``: SHELXL's that were added to the model; ``dynamical``: the frames' fit, where asked for."""

    refined: Refined
    merged: Merged
    wavelength: float
    prepared: Prepared
    difference: np.ndarray
    peaks: tuple[Peak, ...]
    cell_factor: float
    notes: tuple[str, ...]
    instructions: tuple[str, ...] = ()
    dynamical: Dynamical | None = None


def refined_structure(
    prepared: Prepared,
    experiment: Experiment | None,
    reflections: Reflections,
    settings: RefineSettings,
    progress: Callable[[str], None] | None = None,
) -> Refinement:
    """Least squares with weights and cell as asked, and the difference map."""
    model, say = prepared.model, progress or (lambda _: None)
    wavelength = _wavelength(prepared, experiment, settings)
    fit = FitSettings(settings.cycles, nuclear=settings.x_h == "nuclear")
    dynamical = None
    if settings.dynamical:
        dynamical = _dynamical(prepared, experiment, reflections, wavelength, settings, fit, say)
        refined, merged = dynamical.refined, dynamical.merged
    else:
        merged = _merged(model, prepared.options, experiment, reflections, settings)
        refined = refine_model(model, merged.observed, wavelength, fit, say)
    factor = 1.0
    if settings.scale_cell:
        refined, factor = _rescaled(refined, settings.scale_cell, wavelength, fit, say)
    if settings.optimise_weights:
        refined = _reweighted(refined, wavelength, fit, say)
    data = without_factors(refined)
    rho = fourier_map(refined.structure, refined, data, "difference")
    peaks = peak_list(rho, refined.structure, 20)
    notes = list(prepared.notes)
    without = int(np.sum(~(reflections["sigma"] > 0)))
    if without:
        notes.append(f"{without} reflections without a positive sigma are left out")
    notes += [f"{label}: the displacement ellipsoid is not positive" for label in refined.not_positive]
    if refined.shift_over_esd > fit.converged:
        notes.append(f"not converged: the last shift was {refined.shift_over_esd:.3f} esd")
    return Refinement(refined, merged, wavelength, prepared, rho, tuple(peaks), factor, tuple(notes),
                      settings.instruction, dynamical)  # fmt: skip


def _dynamical(
    prepared: Prepared, experiment: Experiment | None, r: Reflections, wavelength: float, settings: RefineSettings,
    fit: FitSettings, say: Callable[[str], None],
) -> Dynamical:  # fmt: skip
    if experiment is None or experiment.kind != "PETS":
        raise CannotDo(
            "dynamical refinement needs intensities and orientations of single frames", "give a .cif_pets as the data"
        )
    options = prepared.options
    frames = frames_of(experiment, r, max(settings.d_min, options.d_min))
    merge = settings.merge or options.merge or "laue"
    return refine_dynamically(prepared.model, frames, wavelength, merge, fit, progress=say)


def _wavelength(prepared: Prepared, experiment: Experiment | None, settings: RefineSettings) -> float:
    if settings.wavelength:
        return settings.wavelength
    if 0.001 < prepared.wavelength < 0.2:
        return prepared.wavelength
    if experiment is not None and "wavelength" in experiment.known:
        return experiment.beam.wavelength
    return PLACEHOLDER_WAVELENGTH


def _merged(
    model: Model, options: DataOptions, experiment: Experiment | None, r: Reflections, settings: RefineSettings
) -> Merged:
    if "intensity" not in r or "sigma" not in r or not len(r):
        raise UnreadableInput(
            "the reflection file has no intensities with sigmas", "give HKLF 4, MTZ, CIF or .cif_pets"
        )
    if "frame" in r and "phi" in r and experiment is not None and experiment.kind == "PETS":
        r = once_per_crossing(experiment, r)
    if "rejected" in r:
        r = r.select(~r["rejected"])
    known = (r["sigma"] > 0) & np.isfinite(r["sigma"]) & np.isfinite(r["intensity"])
    if 0.8 < known.mean() < 1:
        # amplitudes of nought (.fcf) and blank columns have no sigma
        r = r.select(known)
    hkl = r.hkl
    if options.matrix is not None:
        hkl = np.rint(hkl @ options.matrix.T).astype(int)
    omit = np.zeros(len(hkl), dtype=bool)
    for h in options.omit:
        omit |= np.all(hkl == h, axis=1)
    return merge_equivalents(
        hkl[~omit], r["intensity"][~omit] * options.scale, r["sigma"][~omit] * options.scale,
        gemmi.SpaceGroup(model.structure.space_group), model.structure.cell,
        settings.merge or options.merge or "laue", max(settings.d_min, options.d_min), options.d_max,
    )  # fmt: skip


def _rescaled(refined: Refined, text: str, wavelength: float, fit: FitSettings, say) -> tuple[Refined, float]:
    """The cell scaled to a bond, and the model refined in it; twice, since positions settle."""
    words = text.replace("-", " ").split()
    try:
        first, second, length = words[0], words[1], float(words[2])
    except (IndexError, ValueError):
        raise UnreadableInput(f"{text!r} is no bond with a length", "give e.g. --scale-cell 'Si O 1.61'") from None
    total = 1.0
    for _ in range(2):
        cell, factor, _ = cell_scaled_to(refined, first, second, length)
        total *= factor
        model = refined.model.replace(structure=refined.structure.replace(cell=cell))
        refined = refine_model(model, refined.data, wavelength, fit, say)
    return refined, total


def _reweighted(refined: Refined, wavelength: float, fit: FitSettings, say) -> Refined:
    """Weights and structure in turn, until a and b stay."""
    for _ in range(6):
        s = 0.5 / refined.structure.cell.d_spacing(refined.data.hkl)
        old = refined.model.weights
        new = optimised_weights(refined.data.f2, refined.data.sigma, refined.y, refined.k, s, refined.n_parameters, old)
        refined = refine_model(refined.model.replace(weights=new), refined.data, wavelength, fit, say)
        if abs(new.a - old.a) < 0.002 and abs(new.b - old.b) < 0.02 * (1 + old.b):
            break
    return refined


def without_factors(refined: Refined) -> Observed:
    """Fo² with extinction, solvent and the other twin domains taken out, for maps."""
    ratio = np.abs(refined.f_calc) ** 2 / np.maximum(refined.y, 1e-12)
    ratio = np.minimum(ratio, 1e4)
    return Observed(refined.data.hkl, refined.data.f2 * ratio, refined.data.sigma * np.maximum(ratio, 1e-6))
