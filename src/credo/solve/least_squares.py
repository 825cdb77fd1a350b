"""Full-matrix least squares on F² (thesis eqs 4-5): a structure's parameters against merged intensities."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import gemmi
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from credo.kernels.structure_factors import calculate, calculate_with_derivatives
from credo.model import Atom, CannotDo, Structure, UnreadableInput
from credo.physics.symmetry import Operations, group_operations
from credo.solve.sites import site_symmetry

__all__ = ["FitState", "LeastSquaresSettings", "Observed", "fit_structure"]


class LeastSquaresSettings(BaseModel):
    """How the model is refined."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cycles: int = Field(20, ge=0, description="most cycles")
    anisotropic: bool = Field(False, description="refine U11 … U23 of atoms heavier than H")
    extinction: bool = Field(False, description="refine SHELXL's EXTI parameter")
    weight_a: float = Field(0.1, ge=0, description="a of w = 1/[σ²(Fo²) + (aP)² + bP]")
    weight_b: float = Field(0.0, ge=0, description="b of the same")
    converged: float = Field(0.01, gt=0, description="largest shift/esd at which refinement ends")


@dataclass(frozen=True)
class Observed:
    """Merged data: ``hkl`` (n, 3), ``f2`` (n,) = Fo² on any scale, ``sigma`` (n,)."""

    hkl: np.ndarray
    f2: np.ndarray
    sigma: np.ndarray

    def __post_init__(self) -> None:
        bad = ~(np.isfinite(self.f2) & np.isfinite(self.sigma) & (self.sigma > 0))
        if bad.any():
            raise UnreadableInput(
                f"{int(bad.sum())} of {len(bad)} reflections have no finite intensity or no positive sigma",
                "remove them from the reflection file",
            )


@dataclass(frozen=True)
class FitState:
    """A refined structure and what is known of the fit. ``covariance`` is of ``names``' variables; ``k`` is the
    scale in Fo² = k Fc²; ``f_calc`` (n,) complex, extinction not included."""

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
    names: tuple[str, ...] = ()
    covariance: np.ndarray | None = None
    esd: dict[str, np.ndarray] = field(default_factory=dict)


class _Crystal:
    """What does not change while refining: operations, indices and scattering factors."""

    def __init__(self, structure: Structure, data: Observed) -> None:
        group = gemmi.SpaceGroup(structure.space_group)
        self.operations: Operations = group_operations(group)
        self.centrings = np.array(list(group.operations().cen_ops), dtype=float) / gemmi.Op.DEN
        self.cell = structure.cell
        self.star = np.linalg.norm(structure.cell.B, axis=0)
        self.hkl = np.ascontiguousarray(data.hkl, dtype=float)
        self.s2 = 0.25 / structure.cell.d_spacing(data.hkl) ** 2
        self.elements = sorted({a.element for a in structure.atoms})
        self.kind = np.array([self.elements.index(a.element) for a in structure.atoms])
        self.f = np.array([electron_factor(e, self.s2) for e in self.elements])

    def __call__(self, p: _Parameters, jac: np.ndarray | None = None) -> np.ndarray:
        n = len(self.centrings)
        rot = np.ascontiguousarray(self.operations.rot, dtype=float)
        args = (self.hkl, self.s2, rot, self.operations.trans, self.star, self.f, self.kind, p.xyz, p.occ, p.u, p.aniso)
        if jac is None:
            return n * calculate(*args)
        out = n * calculate_with_derivatives(*args, jac)
        jac *= n * n
        return out


def electron_factor(element: str, s2: np.ndarray) -> np.ndarray:
    """f_e (n,) [Å] at (sin θ/λ)² = s2 [Å⁻²]: Int. Tables C 4.3.2.2 as gemmi holds them; D is H."""
    table = gemmi.Element("H" if element == "D" else element)
    if table.atomic_number == 0 or table.c4322 is None:
        raise UnreadableInput(f"{element!r} is not an element with electron scattering factors")
    c = table.c4322.get_coefs()
    a, b = np.array(c[:5]), np.array(c[5:])
    return np.exp(-np.outer(s2, b)) @ a


@dataclass(frozen=True)
class _Parameters:
    xyz: np.ndarray
    occ: np.ndarray
    u: np.ndarray
    aniso: np.ndarray

    @classmethod
    def of(cls, structure: Structure, orders: np.ndarray) -> _Parameters:
        atoms = structure.atoms
        u = np.array([np.r_[a.u_iso, np.zeros(5)] if a.u_aniso is None else a.u_aniso for a in atoms])
        occ = np.array([a.occupancy for a in atoms]) / orders
        return cls(np.array([a.xyz for a in atoms]), occ, u, np.array([a.u_aniso is not None for a in atoms]))

    def flat(self) -> np.ndarray:
        return np.concatenate([self.xyz, self.occ[:, None], self.u], axis=1).reshape(-1)

    def moved(self, flat: np.ndarray) -> _Parameters:
        p = flat.reshape(-1, 10)
        return _Parameters(p[:, :3].copy(), p[:, 3].copy(), p[:, 4:].copy(), self.aniso)


def fit_structure(
    structure: Structure, data: Observed, wavelength: float, settings: LeastSquaresSettings | None = None
) -> FitState:
    """Refine positions and displacements against Fo², with special positions kept.

    wavelength [Å] is only used by extinction. Raises CannotDo when there are fewer data than parameters.
    """
    settings = settings or LeastSquaresSettings()
    crystal = _Crystal(structure, data)
    structure, orders, c, names = _constraints(structure, crystal, settings)
    if len(data.f2) <= c.shape[1] + 1:
        raise CannotDo(
            f"{len(data.f2)} reflections cannot determine {c.shape[1] + 1} parameters",
            "refine isotropically, or add restraints or data",
        )
    return _iterate(structure, data, crystal, orders, c, names, wavelength, settings)


def _constraints(structure: Structure, crystal: _Crystal, settings: LeastSquaresSettings):
    """Atoms on their exact sites, the orders of their sites, and C (10 a, v): all parameters from free variables."""
    atoms, orders, columns, names = [], [], [], []
    for i, atom in enumerate(structure.atoms):
        site = site_symmetry(atom.xyz, crystal.operations, crystal.centrings, crystal.cell)
        aniso = settings.anisotropic and atom.element not in ("H", "D")
        u = site.tensors @ np.linalg.pinv(site.tensors) @ (_isotropic(crystal, atom.u_iso) if atom.u_aniso is None
                                                           else atom.u_aniso)  # fmt: skip
        atoms.append(atom.replace(xyz=site.xyz, u_aniso=u if aniso else None))
        orders.append(site.order)
        blocks = [(slice(0, 3), site.shifts, "xyz")]
        blocks.append((slice(4, 10), site.tensors, "U") if aniso else (slice(4, 5), np.ones((1, 1)), "U"))
        for rows, basis, what in blocks:
            for k in range(basis.shape[1]):
                column = np.zeros(10 * len(structure.atoms))
                column[10 * i : 10 * i + 10][rows] = basis[:, k]
                columns.append(column)
                names.append(f"{atom.label}.{what}{k + 1}")
    return structure.replace(atoms=tuple(atoms)), np.array(orders), np.array(columns).T, names


def _isotropic(crystal: _Crystal, u_iso: float) -> np.ndarray:
    """U11 … U23 of a sphere in the CIF convention: U_ij = U_iso (a*_i · a*_j)/(|a*_i| |a*_j|)."""
    unit = crystal.cell.B / crystal.star
    g = unit.T @ unit * u_iso
    return g[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]


def _iterate(structure, data, crystal, orders, c, names, wavelength, settings) -> FitState:
    p = _Parameters.of(structure, orders)
    jac = np.empty((len(data.f2), 10 * len(structure.atoms)))
    k, x = _scale(data, np.abs(crystal(p)) ** 2), 0.0
    shift, damping, best, cycle = np.inf, 1e-4, np.inf, 0
    floating = _floating_origin(crystal, len(structure.atoms), c)
    saved = (p, k, x)
    while True:
        fc2 = np.abs(f := crystal(p, jac)) ** 2
        y, dy, dx = _extinct(fc2, x, crystal.s2, wavelength)
        w = _weights(data, k * y, settings)
        residual = data.f2 - k * y
        chi2 = float(w @ residual**2)
        if chi2 > best * 1.0005 and damping < 1e3:
            damping, (p, k, x) = damping * 10, saved
        elif cycle >= settings.cycles or shift < settings.converged:
            break
        else:
            damping, best, saved = max(damping / 5, 1e-9), chi2, (p, k, x)
        if cycle > 3 * settings.cycles + 20:
            break
        cycle += 1
        design = _design(jac, c, k * dy, y, k * dx, settings.extinction)
        normal, rhs = _normal(design, w, residual, floating)
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), rhs)
        esd = np.sqrt(np.abs(np.diag(np.linalg.pinv(normal))) * chi2 / max(len(w) - len(rhs), 1))
        shift = float(np.abs(step / np.maximum(esd, 1e-12)).max())
        move = c @ step[: c.shape[1]]
        p = _bounded(p.moved(p.flat() + np.clip(move, -0.1, 0.1)))
        k = max(k + step[c.shape[1]], 1e-3 * k)
        x = max(0.0, x + step[-1]) if settings.extinction else x
    design = _design(jac, c, k * dy, y, k * dx, settings.extinction)
    normal, _ = _normal(design, w, residual, floating)
    return _finished(structure, data, p, orders, f, k, x, y, w, normal, c, names, shift, cycle)


def _design(jac, c, kdy, y, kdx, extinction) -> np.ndarray:
    """d(k y)/d(variables, k [, x]) (n, v + 1 or 2)."""
    columns = [(jac @ c) * kdy[:, None], y[:, None]]
    return np.concatenate(columns + ([kdx[:, None]] if extinction else []), axis=1)


def _normal(design, w, residual, floating) -> tuple[np.ndarray, np.ndarray]:
    weighted = design * w[:, None]
    normal = design.T @ weighted
    extra = np.zeros((len(floating), design.shape[1]))
    extra[:, : floating.shape[1]] = floating
    # a polar axis has no origin: the mean shift along it is held by a stiff restraint
    return normal + extra.T @ extra * np.diag(normal).max(), weighted.T @ residual


def _floating_origin(crystal: _Crystal, n_atoms: int, c: np.ndarray) -> np.ndarray:
    """(k, v): Σ of shifts along each direction that every rotation of the group leaves alone."""
    mean = crystal.operations.rot.mean(axis=0)
    u, s, _ = np.linalg.svd(mean)
    rows = []
    for direction in u[:, s > 0.5].T:
        every = np.zeros((n_atoms, 10))
        every[:, :3] = direction
        rows.append(every.reshape(-1) @ c)
    return np.array(rows).reshape(-1, c.shape[1])


def _scale(data: Observed, fc2: np.ndarray) -> float:
    w = 1 / data.sigma**2
    return max(float((w * data.f2) @ fc2 / (w * fc2 @ fc2)), 1e-12)


def _extinct(fc2, x, s2, wavelength):
    """SHELXL's Fc² [1 + 0.001 x Fc² λ³/sin 2θ]^(−1/2), with its derivatives to Fc² and to x."""
    sin_t = np.clip(np.sqrt(s2) * wavelength, 1e-9, 1)
    g = 0.001 * wavelength**3 / np.maximum(2 * sin_t * np.sqrt(1 - sin_t**2), 1e-9)
    t = 1 + x * g * fc2
    return fc2 / np.sqrt(t), t**-0.5 - 0.5 * x * g * fc2 * t**-1.5, -0.5 * g * fc2**2 * t**-1.5


def _weights(data: Observed, calc: np.ndarray, settings: LeastSquaresSettings) -> np.ndarray:
    """w = 1/[σ² + (aP)² + bP], P = (max(Fo², 0) + 2 Fc²)/3, on the scale of Fo²."""
    p = (np.maximum(data.f2, 0) + 2 * calc) / 3
    return 1 / (data.sigma**2 + (settings.weight_a * p) ** 2 + settings.weight_b * p)


def _bounded(p: _Parameters) -> _Parameters:
    u = p.u.copy()
    u[~p.aniso, 0] = np.clip(u[~p.aniso, 0], 1e-4, 1.0)
    return replace(p, u=u)


def _finished(structure, data, p, orders, f, k, x, y, w, normal, c, names, shift, cycle) -> FitState:
    fo, fc = np.sqrt(np.maximum(data.f2, 0)), np.sqrt(k * y)
    strong = data.f2 > 2 * data.sigma
    n_par = len(normal)
    chi2 = float(w @ (data.f2 - k * y) ** 2)
    goof = float(np.sqrt(chi2 / max(len(w) - n_par, 1)))
    covariance = np.linalg.pinv(normal) * goof**2
    atoms = tuple(
        a.replace(
            xyz=p.xyz[i],
            occupancy=float(p.occ[i] * orders[i]),
            u_iso=_equivalent(structure, p, i),
            u_aniso=p.u[i] if p.aniso[i] else None,
        )
        for i, a in enumerate(structure.atoms)
    )
    esd = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", c, covariance[: c.shape[1], : c.shape[1]], c), 0)).reshape(-1, 10)
    return FitState(
        structure.replace(atoms=atoms), k, x,
        r1=float(np.abs(fo - fc)[strong].sum() / max(fo[strong].sum(), 1e-30)),
        r1_all=float(np.abs(fo - fc).sum() / max(fo.sum(), 1e-30)),
        wr2=float(np.sqrt(chi2 / (w @ data.f2**2))), goof=goof, shift_over_esd=shift, cycles=cycle, n_parameters=n_par,
        f_calc=f, names=(*names, "scale", *(["extinction"] if len(normal) > c.shape[1] + 1 else [])),
        covariance=covariance, esd={a.label: esd[i] for i, a in enumerate(atoms)},
    )  # fmt: skip


def _equivalent(structure: Structure, p: _Parameters, i: int) -> float:
    """U_eq = ⅓ Σ U_ij a*_i a*_j (a_i · a_j), or U_iso."""
    if not p.aniso[i]:
        return float(p.u[i, 0])
    star = np.linalg.norm(structure.cell.B, axis=0)
    u = p.u[i]
    full = np.array([[u[0], u[3], u[4]], [u[3], u[1], u[5]], [u[4], u[5], u[2]]])
    return float(np.sum(full * np.outer(star, star) * structure.cell.metric) / 3)


def atoms_from_sites(xyz: np.ndarray, elements: list[str], u_iso: float = 0.03) -> tuple[Atom, ...]:
    """Atoms named by element and number."""
    count: dict[str, int] = {}
    atoms = []
    for x, e in zip(xyz, elements):
        count[e] = count.get(e, 0) + 1
        atoms.append(Atom(f"{e}{count[e]}", e, x, u_iso=u_iso))
    return tuple(atoms)
