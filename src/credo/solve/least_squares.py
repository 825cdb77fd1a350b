"""Quick least squares for a structure in the making: positions and displacements against F², nothing else to set up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.model import Atom, Structure
from credo.physics.structure_factors import electron_factor
from credo.solve.refine.constraints import with_displacements
from credo.solve.refine.data import Observed
from credo.solve.refine.fit import FitSettings, refine_model
from credo.solve.refine.model import Model, Weights

__all__ = ["FitState", "LeastSquaresSettings", "Observed", "atoms_from_sites", "electron_factor", "fit_structure"]


class LeastSquaresSettings(BaseModel):
    """How the model is refined."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cycles: int = Field(default=20, ge=0, description="most cycles")
    anisotropic: bool = Field(default=False, description="refine U11 … U23 of atoms heavier than H")
    extinction: bool = Field(default=False, description="refine SHELXL's EXTI parameter")
    weight_a: float = Field(default=0.1, ge=0, description="a of w = 1/[σ²(Fo²) + (aP)² + bP]")
    weight_b: float = Field(default=0.0, ge=0, description="b of the same")
    converged: float = Field(default=0.01, gt=0, description="largest shift/esd at which refinement ends")
    quick: bool = Field(default=False, description="neglect correlation in the esds that end it")


@dataclass(frozen=True)
class FitState:
    """A refined structure and what is known of the fit; ``k`` is the scale in Fo² = k Fc²; ``f_calc`` (n,) complex,
    extinction not included; ``y`` (n,): Fc² with it; ``esd``: by label, of x y z occupancy U11 … U23."""

    structure: Structure
    k: float
    extinction: float
    r1: float
    r1_all: float
    wr2: float
    goof: float
    shift_over_esd: float
    cycles: int
    n_parameters: int
    f_calc: np.ndarray
    y: np.ndarray
    esd: dict[str, np.ndarray]

    def corrected(self, data: Observed) -> Observed:
        """The data fitted, extinction taken out of Fo²."""
        ratio = np.abs(self.f_calc) ** 2 / np.maximum(self.y, 1e-12)
        return Observed(data.hkl, data.f2 * ratio, data.sigma * np.maximum(ratio, 1e-6))


def fit_structure(
    structure: Structure, data: Observed, wavelength: float, settings: LeastSquaresSettings | None = None
) -> FitState:
    """Refine positions and displacements against Fo², with special positions kept.

    wavelength [Å] is only used by extinction. Raises CannotDo when there are fewer data than parameters.
    """
    settings = settings or LeastSquaresSettings()
    model = Model(
        with_displacements(structure, settings.anisotropic),
        fixed=frozenset((i, 3) for i in range(len(structure.atoms))),
        extinction=0.0 if settings.extinction else None,
        weights=Weights(settings.weight_a, settings.weight_b),
    )
    done = refine_model(model, data, wavelength, FitSettings(settings.cycles, settings.converged, quick=settings.quick))
    a = done.agreement
    return FitState(
        done.structure, done.k, done.model.extinction or 0.0, a.r1, a.r1_all, a.wr2, a.goof, done.shift_over_esd,
        done.cycles, done.n_parameters, done.f_calc, done.y,
        {x.label: e for x, e in zip(done.structure.atoms, done.esd)},
    )  # fmt: skip


def atoms_from_sites(xyz: np.ndarray, elements: list[str], u_iso: float = 0.03) -> tuple[Atom, ...]:
    """Atoms named by element and number."""
    count: dict[str, int] = {}
    atoms = []
    for x, e in zip(xyz, elements):
        count[e] = count.get(e, 0) + 1
        atoms.append(Atom(f"{e}{count[e]}", e, x, u_iso=u_iso))
    return tuple(atoms)
