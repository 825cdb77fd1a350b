"""Dynamical refinement by a fixed point: frames are fitted, observations corrected, and least squares done, in turn.

A structure at the fixed point agrees with the data by its dynamical intensities, for it agrees kinematically with data
corrected by itself. The gradient of the dynamical intensities is not used: esds are those of the last kinematical fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gemmi

from credo.solve.refine.data import Merge, Merged, merge_equivalents
from credo.solve.refine.fit import FitSettings, refine_model
from credo.solve.refine.frame_fits import Corrected, Frame, FrameSettings, fit_frames
from credo.solve.refine.model import Model
from credo.solve.refine.result import Refined

__all__ = ["Dynamical", "refine_dynamically"]

#: Most cycles, and the fall of R1 that is worth another.
_CYCLES, _WORTH = 8, 5e-4


@dataclass(frozen=True)
class Dynamical:
    """``refined`` against the ``merged`` corrected data; ``fit``: the frames against this structure, dynamically;
    ``kinematical``: before, with tilts fitted; ``r1_inverted``: of the mirror image, frames fitted likewise (None where
    it is the same); ``cycles`` of least squares against dynamically corrected data."""

    refined: Refined
    merged: Merged
    fit: Corrected
    kinematical: Corrected
    r1_inverted: float | None
    cycles: int


def refine_dynamically(
    model: Model, frames: tuple[Frame, ...], wavelength: float, merge: Merge = "laue", fit: FitSettings | None = None,
    settings: FrameSettings | None = None, progress: Callable[[str], None] | None = None,
) -> Dynamical:  # fmt: skip
    """A model against frames (see :func:`~credo.solve.refine.frame_fits.frames_of`): twice kinematically without tilts,
    once with, then dynamically until R1 over single observations falls no more; the structure of the lowest R1 is kept.
    """
    say = progress or (lambda _: None)

    def solved(data: Corrected, model: Model) -> tuple[Refined, Merged]:
        group = gemmi.SpaceGroup(model.structure.space_group)
        merged = merge_equivalents(data.hkl, data.f2, data.sigma, group, model.structure.cell, merge)
        return refine_model(model, merged.observed, wavelength, fit), merged

    def fitted(model: Model, frames: tuple[Frame, ...], **how: bool) -> Corrected:
        return fit_frames(model.structure, frames, wavelength, settings, progress=say, **how)

    for tilts in (False, False, True):
        kinematical = fitted(model, frames, dynamical=False, tilts=tilts)
        refined, merged = solved(kinematical, model)
        model = refined.model
    kinematical = fitted(model, frames, dynamical=False)
    best = refined, merged, fitted(model, frames)
    cycles = 0
    for _ in range(_CYCLES):
        refined, merged = solved(best[2], best[0].model)
        data = fitted(refined.model, best[2].frames)
        gain = best[2].r1 - data.r1
        if gain > 0:
            best, cycles = (refined, merged, data), cycles + 1
        if gain < _WORTH:
            break
    inverted = None
    if not gemmi.SpaceGroup(model.structure.space_group).is_centrosymmetric():
        inverted = fitted(best[0].model, best[2].frames, inverted=True).r1
    return Dynamical(best[0], best[1], best[2], kinematical, inverted, cycles)
