"""What a refinement found: the model, its uncertainties, the agreement, and the reflections that disagree most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from credo.model import Structure
from credo.solve.refine.covariance import inverse_of
from credo.solve.refine.data import Observed
from credo.solve.refine.model import Model, Twin

if TYPE_CHECKING:
    from credo.solve.refine.constraints import Constraints
    from credo.solve.refine.crystal import AtomParameters
    from credo.solve.refine.prediction import Globals

__all__ = ["Agreement", "Outlier", "Refined", "agreement", "finished", "outliers"]


@dataclass(frozen=True)
class Agreement:
    """R1 = Σ|Fo − Fc|/ΣFo of I > 2σ and of all, wR2 = √(Σw(Fo² − Fc²)²/Σw Fo⁴), GooF."""

    r1: float
    r1_all: float
    wr2: float
    wr2_observed: float
    goof: float
    goof_restrained: float
    n_observed: int
    n_all: int


@dataclass(frozen=True)
class Outlier:
    """A reflection whose (Fo² − Fc²)/√(1/w) is large; Fo² and Fc² on the scale of Fc²."""

    hkl: tuple[int, int, int]
    fo2: float
    fc2: float
    error_over_esd: float
    d: float


@dataclass(frozen=True)
class Refined:
    """``covariance`` (v, v) is of ``names``; ``c`` (10 a + free variables, v − globals) leads from them to the atoms'
    parameters; ``esd`` (a, 10); ``y`` (n,) Fc² with all factors, ``f_calc`` (n,) complex of the atoms alone."""

    model: Model
    data: Observed
    agreement: Agreement
    names: tuple[str, ...]
    covariance: np.ndarray
    c: Any
    esd: np.ndarray
    global_esd: dict[str, float]
    variable_esd: np.ndarray
    orders: np.ndarray
    y: np.ndarray
    f_calc: np.ndarray
    weights: np.ndarray
    restraint_rows: tuple[Any, ...]
    shift_over_esd: float
    cycles: int

    @property
    def structure(self) -> Structure:
        """The refined atoms."""
        return self.model.structure

    @property
    def k(self) -> float:
        """The scale: Fo² = k y."""
        return float(self.model.scale or 1.0)

    @property
    def n_parameters(self) -> int:
        """Variables of the fit, the scale among them."""
        return len(self.names)

    @property
    def not_positive(self) -> list[str]:
        """Atoms whose displacement ellipsoid is none."""
        out = []
        for a in self.structure.atoms:
            if a.u_aniso is not None:
                u = a.u_aniso
                star = np.linalg.norm(self.structure.cell.B, axis=0)
                m = self.structure.cell.O @ np.diag(star)
                full = m @ np.array([[u[0], u[3], u[4]], [u[3], u[1], u[5]], [u[4], u[5], u[2]]]) @ m.T
                if np.linalg.eigvalsh(full)[0] <= 0:
                    out.append(a.label)
        return out


def finished(
    model: Model, data: Observed, constraints: Constraints, p: AtomParameters, variables: np.ndarray, g: Globals,
    eq: Any, s: np.ndarray, shift: float, cycles: int,
) -> Refined:  # fmt: skip
    """The result of the last state and its equations."""
    n_v = eq.c.shape[1]
    names = (*constraints.names, *g.names)
    found = agreement(data, g.k * eq.y, eq.weights, len(names), eq.restraint_chi2, len(eq.rows))
    covariance = inverse_of(eq.normal) * found.goof_restrained**2
    flat_variance = np.asarray(eq.c.multiply(eq.c @ covariance[:n_v, :n_v]).sum(axis=1)).ravel()
    esd = np.sqrt(np.maximum(flat_variance, 0))
    n = 10 * len(model.structure.atoms)
    per_atom = esd[:n].reshape(-1, 10).copy()
    per_atom[:, 3] *= constraints.orders
    global_esd = dict(zip(g.names, np.sqrt(np.maximum(np.diag(covariance)[n_v:], 0)).tolist()))
    twin = None if model.twin is None else Twin(model.twin.rotations, tuple(g.fractions.tolist()))
    solvent = None if g.solvent is None else (g.solvent, g.solvent_u)
    final = model.replace(
        structure=constraints.structure(p), variables=tuple(variables.tolist()), scale=g.k, extinction=g.extinction,
        solvent=solvent, twin=twin,
    )  # fmt: skip
    return Refined(
        final, data, found, names, covariance, eq.c, per_atom, global_esd, esd[n:], constraints.orders, eq.y, eq.f,
        eq.weights, tuple(eq.rows), shift, cycles,
    )  # fmt: skip


def agreement(
    data: Observed, calc: np.ndarray, weights: np.ndarray, n_parameters: int, restraint_chi2: float = 0.0,
    n_restraints: int = 0,
) -> Agreement:  # fmt: skip
    """calc (n,) on the scale of Fo²; observed: Fo² > 2σ. The restraints' χ² is in units of their own σ and joins with
    the weight S², which leaves the restrained GooF = S √[(n − p + Σ…)/(n + r − p)]."""
    fo, fc = np.sqrt(np.maximum(data.f2, 0)), np.sqrt(np.maximum(calc, 0))
    strong = data.f2 > 2 * data.sigma
    w_residual = weights * (data.f2 - calc) ** 2
    chi2 = float(w_residual.sum())
    spare = max(len(data) - n_parameters, 1)
    goof = float(np.sqrt(chi2 / spare))
    restrained = float(np.sqrt((chi2 + goof**2 * restraint_chi2) / max(len(data) + n_restraints - n_parameters, 1)))
    return Agreement(
        r1=_r1(fo[strong], fc[strong]), r1_all=_r1(fo, fc),
        wr2=float(np.sqrt(chi2 / max(float(weights @ data.f2**2), 1e-300))),
        wr2_observed=float(
            np.sqrt(w_residual[strong].sum() / max(float((weights * data.f2**2)[strong].sum()), 1e-300))
        ),
        goof=goof, goof_restrained=restrained if n_restraints else goof, n_observed=int(strong.sum()), n_all=len(data),
    )  # fmt: skip


def _r1(fo: np.ndarray, fc: np.ndarray) -> float:
    return float(np.abs(fo - fc).sum() / max(float(fo.sum()), 1e-300))


def outliers(refined: Refined, most: int = 50, beyond: float = 3.0) -> list[Outlier]:
    """The reflections with |Fo² − Fc²| > ``beyond`` esd, the worst first."""
    k, data = refined.k, refined.data
    error = np.sqrt(refined.weights) * (data.f2 - k * refined.y)
    d = refined.structure.cell.d_spacing(data.hkl)
    order = np.argsort(-np.abs(error))[:most]
    return [
        Outlier(_triple(data.hkl[i]), float(data.f2[i] / k), float(refined.y[i]), float(error[i]), float(d[i]))
        for i in order
        if abs(error[i]) > beyond
    ]


def _triple(hkl: np.ndarray) -> tuple[int, int, int]:
    return int(hkl[0]), int(hkl[1]), int(hkl[2])
