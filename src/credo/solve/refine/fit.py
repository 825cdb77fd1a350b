"""Full-matrix least squares on F² (thesis eqs 4-5): normal equations block by block, damped where a step fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import gemmi
import numpy as np
from scipy import linalg, sparse

from credo.kernels.structure_factors import gather
from credo.model import CannotDo
from credo.solve.refine.constraints import Constraints
from credo.solve.refine.covariance import inverse_of
from credo.solve.refine.crystal import AtomParameters
from credo.solve.refine.data import Observed
from credo.solve.refine.model import Model
from credo.solve.refine.prediction import Globals, Prediction
from credo.solve.refine.restraints import RestraintRow, Scene
from credo.solve.refine.result import Refined, finished
from credo.solve.refine.weights import weights_of

__all__ = ["FitSettings", "refine_model"]

#: Bytes of one block of the design matrix; and the number of variables above which cycles add it up in float32.
_BLOCK_BYTES, _SINGLE = 2**26, 800


@dataclass(frozen=True)
class FitSettings:
    """``cycles``: most of them; ``converged``: largest shift/esd that ends them; ``damping``: at the start, of
    Marquardt; ``nuclear``: X-H distances of nuclei; ``quick``: esds that end the cycles neglect correlation."""

    cycles: int = 20
    converged: float = 0.01
    damping: float = 1e-4
    nuclear: bool = True
    quick: bool = False


@dataclass(frozen=True)
class _State:
    p: AtomParameters
    variables: np.ndarray
    g: Globals


@dataclass(frozen=True)
class _Equations:
    """Normal matrix (v, v) and right side (v,) of a state; χ² with its own weights and with the given ones."""

    normal: np.ndarray
    rhs: np.ndarray
    chi2: float
    chi2_given: float
    weights: np.ndarray
    y: np.ndarray
    f: np.ndarray
    rows: list[RestraintRow]
    restraint_chi2: float
    c: Any


def refine_model(
    model: Model,
    data: Observed,
    wavelength: float,
    settings: FitSettings | None = None,
    progress: Callable[[str], None] | None = None,
) -> Refined:
    """Refine a model against Fo². wavelength [Å] matters to extinction only.

    Raises CannotDo when there are fewer data and restraints than parameters.
    """
    problem = _Problem(model, data, wavelength, settings or FitSettings())
    return problem.run(progress or (lambda _: None))


class _Problem:
    def __init__(self, model: Model, data: Observed, wavelength: float, settings: FitSettings) -> None:
        self.model, self.data, self.settings = model, data, settings
        aniso = np.array([a.u_aniso is not None for a in model.structure.atoms])
        self.prediction = Prediction(model, data, aniso, wavelength)
        self.constraints = Constraints(model, self.prediction.crystal, settings.nuclear)
        self.s = np.sqrt(self.prediction.s2)
        p, variables = self.constraints.start()
        self.initial = _State(p, variables, self.prediction.start(model, p, data))
        self.floating = _floating_origin(self.prediction, model)
        self._picked: tuple[Any, _Picker] | None = None

    def run(self, progress: Callable[[str], None]) -> Refined:
        state = saved = self.initial
        weights: np.ndarray | None = None
        good: _Equations | None = None
        best, damping, shift, cycle, tries = np.inf, self.settings.damping, np.inf, 0, 0
        limit = 3 * self.settings.cycles + 10
        while True:
            eq = self.equations(state, weights)
            tries += 1
            failed = eq.chi2_given > best * (1 + 1e-6) and damping < 1e4
            if failed and good is not None and tries < limit:
                damping, state, eq = max(damping * 10, 1e-5), saved, good
            else:
                if cycle >= self.settings.cycles or tries >= limit or (shift < self.settings.converged and not failed):
                    break
                damping, saved, good = max(damping / 10, 1e-9), state, eq
            weights, best = eq.weights, eq.chi2
            step = self._step_within(eq, damping, state.g)
            shift = self._shift(eq, step)
            progress(f"cycle {cycle + 1}: wR2 {self._wr2(eq):.4f}, largest shift/esd {shift:.3f}")
            state = self._moved(state, eq, step)
            cycle += 1
        final = self.equations(state, None, exact=True)
        shift = shift if cycle else 0.0
        return finished(self.model, self.data, self.constraints, state.p, state.variables, state.g, final, self.s,
                        shift, cycle)  # fmt: skip

    # ------------------------------------------------------------ equations

    def equations(self, state: _State, given: np.ndarray | None, exact: bool = False) -> _Equations:
        """One pass over the data; ``given`` weights only serve to compare χ² with the last state's."""
        c = self.constraints.matrix(state.p)
        n_v, n_g = c.shape[1], len(state.g.names)
        if len(self.data) + self._count_restraints(state) < n_v + n_g:
            raise CannotDo(
                f"{len(self.data)} reflections cannot determine {n_v + n_g} parameters",
                "refine isotropically, or add restraints or data",
            )
        pick = self._picker(c)
        single = n_v > _SINGLE and not exact
        total = np.zeros((n_v + n_g, n_v + n_g))
        rhs, y, w = np.zeros(n_v + n_g), np.empty(len(self.data)), np.empty(len(self.data))
        f = np.empty(len(self.data), dtype=complex)
        for rows in self._blocks(n_v):
            b = self.prediction.block(state.p, state.g, rows)
            y[rows], f[rows] = b.y, b.f
            o, k = self._part(rows), state.g.k
            w[rows] = weights_of(o.f2, o.sigma, b.y, k, self.s[rows], self.model.weights)
            root = np.sqrt(w[rows])
            design = np.empty((len(root), n_v + n_g), dtype=np.float32 if single else float)
            pick(b.jac, k * root, design)
            design[:, n_v] = b.y * root
            design[:, n_v + 1 :] = b.others * (k * root)[:, None]
            rhs += design.T @ (root * (o.f2 - k * b.y)).astype(design.dtype)
            total += design.T @ design
        residual2 = (self.data.f2 - state.g.k * y) ** 2
        chi2 = float(w @ residual2)
        s2 = chi2 / max(len(w) - n_v - n_g, 1)
        restraint_rows = self._restraints(state)
        restraint_chi2 = self._restrain(total, rhs, restraint_rows, c, s2)
        chi2_given = chi2 if given is None else float(given @ residual2)
        given_r = restraint_chi2 * s2
        self._hold_origin(total, c)
        return _Equations(total, rhs, chi2 + given_r, chi2_given + given_r, w, y, f, restraint_rows, restraint_chi2, c)

    def _picker(self, c: Any) -> _Picker:
        """Of C; that of the last cycle where C has not changed."""
        if self._picked is None or self._picked[0] is not c:
            self._picked = c, _Picker(c, self.prediction.crystal.used)
        return self._picked[1]

    def _blocks(self, n_v: int):
        size = int(
            np.clip(_BLOCK_BYTES // (8 * self.prediction.m * max(n_v, len(self.prediction.crystal.used))), 64, 8192)
        )
        for start in range(0, len(self.data), size):
            yield slice(start, min(start + size, len(self.data)))

    def _part(self, rows: slice) -> Observed:
        return Observed(self.data.hkl[rows], self.data.f2[rows], self.data.sigma[rows])

    def _restraints(self, state: _State) -> list[RestraintRow]:
        scene = Scene(self.model.structure.cell, state.p, state.variables)
        return [row for r in self.model.restraints for row in r.rows(scene)]

    def _count_restraints(self, state: _State) -> int:
        return len(self._restraints(state)) if self.model.restraints else 0

    @staticmethod
    def _restrain(total, rhs, rows: list[RestraintRow], c: Any, s2: float) -> float:
        """Adds the restraints, weighted S²/σ², and returns Σ (value − target)²/σ²."""
        if not rows:
            return 0.0
        sigma = np.array([r.sigma for r in rows])
        gap = np.array([r.target - r.value for r in rows]) / sigma
        index = np.repeat(np.arange(len(rows)), [len(r.columns) for r in rows])
        values = np.concatenate([r.gradient for r in rows]) / np.repeat(sigma, [len(r.columns) for r in rows])
        g = sparse.csr_matrix(
            (values, (index, np.concatenate([r.columns for r in rows]))), shape=(len(rows), c.shape[0])
        )
        g = (g @ c).tocsr()
        n = c.shape[1]
        total[:n, :n] += s2 * (g.T @ g).toarray()
        rhs[:n] += s2 * (g.T @ gap)
        return float(gap @ gap)

    def _hold_origin(self, total: np.ndarray, c: Any) -> None:
        """A polar axis has no origin: the mean shift along it, weighted by Z², is held by a stiff restraint."""
        n = c.shape[1]
        for direction in self.floating:
            row = c.T @ direction
            norm = float(np.linalg.norm(row))
            if norm > 1e-9:
                total[:n, :n] += np.outer(row, row) / norm**2 * np.diag(total)[:n].max()

    # ------------------------------------------------------------ steps

    def _step_within(self, eq: _Equations, damping: float, g: Globals) -> np.ndarray:
        """A step that leaves alone what stands at its limit and would be moved beyond it, e.g. extinction at nought."""
        step = self._step(eq, damping)
        stuck = eq.c.shape[1] + g.stuck(step[eq.c.shape[1] :])
        if len(stuck):
            keep = np.delete(np.arange(len(step)), stuck)
            step[stuck] = 0.0
            step[keep] = self._step(replace(eq, normal=eq.normal[np.ix_(keep, keep)], rhs=eq.rhs[keep]), damping)
        return step

    def _step(self, eq: _Equations, damping: float) -> np.ndarray:
        scale = 1 / np.sqrt(np.maximum(np.diag(eq.normal), 1e-300))
        scaled = eq.normal * scale[:, None] * scale
        scaled[np.diag_indices(len(scale))] += damping
        try:
            factor = linalg.cho_factor(scaled, lower=True, overwrite_a=True, check_finite=False)
            return scale * linalg.cho_solve(factor, scale * eq.rhs, check_finite=False)
        except linalg.LinAlgError:
            scaled = eq.normal * scale[:, None] * scale
            return scale * (linalg.pinvh(scaled, rtol=1e-7) @ (scale * eq.rhs))

    def _shift(self, eq: _Equations, step: np.ndarray) -> float:
        """Largest |shift|/esd; with very many variables from the diagonal alone, which overrates it."""
        # exact data (wR2 below 1e-6) have esds at the level of rounding, which no shift can undercut
        chi2 = max(eq.chi2, 1e-12 * float(eq.weights @ self.data.f2**2))
        s2 = chi2 / max(len(self.data) + len(eq.rows) - len(step), 1)
        if len(step) <= 1200 and not self.settings.quick:
            variance = np.diag(inverse_of(eq.normal)) * s2
        else:
            variance = s2 / np.maximum(np.diag(eq.normal), 1e-300)
        return float(np.max(np.abs(step) / np.sqrt(np.maximum(variance, 1e-300))))

    def _wr2(self, eq: _Equations) -> float:
        return float(np.sqrt(eq.chi2 / (eq.weights @ self.data.f2**2)))

    def _moved(self, state: _State, eq: _Equations, step: np.ndarray) -> _State:
        n = eq.c.shape[1]
        p, variables = self.constraints.advanced(state.p, state.variables, eq.c, step[:n])
        return replace(state, p=p, variables=variables, g=state.g.moved(step[n:]))


class _Picker:
    """J C for a sparse C, every row multiplied: columns of C with one entry are taken, the others summed up."""

    def __init__(self, c: Any, used: np.ndarray) -> None:
        compact = c.tocsr()[used].tocsc()
        count = np.diff(compact.indptr)
        self._single = np.flatnonzero(count == 1)
        self._from = compact.indices[compact.indptr[self._single]].astype(np.int64)
        self._factor = compact.data[compact.indptr[self._single]]
        self._rest = np.flatnonzero(count != 1)
        self._matrix = compact[:, self._rest].T.tocsr()

    def __call__(self, jac: np.ndarray, row: np.ndarray, out: np.ndarray) -> None:
        """Into the first columns of ``out`` (b, v + …); row (b,)."""
        gather(jac, self._from, self._factor, row, out, self._single)
        if len(self._rest):
            out[:, self._rest] = (self._matrix @ jac.T).T * row[:, None]


def _floating_origin(prediction: Prediction, model: Model) -> list[np.ndarray]:
    """Rows (10 a + variables,): Σ Z² of shifts along each direction that every rotation leaves alone."""
    atoms = model.structure.atoms
    z2 = np.array([gemmi.Element(a.element).atomic_number ** 2 for a in atoms], dtype=float)
    u, s, _ = np.linalg.svd(prediction.crystal.operations.rot.mean(axis=0))
    rows = []
    for direction in u[:, s > 0.5].T:
        every = np.zeros((len(atoms), 10))
        every[:, :3] = z2[:, None] * direction
        rows.append(np.concatenate([every.reshape(-1), np.zeros(len(model.variables))]))
    return rows
