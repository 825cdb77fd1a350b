"""Constraints: every atom's parameters from the free variables of the fit, p = p₀ + C v, and exact steps along them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.spatial.transform import Rotation

from credo.model import CannotDo, Structure
from credo.solve.refine.crystal import AtomParameters, Crystal, equivalent_u, isotropic_tensor
from credo.solve.refine.hydrogens import Placement, placements
from credo.solve.refine.model import PARAMETERS, Model
from credo.solve.sites import SiteSymmetry, site_symmetry

__all__ = ["Constraints", "with_displacements"]

_XYZ, _OCC, _U = slice(0, 3), 3, slice(4, 10)
#: Largest step of a coordinate [Å], of a displacement [Å²], of an occupancy, and of a turn [rad] in one cycle.
_LIMITS = (0.3, 0.05, 0.2, 0.3)


@dataclass(frozen=True)
class _Turn:
    """A group that turns: ``columns`` of its variables about fixed axes, or about a bond (placement)."""

    columns: tuple[int, ...]
    atoms: tuple[int, ...]
    scale_column: int = -1
    placement: int = -1


class Constraints:
    """Sites, the matrix C (10 a + free variables, v), the names of v, and how a step is taken."""

    def __init__(self, model: Model, crystal: Crystal, nuclear: bool = True) -> None:
        self.model, self._cell = model, crystal.cell
        atoms = model.structure.atoms
        self.sites: list[SiteSymmetry] = [
            site_symmetry(a.xyz, crystal.operations, crystal.centrings, crystal.cell) for a in atoms
        ]
        self.orders = np.array([s.order for s in self.sites])
        self.placements: list[Placement] = placements(model, nuclear)
        self.n_flat = 10 * len(atoms) + len(model.variables)
        self._equivalent = equivalent_u(crystal.cell)
        self._aniso = np.array([a.u_aniso is not None for a in atoms])
        self._follows = self._dependence()
        self._entries: list[tuple[int, int, float]] = []
        self.names: list[str] = []
        self._turns: list[_Turn] = []
        self._fixed: Any = None
        self._longest: np.ndarray | None = None

    # ------------------------------------------------------------ start

    def start(self) -> tuple[AtomParameters, np.ndarray]:
        """Parameters with every constraint fulfilled, and the free variables."""
        p = AtomParameters.of(self._on_sites(), self.orders)
        variables = np.array(self.model.variables, dtype=float)
        flat = p.flat().reshape(-1, 10)
        for same in self.model.same:
            rows = _XYZ if same.what == "xyz" else _U
            flat[list(same.atoms[1:]), rows] = flat[same.atoms[0], rows]
        for t in self.model.ties:
            flat[t.atom, t.parameter] = t.constant + t.multiplier * variables[t.variable]
        return self._settled(p.moved(flat.reshape(-1)), None, {}), variables

    def _on_sites(self) -> Structure:
        atoms = []
        for a, s in zip(self.model.structure.atoms, self.sites):
            u = a.u_aniso
            if u is not None:
                u = s.tensors @ np.linalg.pinv(s.tensors) @ u
            atoms.append(a.replace(xyz=s.xyz, u_aniso=u))
        return self.model.structure.replace(atoms=tuple(atoms))

    # ------------------------------------------------------------ matrix

    def _dependence(self) -> Any:
        """D: rows of dependent parameters in terms of others, e.g. x of a riding atom in terms of its parent's."""
        d: list[tuple[int, int, float]] = []
        self._dependent: set[int] = set()

        def follow(row: int, terms: list[tuple[int, float]]) -> None:
            if row in self._dependent:
                label = self.model.structure.atoms[row // 10].label
                raise CannotDo(f"{PARAMETERS[row % 10]} of {label} is constrained twice", "drop one of the constraints")
            self._dependent.add(row)
            d.extend((row, c, v) for c, v in terms)

        for r in self.model.riding:
            for h in r.atoms:
                for k in range(3):
                    follow(10 * h + k, [(10 * r.parent + k, 1.0)])
        for g in self.model.rigid:
            for a in g.atoms[1:]:
                for k in range(3):
                    follow(10 * a + k, [(10 * g.atoms[0] + k, 1.0)])
        for s in self.model.same:
            for a in s.atoms[1:]:
                if s.what == "U" and self._aniso[a] != self._aniso[s.atoms[0]]:
                    raise CannotDo("EADP joins an isotropic and an anisotropic atom", "make both the same")
                for k in range(3) if s.what == "xyz" else range(4, 10):
                    follow(10 * a + k, [(10 * s.atoms[0] + k, 1.0)])
        for t in self.model.u_ties:
            weights = self._equivalent if self._aniso[t.parent] else np.array([1.0])
            follow(10 * t.atom + 4, [(10 * t.parent + 4 + k, t.factor * w) for k, w in enumerate(weights)])
        return _sparse(d, self.n_flat, self.n_flat)

    def matrix(self, p: AtomParameters) -> Any:
        """C at ``p``; only the columns of turning groups depend on it."""
        if self._fixed is not None:
            return self._fixed
        self._entries, self.names, self._turns = [], [], []
        self._tied = {(t.atom, t.parameter) for t in self.model.ties}
        for i, site in enumerate(self.sites):
            self._own_columns(i, site)
        self._variable_columns()
        self._rigid_columns(p)
        self._torsion_columns(p)
        c = _sparse(self._entries, self.n_flat, len(self.names))
        total, term = c, c
        # chains of dependence (a hydrogen on an atom of a rigid group) end after a few links
        for _ in range(8):
            term = self._follows @ term
            if term.nnz == 0 or abs(term).max() == 0:
                break
            total = total + term
        if not self._turns:
            self._fixed = total.tocsc()
        return total.tocsc()

    def _column(self, name: str, entries: list[tuple[int, float]]) -> int:
        column = len(self.names)
        self.names.append(name)
        self._entries += [(row, column, value) for row, value in entries if value]
        return column

    def _own_columns(self, i: int, site: SiteSymmetry) -> None:
        label = self.model.structure.atoms[i].label
        u_rows, u_basis = (_U, site.tensors) if self._aniso[i] else (slice(4, 5), np.ones((1, 1)))
        for rows, basis in ((_XYZ, site.shifts), (slice(3, 4), np.ones((1, 1))), (u_rows, u_basis)):
            numbers = range(10)[rows]
            if all(10 * i + k in self._dependent for k in numbers):
                continue
            held = [n for n, k in enumerate(numbers) if (i, k) in self.model.fixed or (i, k) in self._tied]
            basis = _without(basis, held)
            for column in basis.T:
                lead = PARAMETERS[numbers[int(np.argmax(np.abs(column) > 1e-9))]]
                name = "U" if lead == "U11" and not self._aniso[i] else lead
                self._column(f"{label}.{name}", [(10 * i + k, v) for k, v in zip(numbers, column)])

    def _variable_columns(self) -> None:
        used = {t.variable for t in self.model.ties}
        used |= {k for r in self.model.restraints if r.kind == "SUMP" for _, k in r.terms}
        for k in sorted(used):
            if not 0 <= k < len(self.model.variables):
                raise CannotDo(f"free variable {k + 2} is not given", "add it to FVAR")
            rows = [(10 * t.atom + t.parameter, t.multiplier) for t in self.model.ties if t.variable == k]
            self._column(f"FVAR{k + 2}", [*rows, (self.n_flat - len(self.model.variables) + k, 1.0)])

    def _rigid_columns(self, p: AtomParameters) -> None:
        o = self._cell.O
        back = np.linalg.inv(o)
        for g in self.model.rigid:
            arms = {a: o @ (p.xyz[a] - p.xyz[g.atoms[0]]) for a in g.atoms[1:]}
            label = self.model.structure.atoms[g.atoms[0]].label
            columns = tuple(
                self._column(f"{label}.turn{k + 1}", _moves(arms, lambda v, k=k: back @ np.cross(np.eye(3)[k], v)))
                for k in range(3)
            )
            scale = self._column(f"{label}.size", _moves(arms, lambda v: back @ v)) if g.scales else -1
            self._turns.append(_Turn(columns, g.atoms, scale))

    def _torsion_columns(self, p: AtomParameters) -> None:
        o = self._cell.O
        back = np.linalg.inv(o)
        for n, place in enumerate(self.placements):
            if not place.riding.turns:
                continue
            origin = o @ p.xyz[place.riding.parent]
            axis = o @ place.neighbours[0].at(p.xyz) - origin
            axis /= np.linalg.norm(axis)
            arms = {h: o @ p.xyz[h] - origin for h in place.riding.atoms}
            label = self.model.structure.atoms[place.riding.parent].label
            column = self._column(f"{label}.torsion", _moves(arms, lambda v, a=axis: back @ np.cross(a, v)))
            self._turns.append(_Turn((column,), place.riding.atoms, placement=n))

    # ------------------------------------------------------------ steps

    def advanced(
        self, p: AtomParameters, variables: np.ndarray, c: Any, step: np.ndarray
    ) -> tuple[AtomParameters, np.ndarray]:
        """Parameters and free variables after a step (v,), each variable's held within reason."""
        step = self._limited(c, step)
        straight = step.copy()
        turning = [k for t in self._turns for k in (*t.columns, t.scale_column) if k >= 0]
        straight[turning] = 0
        full = np.concatenate([p.flat(), variables]) + c @ straight
        n = 10 * len(p.xyz)
        new = p.moved(full[:n])
        xyz, turns = new.xyz.copy(), {}
        for t in self._turns:
            if t.placement >= 0:
                turns[t.placement] = float(step[t.columns[0]])
            else:
                self._turn_rigid(xyz, p, t, step)
        return self._settled(new.moved(_with_xyz(new, xyz)), p, turns), full[n:]

    def _turn_rigid(self, xyz: np.ndarray, p: AtomParameters, t: _Turn, step: np.ndarray) -> None:
        o = self._cell.O
        rotation = Rotation.from_rotvec(step[list(t.columns)]).as_matrix()
        size = 1 + (step[t.scale_column] if t.scale_column >= 0 else 0.0)
        pivot = t.atoms[0]
        for a in t.atoms[1:]:
            xyz[a] = xyz[pivot] + np.linalg.inv(o) @ (size * rotation @ (o @ (p.xyz[a] - p.xyz[pivot])))

    def _limited(self, c: Any, step: np.ndarray) -> np.ndarray:
        allowed = self._allowed(c)
        return np.clip(step, -allowed, allowed)

    def _allowed(self, c: Any) -> np.ndarray:
        """(v,): the largest step of each variable."""
        if self._longest is not None:
            return self._longest
        edge, u_limit, occ_limit, turn_limit = _LIMITS
        n = 10 * len(self.sites)
        limit = np.full(self.n_flat, 0.2)
        per_atom = limit[:n].reshape(-1, 10)
        per_atom[:, :3] = edge / np.array(self._cell.lengths)
        per_atom[:, 3], per_atom[:, 4:] = occ_limit, u_limit
        reach = abs(c).multiply(1 / limit[:, None]).max(axis=0).toarray().ravel()
        for t in self._turns:
            reach[list(t.columns)] = 1 / turn_limit
        allowed = 1 / np.maximum(reach, 1e-9)
        if self._fixed is not None:
            self._longest = allowed
        return allowed

    def _settled(self, p: AtomParameters, before: AtomParameters | None, turns: dict[int, float]) -> AtomParameters:
        """Isotropic U kept positive, riding hydrogens put where they belong, their U follow."""
        xyz, u = p.xyz.copy(), p.u.copy()
        u[~p.aniso, 0] = np.clip(u[~p.aniso, 0], 5e-4, 2.0)
        if before is not None:
            for r in self.model.riding:
                if not r.geometry:
                    xyz[list(r.atoms)] = before.xyz[list(r.atoms)] + (xyz[r.parent] - before.xyz[r.parent])
        for n, place in enumerate(self.placements):
            xyz[list(place.riding.atoms)] = place.positions(xyz, self._cell.O, turns.get(n, 0.0))
        for t in self.model.u_ties:
            parent = self._equivalent @ u[t.parent] if p.aniso[t.parent] else u[t.parent, 0]
            u[t.atom, 0] = max(t.factor * parent, 5e-4)
        return AtomParameters(xyz, p.occ, u, p.aniso)

    def structure(self, p: AtomParameters) -> Structure:
        """The atoms with these parameters."""
        atoms = []
        for i, a in enumerate(self.model.structure.atoms):
            u_iso = float(self._equivalent @ p.u[i]) if p.aniso[i] else float(p.u[i, 0])
            occupancy = float(p.occ[i] * self.orders[i])
            u = p.u[i] if p.aniso[i] else None
            atoms.append(a.replace(xyz=p.xyz[i], occupancy=occupancy, u_iso=u_iso, u_aniso=u))
        return self.model.structure.replace(atoms=tuple(atoms))


def _with_xyz(p: AtomParameters, xyz: np.ndarray) -> np.ndarray:
    flat = p.flat().reshape(-1, 10)
    flat[:, :3] = xyz
    return flat.reshape(-1)


def _moves(arms: dict[int, np.ndarray], how) -> list[tuple[int, float]]:
    """Entries of a column that moves each atom by how(its arm)."""
    return [(10 * a + k, float(v)) for a, arm in arms.items() for k, v in enumerate(how(arm))]


def _without(basis: np.ndarray, held: list[int]) -> np.ndarray:
    """The part of a basis (n, k) that leaves the rows ``held`` alone."""
    if not held or not basis.size:
        return basis
    _, s, vt = np.linalg.svd(basis[held])
    rank = int(np.sum(s > 1e-9))
    alone = np.all(np.abs(basis[held]) < 1e-9, axis=0)
    # columns as they are where possible, so that variables keep a crystallographic meaning
    return basis[:, alone] if alone.sum() == basis.shape[1] - rank else basis @ vt[rank:].T


def _sparse(entries: list[tuple[int, int, float]], rows: int, columns: int) -> Any:
    if not entries:
        return sparse.csr_matrix((rows, columns))
    r, c, v = zip(*entries)
    return sparse.csr_matrix((v, (r, c)), shape=(rows, columns))


def with_displacements(structure: Structure, anisotropic: bool) -> Structure:
    """All atoms heavier than H anisotropic (a sphere where they were not), or all isotropic."""
    atoms = []
    for a in structure.atoms:
        if anisotropic and a.element not in ("H", "D"):
            u = isotropic_tensor(structure.cell, a.u_iso) if a.u_aniso is None else a.u_aniso
            atoms.append(a.replace(u_aniso=u))
        else:
            u_iso = a.u_iso if a.u_aniso is None else float(equivalent_u(structure.cell) @ a.u_aniso)
            atoms.append(a.replace(u_aniso=None, u_iso=u_iso))
    return structure.replace(atoms=tuple(atoms))
